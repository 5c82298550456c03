"""A secret in memory that can be overwritten.

Python's str and bytes cannot: so a secret is only ever in a bytearray, and whoever made it wipes it. The HTTP server's
copies are `coreo_api.serving`'s to overwrite, OpenSSL overwrites its own. Out of reach are those of the kernel, and of
what terminates TLS in front of the api.
"""

from types import TracebackType
from typing import NoReturn, Self


class Secret:
    """Some bytes, zero until written; wiped when the block ends. They neither print nor pickle."""

    __slots__ = ("data",)

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def wipe(self) -> None:
        """Overwrites the bytes; their number stays."""
        self.data[:] = bytes(len(self.data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wipe()

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be pickled or copied")

"""HTTP as uvicorn serves it, but request bodies leave nothing behind in this process's memory.

A freed bytes object keeps its contents until the memory is used again: so what a body passed through is overwritten.
That is the buffer that the socket is read into, the parser's pieces, what uvicorn gathers, and what it hands out.
"""

import asyncio
import ctypes
from typing import Any, Self

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_READ_BYTES = 64 * 1024
_HEADER_BYTES = bytes.__basicsize__ - 1  # of a bytes object in CPython: its contents follow, and a zero


def _overwrite(data: bytes) -> None:
    """Zeroes a bytes object that nobody else holds."""
    ctypes.memset(id(data) + _HEADER_BYTES, 0, len(data))


class _FleetingBytes(bytes):
    """Overwrites itself when it goes."""

    __slots__ = ()

    def __del__(self) -> None:
        _overwrite(self)


class _Gathered(bytearray):
    """Overwrites itself when it goes, also to grow; as bytes it is fleeting too."""

    def __iadd__(self, more: Any) -> Self:  # type: ignore[misc]  # nobody adds to it otherwise
        added = memoryview(more)
        longer = type(self)(len(self) + len(added))
        longer[: len(self)] = self
        longer[len(self) :] = added
        return longer

    def __bytes__(self) -> bytes:
        return _FleetingBytes(memoryview(self))

    def __del__(self) -> None:
        self[:] = bytes(len(self))


class _Parsing(HttpToolsProtocol):
    """Gathers a body in memory that is overwritten."""

    def on_body(self, body: bytes) -> None:
        """Called with each piece, which is the parser's own copy."""
        if not isinstance(self.cycle.body, _Gathered):
            self.cycle.body = _Gathered(self.cycle.body)
        super().on_body(body)
        if len(body) > 1:  # bytes of one character are one object for all
            _overwrite(body)


class HttpProtocol(asyncio.BufferedProtocol):
    """Reads into a buffer that is overwritten after each piece; for `uvicorn.Config(http=HttpProtocol)`."""

    _buffer = bytearray(_READ_BYTES)  # for all connections: a piece is dealt with before the next one is read

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._inner = _Parsing(*arguments, **options)
        for name in ("connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(self._inner, name))

    def get_buffer(self, _size: int) -> bytearray:
        """Where the next piece goes."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """A piece is there."""
        piece = memoryview(self._buffer)[:size]
        try:
            self._inner.data_received(piece)  # type: ignore[arg-type]  # the parser takes any buffer
        finally:
            piece[:] = bytes(size)

"""AWS keys that a person types or pipes in: never shown, and overwritten when they have been sent.

They are read without echo or from standard input, and from nowhere else. What Python itself copies on the way (the
line that was typed, buffers of HTTP) it sets free, but cannot be made to overwrite.
"""

import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from coreo_cli.errors import CliError, UsageMistakeError

_MAX: Final = 8192  # characters; session tokens have no fixed length, and all in use are shorter
_WRITTEN = re.compile(rb"[A-Za-z0-9/+=._-]{1,%d}" % _MAX)  # so none needs an escape in JSON
_WHITE: Final = b" \t\r\n"
_LIKE_A_SECRET = re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])")  # 40 characters of base64
_HOW_TO_PIPE: Final = "The secret on the first line of standard input, the session token (if any) on the second."


class Secret:
    """Text that nothing shows or copies; `wipe` overwrites it."""

    __slots__ = ("_value",)

    def __init__(self, value: bytearray) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """A copy, to be let go of at once."""
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrites the text with zeros."""
        self._value[:] = bytes(len(self._value))

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class SecretBody:
    """A JSON object, some members of which (not all) are secrets; its text is never in one piece."""

    def __init__(self, public: Mapping[str, Any], secrets: Mapping[str, Secret]) -> None:
        self._parts: list[bytes | Secret] = [json.dumps(public).removesuffix("}").encode()]
        for name, secret in secrets.items():
            self._parts += [f', "{name}": "'.encode(), secret, b'"']
        self._parts.append(b"}")

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield part.reveal() if isinstance(part, Secret) else part


@contextmanager
def asked(*, session_token: bool) -> Iterator[dict[str, Secret]]:
    """The secret access key (and session token) by the names of the api's fields, wiped after the block.

    Raises CliError, which does not show what was typed.
    """
    prompts = {"secret_access_key": "Secret access key"} | ({"session_token": "Session token"} if session_token else {})
    secrets: dict[str, Secret] = {}
    try:
        for field, words in prompts.items():
            secrets[field] = Secret(_typed(words) if sys.stdin.isatty() else _piped())
            if not _WRITTEN.fullmatch(secrets[field].reveal()):
                source = "What you typed" if sys.stdin.isatty() else f"Line {len(secrets)} of standard input"
                raise CliError(
                    f"{source} is no {words.lower()}: those have letters, digits and / + = only.",
                    next_step="Copy it whole and alone, as AWS showed it.",
                )
        yield secrets
    finally:
        for secret in secrets.values():
            secret.wipe()


def looks_like_a_secret(text: str) -> bool:
    """Whether a text on the command line may be a secret access key put there by mistake."""
    return bool(_LIKE_A_SECRET.fullmatch(text))


def without_secrets(text: str) -> str:
    """The text without what looks like a secret access key."""
    return _LIKE_A_SECRET.sub("…", text)


def exposed() -> UsageMistakeError:
    """For a secret on the command line; does not repeat it."""
    return UsageMistakeError(
        "A secret access key is never an argument: other users and the shell's history see those.",
        next_step="If it was one: deactivate that key and make a new one. Then leave it out; it is asked for.",
    )


def _typed(words: str) -> bytearray:
    import getpass  # noqa: PLC0415  --help has no use for it

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on and show what is typed
        try:
            return bytearray(getpass.getpass(f"{words} (it is not shown): ").strip(), "utf-8", "surrogatepass")
        except getpass.GetPassWarning:
            problem = "This terminal would show the secret while you type it."
        except EOFError:
            problem = "Nothing was typed."
    raise CliError(problem, next_step=f"Send it to standard input. {_HOW_TO_PIPE}")


def _piped() -> bytearray:
    line = bytearray(sys.stdin.buffer.readline(_MAX + 2))
    while line and line[-1] in _WHITE:  # in place: each copy would have to be overwritten too
        line.pop()
    while line and line[0] in _WHITE:
        line.pop(0)
    if not line:
        raise UsageMistakeError(
            "Standard input ends before the secret, and there is no terminal to ask on.", next_step=_HOW_TO_PIPE
        )
    return line

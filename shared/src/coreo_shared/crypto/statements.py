"""Signed statements that outlive the process that made them: no expiry, no audience; checked years later, offline.

Compact Ed25519 JWS as in `jose`, each kind with a type of its own, so that none passes for another.
"""

import base64
import binascii
from typing import Any, TypeVar

from coreo_shared.contracts.base import MalformedMessageError, decode_json
from coreo_shared.crypto.jose import PublicKeys, TokenError

T = TypeVar("T")


class StatementError(Exception):
    """The statement is not to be believed. The message says why, and never repeats it."""


_WORDS = {
    "malformed": "it is no signed statement",
    "wrong_type": "it is a signed statement of another kind",
    "unknown_key": "it was signed with a key that is none of the given public keys",
    "bad_signature": "its signature is wrong: it was changed after it was signed",
}


class Statements:
    """Reads statements that were signed with one of these keys (public JWKs)."""

    def __init__(self, public_jwks: list[dict[str, Any]]) -> None:
        self._keys = PublicKeys(public_jwks)

    def read(self, statement: bytes, kind: type[T], *, typ: str) -> T:
        """The statement as a `kind`. Raises StatementError."""
        if not _is_canonical(statement):
            raise StatementError(_WORDS["malformed"])
        try:
            payload = self._keys.payload(statement.decode("ascii"), typ=typ)
        except TokenError as error:
            raise StatementError(_WORDS[error.code]) from None
        try:
            return decode_json(payload, kind)
        except MalformedMessageError as error:
            raise StatementError(f"it says something that this version of Coreo does not know ({error})") from None


def _is_canonical(statement: bytes) -> bool:
    """Whether this is the one way to write it: decoders drop what is no base64, and the spare bits of a last digit."""
    try:
        parts = [base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in statement.split(b".")]
    except binascii.Error:
        return False
    return len(parts) == 3 and b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts) == statement

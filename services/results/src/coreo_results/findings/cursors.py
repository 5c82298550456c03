"""Cursors of pages: opaque texts that are good for the question they answer, and for no other."""

import base64
import binascii
import hmac

from coreo_results.keys.material import SecretKey
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid

_MAC_BYTES = 16


def sign(payload: bytes, question: bytes, key: SecretKey) -> str:
    """The payload as a cursor. `question`: what is asked, in an encoding that no other question has."""
    return _to_text(_mac(payload, question, key) + payload)


def verify(cursor: str, question: bytes, key: SecretKey) -> bytes:
    """The payload that `sign` was given. Raises a 422 Problem about `cursor`."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    genuine = hmac.compare_digest(mac, _mac(payload, question, key))
    if not genuine or _to_text(raw) != cursor:  # base64 has several spellings of the same bytes
        raise bad_cursor()
    return payload


def bad_cursor() -> Problem:
    """The answer to any cursor that we did not give out for just this question."""
    return invalid("query.cursor", "cursor: use the next_cursor of a page of the same run with the same filters")


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(payload: bytes, question: bytes, key: SecretKey) -> bytes:
    return hmac.digest(key.reveal(), question + payload, "sha256")[:_MAC_BYTES]

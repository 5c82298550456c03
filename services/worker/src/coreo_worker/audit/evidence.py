"""What AWS answers, as values that survive JSON and MessagePack and stay small."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.rules.values import Unknown

MAX_BYTES = 64 * 1024  # of one value of a finding's evidence
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # of MessagePack's integers


def plain_text(text: str) -> str:
    """The text as UTF-8 can hold it: JSON's escapes can tell half a character, and AWS passes on what it was given."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def plain_evidence(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence with dates as ISO 8601 and bytes left out; what is too long or could not be read says so."""
    plain = {name: _plain(value) for name, value in evidence.items() if not isinstance(value, bytes)}
    return {name: value if len(encode_msgpack(value)) <= MAX_BYTES else _TOO_LONG for name, value in plain.items()}


_TOO_LONG = {"left_out": f"longer than {MAX_BYTES} bytes"}


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if _SMALLEST <= value <= _LARGEST else str(value)
        case Unknown():
            return {"not_read": value.reason}
        case Mapping():
            return {plain_text(str(key)): _plain(inner) for key, inner in value.items() if not isinstance(inner, bytes)}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value if not isinstance(inner, bytes)]
    return value.isoformat() if isinstance(value, date) else plain_text(str(value))

"""What AWS answers, as values that survive JSON and MessagePack and stay small."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Final

from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.rules.values import Unknown

MAX_BYTES = 64 * 1024  # of one value of a finding's evidence
_TOO_LONG: Final = {"left_out": f"longer than {MAX_BYTES} bytes"}
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # of MessagePack's integers


def plain_text(text: str) -> str:
    """The text as UTF-8 can hold it: JSON's escapes can tell half a character, and AWS passes on what it was given."""
    return text if text.isascii() else text.encode(errors="replace").decode()


class PlainEvidence:
    """The evidence on one item, for all rules that judge it: what they show alike is worked on once."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}  # by the value's id, with the value, so that the id stays its own

    def of(self, evidence: Mapping[str, Any]) -> dict[str, Any]:
        """Dates as ISO 8601 and bytes left out; what is too long or could not be read says so."""
        return {name: self._value(value) for name, value in evidence.items() if value.__class__ is not bytes}

    def _value(self, value: Any) -> Any:
        done = self._done.get(id(value))
        if done is None:
            plain = _plain(value)
            if len(encode_msgpack(plain)) > MAX_BYTES:
                plain = _TOO_LONG
            done = self._done[id(value)] = (value, plain)
        return done[1]


def _plain(value: Any) -> Any:
    return _BY_KIND.get(value.__class__, _odd)(value)


def _same(value: Any) -> Any:
    return value


def _integer(value: int) -> int | str:
    return value if _SMALLEST <= value <= _LARGEST else str(value)


def _structure(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {plain_text(str(name)): _plain(inner) for name, inner in value.items() if inner.__class__ is not bytes}


def _elements(value: Any) -> list[Any]:
    return [_plain(inner) for inner in value if inner.__class__ is not bytes]


def _odd(value: Any) -> Any:
    """Of no class that AWS's answers usually have."""
    if isinstance(value, Mapping):
        return _structure(value)
    return _elements(value) if isinstance(value, list | tuple) else plain_text(str(value))


_BY_KIND: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: plain_text,
    dict: _structure,
    list: _elements,
    bool: _same,
    int: _integer,
    float: _same,
    type(None): _same,
    tuple: _elements,
    set: _elements,
    frozenset: _elements,
    datetime: datetime.isoformat,
    date: date.isoformat,
    Unknown: lambda value: {"not_read": value.reason},
}

"""YAML for people to read, with every string in quotes: nothing in it can be taken for a number, a date or a tag."""

import json
from collections.abc import Iterator
from typing import Any

_NO_KEYS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # YAML 1.1 reads these as something else


def to_yaml(value: dict[str, Any]) -> str:
    """The mapping, whose texts are of the Basic Multilingual Plane, as a document of YAML 1.1 or later."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    """The lines of a mapping or list that is not empty."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{_key(key)}:", item)
    else:
        for item in value:
            yield from _element(item)


def _key(key: str) -> str:
    is_plain = key.isascii() and key.isalnum() and key[0].isalpha() and key.lower() not in _NO_KEYS
    return key if is_plain else json.dumps(key)


def _entry(start: str, item: Any) -> Iterator[str]:
    if _is_nested(item):
        yield start
        yield from ("  " + line for line in _lines(item))
    else:
        yield f"{start} {json.dumps(item)}"


def _element(item: Any) -> Iterator[str]:
    if _is_nested(item):
        for number, line in enumerate(_lines(item)):
            yield ("  " if number else "- ") + line
    else:
        yield f"- {json.dumps(item)}"


def _is_nested(item: Any) -> bool:
    return isinstance(item, dict | list | tuple) and len(item) > 0

"""YAML as plain data, for text that nobody trusts: no aliases, tags or duplicate keys; bounded size, depth and count.

Scalars follow YAML 1.2's core schema: only true and false are booleans, and a date is a string.
"""

import re
from typing import Any

import yaml

from coreo_shared.rules.errors import DefinitionError, Path

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_NODES = 50_000
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,2})?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_yaml(text: str, file: str = "") -> Any:
    """The document as dicts, lists, strings, numbers, booleans and None; DefinitionError says where it is wrong."""
    return _Reader(text, file).read()[0]


def line_of(text: str, path: Path) -> int | None:
    """The line (from 1) of the value at `path`, or of the nearest thing above it that is there."""
    lines = _Reader(text, "", positions=True).read()[1]
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), None)


class _Reader:
    """Builds the data from parser events with a stack of its own, so that nesting costs no Python stack."""

    def __init__(self, text: str, file: str, *, positions: bool = False) -> None:
        self._text = text
        self._file = file
        self._lines: dict[Path, int] = {}
        self._positions = positions
        self._stack: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | int | None] = []  # for each container on the stack the key of the value under way
        self._nodes = 0
        self._root: list[Any] = []

    def read(self) -> tuple[Any, dict[Path, int]]:
        if len(self._text) > MAX_BYTES or len(self._text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise DefinitionError(f"longer than {MAX_BYTES} bytes", file=self._file)
        try:
            for event in yaml.parse(self._text, Loader=yaml.CSafeLoader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise DefinitionError(f"not YAML: {error.problem}", file=self._file, line=line) from None
        except (yaml.YAMLError, UnicodeError):
            raise DefinitionError("not YAML: a character is not allowed", file=self._file) from None
        if len(self._root) != 1:
            raise DefinitionError("must be one YAML document", file=self._file)
        return self._root[0], self._lines

    def _take(self, event: Any) -> None:
        kind = event.__class__
        if kind is yaml.ScalarEvent:
            self._check(event)
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._check(event)
            self._open({} if kind is yaml.MappingStartEvent else [], event)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._stack.pop()
            self._keys.pop()
            self._value_is_complete()
        elif kind is yaml.AliasEvent:
            raise self._error("aliases are not allowed", event)

    def _check(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(f"more than {MAX_NODES} values", event)
        if event.anchor is not None:
            raise self._error("anchors are not allowed", event)
        if event.tag is not None:
            raise self._error("tags are not allowed", event)

    def _open(self, container: dict[str, Any] | list[Any], event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH}", event)
        if self._stack and self._keys[-1] is None and isinstance(self._stack[-1], dict):
            raise self._error("a key must be a plain word", event)
        self._put(container, event)
        self._stack.append(container)
        self._keys.append(None)

    def _scalar(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if isinstance(top, dict) and self._keys[-1] is None:
            if event.value in top:
                raise self._error("this key is there twice", event)
            self._keys[-1] = event.value
            self._mark(event)
        else:
            self._put(event.value if not event.implicit[0] else _plain(event.value), event)
            self._value_is_complete()

    def _put(self, value: Any, event: Any) -> None:
        if not self._stack:
            self._root.append(value)
            self._mark(event)
            return
        top = self._stack[-1]
        if isinstance(top, dict):
            top[str(self._keys[-1])] = value
        else:
            self._keys[-1] = len(top)
            self._mark(event)
            top.append(value)

    def _value_is_complete(self) -> None:
        """The next scalar of a mapping is a key again."""
        if self._stack and isinstance(self._stack[-1], dict):
            self._keys[-1] = None

    def _mark(self, event: Any) -> None:
        if self._positions:
            path = tuple(key for key in self._keys if key is not None)
            self._lines[path] = event.start_mark.line + 1

    def _error(self, problem: str, event: Any) -> DefinitionError:
        return DefinitionError(problem, file=self._file, line=event.start_mark.line + 1)


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first.isdigit() or first in "+-.":
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text)
    return text

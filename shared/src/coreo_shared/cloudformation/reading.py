"""A template's text as plain data, for text that nobody trusts: bounded size, depth and count, no aliases.

The short forms of intrinsic functions become the long ones: `!Ref X` is {"Ref": "X"}, `!GetAtt A.B` is
{"Fn::GetAtt": ["A", "B"]}. Plain scalars follow YAML 1.1 as CloudFormation does (user guide, "CloudFormation template
formats"), but a date stays text.
"""

import json
import re
from typing import Any, Final

import yaml

MAX_TEMPLATE_BYTES: Final = 1024 * 1024  # of a template in S3 (user guide, "CloudFormation quotas")
MAX_DEPTH: Final = 60
MAX_NODES: Final = 200_000
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?([0-9]{1,30}\.[0-9]{0,30}|\.[0-9]{1,30})([eE][-+]?[0-9]{1,2})?")
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_NULL = frozenset({"", "~", "null"})
_BARE = frozenset({"Ref", "Condition"})  # the functions without `Fn::`


class TemplateTextError(ValueError):
    """The text is no template. `line` counts from 1; the message repeats nothing of the text."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem = problem
        self.line = line


def read_template(text: str) -> dict[str, Any]:
    """The template, JSON or YAML. Raises TemplateTextError."""
    if len(text) > MAX_TEMPLATE_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEMPLATE_BYTES:
        raise TemplateTextError(f"longer than {MAX_TEMPLATE_BYTES} bytes")
    template = _read_json(text) if text.lstrip().startswith("{") else None
    if template is None:
        template = _Reader().read(text)
    if not isinstance(template, dict):
        raise TemplateTextError("a template is an object with Resources")
    resources = template.get("Resources")
    if not isinstance(resources, dict) or not resources:
        raise TemplateTextError("Resources: missing, or without any resource")
    return template


def _read_json(text: str) -> Any:
    """The data; None where it is no JSON, but may be YAML's flow style."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    _check_size(data)
    if _HALF_PAIR.search(text) and not _is_text(data):
        raise TemplateTextError("half of a character's code stands alone")
    return data


def _is_text(data: Any) -> bool:
    """Whether all of it can be written as UTF-8: JSON's escapes can name halves of characters."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_size(data: Any) -> None:
    """JSON's parser has bounds of its own for depth alone."""
    level, nodes, depth = [data], 0, 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise TemplateTextError(f"more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}")
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]


class _Reader:
    """Builds the data from parser events with a stack of its own, so that nesting costs no Python stack."""

    def __init__(self) -> None:
        self._stack: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []  # for each mapping on the stack the key of the value under way
        self._nodes = 0
        self._root: list[Any] = []

    def read(self, text: str) -> Any:
        """The one document in the text. Raises TemplateTextError."""
        try:
            for event in yaml.parse(text, Loader=yaml.CSafeLoader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise TemplateTextError(f"not YAML: {error.problem}", line) from None
        except (yaml.YAMLError, UnicodeError):
            raise TemplateTextError("not YAML: a character is not allowed") from None
        if len(self._root) != 1:
            raise TemplateTextError("must be one document")
        return self._root[0]

    def _take(self, event: Any) -> None:
        kind = event.__class__
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind in {yaml.MappingStartEvent, yaml.SequenceStartEvent}:
            self._open({} if kind is yaml.MappingStartEvent else [], event)
        elif kind in {yaml.MappingEndEvent, yaml.SequenceEndEvent}:
            self._stack.pop()
            self._keys.pop()
            self._value_is_complete()
        elif kind is yaml.AliasEvent:
            raise _error("CloudFormation knows no aliases", event)

    def _count(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _error(f"more than {MAX_NODES} values", event)
        if event.anchor is not None:
            raise _error("CloudFormation knows no anchors", event)

    def _is_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1], dict) and self._keys[-1] is None

    def _open(self, container: dict[str, Any] | list[Any], event: Any) -> None:
        self._count(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _error(f"nested deeper than {MAX_DEPTH}", event)
        if self._is_key():
            raise _error("a key must be a plain word", event)
        function = _function(event.tag, event)
        self._put(container if function is None else {function: container})
        self._stack.append(container)
        self._keys.append(None)

    def _scalar(self, event: Any) -> None:
        self._count(event)
        if self._is_key():
            top = self._stack[-1]
            if event.value in top:
                raise _error("this key is there twice", event)
            self._keys[-1] = event.value
            return
        function = _function(event.tag, event)
        if function is None:
            self._put(_plain(event.value) if event.implicit[0] else event.value)
        else:
            self._put({function: _argument(function, event.value)})
        self._value_is_complete()

    def _put(self, value: Any) -> None:
        if not self._stack:
            self._root.append(value)
        elif isinstance(top := self._stack[-1], dict):
            top[str(self._keys[-1])] = value
        else:
            top.append(value)

    def _value_is_complete(self) -> None:
        """The next scalar of a mapping is a key again."""
        if self._stack and isinstance(self._stack[-1], dict):
            self._keys[-1] = None


def _function(tag: str | None, event: Any) -> str | None:
    """The long name of the function that a tag stands for; None without a tag."""
    if tag is None or tag == "!":  # "!" alone: YAML's way to say "a text"
        return None
    name = tag.removeprefix("!")
    if not tag.startswith("!") or not name.isalnum():
        if tag in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            return None
        raise _error("a tag that CloudFormation does not know", event)
    return name if name in _BARE else f"Fn::{name}"


def _argument(function: str, text: str) -> Any:
    if function == "Fn::GetAtt":
        name, _, attribute = text.partition(".")
        return [name, attribute]
    return text


def _plain(text: str) -> Any:
    word = text.lower()
    if word in _NULL:
        return None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _error(problem: str, event: Any) -> TemplateTextError:
    return TemplateTextError(problem, event.start_mark.line + 1)

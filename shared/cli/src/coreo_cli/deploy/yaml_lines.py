"""YAML that knows its lines: the data of a small file, and on which line each value stands."""

from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Path = tuple[str | int, ...]
MAX_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 20
_MAX_VALUES: Final = 20_000  # aliases of aliases make a small file a huge one
_TEXT_BELOW: Final = ("parameters", "tags")  # CloudFormation takes texts: 012 and yes stay as they are written


class YamlError(ValueError):
    """The text is not as it must be. `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass
class Document:
    """The data, and the line of each value by its path; of a key's value the key's line."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest that it is in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str) -> Document:
    """The one document in the text. Raises YamlError."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise YamlError(1, f"longer than {MAX_BYTES:,} bytes")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlError(1 if mark is None else mark.line + 1, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise YamlError(1, "not YAML") from None
    document = Document()
    if node is not None:
        document.data = _build(node, (), document.lines)
    return document


def _build(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > _MAX_DEPTH:
        raise YamlError(node.start_mark.line + 1, "nested too deeply")
    if len(lines) > _MAX_VALUES:
        raise YamlError(node.start_mark.line + 1, f"more than {_MAX_VALUES:,} values")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_build(each, (*path, index), lines) for index, each in enumerate(node.value)]
    if path and path[0] in _TEXT_BELOW and len(path) > 1:
        return node.value
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # as the loader's own parsers fail
        raise YamlError(node.start_mark.line + 1, "no value that YAML knows; a text goes into quotes") from None


def _mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value in node.value:
        line, key = key_node.start_mark.line + 1, key_node.value
        if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
            raise YamlError(line, "a key must be a plain word")
        if key in found:
            raise YamlError(line, f"{key!r} is there twice")
        lines[*path, key] = line
        found[key] = _build(value, (*path, key), lines)
    return found

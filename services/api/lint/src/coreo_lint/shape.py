"""A template's outer shape, before anything builds objects of it: size, depth, and aliases, which are refused.

YAML is looked at event by event, JSON character by character: neither recurses, and both are linear.
"""

from typing import Any, Final

import yaml

from coreo_lint.protocol import MAX_TEMPLATE_BYTES, Finding

MAX_DEPTH: Final = 60
SHAPE: Final = "E0000"  # what cfn-lint calls a template that it cannot read
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPER = (yaml.events.MappingStartEvent, yaml.events.SequenceStartEvent)
_UP = (yaml.events.MappingEndEvent, yaml.events.SequenceEndEvent)


def shape_problem(text: str) -> Finding | None:
    """Why the template must not be read any further, or None."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEMPLATE_BYTES:
        return _error(
            1,
            1,
            f"The template has {size:,} bytes, and CloudFormation takes {MAX_TEMPLATE_BYTES:,} by value. Put it into "
            "S3 and give template_url.",
        )
    if not text.strip():
        return _error(1, 1, "The template is empty.")
    return _json_problem(text) if text.lstrip().startswith("{") else _yaml_problem(text)


def _yaml_problem(text: str) -> Finding | None:
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            line, column = _place(event.start_mark)
            if isinstance(event, yaml.events.AliasEvent):
                return _error(
                    line, column, "CloudFormation refuses YAML aliases: write the value out, or use a parameter."
                )
            if isinstance(event, yaml.events.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    return _error(line, column, "A second YAML document begins here; a template is one.")
            depth += isinstance(event, _DEEPER) - isinstance(event, _UP)
            if depth > MAX_DEPTH:
                return _too_deep(line, column)
    except yaml.YAMLError as error:
        return _unreadable(error)
    except RecursionError:
        return _too_deep(1, 1)
    return None


def _place(mark: Any) -> tuple[int, int]:
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)


def _unreadable(error: yaml.YAMLError) -> Finding:
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid"
    context = getattr(error, "context", None)
    text = f"This is not YAML: {words}{f' ({context})' if context else ''}."
    if "exceeded" in text and "depth" in text:  # libyaml has a limit of its own
        return _too_deep(1, 1)
    return _error(*_place(mark), text)


def _json_problem(text: str) -> Finding | None:
    """Depth alone: what else is wrong with it, its parser says."""
    depth, line, start, quoted, escaped = 0, 1, 0, False, False
    for position, character in enumerate(text):
        if character == "\n":
            line, start = line + 1, position + 1
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                return _too_deep(line, position - start + 1)
        elif character in "}]":
            depth -= 1
    return None


def _too_deep(line: int, column: int) -> Finding:
    return _error(line, column, f"The template is nested more than {MAX_DEPTH} levels deep.")


def _error(line: int, column: int, message: str) -> Finding:
    return Finding(SHAPE, "error", line, column, message)

"""Texts with `{Field.Path}`, `{var.name}`; in ARNs, parameters `{account}`, `{region}`, `{partition}`, `{Url|last}`."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coreo_shared.rules.errors import DefinitionError, Path
from coreo_shared.rules.paths import THIS, FieldPath, parse_path, reader
from coreo_shared.rules.values import Unknown

CONTEXT = frozenset({"account", "region", "partition"})
MAX_TEXT = 2_000
MAX_SHOWN = 200  # characters of one value within a message
_MAX_PLACEHOLDERS = 20
_LAST = "|last"  # URLs and the like name things by their last part
_PART = re.compile(r"\{([^{}]*)\}|([^{}]+)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Hole:
    """A place to fill. `source`: "field", "var" or "context"; `last`: only what comes after the value's last slash."""

    source: str
    name: str
    path: FieldPath
    last: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and holes, in order."""

    parts: tuple[str | Hole, ...]

    @property
    def fields(self) -> Iterator[FieldPath]:
        """The field paths that the text reads."""
        return (part.path for part in self.parts if isinstance(part, Hole) and part.source == "field")

    @property
    def variables(self) -> Iterator[str]:
        """The parameters that the text shows."""
        return (part.name for part in self.parts if isinstance(part, Hole) and part.source == "var")


def parse_template(text: str, place: Path, *, context: bool = False) -> Template:
    """A template from its text. `context` allows {account}, {region} and {partition}; braces have no other use."""
    if len(text) > MAX_TEXT:
        raise DefinitionError(f"longer than {MAX_TEXT} characters", place)
    parts: list[str | Hole] = []
    for inside, literal, stray in _PART.findall(text):
        if stray:
            raise DefinitionError("a brace without its partner", place)
        parts.append(literal or _hole(inside, place, context=context))
    if sum(isinstance(part, Hole) for part in parts) > _MAX_PLACEHOLDERS:
        raise DefinitionError(f"more than {_MAX_PLACEHOLDERS} placeholders", place)
    return Template(tuple(parts))


def _hole(inside: str, place: Path, *, context: bool) -> Hole:
    if inside.startswith("var."):
        return Hole("var", inside.removeprefix("var."), THIS)
    if context and inside in CONTEXT:
        return Hole("context", inside, THIS)
    last = context and inside.endswith(_LAST)
    path = inside.removesuffix(_LAST) if last else inside
    return Hole("field", path, parse_path(path, place), last)


def compile_message(template: Template, variables: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str]:
    """A closure that writes the message for an item; what could not be read shows as `(unknown)`."""
    writers = [_writer(part, variables) for part in template.parts]
    return lambda item: "".join([write(item) for write in writers])


def _writer(part: str | Hole, variables: Mapping[str, Any]) -> Callable[[Any], str]:
    if isinstance(part, Hole) and part.source == "field":
        read = reader(part.path)
        return lambda item: show(read(item))
    text = part if isinstance(part, str) else show(variables[part.name])
    return lambda _item: text


def show(value: Any) -> str:
    """A value in a message, for people: short, and never more than MAX_SHOWN characters."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Unknown):
        return "(unknown)"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, str | int | float):
        return _short(str(value))
    if isinstance(value, list | tuple) and all(isinstance(element, str | int) for element in value[:MAX_SHOWN]):
        return _short(", ".join(str(element) for element in value[:MAX_SHOWN]) or "none")
    return _short(json.dumps(value, default=show))


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def fill(template: Template, value: Mapping[str, Any], context: Mapping[str, str]) -> Any:
    """The text for a call or a key. A lone placeholder gives the value as it is.

    None where a field has no value, Unknown where one could not be read.
    """
    filled = [_filled(part, value, context) for part in template.parts]
    for part in filled:
        if part is None or part.__class__ is Unknown:
            return part
    return filled[0] if len(filled) == 1 else "".join(str(part) for part in filled)


def _filled(part: str | Hole, value: Mapping[str, Any], context: Mapping[str, str]) -> Any:
    if isinstance(part, str):
        return part
    if part.source == "context":
        return context[part.name]
    found = reader(part.path)(value)
    return found.rpartition("/")[2] if part.last and isinstance(found, str) else found

"""Field paths: `Placement.Tenancy`, `IpPermissions[].IpRanges[].CidrIp` (all of them, as one list), `this`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coreo_shared.rules.errors import DefinitionError, Path
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.values import Unknown

MAX_SEGMENTS = 12
Reader = Callable[[Any], Any]
_SEGMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}(\[\])?")


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Names to follow; after one of `spread` all elements of the list are followed. No names: the element itself."""

    names: tuple[str, ...]
    spread: tuple[bool, ...]

    def __str__(self) -> str:
        return ".".join(name + "[]" * all_ for name, all_ in zip(self.names, self.spread, strict=True)) or "this"

    @property
    def root(self) -> str:
        """The top-level field that the path starts from; "" for the element itself."""
        return self.names[0] if self.names else ""


def parse_path(text: str, place: Path) -> FieldPath:
    """A path from its text; DefinitionError when it is none."""
    if text == "this":
        return FieldPath((), ())
    segments = text.split(".") if len(text) < 1_000 else []
    if not 0 < len(segments) <= MAX_SEGMENTS or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise DefinitionError("not a field path such as Placement.Tenancy or Tags[].Key", place)
    spread = tuple(segment.endswith("[]") for segment in segments)
    return FieldPath(tuple(segment.removesuffix("[]") for segment in segments), spread)


def type_at(shapes: Shapes, owner: FieldType, path: FieldPath, place: Path) -> FieldType:
    """The type that the path leads to from `owner`; DefinitionError when it leads nowhere."""
    here, spreads = owner, False
    for name, spread in zip(path.names, path.spread, strict=True):
        here = shapes.member(here, name, place)
        if spread:
            if here.kind != "list":
                raise DefinitionError(f"[] after {name}, which is {here} and no list", place)
            here, spreads = shapes.type_of(here.of), True
    return shapes.type_of(f"[{here.reference}]") if spreads else here


def reader(path: FieldPath) -> Reader:
    """A closure that follows the path: None where AWS gave nothing, Unknown where something could not be read."""
    if not path.names:
        return lambda value: value
    if len(path.names) == 1 and not path.spread[0]:
        return _one(path.names[0])
    return _many(tuple(zip(path.names, path.spread, strict=True)))


def _one(name: str) -> Reader:
    def read(value: Any) -> Any:
        return value.get(name)

    return read


def _many(steps: tuple[tuple[str, bool], ...]) -> Reader:
    def read(value: Any, start: int = 0) -> Any:
        for index in range(start, len(steps)):
            name, spread = steps[index]
            value = value.get(name)
            if value is None:
                return [] if any(all_ for _, all_ in steps[: index + 1]) else None
            if value.__class__ is Unknown:
                return value
            if spread:
                return _spread(value, index + 1)
        return value

    def _spread(elements: list[Any], start: int) -> list[Any]:
        found: list[Any] = []
        inner_lists = any(all_ for _, all_ in steps[start:])
        for element in elements:
            value = element if element.__class__ is Unknown else read(element, start)
            if inner_lists and isinstance(value, list):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return found

    return read

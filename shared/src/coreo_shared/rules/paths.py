"""Field paths: `Placement.Tenancy`, `IpPermissions[].IpRanges[].CidrIp` (all of them, as one list), `this`.

`[]` after a map stands for its values, in the order that AWS gave them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coreo_shared.rules.errors import DefinitionError, Path
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.values import Unknown

MAX_SEGMENTS = 12
Reader = Callable[[Any], Any]
_SEGMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}(\[\])?")


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Names to follow; after one of `spread` all elements of the list are followed. No names: the element itself.

    Names at which `fetched` is true are enrichments: where one is missing, it was not read.
    """

    names: tuple[str, ...]
    spread: tuple[bool, ...]
    fetched: tuple[bool, ...]

    def __str__(self) -> str:
        return ".".join(name + "[]" * all_ for name, all_ in zip(self.names, self.spread, strict=True)) or "this"

    @property
    def root(self) -> str:
        """The top-level field that the path starts from; "" for the element itself."""
        return self.names[0] if self.names else ""

    def then(self, rest: "FieldPath", *, each: bool = False) -> "FieldPath":
        """The path that goes on with another; with `each` from every element of the list that this one leads to."""
        spread = (*self.spread[:-1], True) if each and self.names else self.spread
        return FieldPath(self.names + rest.names, spread + rest.spread, self.fetched + rest.fetched)


THIS = FieldPath((), (), ())
NOT_READ = Unknown("a field that the rule looks at was not read")


def parse_path(text: str, place: Path) -> FieldPath:
    """A path from its text; DefinitionError when it is none."""
    if text == "this":
        return THIS
    segments = text.split(".") if len(text) < 1_000 else []
    if not 0 < len(segments) <= MAX_SEGMENTS or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise DefinitionError("not a field path such as Placement.Tenancy or Tags[].Key", place)
    spread = tuple(segment.endswith("[]") for segment in segments)
    return FieldPath(tuple(segment.removesuffix("[]") for segment in segments), spread, (False,) * len(spread))


def type_at(shapes: Shapes, owner: FieldType, path: FieldPath, place: Path) -> FieldType:
    """The type that the path leads to from `owner`; DefinitionError when it leads nowhere."""
    return resolve(shapes, owner, path, place)[1]


def resolve(shapes: Shapes, owner: FieldType, path: FieldPath, place: Path) -> tuple[FieldPath, FieldType]:
    """The path with `fetched` filled in, and the type that it leads to; DefinitionError when it leads nowhere."""
    here, spreads = owner, False
    fetched: list[bool] = []
    for name, spread in zip(path.names, path.spread, strict=True):
        fetched.append(shapes.is_fetched(here, name))
        here = shapes.member(here, name, place)
        if spread:
            if here.kind not in {"list", "map"}:
                raise DefinitionError(f"[] after {name}, which is {here} and no list or map", place)
            here, spreads = shapes.type_of(here.of), True
    full = FieldPath(path.names, path.spread, tuple(fetched))
    return full, shapes.type_of(f"[{here.reference}]") if spreads else here


@lru_cache(maxsize=4_096)
def reader(path: FieldPath) -> Reader:
    """A closure that follows the path: None where AWS gave nothing, Unknown where something could not be read."""
    read: Reader | None = None
    is_list = False
    for name, spread, fetched in reversed(list(zip(path.names, path.spread, path.fetched, strict=True))):
        if spread:
            read = _spread(read, inner_lists=is_list)
            is_list = True
        read = _step(name, NOT_READ if fetched else None, read)
    return read or (lambda value: value)


def _step(name: str, default: Unknown | None, rest: Reader | None) -> Reader:
    def last(value: Any) -> Any:
        return value.get(name, default)

    def step(value: Any) -> Any:
        value = value.get(name, default)
        return value if value is None or value.__class__ is Unknown else rest(value)  # type: ignore[misc]  # not None here

    return last if rest is None else step


def _spread(rest: Reader | None, *, inner_lists: bool) -> Reader:
    """Follows the rest of the path in each element; an element that could not be read stays in as Unknown."""

    def spread(elements: Any) -> list[Any]:
        found: list[Any] = []
        for element in elements.values() if isinstance(elements, dict) else elements:
            value = element if rest is None or element.__class__ is Unknown else rest(element)
            if inner_lists and isinstance(value, list):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return found

    return spread

"""A property's value as AWS would answer it once the resource is made."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from coreo_shared.cloudformation.resolving import NO_VALUE
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.values import Unknown

_BOOLEANS: Final = {"true": True, "false": False}


def property_at(given: Any, path: str) -> Any:
    """The property at a dotted path; NO_VALUE where there is none."""
    for name in path.split("."):
        if isinstance(given, Unknown):
            return given
        if not isinstance(given, Mapping) or given.get(name) is None:
            return NO_VALUE
        given = given[name]
    return given


def as_answered(found: Any, of: FieldType, shapes: Shapes) -> Any:  # noqa: PLR0911  one for each kind
    """A property's value as AWS would answer it: CloudFormation takes texts for numbers and booleans."""
    if isinstance(found, Unknown):
        return found
    wrong = Unknown("the template has another kind of value there than CloudFormation takes")
    match of.kind:
        case "policy":
            return _policy(found)
        case "list":
            elements = found if isinstance(found, list) else [found]
            return [as_answered(one, shapes.type_of(of.of), shapes) for one in elements]
        case "structure" | "map":
            if not isinstance(found, Mapping):
                return wrong
            types = shapes.members(of.name) if of.kind == "structure" else dict.fromkeys(found, of.of)
            return {
                name: as_answered(found[name], shapes.type_of(types[name]), shapes) for name in types if name in found
            }
        case "boolean":
            return found if isinstance(found, bool) else _BOOLEANS.get(text_of(found).lower(), wrong)
        case "integer" | "number":
            return _number(found, wrong)
        case _:
            return wrong if isinstance(found, list | Mapping) else text_of(found)


def _number(found: Any, wrong: Unknown) -> Any:
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return wrong
    try:
        number = float(found)
    except (ValueError, OverflowError):
        return wrong
    if not math.isfinite(number):
        return wrong
    return int(number) if number.is_integer() else number


def _policy(found: Any) -> Any:
    """The document as JSON; unknown where any of it is: whom it lets in may hang on that part."""
    unknown = next(unknowns_in(found), None)
    if unknown is not None:
        return unknown
    return found if isinstance(found, str) else json.dumps(_texts(found))


def unknowns_in(value: Any) -> Iterator[Unknown]:
    if isinstance(value, Unknown):
        yield value
    elif isinstance(value, list | Mapping):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from unknowns_in(inner)


def _texts(value: Any) -> Any:
    """IAM's documents know texts alone; CloudFormation makes them of an account's number, or of `true`."""
    if isinstance(value, Mapping):
        return {name: _texts(inner) for name, inner in value.items()}
    return [_texts(inner) for inner in value] if isinstance(value, list) else text_of(value)


def text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

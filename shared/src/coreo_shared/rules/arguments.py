"""Arguments of operators and functions, and the typed parameters of rules that may stand in their place."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean
from coreo_shared.rules.network import LAST_PORT
from coreo_shared.rules.operators import MAX_PATTERN, ArgumentKind, compile_pattern
from coreo_shared.rules.shapes import FieldType, Shapes

MAX_LIST = 500
MAX_STRING = 1_000
MAX_DAYS = 36_500
MAX_NUMBER = 2**53
_LIMITS = {"days": MAX_DAYS, "port": LAST_PORT, "port_list": LAST_PORT}
ParameterKind = Literal["integer", "number", "boolean", "string", "strings", "integers"]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value of a rule that a plan may set. Bounds are inclusive, for numbers; `choices` are for strings."""

    type: ParameterKind
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Argument:
    """A value, or the name of the parameter that has it."""

    value: Any
    variable: str | None = None

    def bound(self, variables: Mapping[str, Any]) -> Any:
        """The value, with the plan's parameters."""
        return self.value if self.variable is None else variables[self.variable]


def check_parameter(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with a value for the parameter, or None."""
    if parameter.type in {"strings", "integers"}:
        if not isinstance(value, list) or len(value) > MAX_LIST:
            return f"must be a list of at most {MAX_LIST}"
        of: Literal["string", "integer"] = "string" if parameter.type == "strings" else "integer"
        return next((problem for element in value if (problem := _scalar_problem(parameter, of, element))), None)
    return _scalar_problem(parameter, parameter.type, value)


def _scalar_problem(parameter: Parameter, of: str, value: Any) -> str | None:
    if not _is(of, value):
        return f"must be {_named(of)}"
    if of in {"integer", "number"}:
        low = -MAX_NUMBER if parameter.minimum is None else parameter.minimum
        high = MAX_NUMBER if parameter.maximum is None else parameter.maximum
        return None if low <= value <= high else f"must be from {low:g} to {high:g}"
    if of == "string":
        if parameter.choices is not None and value not in parameter.choices:
            return f"must be one of {', '.join(parameter.choices)}"
        return f"must have at most {MAX_STRING} characters" if len(value) > MAX_STRING else None
    return None


def _is(of: str, value: Any) -> bool:
    if of == "boolean":
        return isinstance(value, bool)
    if of == "string":
        return isinstance(value, str)
    if of == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _named(of: str) -> str:
    return "an integer" if of == "integer" else f"a {of}"


def read_argument(
    kind: ArgumentKind, raw: Any, of: FieldType, shapes: Shapes, parameters: Mapping[str, Parameter], path: Path
) -> Argument:
    """An argument of this kind for a field of type `of`; DefinitionError when it does not fit."""
    scalar = _wanted(kind, of, shapes, path)
    is_list = kind.endswith("_list")
    if isinstance(raw, dict):
        return _variable(raw, scalar, is_list=is_list, parameters=parameters, path=path)
    if not is_list:
        _check(kind, raw, scalar, path)
        return Argument(raw)
    if not isinstance(raw, list) or not 0 < len(raw) <= MAX_LIST:
        raise DefinitionError(f"must be a list of 1 to {MAX_LIST}", path)
    for index, element in enumerate(raw):
        _check(kind, element, scalar, (*path, index))
    return Argument(tuple(raw))


def _wanted(kind: ArgumentKind, of: FieldType, shapes: Shapes, path: Path) -> FieldType:
    """The type of the argument, or of its elements."""
    if kind in {"same", "same_list"}:
        return of
    if kind in {"element", "element_list"}:
        element = shapes.type_of(of.of)
        if element.kind not in {"string", "integer"}:
            raise DefinitionError(f"needs a list of strings or integers, not of {element}; use any_of", path)
        return element
    if kind == "flag":
        return FieldType("boolean")
    if kind in {"count", "port", "port_list"}:
        return FieldType("integer")
    return FieldType("number" if kind in {"number", "days"} else "string")


def _check(kind: ArgumentKind, value: Any, wanted: FieldType, path: Path) -> None:
    if not _is(wanted.kind, value):
        raise DefinitionError(f"must be {_named(wanted.kind)}, or {{var: a parameter}}", path)
    if isinstance(value, str):
        limit = MAX_PATTERN if kind == "pattern" else MAX_STRING
        if len(value) > limit:
            raise DefinitionError(f"longer than {limit} characters", path)
        if wanted.values and value not in wanted.values:
            raise DefinitionError(f"this value cannot occur here{did_you_mean(value, wanted.values)}", path)
        if kind == "pattern":
            check_pattern(value, path)
    elif not isinstance(value, bool):
        limit = _LIMITS.get(kind, MAX_NUMBER)
        low = 0 if kind in {"days", "count", "port", "port_list"} else -limit
        if not low <= value <= limit:
            raise DefinitionError(f"must be from {low} to {limit}", path)


def check_pattern(text: str, path: Path) -> None:
    """DefinitionError when the text is no regular expression."""
    try:
        compile_pattern(text)
    except ValueError as error:
        raise DefinitionError(str(error), path) from None


def _variable(
    raw: dict[str, Any], wanted: FieldType, *, is_list: bool, parameters: Mapping[str, Parameter], path: Path
) -> Argument:
    name = raw.get("var")
    if set(raw) != {"var"} or not isinstance(name, str):
        raise DefinitionError("must be a value or {var: a parameter}", path)
    parameter = parameters.get(name)
    if parameter is None:
        raise DefinitionError(f"the rule has no such parameter{did_you_mean(name, parameters)}", path)
    needed = wanted.kind + "s" * is_list
    if parameter.type != needed and not (needed == "number" and parameter.type == "integer"):
        raise DefinitionError(f"the parameter is of type {parameter.type}, and {needed} is needed here", path)
    if wanted.values and not (parameter.choices and wanted.values.issuperset(parameter.choices)):
        raise DefinitionError("the parameter must have choices, all of them values that can occur here", path)
    return Argument(None, name)

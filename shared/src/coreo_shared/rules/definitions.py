"""From YAML to checked rules and resource types. Errors name the file, the line and the field."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from coreo_shared.rules.arguments import Parameter, check_parameter, check_pattern
from coreo_shared.rules.conditions import ConditionParser, Place
from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean
from coreo_shared.rules.model import Rule, RuleDefinition
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.tags import tag_paths
from coreo_shared.rules.templates import Template, parse_template
from coreo_shared.rules.yamltext import line_of, read_yaml

T = TypeVar("T")
MAX_EVIDENCE = 20
MAX_LONG_TEXT = 8_000
_RULE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+){1,15}")
_PARAMETER_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MSGSPEC_PATH = re.compile(r" - at `(?:key in `)?\$(?P<path>[^`]*)`+$")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


def read_document(text: str, file: str, make: Callable[[Any], T]) -> T:
    """What `make` makes of the YAML text; its DefinitionErrors get the file and the line."""
    data = read_yaml(text, file)
    try:
        return make(data)
    except DefinitionError as error:
        raise error.at(file, line_of(text, error.path)) from None


def convert(raw: Any, kind: type[T], path: Path) -> T:
    """The data as a definition; DefinitionError leads to what does not fit the schema."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _schema_error(str(error), kind, path) from None


def _schema_error(text: str, kind: type[Any], path: Path) -> DefinitionError:
    found = _MSGSPEC_PATH.search(text)
    problem = text[: found.start()] if found else text
    for name, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", found["path"] if found else ""):
        path = (*path, name or ("*" if index == "..." else int(index)))
    if unknown := _UNKNOWN_FIELD.fullmatch(problem):
        return DefinitionError(f"a key that does not belong here{_close_field(unknown['name'], kind)}", path)
    return DefinitionError("not one of the known values" if problem.startswith("Invalid enum") else problem, path)


def _close_field(name: str, kind: type[Any]) -> str:
    return did_you_mean(name, getattr(kind, "__struct_fields__", ()))


def build_rule(raw: Any, path: Path, shapes: Shapes, resource_types: Mapping[str, FieldType]) -> Rule:
    """A checked rule from its data; `path` is where in the document it stands."""
    definition = convert(raw, RuleDefinition, path)
    _check_words(definition, path)
    if definition.resource not in resource_types:
        problem = f"no such resource type{did_you_mean(definition.resource, resource_types)}"
        raise DefinitionError(problem, (*path, "resource"))
    parser = ConditionParser(shapes, resource_types, definition.parameters)
    place = Place(resource_types[definition.resource], definition.resource)
    applies = definition.applies_when
    applies_node = None if applies is None else parser.parse(applies, definition.resource, (*path, "applies_when"))
    fails_node = parser.parse(definition.fail_when, definition.resource, (*path, "fail_when"))
    evidence = tuple(
        parser.field(text, place, (*path, "evidence", index))[0] for index, text in enumerate(definition.evidence)
    )
    roots = {names[0] for resource, names in parser.reads if resource == definition.resource}
    evidence += tuple(
        parser.field(text, place, path)[0]
        for text in tag_paths(shapes, place.type, roots)
        if text not in definition.evidence
    )
    message = _message(definition, parser, place, (*path, "message"))
    _check_parameters(definition.parameters, parser.patterns, (*path, "parameters"))
    return Rule(
        definition=definition,
        applies=applies_node,
        fails=fails_node,
        evidence=evidence,
        message=message,
        reads=frozenset(parser.reads),
        relations=frozenset(parser.relations),
        compared=frozenset(parser.compared),
        lookups=frozenset(parser.lookups),
        looked_up=frozenset(parser.looked_up),
        pattern_parameters=frozenset(parser.patterns),
    )


def _check_words(definition: RuleDefinition, path: Path) -> None:
    if len(definition.id) > 80 or not _RULE_ID.fullmatch(definition.id):
        raise DefinitionError("must be words of a to z and 0 to 9 joined by hyphens", (*path, "id"))
    if len(definition.evidence) > MAX_EVIDENCE:
        raise DefinitionError(f"more than {MAX_EVIDENCE} fields", (*path, "evidence"))
    for name, text in (
        ("title", definition.title),
        ("rationale", definition.rationale),
        ("message", definition.message),
    ):
        limit = 200 if name == "title" else MAX_LONG_TEXT
        if not 0 < len(text) <= limit:
            raise DefinitionError(f"must have 1 to {limit} characters", (*path, name))


def _message(definition: RuleDefinition, parser: ConditionParser, place: Place, path: Path) -> Template:
    message = parse_template(definition.message, path)
    for field in message.fields:
        parser.field(str(field), place, path)
    for name in message.variables:
        if name not in definition.parameters:
            problem = f"the rule has no such parameter{did_you_mean(name, definition.parameters)}"
            raise DefinitionError(problem, path)
    return message


def _check_parameters(parameters: Mapping[str, Parameter], patterns: set[str], path: Path) -> None:
    for name, parameter in parameters.items():
        if not _PARAMETER_NAME.fullmatch(name):
            raise DefinitionError("a parameter's name must be of a to z, 0 to 9 and _", path)
        if problem := check_parameter(parameter, parameter.default):
            raise DefinitionError(problem, (*path, name, "default"))
        if name in patterns:
            check_pattern(parameter.default, (*path, name, "default"))

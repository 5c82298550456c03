"""Intrinsic functions, as far as a template alone tells their values. What it does not tell is Unknown, never a guess.

A reference to another resource of the template is a name in angle brackets, `<Bucket>` or `<Role.Arn>`: the same one
wherever it stands, and never what it could not be (`*`, an address block, a number).
Source: CloudFormation user guide, "Intrinsic function reference", "Pseudo parameters reference".
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from coreo_shared.rules.values import Unknown

_SECRET: Final = "{{resolve:"
_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")
_NAMING = re.compile(r"(Arn|ARN|Id|ID|Name)$")  # attributes that name the resource, and are nothing else
_MAX_DEPTH: Final = 100
_MAX_STEPS: Final = 2_000_000  # of one template: ten times as many as one may have values
_MAX_TEXT: Final = 1024 * 1024  # characters: as many as the template itself may have
_MAX_DIGITS: Final = 9  # of an index
_URL_SUFFIXES: Final = {"aws-cn": "amazonaws.com.cn"}
_NO_LIST: Final = Unknown("a condition of the template has no form that is understood")


class _NoValue:
    """AWS::NoValue: as if the property were not there."""


NO_VALUE: Final = _NoValue()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the stack is, or would be."""

    account_id: str
    region: str
    partition: str
    stack_name: str
    stack_arn: str | None = None

    def pseudo_parameters(self) -> dict[str, Any]:
        """What Ref gives for them."""
        return {
            "AWS::AccountId": self.account_id,
            "AWS::NoValue": NO_VALUE,
            "AWS::NotificationARNs": [],
            "AWS::Partition": self.partition,
            "AWS::Region": self.region,
            "AWS::StackId": self.stack_arn or Unknown("the stack's id is known only once there is one"),
            "AWS::StackName": self.stack_name,
            "AWS::URLSuffix": _URL_SUFFIXES.get(self.partition, "amazonaws.com"),
        }


Named = Callable[[str, str | None], Any]  # the name of a resource, or an attribute of it, where that can be told


@dataclass
class Resolver:
    """Resolves values of one template. `parameters` are those given; the template's defaults stand for the others.

    `named(logical id, attribute)` tells a resource's Ref (attribute None) or attribute; None where it cannot.
    """

    template: Mapping[str, Any]
    place: Place
    parameters: Mapping[str, str]
    named: Named = lambda _name, _attribute: None
    _conditions: dict[str, Any] = field(default_factory=dict)
    _depth: int = 0
    _steps: int = 0

    def __post_init__(self) -> None:
        self._values = self.place.pseudo_parameters() | {
            name: _parameter(name, declared, self.parameters.get(name))
            for name, declared in _section(self.template, "Parameters").items()
        }

    def resolve(self, value: Any) -> Any:
        """The value: plain data in which an Unknown may stand anywhere; NO_VALUE where there is none."""
        if self._depth >= _MAX_DEPTH:
            return Unknown("the template is nested too deeply")
        if self._steps >= _MAX_STEPS:
            return Unknown("the template takes too long to resolve")
        self._depth += 1
        self._steps += 1
        try:
            if isinstance(value, list):
                return [one for one in map(self.resolve, value) if one is not NO_VALUE]
            if isinstance(value, Mapping):
                return self._mapping(value)
            if isinstance(value, str) and _SECRET in value:
                return Unknown("the value is taken from Secrets Manager or Parameter Store")
            return value
        finally:
            self._depth -= 1

    def condition(self, name: str) -> Any:
        """Whether a condition of the template holds: True, False or Unknown."""
        if name not in self._conditions:
            self._conditions[name] = Unknown(f"the condition {name} refers to itself")
            declared = _section(self.template, "Conditions")
            self._conditions[name] = self._truth(declared.get(name)) if name in declared else _no_such(name)
        return self._conditions[name]

    def _mapping(self, value: Mapping[str, Any]) -> Any:
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._call(name, argument)
            if name == "Condition" and isinstance(argument, str) and argument in _section(self.template, "Conditions"):
                return self.condition(argument)
        resolved = {name: self.resolve(inner) for name, inner in value.items()}
        return {name: inner for name, inner in resolved.items() if inner is not NO_VALUE}

    def _call(self, name: str, argument: Any) -> Any:
        function = self._functions.get(name)
        if function is None:
            return Unknown(f"{name} is not known before the stack is made")
        return function(self, argument)

    def _ref(self, name: Any) -> Any:
        if not isinstance(name, str):
            return _no_such(name)
        if name in self._values:
            return self._values[name]
        if name in _section(self.template, "Resources"):
            known = self.named(name, None)
            return f"<{name}>" if known is None else known
        return _no_such(name)

    def attribute(self, name: str, attribute: str) -> Any:
        """What Fn::GetAtt gives, as far as that can be told."""
        if name not in _section(self.template, "Resources"):
            return _no_such(name)
        known = self.named(name, attribute)
        if known is not None:
            return known
        if _NAMING.search(attribute):
            return f"<{name}.{attribute}>"
        return Unknown(f"{name}.{attribute} is known only once {name} is made")

    def _truth(self, expression: Any) -> Any:
        resolved = self.resolve(expression)
        if isinstance(resolved, Unknown | bool):
            return resolved
        return Unknown("a condition of the template has no form that is understood")

    # The functions. Each takes its argument as the template has it.

    def _get_att(self, argument: Any) -> Any:
        if isinstance(argument, str):
            argument = argument.split(".", 1)
        if not isinstance(argument, list) or len(argument) != 2 or not all(isinstance(one, str) for one in argument):
            return Unknown("Fn::GetAtt has no form that is understood")
        return self.attribute(argument[0], argument[1])

    def _sub(self, argument: Any) -> Any:
        text, own = (argument, {}) if isinstance(argument, str) else _pair(argument)
        if not isinstance(text, str) or not isinstance(own, Mapping):
            return Unknown("Fn::Sub has no form that is understood")
        if _SECRET in text:
            return Unknown("the value is taken from Secrets Manager or Parameter Store")
        parts: list[Any] = []
        end = 0
        for found in _VARIABLE.finditer(text):
            parts += [text[end : found.start()], self._variable(found, own)]
            end = found.end()
        return _joined("", [*parts, text[end:]])

    def _variable(self, found: re.Match[str], own: Mapping[str, Any]) -> Any:
        literal, name = found[1], found[2].strip()
        if literal:
            return f"${{{found[2]}}}"
        if name in own:
            return self.resolve(own[name])
        resource, dot, attribute = name.partition(".")
        return self.attribute(resource, attribute) if dot and name not in self._values else self._ref(name)

    def _join(self, argument: Any) -> Any:
        separator, parts = _pair(argument)
        resolved = self.resolve(parts)
        if isinstance(resolved, Unknown):
            return resolved
        if not isinstance(separator, str) or not isinstance(resolved, list):
            return Unknown("Fn::Join has no form that is understood")
        return _joined(separator, resolved)

    def _split(self, argument: Any) -> Any:
        separator, text = _pair(argument)
        resolved = self.resolve(text)
        if isinstance(resolved, Unknown):
            return resolved
        if not isinstance(separator, str) or not separator or not isinstance(resolved, str):
            return Unknown("Fn::Split has no form that is understood")
        return resolved.split(separator)

    def _select(self, argument: Any) -> Any:
        index, parts = (self.resolve(one) for one in _pair(argument))
        if isinstance(parts, Unknown):
            return parts
        is_text = isinstance(index, str) and index.isdecimal() and len(index) <= _MAX_DIGITS
        position = int(index) if isinstance(index, int) or is_text else -1
        if not isinstance(parts, list) or not 0 <= position < len(parts):
            return Unknown("Fn::Select has no form that is understood")
        return parts[position]

    def _if(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) != 3 or not isinstance(argument[0], str):
            return Unknown("Fn::If has no form that is understood")
        holds = self.condition(argument[0])
        if isinstance(holds, Unknown):
            return holds
        return self.resolve(argument[1] if holds else argument[2])

    def _equals(self, argument: Any) -> Any:
        left, right = (self.resolve(one) for one in _pair(argument))
        unknown = next((one for one in (left, right) if isinstance(one, Unknown)), None)
        return unknown if unknown is not None else _text(left) == _text(right)

    def _and(self, argument: Any) -> Any:
        return _decided(map(self._truth, argument), decisive=False) if isinstance(argument, list) else _NO_LIST

    def _or(self, argument: Any) -> Any:
        return _decided(map(self._truth, argument), decisive=True) if isinstance(argument, list) else _NO_LIST

    def _not(self, argument: Any) -> Any:
        truth = self._truth(argument[0]) if isinstance(argument, list) and len(argument) == 1 else _NO_LIST
        return truth if isinstance(truth, Unknown) else not truth

    def _find_in_map(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) not in (3, 4):
            return Unknown("Fn::FindInMap has no form that is understood")
        keys = [self.resolve(one) for one in argument[:3]]
        found: Any = _section(self.template, "Mappings")
        for key in keys:
            if isinstance(key, Unknown):
                return key
            found = found.get(_text(key)) if isinstance(found, Mapping) else None
        return Unknown("a mapping of the template has no such entry") if found is None else self.resolve(found)

    def _base64(self, argument: Any) -> Any:
        resolved = self.resolve(argument)
        return base64.b64encode(resolved.encode()).decode() if isinstance(resolved, str) else resolved

    _functions: ClassVar[Mapping[str, Callable[["Resolver", Any], Any]]] = {
        "Fn::And": _and,
        "Fn::Base64": _base64,
        "Fn::Equals": _equals,
        "Fn::FindInMap": _find_in_map,
        "Fn::GetAtt": _get_att,
        "Fn::If": _if,
        "Fn::Join": _join,
        "Fn::Not": _not,
        "Fn::Or": _or,
        "Fn::Select": _select,
        "Fn::Split": _split,
        "Fn::Sub": _sub,
    }


def _parameter(name: str, declared: Any, given: str | None) -> Any:
    if not isinstance(declared, Mapping):
        return _no_such(name)
    kind, value = str(declared.get("Type", "String")), given if given is not None else declared.get("Default")
    if value is None:
        return Unknown(f"the parameter {name} has no value")
    text = _text(value)
    if str(declared.get("NoEcho", "")).lower() == "true" or _SECRET in text:
        return Unknown(f"the parameter {name} is secret")
    if kind.startswith("AWS::SSM::Parameter::"):
        return Unknown(f"the parameter {name} is read from Parameter Store")
    if kind == "CommaDelimitedList" or kind.startswith("List<"):
        return [part.strip() for part in text.split(",")]
    return text


def _section(template: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = template.get(name)
    return section if isinstance(section, Mapping) else {}


def _pair(argument: Any) -> Sequence[Any]:
    return argument if isinstance(argument, list) and len(argument) == 2 else (None, None)


def _text(value: Any) -> str:
    """As CloudFormation makes a text of a scalar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _joined(separator: str, parts: Sequence[Any]) -> Any:
    unknown = next((part for part in parts if isinstance(part, Unknown)), None)
    if unknown is not None:
        return unknown
    if any(isinstance(part, list | Mapping) for part in parts):
        return Unknown("a list or an object stands where a text belongs")
    texts = [_text(part) for part in parts if part is not NO_VALUE and part is not None]
    if sum(map(len, texts)) + len(separator) * len(texts) > _MAX_TEXT:
        return Unknown("a text of the template gets too long")
    return separator.join(texts)


def _decided(truths: Any, *, decisive: bool) -> Any:
    """And or or: one decisive part decides, whatever else is unknown."""
    undecided: Any = None
    for truth in truths:
        if truth is decisive:
            return decisive
        undecided = truth if isinstance(truth, Unknown) else undecided
    return (not decisive) if undecided is None else undecided


def _no_such(name: Any) -> Unknown:
    known = name if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9:]{1,255}", name) else "something"
    return Unknown(f"the template refers to {known}, which it does not have")

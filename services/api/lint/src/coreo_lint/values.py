"""The values that a plan gives, held against the parameters that its template declares.

What AWS alone can know (whether a subnet is there, what an SSM parameter holds) is left to the preview.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import re2

from coreo_lint.facts import capabilities_of, parameters_of
from coreo_lint.protocol import Misfit, Parameter, Request

# Dynamic references whose value never shows: a String parameter of SSM would be no secret.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html
_SECRET: Final = re.compile(r"\{\{resolve:(?:ssm-secure|secretsmanager):[^{}\s]+\}\}")
_REFERENCE: Final = re.compile(r"\{\{resolve:(?:ssm|ssm-secure|secretsmanager):[^{}\s]+\}\}")
_SUPERSEDES: Final = {"CAPABILITY_IAM": "CAPABILITY_NAMED_IAM"}


def misfits(template: Mapping[str, Any], request: Request) -> list[Misfit]:
    """All that does not fit, parameters by name."""
    declared = {parameter.name: parameter for parameter in parameters_of(template)}
    found = [*_unknown(declared, request), *_missing(declared, request), *_unacknowledged(template, request)]
    section = template.get("Parameters") or {}
    for name, value in sorted(request.parameters.items()):
        if name in declared:
            found += [
                Misfit(f"parameters.{name}", problem) for problem in _problems(declared[name], section[name], value)
            ]
    return found


def _unknown(declared: Mapping[str, Parameter], request: Request) -> Iterator[Misfit]:
    for name in sorted(set(request.parameters) - set(declared)):
        yield Misfit(f"parameters.{name}", "the template declares no such parameter")


def _missing(declared: Mapping[str, Parameter], request: Request) -> Iterator[Misfit]:
    for name, parameter in declared.items():
        if name in request.parameters:
            continue
        if parameter.no_echo and parameter.has_default:
            yield Misfit(
                f"parameters.{name}",
                f"NoEcho, with a default that stands in the template (line {parameter.line}): give a reference such as "
                "{{resolve:secretsmanager:NAME}}",
            )
        elif not parameter.has_default:
            yield Misfit(f"parameters.{name}", f"missing: it has no default (line {parameter.line} of the template)")


def _unacknowledged(template: Mapping[str, Any], request: Request) -> Iterator[Misfit]:
    for capability in capabilities_of(template):
        if not {capability, _SUPERSEDES.get(capability, capability)} & set(request.capabilities):
            yield Misfit("capabilities", f"the template needs {capability}")


def _problems(parameter: Parameter, declared: Mapping[str, Any], value: str) -> Iterator[str]:
    if parameter.no_echo and not _SECRET.fullmatch(value):
        yield (
            "NoEcho: a secret is given as a reference, {{resolve:secretsmanager:NAME}} or {{resolve:ssm-secure:NAME}}, "
            "never as its value"
        )
        return
    if _REFERENCE.fullmatch(value):
        return  # CloudFormation alone can say whether what it leads to fits
    values = [each.strip() for each in value.split(",")] if _is_list(parameter.type) else [value]
    allowed = declared.get("AllowedValues")
    if isinstance(allowed, list) and any(each not in {_text(item) for item in allowed} for each in values):
        yield "not one of its AllowedValues"
    yield from _pattern_problems(declared, values)
    yield from _length_problems(declared, value)
    if "Number" in parameter.type:
        yield from _number_problems(declared, values)


def _pattern_problems(declared: Mapping[str, Any], values: list[str]) -> Iterator[str]:
    pattern = declared.get("AllowedPattern")
    if not isinstance(pattern, str):
        return
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        compiled = re2.compile(pattern, options)
    except re2.error:
        return  # Java's expressions can do more: CloudFormation judges it
    if not all(compiled.fullmatch(each) for each in values):
        yield "does not match its AllowedPattern"


def _length_problems(declared: Mapping[str, Any], value: str) -> Iterator[str]:
    fewest, most = _number(declared.get("MinLength")), _number(declared.get("MaxLength"))
    if fewest is not None and len(value) < fewest:
        yield f"shorter than its MinLength, {fewest:f}"
    if most is not None and len(value) > most:
        yield f"longer than its MaxLength, {most:f}"


def _number_problems(declared: Mapping[str, Any], values: list[str]) -> Iterator[str]:
    lowest, highest = _number(declared.get("MinValue")), _number(declared.get("MaxValue"))
    for each in values:
        number = _number(each)
        if number is None:
            yield "not a number"
        elif lowest is not None and number < lowest:
            yield f"less than its MinValue, {lowest:f}"
        elif highest is not None and number > highest:
            yield f"more than its MaxValue, {highest:f}"
        else:
            continue
        return


def _number(value: Any) -> Decimal | None:
    """None for what is no finite number, or one too long to be printed."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 40 else None


def _text(value: Any) -> str:
    """A default or allowed value as CloudFormation compares it: YAML's true and 1 are texts there."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_list(kind: str) -> bool:
    return kind == "CommaDelimitedList" or kind.startswith(("List<", "AWS::SSM::Parameter::Value<List<"))

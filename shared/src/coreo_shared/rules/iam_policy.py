"""Reasoning about IAM policy documents: who may do what, as AWS reads them.

A document comes as JSON text (S3, KMS, SQS) or already parsed (IAM); `Statement`, `Action` and so on may each be one
thing or a list. What does not parse is Unknown with the reason, never "no problem".
Source: IAM user guide, "Grammar of the IAM JSON policy language"; S3 user guide, "The meaning of public".
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from coreo_shared.rules.network import is_internet as ranges_are_internet
from coreo_shared.rules.network import parse_cidr
from coreo_shared.rules.values import Unknown

MAX_DOCUMENT = 64 * 1024  # AWS's own limits end at 32 KiB (KMS)
MAX_STATEMENTS = 2_500  # more than a text of that length can hold
MAX_NAME = 2_048  # of an action, resource or principal: an ARN has no more
_PARTITIONS = ("aws", "aws-us-gov", "aws-cn")

# Conditions on these keep strangers out when every value is fixed (S3 user guide, "The meaning of public").
_IDENTIFYING_KEYS = frozenset(
    {
        "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:userid",
        "aws:username", "aws:sourceaccount", "aws:sourcearn", "aws:sourceowner", "aws:sourceorgid",
        "aws:sourceorgpaths", "aws:sourcevpc", "aws:sourcevpce", "aws:sourcevpcarn", "aws:vpceaccount",
        "aws:vpceorgid", "aws:vpceorgpaths", "s3:dataaccesspointaccount", "s3:dataaccesspointarn", "kms:calleraccount",
    }
)  # fmt: skip
_ARN_KEYS = frozenset({"aws:principalarn", "aws:sourcearn", "aws:sourcevpcarn", "s3:dataaccesspointarn"})
EQUALITIES = frozenset({"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"})
_INEQUALITIES = frozenset(
    {"stringnotequals", "stringnotequalsignorecase", "stringnotlike", "arnnotequals", "arnnotlike"}
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. A `not_…` flag means that the list is what the statement does *not* speak of."""

    allow: bool
    principals: tuple[tuple[str, str], ...] | None  # (kind, name); None in identity policies
    not_principal: bool
    actions: tuple[str, ...]
    not_action: bool
    resources: tuple[str, ...] | None  # None in trust policies
    not_resource: bool
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]  # (operator, key, values), both names in lower case


class _MalformedError(ValueError):
    pass


def parse_policy(document: Any) -> tuple[Statement, ...] | Unknown:
    """The statements of a document (JSON text or mapping), or Unknown when it is no policy."""
    try:
        if isinstance(document, str):
            return _parsed_text(document)
        return _statements(document)
    except _MalformedError as error:
        return Unknown(f"the policy document does not parse: {error}")


@lru_cache(maxsize=256)
def _parsed_text(text: str) -> tuple[Statement, ...]:
    if len(text) > MAX_DOCUMENT:
        raise _MalformedError(f"longer than {MAX_DOCUMENT} characters")
    try:
        document = json.loads(unquote(text) if text.startswith("%7B") else text)
    except (ValueError, RecursionError):
        raise _MalformedError("not JSON") from None
    return _statements(document)


def _statements(document: Any) -> tuple[Statement, ...]:
    if not isinstance(document, Mapping):
        raise _MalformedError("not an object")
    statements = document.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list):
        raise _MalformedError("no Statement")
    if len(statements) > MAX_STATEMENTS:
        raise _MalformedError(f"more than {MAX_STATEMENTS} statements")
    return tuple(_statement(statement) for statement in statements)


def _statement(raw: Any) -> Statement:
    if not isinstance(raw, Mapping):
        raise _MalformedError("a Statement is not an object")
    if raw.get("Effect") not in {"Allow", "Deny"}:
        raise _MalformedError("an Effect is neither Allow nor Deny")
    actions, not_action = _one_of(raw, "Action")
    if actions is None:
        raise _MalformedError("a Statement has neither Action nor NotAction")
    resources, not_resource = _one_of(raw, "Resource")
    principals, not_principal = _one_of_principals(raw)
    return Statement(
        allow=raw["Effect"] == "Allow",
        principals=principals,
        not_principal=not_principal,
        actions=tuple(action.lower() for action in actions),
        not_action=not_action,
        resources=resources,
        not_resource=not_resource,
        conditions=_conditions(raw.get("Condition")),
    )


def _one_of(raw: Mapping[str, Any], name: str) -> tuple[tuple[str, ...] | None, bool]:
    if name in raw and f"Not{name}" in raw:
        raise _MalformedError(f"a Statement has both {name} and Not{name}")
    if f"Not{name}" in raw:
        return _strings(raw[f"Not{name}"], f"Not{name}"), True
    return (_strings(raw[name], name), False) if name in raw else (None, False)


def _one_of_principals(raw: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...] | None, bool]:
    if "Principal" in raw and "NotPrincipal" in raw:
        raise _MalformedError("a Statement has both Principal and NotPrincipal")
    given = raw.get("NotPrincipal", raw.get("Principal"))
    if given is None:
        return None, False
    if given == "*":
        return (("AWS", "*"),), "NotPrincipal" in raw
    if not isinstance(given, Mapping):
        raise _MalformedError("a Principal is neither * nor an object")
    pairs = tuple((str(kind), name) for kind, names in given.items() for name in _strings(names, "Principal"))
    return pairs, "NotPrincipal" in raw


def _strings(value: Any, name: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(element, str) for element in values):
        raise _MalformedError(f"{name} is neither text nor a list of texts")
    if any(len(element) > MAX_NAME for element in values):
        raise _MalformedError(f"{name} is longer than {MAX_NAME} characters")
    return tuple(values)


def _conditions(raw: Any) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    if raw is None:
        return ()
    if not isinstance(raw, Mapping) or not all(isinstance(keys, Mapping) for keys in raw.values()):
        raise _MalformedError("a Condition is not an object of objects")
    return tuple(
        (str(operator).lower(), str(key).lower(), _condition_values(values))
        for operator, keys in raw.items()
        for key, values in keys.items()
    )


def _condition_values(values: Any) -> tuple[str, ...]:
    """Condition values as texts: AWS takes true and "true", 5 and "5" as the same."""
    listed = values if isinstance(values, list) else [values]
    if not all(isinstance(value, str | bool | int | float) for value in listed):
        raise _MalformedError("a Condition value is neither text, number nor boolean")
    return tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in listed)


def pattern_covers(pattern: str, text: str) -> bool:
    """Whether an IAM pattern (`*`, `?`) matches all that `text`, itself a pattern, can match."""
    here = there = 0
    star, retry = -1, 0
    while there < len(text):
        if here < len(pattern) and pattern[here] == "*":
            star, retry = here, there
            here += 1
        elif here < len(pattern) and (pattern[here] == text[there] or (pattern[here] == "?" and text[there] != "*")):
            here += 1
            there += 1
        elif star >= 0:
            retry += 1
            here, there = star + 1, retry
        else:
            return False
    return pattern[here:].strip("*") == ""


def _covered(text: str, patterns: Iterable[str]) -> bool:
    return any(pattern_covers(pattern, text) for pattern in patterns)


def is_public(statements: Iterable[Statement]) -> bool:
    """Whether anyone at all gets something: an Allow for every principal that no condition and no Deny narrows."""
    statements = tuple(statements)
    return any(
        statement.allow
        and _is_for_everyone(statement)
        and not _knows_caller(statement)
        and not closed_by_deny(statement, statements)
        for statement in statements
    )


def closed_by_deny(allow: Statement, statements: Iterable[Statement]) -> bool:
    """Whether one Deny of the document stops all strangers from all that an Allow of it gives."""
    denies = [statement for statement in statements if not statement.allow and _shuts_strangers_out(statement)]
    return _denied(allow, denies)


def _is_for_everyone(statement: Statement) -> bool:
    if statement.principals is None:
        return False
    return statement.not_principal or any(name == "*" or ":iam::*:" in name for _, name in statement.principals)


def _knows_caller(statement: Statement) -> bool:
    """Whether some condition lets in only callers that are named."""
    return any(_identifies(operator, key, values) for operator, key, values in statement.conditions)


def _identifies(operator: str, key: str, values: tuple[str, ...]) -> bool:
    operator = operator.removeprefix("foranyvalue:")
    if key in {"aws:sourceip", "aws:vpcsourceip"}:
        return operator == "ipaddress" and _are_few_addresses(values)
    if key == "elasticfilesystem:accessedviamounttarget":  # from within the file system's network
        return operator == "bool" and {value.lower() for value in values} == {"true"}
    # ForAllValues and IfExists hold for a caller that has no such key: they keep nobody out.
    return key in _IDENTIFYING_KEYS and operator in EQUALITIES and all(_is_fixed(key, value) for value in values)


def _is_fixed(key: str, value: str) -> bool:
    if key in _ARN_KEYS:
        fields = value.split(":", 5)  # the account within an ARN is what counts; S3's ARNs have none but a name
        if len(fields) == 6:
            return bool(fields[4] or fields[5]) and not set("*?$") & set(fields[4] or fields[5].split("/")[0])
    if "orgpaths" in key:
        value = value.split("/", maxsplit=1)[0]
    elif key == "aws:userid":
        value = value.split(":", maxsplit=1)[0]  # of ROLE-ID:SESSION the first names the role
    return value != "" and not set("*?$") & set(value)


def _are_few_addresses(values: tuple[str, ...]) -> bool:
    ranges = [parse_cidr(value) for value in values]
    return all(ranges) and not ranges_are_internet(block for block in ranges if block)


def _shuts_strangers_out(statement: Statement) -> bool:
    """Whether a Deny stops everyone, or everyone but callers that are named."""
    if statement.not_action or statement.not_resource:
        return False
    if statement.not_principal:  # everyone but these
        named = bool(statement.principals) and all("*" not in name for _, name in statement.principals or ())
        return named and not statement.conditions
    if not _is_for_everyone(statement):
        return False
    if len(statement.conditions) > 1:
        return False  # all of them must hold for the Deny to act: a stranger may well escape one
    return all(_is_about_strangers(operator, key, values) for operator, key, values in statement.conditions)


def _is_about_strangers(operator: str, key: str, values: tuple[str, ...]) -> bool:
    operator = operator.removesuffix("ifexists")
    if key in {"aws:sourceip", "aws:vpcsourceip"}:
        return operator == "notipaddress" and _are_few_addresses(values)
    return key in _IDENTIFYING_KEYS and operator in _INEQUALITIES and all(_is_fixed(key, value) for value in values)


def _denied(allow: Statement, denies: list[Statement]) -> bool:
    """Whether one Deny covers all that an Allow gives."""
    if allow.not_action or allow.not_resource:
        return any("*" in deny.actions and "*" in (deny.resources or ("*",)) for deny in denies)
    return any(
        all(_covered(action, deny.actions) for action in allow.actions)
        and all(_covered(resource, deny.resources or ("*",)) for resource in allow.resources or ())
        for deny in denies
        if not deny.not_action and not deny.not_resource
    )


def allows_everything(statements: Iterable[Statement]) -> bool:
    """Whether it gives every action on every resource, like AdministratorAccess, conditions or not."""
    return any(statement.allow and _all_actions(statement) and _all_resources(statement) for statement in statements)


def allows_whole_service(statements: Iterable[Statement]) -> bool:
    """Whether it gives every action of some service (`s3:*`, `*`) on every resource."""
    return any(
        statement.allow
        and _all_resources(statement)
        and (_all_actions(statement) or any(_is_whole_service(action) for action in statement.actions))
        for statement in statements
        if not statement.not_action or _all_actions(statement)
    )


def _all_actions(statement: Statement) -> bool:
    if statement.not_action:
        return not statement.actions
    return any(action.strip("*") in {"", ":"} for action in statement.actions)


def _is_whole_service(action: str) -> bool:
    service, _, name = action.partition(":")
    return service != "" and name != "" and name.strip("*") == ""


def _all_resources(statement: Statement) -> bool:
    if statement.resources is None:
        return False
    if statement.not_resource:
        return not statement.resources
    return any(resource.strip("*:") in {"", "arn"} for resource in statement.resources)


def denies_plain_http(statements: Iterable[Statement], bucket: str) -> bool:
    """Whether Deny statements stop every plain-HTTP request to the bucket and to all its objects, by anyone."""
    denies = [statement for statement in statements if _denies_all_plain_http(statement)]
    return all(_resource_covered(f"{bucket}{rest}", denies) for rest in ("", "/*"))


def _denies_all_plain_http(statement: Statement) -> bool:
    if statement.allow or statement.not_principal or statement.not_action or statement.not_resource:
        return False
    if len(statement.conditions) != 1 or not _covered("s3:*", statement.actions):
        return False
    operator, key, values = statement.conditions[0]
    is_plain = operator in {"bool", "boolifexists"} and key == "aws:securetransport"
    return is_plain and "false" in {value.lower() for value in values} and ("AWS", "*") in (statement.principals or ())


def _resource_covered(name: str, denies: list[Statement]) -> bool:
    arns = [f"arn:{partition}:s3:::{name}" for partition in _PARTITIONS]
    return any(_covered(arn, deny.resources or ()) for deny in denies for arn in arns)

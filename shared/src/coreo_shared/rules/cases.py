"""Example cases of rules: an item as AWS would give it, and the verdict that is right for it.

- name: what is special about it
  expect: FAIL                      or PASS, NOT_EVALUATED, NOT_APPLICABLE
  item: {…}                         checked against the resource type; a date is ISO text or {days_ago: 91}
  denied: {Policy: s3:GetBucketPolicy}    fields that could not be read, and the action that is missing
  related: {aws.ec2.prefix_list: [{…}]}   other resources of the same region
  unlisted: [aws.ec2.prefix_list]         types that could not be listed
  parameters: {name: value}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.definitions import convert
from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean
from coreo_shared.rules.model import Rule
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.values import Listing, Relations, Unknown, Verdict

NOW = datetime(2026, 6, 1, tzinfo=UTC)
REGION = "eu-west-1"
ACCOUNT = "123456789012"
Expected = Literal["FAIL", "PASS", "NOT_EVALUATED", "NOT_APPLICABLE"]
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "blob": str,
    "policy": (str, dict),
    "list": list,
    "map": dict,
    "structure": dict,
    "timestamp": (str, dict),
}


class CaseDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A case as written."""

    name: str
    expect: Expected
    item: dict[str, Any]
    denied: dict[str, str] = {}
    related: dict[str, list[dict[str, Any]]] = {}
    unlisted: list[str] = []
    parameters: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Case:
    """A case, checked: what to judge, in view of what, and the right answer."""

    rule: Rule
    name: str
    expect: Expected
    item: dict[str, Any]
    relations: Relations
    parameters: dict[str, Any]
    missing_actions: tuple[str, ...]

    def verdict(self) -> Verdict | None:
        """What the rule says of it."""
        compiled = compile_rule(self.rule, {self.rule.id: self.parameters}, now=NOW)
        return compiled.evaluate(self.item, self.relations)


def read_case(raw: Any, rule: Rule, shapes: Shapes, item_types: Mapping[str, FieldType], path: Path) -> Case:
    """A checked case of the rule from its data."""
    definition = convert(raw, CaseDefinition, path)
    item_type = item_types[rule.resource]
    item = _structure(definition.item, item_type, shapes, (*path, "item"))
    for name, action in definition.denied.items():
        shapes.member(item_type, name, (*path, "denied"))
        item[name] = Unknown(f"AWS denied reading {name}", (action,))
    listings = {name: {REGION: Listing()} for name in rule.relations}
    for name, items in definition.related.items():
        _check_related(name, rule, (*path, "related"))
        place = (*path, "related", name)
        related = [_structure(one, item_types[name], shapes, (*place, index)) for index, one in enumerate(items)]
        listings[name] = {REGION: Listing(related)}
    for name in definition.unlisted:
        _check_related(name, rule, (*path, "unlisted"))
        listings[name] = {REGION: Listing(missing=(Unknown(f"AWS denied listing {name}"),))}
    return Case(
        rule=rule,
        name=definition.name,
        expect=definition.expect,
        item=item,
        relations=Relations(listings, REGION, ACCOUNT),
        parameters=definition.parameters,
        missing_actions=tuple(sorted(set(definition.denied.values()))),
    )


def _check_related(name: str, rule: Rule, path: Path) -> None:
    if name not in rule.relations:
        raise DefinitionError(f"the rule does not look at this{did_you_mean(name, rule.relations)}", path)


def _structure(raw: dict[str, Any], of: FieldType, shapes: Shapes, path: Path) -> dict[str, Any]:
    return {
        name: read_value(value, shapes.member(of, name, path), shapes, (*path, name)) for name, value in raw.items()
    }


def read_value(raw: Any, of: FieldType, shapes: Shapes, path: Path) -> Any:
    """A value that was written down, as the SDK would give it; DefinitionError when it is not of the type."""
    if raw is None:
        return None
    if not isinstance(raw, _PYTHON_TYPES[of.kind]) or (isinstance(raw, bool) and of.kind != "boolean"):
        raise DefinitionError(f"AWS gives {of} here", path)
    if of.kind in {"structure", "map"} and isinstance(raw, dict):
        return _structure(raw, of, shapes, path)
    if isinstance(raw, list):
        element = shapes.type_of(of.of)
        return [read_value(one, element, shapes, (*path, index)) for index, one in enumerate(raw)]
    if of.kind == "timestamp":
        return _date(raw, path)
    if of.values and isinstance(raw, str) and raw not in of.values:
        raise DefinitionError(f"this value cannot occur here{did_you_mean(raw, of.values)}", path)
    return raw


def _date(raw: Any, path: Path) -> datetime:
    try:
        if isinstance(raw, dict) and set(raw) == {"days_ago"}:
            return NOW - timedelta(days=raw["days_ago"])
        return datetime.fromisoformat(raw)
    except (TypeError, ValueError):
        raise DefinitionError("must be an ISO date or {days_ago: a number}", path) from None

"""A small world of types for tests of the rule language: one field of each kind, a list, a relation."""

from datetime import UTC, datetime
from typing import Any

from coreo_shared.rules.compiler import CompiledRule, compile_rule
from coreo_shared.rules.definitions import build_rule, read_document
from coreo_shared.rules.model import Rule
from coreo_shared.rules.shapes import FieldType, Shapes, Snapshot
from coreo_shared.rules.values import Relations, Verdict

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NO_RELATIONS = Relations()
_SNAPSHOT = Snapshot(
    operations={},
    structures={
        "thing": {
            "Name": "string",
            "Size": "integer",
            "Share": "number",
            "On": "boolean",
            "Made": "timestamp",
            "Mode": "mode",
            "Words": "[string]",
            "Numbers": "[integer]",
            "Tags": "{string}",
            "Parts": "[part]",
            "Home": "home",
            "Policy": "policy",
            "Rules": "[permission]",
            "Extra": "string",
        },
        "home": {"Street": "string", "Parts": "[part]"},
        "part": {"Key": "string", "Value": "string", "Weight": "integer", "Parts": "[part]"},
        "permission": {
            "IpProtocol": "string",
            "FromPort": "integer",
            "ToPort": "integer",
            "IpRanges": "[range]",
            "Ipv6Ranges": "[range]",
            "PrefixListIds": "[list]",
        },
        "range": {"CidrIp": "string", "CidrIpv6": "string"},
        "list": {"PrefixListId": "string"},
        "other": {"OtherName": "string", "Good": "boolean", "Parts": "[part]"},
    },
    enums={"mode": ["Fast", "Slow"]},
)


def small_world() -> tuple[Shapes, dict[str, FieldType]]:
    """Shapes, and the types of the resources `thing` (whose field Extra takes a call) and `other`."""
    shapes = Shapes(_SNAPSHOT)
    shapes.mark_fetched("thing", "Extra")
    return shapes, {name: shapes.type_of(name) for name in ("thing", "other")}


def rule_from(text: str, file: str = "rule.yaml") -> Rule:
    """A rule on `thing` from its YAML text."""
    shapes, item_types = small_world()
    return read_document(text, file, lambda raw: build_rule(raw, (), shapes, item_types))


def rule_data(fail_when: Any, **more: Any) -> dict[str, Any]:
    """A rule's data around a condition."""
    return {
        "id": "thing-bad",
        "title": "Things are good",
        "resource": "thing",
        "severity": "low",
        "rationale": "Because.",
        "remediation": {"console": "Make it good."},
        "fail_when": fail_when,
        "message": "{Name} is bad",
    } | more


def rule_of(fail_when: Any, **more: Any) -> Rule:
    """A rule on `thing` with this condition, as data."""
    shapes, item_types = small_world()
    return build_rule(rule_data(fail_when, **more), (), shapes, item_types)


def compiled(fail_when: Any, parameters: dict[str, Any] | None = None, **more: Any) -> CompiledRule:
    """The compiled rule on `thing` with this condition and a plan's parameters."""
    return compile_rule(rule_of(fail_when, **more), {"thing-bad": parameters or {}}, now=NOW)


def judge(fail_when: Any, item: dict[str, Any], relations: Relations = NO_RELATIONS, **more: Any) -> str:
    """The status that the condition gives the item; "none" where the rule does not apply."""
    verdict: Verdict | None = compiled(fail_when, **more).evaluate(item, relations)
    return "none" if verdict is None else str(verdict.status)

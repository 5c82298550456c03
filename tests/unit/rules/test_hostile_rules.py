"""Rules that tenants write cannot hang, crash or fill the process: a clear answer, in under a second."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from coreo_shared.rules.compiler import MAX_STEPS, compile_rule
from coreo_shared.rules.errors import DefinitionError
from coreo_shared.rules.values import Listing, Relations
from tests.support.rules import compiled, judge, rule_from, rule_of


def _nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    condition: Any = {"Name": "a"}
    for _ in range(depth):
        condition = wrap(condition)
    return condition


def _over_parts(levels: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"Key": "nothing"}
    for _ in range(levels):
        condition = {"any_of": "Parts", "where": condition}
    return condition


def _parts(width: int, levels: int) -> list[dict[str, Any]]:
    """A list of lists of lists: one object, seen from many places."""
    parts: list[dict[str, Any]] = [{"Key": "x"}] * width
    for _ in range(levels - 1):
        parts = [{"Parts": parts}] * width
    return parts


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (_nested(17, lambda inner: {"not": inner}), "conditions nested deeper than 16"),
        (_nested(5_000, lambda inner: {"not": inner}), "conditions nested deeper than 16"),
        (_nested(30, lambda inner: {"or": [inner, inner]}), "conditions nested deeper than 16"),
        ({"and": [{"Name": "a"}] * 401}, "more than 400 conditions in one rule"),
        ({"Name": {"equals": "a", "not_equals": "b"} | {f"x{number}": 1 for number in range(500)}}, "no such operator"),
        (_over_parts(6), "more than 5 lists or relations within each other"),
        ({"Name": {"matches": "(((a{1,100}){1,100}){1,100}){1,100}"}}, "not a regular expression that RE2 takes"),
        ({"Name": {"matches": r"(\w{1000}){1000}"}}, "not a regular expression that RE2 takes"),
        ({".".join(["Parts[]"] * 13): {"empty": True}}, "not a field path"),
        ({"x" * 100_000: "a"}, "not a field path"),
    ],
)
def test_costly_rule_is_refused_at_load(condition: Any, problem: str) -> None:
    start = time.monotonic()
    with pytest.raises(DefinitionError, match=problem):
        rule_of(condition)
    assert time.monotonic() - start < 1


def test_nested_loops_end_with_a_reason() -> None:
    """100⁴ elements, four loops within each other."""
    start = time.monotonic()
    verdict = compiled(_over_parts(4)).evaluate({"Parts": _parts(100, 4)}, Relations())

    assert verdict is not None
    assert verdict.status == "NOT_EVALUATED"
    assert verdict.reason == f"the rule needs more than {MAX_STEPS} steps for this resource"
    assert time.monotonic() - start < 1


def test_step_limit_counts_each_resource_anew() -> None:
    rule = compile_rule(rule_of({"any_of": "Parts", "where": {"Key": "a"}}), max_steps=12)

    for _ in range(3):
        verdict = rule.evaluate({"Parts": _parts(4, 1)}, Relations())
        assert verdict is not None
        assert verdict.status == "PASS"
    beyond = rule.evaluate({"Parts": _parts(6, 1)}, Relations())
    assert beyond is not None
    assert beyond.status == "NOT_EVALUATED"


def test_every_resource_against_every_other_ends_with_a_reason() -> None:
    relations = Relations({"other": {"r": Listing([{"OtherName": "a", "Good": True}] * 300_000)}})
    start = time.monotonic()

    assert judge({"exists": {"type": "other", "where": {"Good": False}}}, {"Name": "a"}, relations) == "NOT_EVALUATED"
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)+$", r"(x+x+)+y", r"^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_regular_expressions_are_linear(pattern: str) -> None:
    start = time.monotonic()
    judge({"Name": {"matches": pattern}}, {"Name": "a" * 100_000 + "!"})
    assert time.monotonic() - start < 1


def test_costly_pattern_on_long_text_ends_with_a_reason() -> None:
    """Linear, but 20 µs for each character."""
    start = time.monotonic()
    condition = {"Name": {"matches": "(a|b|x){0,500}(x[ab]{0,300}){0,3}z$"}}

    assert judge(condition, {"Name": "ab" * 50_000}) == "NOT_EVALUATED"
    assert judge(condition, {"Name": "abz"}) == "FAIL"
    assert time.monotonic() - start < 1


def test_spread_paths_over_much_data_end_within_a_second() -> None:
    start = time.monotonic()
    judge({"Parts[].Parts[].Parts[].Key": {"contains": "a"}}, {"Parts": _parts(80, 3)})
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "path", ["__class__", "Name.__class__", "Home.__dict__", "this.__init__", "Tags.__class__.__mro__"]
)
def test_paths_reach_data_alone(path: str) -> None:
    with pytest.raises(DefinitionError):
        rule_of({path: {"absent": True}})


def test_message_of_huge_values_stays_short() -> None:
    rule = compiled({"Size": 1}, message="{Name} {Words} {Parts}", evidence=["Name"])
    verdict = rule.evaluate(
        {"Size": 1, "Name": "n" * 10**6, "Words": ["w"] * 10**5, "Parts": _parts(50, 2)}, Relations()
    )

    assert verdict is not None
    assert len(verdict.message) < 700


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "x",
        "{}",
        "fail_when: " + "{not: " * 30 + "x" + "}" * 30,
        "id: [[[[[[[[[[]]]]]]]]]]",
        "remediation: " + "{a: " * 35 + "b" + "}" * 35,
        "parameters: {" + ",".join(f"p{n}: {{type: integer}}" for n in range(8_000)) + "}",
    ],
)
def test_wrong_shape_is_a_definition_error(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(DefinitionError):
        rule_from(text)
    assert time.monotonic() - start < 1

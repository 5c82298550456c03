"""Every rule of the catalogue keeps to its own example cases."""

import pytest

from coreo_shared.catalogue import load_cases, load_catalogue
from coreo_shared.rules.cases import Case
from coreo_shared.rules.needs import needs_of

_CASES = load_cases()


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{rule_id}: {case.name}") for rule_id, cases in _CASES.items() for case in cases]
)
def test_verdict_is_the_one_of_the_case(case: Case) -> None:
    verdict = case.verdict()

    assert (str(verdict.status) if verdict else "NOT_APPLICABLE") == case.expect
    if verdict is not None and case.expect == "NOT_EVALUATED":
        assert verdict.reason
        assert set(verdict.missing_actions) == set(case.missing_actions)


@pytest.mark.parametrize("rule_id", sorted(load_catalogue().rules))
def test_each_rule_has_a_failing_a_passing_and_an_undecided_case(rule_id: str) -> None:
    assert {"FAIL", "PASS", "NOT_EVALUATED"} <= {case.expect for case in _CASES[rule_id]}


@pytest.mark.parametrize("rule_id", sorted(load_catalogue().rules))
def test_missing_actions_are_those_that_the_rule_asks_for(rule_id: str) -> None:
    """A case that blames an action that the rule never declares would send the customer the wrong way."""
    declared = needs_of(load_catalogue(), [rule_id]).actions

    assert {action for case in _CASES[rule_id] for action in case.missing_actions} <= declared


@pytest.mark.parametrize("rule_id", sorted(load_catalogue().rules))
def test_failing_messages_have_no_unfilled_or_unknown_part(rule_id: str) -> None:
    messages = [verdict.message for case in _CASES[rule_id] if case.expect == "FAIL" and (verdict := case.verdict())]

    assert messages
    assert not [message for message in messages if "{" in message or "(unknown)" in message or not message.strip()]

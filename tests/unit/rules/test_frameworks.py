"""Control frameworks: what they hold, which rules bear on them, how a run stands against one."""

import dataclasses

import pytest
from msgspec.structs import replace

from coreo_shared.catalogue import load_catalogue
from coreo_shared.catalogue.compliance import ControlStatus, RuleCounts, controls_in, summarise
from coreo_shared.catalogue.frameworks import (
    Control,
    Framework,
    check_objectives,
    controls_of,
    known_control,
    load_frameworks,
    load_objectives,
)
from coreo_shared.rules.errors import DefinitionError
from tests.support.coverage import FILE, coverage_text, uncovered

CATALOGUE = load_catalogue()
FRAMEWORKS = load_frameworks()
CIS = [name for name in FRAMEWORKS if name.startswith("cis-aws-")]


def test_coverage_page_is_what_the_catalogue_says() -> None:
    """After a change of rules: `python -m tests.support.coverage`."""
    assert FILE.read_text(encoding="utf-8") == coverage_text()


@pytest.mark.parametrize(("name", "total"), [("3.0", 62), ("4.0.1", 64), ("5.0", 63), ("6.0", 63), ("7.0", 70)])
def test_benchmarks_are_whole(name: str, total: int) -> None:
    assert len(FRAMEWORKS[f"cis-aws-{name}"].controls) == total
    assert not FRAMEWORKS[f"cis-aws-{name}"].partial


@pytest.mark.parametrize("rule_id", sorted(CATALOGUE.rules))
def test_rules_name_controls_that_are_there(rule_id: str) -> None:
    for framework, ids in CATALOGUE.controls[rule_id].items():
        assert set(ids) <= FRAMEWORKS[framework].controls.keys(), framework


def test_a_framework_that_grows_takes_controls_that_are_not_listed_yet() -> None:
    """Of rule packs: AWS adds controls between two releases."""
    assert known_control(FRAMEWORKS["aws-fsbp"], "EC2.999")
    assert not known_control(FRAMEWORKS["aws-fsbp"], "ec2-999")
    assert not known_control(FRAMEWORKS["cis-aws-5.0"], "9.99")
    listed = FRAMEWORKS["aws-fsbp"]
    shorter = dataclasses.replace(
        listed, controls={name: each for name, each in listed.controls.items() if name != "S3.8"}
    )
    assert controls_in(shorter, CATALOGUE)["S3.8"][1] == ("s3-bucket-public-access-block",)


def test_objectives_lead_to_controls_that_are_there() -> None:
    for objective in load_objectives().values():
        for framework, ids in objective.controls.items():
            assert ids
            assert set(ids) <= set(FRAMEWORKS[framework].controls), (objective.id, framework)


def test_every_framework_is_a_rule_set() -> None:
    chosen = {each.framework for each in CATALOGUE.rule_set_definitions.values()}

    assert set(FRAMEWORKS) <= chosen


def test_objectives_add_controls_to_those_named() -> None:
    rule = next(iter(CATALOGUE.rules.values())).definition

    found = controls_of(replace(rule, objectives=["access-mfa"], controls={"cis-aws-5.0": ["1.10", "1.9"]}))

    assert found["cis-aws-5.0"] == ("1.9", "1.10")
    assert found["hipaa"] == ("164.312(d)",)
    with pytest.raises(DefinitionError, match="did you mean access-mfa"):
        check_objectives(replace(rule, objectives=["access-mfaa"]), ())


def _framework(*controls: Control) -> Framework:
    return Framework(
        id="cis-aws-5.0",
        title="",
        publisher="",
        checked_against="",
        controls={control.id: control for control in controls},
        partial=False,
        grows=False,
    )


AUTOMATED = Control(id="1.3", title="no key", assessment="automated")
MANUAL = Control(id="1.1", title="contacts", assessment="manual")
RULE = controls_in(FRAMEWORKS["cis-aws-5.0"], CATALOGUE)["1.3"][1][0]


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        (RuleCounts(passed=1), ControlStatus.PASS),
        (RuleCounts(passed=9, failed=1), ControlStatus.FAIL),
        (RuleCounts(passed=9, not_evaluated=1), ControlStatus.NOT_EVALUATED),
        (RuleCounts(failed=1, not_evaluated=1), ControlStatus.FAIL),
        (RuleCounts(suppressed=1), ControlStatus.PASS),
        (RuleCounts(), ControlStatus.NOT_APPLICABLE),
        (None, ControlStatus.NOT_RUN),
    ],
)
def test_unknown_is_never_a_pass(counts: RuleCounts | None, status: ControlStatus) -> None:
    summary = summarise(_framework(AUTOMATED), CATALOGUE, {RULE: counts} if counts else {})

    assert [result.status for result in summary.controls] == [status]


@pytest.mark.parametrize(
    ("answers", "status", "rate"),
    [
        ({}, ControlStatus.MANUAL_OPEN, None),
        ({"1.1": True}, ControlStatus.MANUAL_DONE, 1.0),
        ({"1.1": False}, ControlStatus.FAIL, 0.0),
    ],
)
def test_people_answer_manual_controls(answers: dict[str, bool], status: ControlStatus, rate: float | None) -> None:
    summary = summarise(_framework(MANUAL), CATALOGUE, {}, answers)

    assert [result.status for result in summary.controls] == [status]
    assert summary.pass_rate == rate


def test_yes_does_not_outweigh_a_rule_that_failed() -> None:
    summary = summarise(_framework(AUTOMATED), CATALOGUE, {RULE: RuleCounts(failed=1)}, {"1.3": True})

    assert summary.controls[0].status is ControlStatus.FAIL


def test_control_without_rules_is_said_to_be_without() -> None:
    summary = summarise(_framework(Control(id="9.9", title="", assessment="automated")), CATALOGUE, {})

    assert summary.controls[0].status is ControlStatus.NOT_COVERED
    assert uncovered(_framework(Control(id="9.9", title="", assessment="automated")), CATALOGUE) == ["9.9"]


def test_pass_rate_counts_what_is_known() -> None:
    other = Control(id="1.4", title="", assessment="automated")
    rule = controls_in(FRAMEWORKS["cis-aws-5.0"], CATALOGUE)["1.4"][1][0]
    counts = {RULE: RuleCounts(passed=1), rule: RuleCounts(failed=1)}

    summary = summarise(_framework(AUTOMATED, other, MANUAL), CATALOGUE, counts)

    assert summary.pass_rate == 0.5
    assert summary.by_status[ControlStatus.MANUAL_OPEN] == 1


def test_a_rule_for_nearly_all_that_security_hub_checks() -> None:
    """What is missing is named on the coverage page; services that Coreo does not read, and checks it cannot tell."""
    missing = uncovered(FRAMEWORKS["aws-fsbp"], CATALOGUE)
    assert len(FRAMEWORKS["aws-fsbp"].controls) >= 336
    assert len(missing) <= 16
    text = coverage_text()
    assert all(name in text for name in missing)


@pytest.mark.parametrize("name", CIS)
def test_everything_that_a_tool_can_answer_of_cis_is_answered(name: str) -> None:
    assert uncovered(FRAMEWORKS[name], CATALOGUE) == []

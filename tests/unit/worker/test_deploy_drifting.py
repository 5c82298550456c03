"""Drift runs: each resource that AWS compared is a finding, and what it could not compare is no pass."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from coreo_shared.contracts.deploys import DeployAction, Difference, Drift, DriftedResource
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_worker.aws.stacks import DriftStatus, StackDeniedError
from tests.support.deploy_story import Story
from tests.support.memory_stacks import refused

PORT = Difference(path="/Port", type="NOT_EQUAL", expected="80", actual="x" * 3_000)


def resource(name: str, status: Any, **more: Any) -> DriftedResource:
    return DriftedResource(logical_id=name, physical_id=f"id-{name}", type="AWS::SNS::Topic", status=status, **more)


def make(*drifted: DriftedResource, status: str = "CREATE_COMPLETE") -> Story:
    story = Story(action=DeployAction.DRIFT)
    kept = story.stacks.add(status=status)
    (topic,) = kept.resources.values()
    kept.resources = {one.logical_id: replace(topic, logical_id=one.logical_id) for one in drifted}
    kept.resources["Other"] = replace(topic, logical_id="Other", type="AWS::Odd::Type")
    story.stacks.drifted = drifted
    return story


async def test_what_differs_is_shown_and_found() -> None:
    story = make(
        resource("Same", "IN_SYNC"),
        resource("Changed", "MODIFIED", differences=[PORT]),
        resource("Gone", "DELETED"),
        resource("Odd", "UNKNOWN", reason="Access denied"),
    )

    ended = await story.part()

    assert ended.outcome == "completed"
    assert ended.reason == "1 resources are of types whose drift CloudFormation does not detect."
    document = story.documents["drift"]
    assert isinstance(document, Drift)
    assert (document.status, [one.logical_id for one in document.resources]) == (
        "DRIFTED",
        ["Changed", "Gone", "Odd", "Other", "Same"],
    )
    assert {one.logical_id: one.status for one in document.resources}["Other"] == "NOT_CHECKED"
    found = {finding.evidence["logical_id"]: finding for finding in story.findings}
    assert {name: (one.status, one.severity) for name, one in found.items()} == {
        "Same": (FindingStatus.PASS, Severity.MEDIUM),
        "Changed": (FindingStatus.FAIL, Severity.MEDIUM),
        "Gone": (FindingStatus.FAIL, Severity.HIGH),
        "Odd": (FindingStatus.NOT_EVALUATED, Severity.MEDIUM),
    }
    assert {finding.rule_id for finding in story.findings} == {"drift-resource"}
    assert found["Changed"].resource_id == "id-Changed"
    assert "/Port" in found["Changed"].message
    assert len(found["Changed"].evidence["differences"][0]["actual"]) == 500
    assert found["Odd"].reason == "Access denied"


async def test_findings_are_known_again_after_the_stack_was_made_anew() -> None:
    first, second = make(resource("Same", "IN_SYNC")), make(replace_physical(resource("Same", "MODIFIED")))
    await first.part()
    await second.part()

    assert first.findings[0].fingerprint == second.findings[0].fingerprint


def replace_physical(one: DriftedResource) -> DriftedResource:
    return changed(one, physical_id="another")


async def test_nothing_that_differs() -> None:
    story = make(resource("Same", "IN_SYNC"))
    await story.part()
    assert story.documents["drift"].status == "IN_SYNC"  # type: ignore[union-attr]

    story = make(resource("Odd", "UNKNOWN"))
    await story.part()
    assert story.documents["drift"].status == "UNKNOWN"  # type: ignore[union-attr]


async def test_slow_detection_is_waited_for_elsewhere_and_begun_once() -> None:
    story = make(resource("Same", "IN_SYNC"))
    done, story.stacks.drift = story.stacks.drift, DriftStatus("DETECTION_IN_PROGRESS")

    ended = await story.part()
    assert (ended.outcome, ended.reason) == ("parked", "CloudFormation is detecting drift.")
    story.now += ended.seconds
    story.stacks.drift = done

    assert (await story.part()).outcome == "completed"
    assert story.stacks.calls.count("detect_drift") == 1


async def test_detection_that_somebody_else_began_is_waited_for() -> None:
    story = make(resource("Same", "IN_SYNC"))
    said = "Drift detection is already in progress for this stack"
    story.stacks.faults["detect_drift"] = [refused(said=said), refused(said=said)]

    assert [(await story.part()).outcome for _ in range(3)] == ["parked", "parked", "completed"]


async def test_detection_without_end_has_one() -> None:
    story = make(resource("Same", "IN_SYNC"))
    story.stacks.drift = DriftStatus("DETECTION_IN_PROGRESS")
    await story.part()
    story.now += 3_700

    assert (await story.part()).outcome == "failed"
    assert story.failure.code == "drift_not_detected"


async def test_detection_that_fails_wholly_is_a_failure_and_in_part_is_not() -> None:
    failed = DriftStatus("DETECTION_FAILED", "UNKNOWN", reason="no access to sns")
    story = make()
    story.stacks.drift = failed
    assert (await story.part()).outcome == "failed"
    assert story.failure.message == "no access to sns"

    story = make(resource("Same", "IN_SYNC"), resource("Odd", "UNKNOWN"))
    story.stacks.drift = failed
    assert (await story.part()).outcome == "completed"
    assert {finding.status for finding in story.findings} == {FindingStatus.PASS, FindingStatus.NOT_EVALUATED}
    assert {finding.evidence["logical_id"] for finding in story.findings} == {"Same", "Odd"}


async def test_detection_that_fails_for_nobody_knows_what_is_no_pass() -> None:
    story = make(resource("Same", "IN_SYNC"))
    story.stacks.drift = DriftStatus("DETECTION_FAILED", "UNKNOWN", reason="no access to sns")

    assert (await story.part()).outcome == "completed"
    assert {one.evidence["logical_id"]: one.status for one in story.findings} == {
        "Same": FindingStatus.PASS,
        "Other": FindingStatus.NOT_EVALUATED,
    }
    assert story.documents["drift"].status == "UNKNOWN"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("REVIEW_IN_PROGRESS", "stack_missing"),
        ("UPDATE_IN_PROGRESS", "stack_busy"),
        ("ROLLBACK_COMPLETE", "stack_not_comparable"),
        ("DELETE_FAILED", "stack_not_comparable"),
    ],
)
async def test_stack_that_cannot_be_compared(status: str, code: str) -> None:
    story = Story(action=DeployAction.DRIFT)
    story.stacks.add(status=status)

    assert (await story.part()).outcome == "failed"
    assert story.failure.code == code


async def test_no_stack_and_no_permission() -> None:
    story = Story(action=DeployAction.DRIFT)
    assert (await story.part()).outcome == "failed"
    assert story.failure.code == "stack_missing"

    story = make()
    story.stacks.faults["detect_drift"] = [StackDeniedError("cloudformation:DetectStackDrift", "AccessDenied", "no")]
    assert (await story.part()).outcome == "failed"
    assert story.failure.denied_action == "cloudformation:DetectStackDrift"


async def test_many_resources_come_in_chunks_and_a_cancel_ends_it() -> None:
    wide = [Difference(path=f"/P{number}", type="NOT_EQUAL", expected="x", actual="y" * 5_000) for number in range(30)]
    story = make(*(resource(f"R{number}", "MODIFIED", differences=wide) for number in range(300)))
    await story.part()
    assert len(story.findings) == 300
    document = story.documents["drift"]
    assert isinstance(document, Drift)
    assert [one.differences[0].actual for one in document.resources if one.status == "MODIFIED"] == [""] * 300

    assert (await make(resource("Same", "IN_SYNC")).part(cancel=True)).outcome == "canceled"

"""A drift run: what of the stack is not as its template says, as a document and as findings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from coreo_shared.contracts.deploys import Checkpoint, Difference, Drift, DriftedResource
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.rules.values import fingerprint
from coreo_worker.audit.chunks import ChunkWriter
from coreo_worker.aws.stacks import DriftStatus, StackRefusalError, StackResource
from coreo_worker.deploy.problems import Problem
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.run import DeployRun, parked, seconds_of
from coreo_worker.deploy.statuses import obstacle
from coreo_worker.deploy.terms import DRIFT_RULE, UNIT_TYPE

MAX_VALUE: Final = 2_000  # characters of a property's value
MAX_BYTES: Final = 3 * 1024 * 1024  # of the document; the results service takes a little more
_SHOWN_VALUE: Final = 500  # characters of a property's value, in a finding
_SHOWN: Final = 20  # differences of a resource, in a finding
_UNDER_WAY: Final = "DETECTION_IN_PROGRESS"
_OTHER_SECONDS: Final = 15.0
_LONGEST_SECONDS: Final = 3_600.0
_Others = tuple[Literal["NOT_CHECKED", "UNKNOWN"], str]
_OF_NO_TYPE: Final[_Others] = ("NOT_CHECKED", "CloudFormation does not detect drift of this type.")
_MAY_HAVE_FAILED: Final[_Others] = ("UNKNOWN", "The drift detection failed, and AWS does not say for which resources.")
_STATUSES: Final = {
    "IN_SYNC": FindingStatus.PASS,
    "MODIFIED": FindingStatus.FAIL,
    "DELETED": FindingStatus.FAIL,
    "UNKNOWN": FindingStatus.NOT_EVALUATED,
}


@dataclass
class DriftDetection:
    """Has AWS detect drift, and tells of it."""

    run: DeployRun

    async def execute(self) -> Ended:
        """Raises StackTroubleError and StackRefusalError."""
        run = self.run
        checkpoint = run.claim.checkpoint or Checkpoint(step="detecting", began_at=run.now)
        stack = await run.stacks.find(run.spec.stack_name)
        problem = obstacle(run.spec.action, None if stack is None else stack.status)
        if problem is not None or stack is None:
            problem = problem or Problem("stack_missing", "There is no such stack.")
            return await run.fail(problem, checkpoint, None if stack is None else stack.status)
        checkpoint = msgspec.structs.replace(checkpoint, stack_arn=stack.arn)
        waited = run.clock() - seconds_of(checkpoint.began_at or run.now)
        if waited > _LONGEST_SECONDS:
            return await run.fail(_too_long(), checkpoint, stack.status)
        if checkpoint.drift_id is None:
            started = await self._start(stack.arn)
            if started is None:
                return parked(checkpoint, _OTHER_SECONDS, "Another drift detection of the stack is under way.")
            checkpoint = msgspec.structs.replace(checkpoint, drift_id=started)
        return await self._await(checkpoint, stack.arn)

    async def _start(self, stack_arn: str) -> str | None:
        """The detection's id; None while another one is under way, maybe one whose answer was lost."""
        try:
            return await self.run.stacks.detect_drift(stack_arn)
        except StackRefusalError as refused:
            if "already in progress" in refused.said.lower() or "is in progress" in refused.said.lower():
                return None
            raise

    async def _await(self, checkpoint: Checkpoint, stack_arn: str) -> Ended:
        run = self.run
        waiting = run.waiting(seconds_of(checkpoint.began_at or run.now))
        while True:
            if run.canceled.is_set():
                return Ended(outcome="canceled")
            status = await run.stacks.drift_status(checkpoint.drift_id or "")
            if status.detection != _UNDER_WAY:
                return await self._tell(checkpoint, stack_arn, status)
            seconds = await waiting.pause()
            if seconds is not None:
                return parked(checkpoint, seconds, "CloudFormation is detecting drift.")

    async def _tell(self, checkpoint: Checkpoint, stack_arn: str, status: DriftStatus) -> Ended:
        run = self.run
        compared = await run.stacks.drifts(stack_arn)
        has_failed = status.detection == "DETECTION_FAILED"
        if has_failed and not any(one.status in _STATUSES for one in compared):
            problem = Problem("drift_not_detected", "AWS could not detect drift; the failure says why.", status.reason)
            return await run.fail(problem, checkpoint)
        # Where AWS names none that it failed for, it may be any of those that it does not tell of.
        others = _MAY_HAVE_FAILED if has_failed and all(one.status != "UNKNOWN" for one in compared) else _OF_NO_TYPE
        resources = beside_template(compared, await run.stacks.resources(stack_arn), others)
        document = _sized(
            Drift(stack_arn=stack_arn, status=overall(resources), resources=resources, detected_at=status.at or run.now)
        )
        await run.voice.store(document, checkpoint)
        writer = ChunkWriter(_Sink(run), f"{UNIT_TYPE}@{run.spec.region}")
        for finding in findings_of(run.account_id, run.spec.region, run.spec.stack_name, resources):
            await writer.add(finding)
        await writer.finish()
        return Ended(outcome="completed", reason=_left_out(resources))


def beside_template(
    compared: Sequence[DriftedResource],
    resources: Sequence[StackResource],
    others: _Others,
) -> list[DriftedResource]:
    """Every resource of the stack. `others`: status of those that AWS did not compare, and the reason."""
    by_name = {one.logical_id: _shortened(one) for one in compared}
    for resource in resources:
        if resource.logical_id not in by_name and resource.status != "DELETE_COMPLETE":
            by_name[resource.logical_id] = DriftedResource(
                logical_id=resource.logical_id,
                physical_id=resource.physical_id,
                type=resource.type,
                status=others[0],
                reason=others[1],
            )
    return [by_name[name] for name in sorted(by_name)]


def overall(resources: Sequence[DriftedResource]) -> Literal["IN_SYNC", "DRIFTED", "UNKNOWN"]:
    """What holds of the stack."""
    found = {one.status for one in resources}
    if found & {"MODIFIED", "DELETED"}:
        return "DRIFTED"
    return "UNKNOWN" if "UNKNOWN" in found else "IN_SYNC"


def findings_of(account_id: str, region: str, stack_name: str, resources: Sequence[DriftedResource]) -> list[Finding]:
    """A finding for each resource that AWS compared, or should have. What it never compares is in the document alone:
    as findings these would be there for ever, whatever anybody does.
    """
    return [
        _finding(account_id, region, stack_name, resource) for resource in resources if resource.status in _STATUSES
    ]


def _finding(account_id: str, region: str, stack_name: str, resource: DriftedResource) -> Finding:
    arn = resource.physical_id if (resource.physical_id or "").startswith("arn:") else None
    return Finding(
        fingerprint=fingerprint(account_id, DRIFT_RULE, f"{region}/{stack_name}/{resource.logical_id}"),
        rule_id=DRIFT_RULE,
        status=_STATUSES[resource.status],
        severity=Severity.HIGH if resource.status == "DELETED" else Severity.MEDIUM,
        resource_type=resource.type,
        resource_id=resource.physical_id or resource.logical_id,
        resource_arn=arn,
        region=region,
        message=_message(resource),
        evidence={
            "stack": stack_name,
            "logical_id": resource.logical_id,
            "differences": [msgspec.to_builtins(_cut(one, _SHOWN_VALUE)) for one in resource.differences[:_SHOWN]],
        },
        reason=(resource.reason or "AWS could not compare it.") if resource.status == "UNKNOWN" else None,
    )


def _message(resource: DriftedResource) -> str:
    match resource.status:
        case "IN_SYNC":
            return f"{resource.logical_id} is as its template says"
        case "DELETED":
            return f"{resource.logical_id} was deleted outside CloudFormation"
        case "MODIFIED":
            paths = ", ".join(one.path for one in resource.differences[:5])
            return f"{resource.logical_id} is not as its template says: {paths or 'AWS does not say what differs'}"
        case _:
            return f"{resource.logical_id} could not be compared with its template"


def _shortened(resource: DriftedResource) -> DriftedResource:
    return msgspec.structs.replace(resource, differences=[_cut(one, MAX_VALUE) for one in resource.differences])


def _cut(difference: Difference, length: int) -> Difference:
    return msgspec.structs.replace(difference, expected=difference.expected[:length], actual=difference.actual[:length])


def _sized(drift: Drift) -> Drift:
    """Small enough to be stored: which resources have drifted is always there."""
    if len(msgspec.json.encode(drift)) <= MAX_BYTES:
        return drift
    bare = [
        msgspec.structs.replace(one, differences=[_cut(difference, 0) for difference in one.differences[:_SHOWN]])
        for one in drift.resources
    ]
    return msgspec.structs.replace(drift, resources=bare)


@dataclass(frozen=True)
class _Sink:
    """Takes the findings as an audit's sink does."""

    run: DeployRun

    async def planned(self, units_total: int) -> None:
        """There is one unit, which the worker knows."""

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        """Hands them on."""
        await self.run.voice.store_findings(unit, index, final=final, findings=findings)


def _left_out(resources: Sequence[DriftedResource]) -> str | None:
    count = sum(one.status == "NOT_CHECKED" for one in resources)
    return f"{count} resources are of types whose drift CloudFormation does not detect." if count else None


def _too_long() -> Problem:
    return Problem("drift_not_detected", "AWS has not ended the drift detection within an hour. Start the run again.")

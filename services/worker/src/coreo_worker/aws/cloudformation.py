"""CloudFormation behind the port `aws.stacks.Stacks`: each call with the run's session, reads tried again, writes not.

Whoever asks for a change looks what became of it before asking again. API reference:
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Operations.html
"""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from coreo_shared.contracts.deploys import Change, ChangeDetail, Difference, DriftedResource, Output, StackEvent
from coreo_worker.aws.calls import CallError, DeniedError, SessionExpiredError, ThrottledError, call
from coreo_worker.aws.clients import Clients
from coreo_worker.aws.stacks import (
    ChangeSet,
    ChangeSetOrder,
    ChangeSetSummary,
    DriftStatus,
    Stack,
    StackDeniedError,
    StackRefusalError,
    StackResource,
    StackTroubleError,
)

_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.3
_SESSIONS: Final = 3  # that may end during one call, before it is the sessions that are wrong
_SERVICE: Final = "cloudformation"
_LONGEST_REASON: Final = 4_000  # characters
_LACKING = re.compile(r"not authorized to perform:? ?\[?([a-z0-9-]+:[A-Za-z0-9]+)")
_NO_STACK = re.compile(r"^Stack\b.* does not exist")
# A quota, not haste: the SDK's list of throttles, made for other services, has it too.
_QUOTAS: Final = frozenset({"LimitExceededException", "LimitExceeded"})


class SdkStacks:
    """By the SDK."""

    def __init__(self, clients: Clients, region: str) -> None:
        self._clients = clients
        self._region = region

    async def find(self, stack: str) -> Stack | None:
        """As the port says."""
        try:
            answer = await self._read("describe_stacks", StackName=stack)
        except StackRefusalError as refusal:
            if _is_missing(refusal):
                return None
            raise
        found = answer["Stacks"]
        return _stack(found[0]) if found else None

    async def change_sets(self, stack: str) -> list[ChangeSetSummary]:
        """As the port says."""
        try:
            return [
                ChangeSetSummary(one["ChangeSetId"], one["ChangeSetName"], one.get("Description", ""))
                async for page in self._pages("list_change_sets", StackName=stack)
                for one in page.get("Summaries", [])
            ]
        except StackRefusalError as refusal:
            if _is_missing(refusal):
                return []
            raise

    async def make_change_set(self, order: ChangeSetOrder) -> None:
        """As the port says."""
        await self._write("create_change_set", **_request(order))

    async def change_set(self, stack_name: str, change_set: str) -> ChangeSet | None:
        """As the port says."""
        named = {"StackName": stack_name, "ChangeSetName": change_set, "IncludePropertyValues": True}
        first: Mapping[str, Any] | None = None
        changes: list[Change] = []
        try:
            async for page in self._pages("describe_change_set", **named):
                first = first or page
                changes += [
                    _change(one["ResourceChange"]) for one in page.get("Changes", []) if "ResourceChange" in one
                ]
        except StackRefusalError as refusal:
            if refusal.code in {"ChangeSetNotFound", "ChangeSetNotFoundException"} or _is_missing(refusal):
                return None
            raise
        if first is None:
            return None
        return ChangeSet(
            arn=first["ChangeSetId"],
            stack_arn=first["StackId"],
            status=first["Status"],
            execution=first.get("ExecutionStatus", "UNAVAILABLE"),
            reason=first.get("StatusReason", ""),
            changes=tuple(changes),
        )

    async def drop_change_set(self, stack_name: str, change_set: str) -> None:
        """As the port says."""
        try:
            await self._write("delete_change_set", StackName=stack_name, ChangeSetName=change_set)
        except StackRefusalError as refusal:
            if refusal.code not in {"ChangeSetNotFound", "ChangeSetNotFoundException"} and not _is_missing(refusal):
                raise

    async def template(self, stack: str, change_set: str | None = None) -> str:
        """As the port says."""
        of = {"StackName": stack, "TemplateStage": "Processed"}
        answer = await self._read("get_template", **of, **({"ChangeSetName": change_set} if change_set else {}))
        body = answer["TemplateBody"]
        return body if isinstance(body, str) else json.dumps(body)  # the SDK gives JSON as what it means

    async def execute(self, stack_name: str, change_set_arn: str, token: str) -> None:
        """As the port says."""
        named = {"StackName": stack_name, "ChangeSetName": change_set_arn}
        await self._write("execute_change_set", **named, ClientRequestToken=token)

    async def cancel_update(self, stack: str, token: str) -> None:
        """As the port says."""
        await self._write("cancel_update_stack", StackName=stack, ClientRequestToken=token)

    async def protect(self, stack: str, *, on: bool) -> None:
        """As the port says."""
        await self._write("update_termination_protection", StackName=stack, EnableTerminationProtection=on)

    async def delete(self, stack_arn: str, token: str, role_arn: str | None) -> None:
        """As the port says."""
        role = {"RoleARN": role_arn} if role_arn else {}
        await self._write("delete_stack", StackName=stack_arn, ClientRequestToken=token, **role)

    async def events(self, stack_arn: str, *, after: str | None, since: str) -> list[StackEvent]:
        """As the port says."""
        found: list[StackEvent] = []
        try:
            async for page in self._pages("describe_stack_events", StackName=stack_arn):
                for raw in page.get("StackEvents", []):
                    event = _event(raw)
                    if event.event_id == after or (after is None and event.at < since):
                        return found[::-1]
                    found.append(event)
        except StackRefusalError as refusal:
            if not _is_missing(refusal):
                raise
        return found[::-1]

    async def validation_errors(self, stack: str, *, since: str, change_set: str | None = None) -> list[StackEvent]:
        """As the port says."""
        of = {"ChangeSetName": change_set} if change_set else {"StackName": stack}
        found = [
            _validation_error(raw)
            async for page in self._pages("describe_events", **of, Filters={"FailedEvents": True})
            for raw in page.get("OperationEvents", [])
            if raw.get("EventType") == "VALIDATION_ERROR" and raw.get("ValidationFailureMode", "FAIL") == "FAIL"
        ]
        return sorted((event for event in found if event.at >= since), key=lambda event: event.at)

    async def resources(self, stack_arn: str) -> list[StackResource]:
        """As the port says."""
        return [
            StackResource(
                one["LogicalResourceId"],
                one.get("PhysicalResourceId") or None,
                one["ResourceType"],
                one["ResourceStatus"],
            )
            async for page in self._pages("list_stack_resources", StackName=stack_arn)
            for one in page.get("StackResourceSummaries", [])
        ]

    async def detect_drift(self, stack: str) -> str:
        """As the port says."""
        answer = await self._write("detect_stack_drift", StackName=stack)
        return str(answer["StackDriftDetectionId"])

    async def drift_status(self, detection_id: str) -> DriftStatus:
        """As the port says."""
        answer = await self._read("describe_stack_drift_detection_status", StackDriftDetectionId=detection_id)
        return DriftStatus(
            detection=answer["DetectionStatus"],
            drift=answer.get("StackDriftStatus"),
            reason=answer.get("DetectionStatusReason", ""),
            at=_time(answer.get("Timestamp")),
        )

    async def drifts(self, stack: str) -> list[DriftedResource]:
        """As the port says."""
        return [
            _drifted(one)
            async for page in self._pages("describe_stack_resource_drifts", StackName=stack)
            for one in page.get("StackResourceDrifts", [])
        ]

    async def _pages(self, operation: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        more: dict[str, Any] | None = {}
        while more is not None:
            answer = await self._read(operation, **arguments, **more)
            yield answer
            token = answer.get("NextToken")
            more = {"NextToken": token} if token else None

    async def _read(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Asks until it is answered, a few times."""
        for failures in range(_TRIES):
            try:
                return await self._once(operation, arguments)
            except StackTroubleError:
                if failures == _TRIES - 1:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS * 2**failures * (0.5 + random.random() / 2))  # noqa: S311  spreads tries
        raise AssertionError("the last try returns or raises")

    async def _write(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Asks once: whether it was done where no answer came, the caller finds out."""
        return await self._once(operation, arguments)

    async def _once(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        action = f"{_SERVICE}:{''.join(part.title() for part in operation.split('_'))}"
        sessions = 0
        while True:
            session = self._clients.generation
            try:
                return await call(self._clients, _SERVICE, self._region, operation, arguments, actions=(action,))
            except SessionExpiredError:
                # AWS looks at the session before it does anything, so that this one may be asked again.
                sessions += 1
                if sessions > _SESSIONS or not await self._clients.renewed(session):
                    raise StackTroubleError(action, "ExpiredToken") from None
            except CallError as error:
                raise _told(error, action) from None


def _told(error: CallError, action: str) -> StackRefusalError | StackTroubleError:
    """Whether AWS refused, or nobody knows."""
    if error.code in _QUOTAS:
        return StackRefusalError(action, error.code, error.said)
    if isinstance(error, DeniedError):
        lacking = _LACKING.search(error.said)
        return StackDeniedError(lacking[1] if lacking else action, error.code, error.said)
    if error.code == "ParamValidationError":  # the SDK itself would not send it
        return StackRefusalError(action, error.code, "A value of the plan is not as the API takes it.")
    if isinstance(error, ThrottledError) or error.transient or not error.said:
        return StackTroubleError(action, error.code)
    return StackRefusalError(action, error.code, error.said)


def _is_missing(refusal: StackRefusalError) -> bool:
    """AWS calls a stack that is not there a validation error."""
    return refusal.code == "ValidationError" and _NO_STACK.search(refusal.said) is not None


def _request(order: ChangeSetOrder) -> dict[str, Any]:
    given: dict[str, Any] = {
        "StackName": order.stack_name,
        "ChangeSetName": order.name,
        "ClientToken": order.token,
        "Description": order.description,
        "ChangeSetType": "UPDATE" if order.is_update else "CREATE",
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in sorted(order.parameters.items())
        ],
        "Capabilities": list(order.capabilities),
        "Tags": [{"Key": name, "Value": value} for name, value in sorted(order.tags.items())],
    }
    if order.template_url is not None:
        given["TemplateURL"] = order.template_url
    else:
        given["TemplateBody"] = order.template
    if order.role_arn is not None:
        given["RoleARN"] = order.role_arn
    if order.triggers or order.monitoring_minutes:
        given["RollbackConfiguration"] = {
            "RollbackTriggers": [{"Arn": trigger.arn, "Type": trigger.type} for trigger in order.triggers],
            "MonitoringTimeInMinutes": order.monitoring_minutes,
        }
    return given


def _stack(raw: Mapping[str, Any]) -> Stack:
    return Stack(
        arn=raw["StackId"],
        name=raw["StackName"],
        status=raw["StackStatus"],
        updated_at=_time(raw.get("LastUpdatedTime") or raw["CreationTime"]) or "",
        is_protected=bool(raw.get("EnableTerminationProtection")),
        outputs=tuple(
            Output(
                key=one["OutputKey"],
                value=one.get("OutputValue", ""),
                description=one.get("Description") or None,
                export_name=one.get("ExportName"),
            )
            for one in raw.get("Outputs", [])
        ),
    )


_ACTIONS: Final = frozenset({"Add", "Modify", "Remove", "Import", "Dynamic", "Sync"})
_REPLACEMENTS: Final = frozenset({"True", "False", "Conditional"})
_RECREATIONS: Final = frozenset({"Never", "Conditionally", "Always"})
_EVALUATIONS: Final = frozenset({"Static", "Dynamic"})
_DIFFERENCES: Final = frozenset({"ADD", "REMOVE", "NOT_EQUAL"})
_DRIFTS: Final = frozenset({"IN_SYNC", "MODIFIED", "DELETED", "NOT_CHECKED", "UNKNOWN"})


def _known(value: Any, known: frozenset[str], otherwise: Any = None) -> Any:
    """The value if the contract has it: AWS may come to know more."""
    return value if value in known else otherwise


def _change(raw: Mapping[str, Any]) -> Change:
    return Change(
        action=_known(raw["Action"], _ACTIONS, "Dynamic"),
        logical_id=raw["LogicalResourceId"],
        physical_id=raw.get("PhysicalResourceId") or None,
        type=raw["ResourceType"],
        replacement=_known(raw.get("Replacement"), _REPLACEMENTS),
        policy_action=raw.get("PolicyAction"),
        scope=list(raw.get("Scope", [])),
        details=[_detail(one) for one in raw.get("Details", [])],
        nested_change_set_arn=raw.get("ChangeSetId"),
    )


def _detail(raw: Mapping[str, Any]) -> ChangeDetail:
    target = raw.get("Target", {})
    return ChangeDetail(
        attribute=target.get("Attribute", ""),
        name=target.get("Name"),
        path=target.get("Path"),
        recreation=_known(target.get("RequiresRecreation"), _RECREATIONS),
        evaluation=_known(raw.get("Evaluation"), _EVALUATIONS),
        source=raw.get("ChangeSource"),
        cause=raw.get("CausingEntity"),
        before=target.get("BeforeValue"),
        after=target.get("AfterValue"),
    )


def _event(raw: Mapping[str, Any]) -> StackEvent:
    return StackEvent(
        event_id=raw["EventId"],
        at=_time(raw["Timestamp"]) or "",
        logical_id=raw.get("LogicalResourceId", ""),
        physical_id=raw.get("PhysicalResourceId") or None,
        type=raw.get("ResourceType", ""),
        status=raw.get("ResourceStatus", ""),
        reason=(raw.get("ResourceStatusReason") or "")[:_LONGEST_REASON] or None,
        token=raw.get("ClientRequestToken"),
    )


def _validation_error(raw: Mapping[str, Any]) -> StackEvent:
    path = raw.get("ValidationPath") or ""
    reason = raw.get("ValidationStatusReason") or raw.get("ValidationName") or ""
    return StackEvent(
        event_id=raw["EventId"],
        at=_time(raw.get("Timestamp")) or "",
        logical_id=raw.get("LogicalResourceId", ""),
        physical_id=raw.get("PhysicalResourceId") or None,
        type=raw.get("ResourceType", ""),
        status="VALIDATION_FAILED",
        reason=f"{path}: {reason}" if path else reason,
        token=raw.get("ClientRequestToken"),
    )


def _drifted(raw: Mapping[str, Any]) -> DriftedResource:
    return DriftedResource(
        logical_id=raw["LogicalResourceId"],
        physical_id=raw.get("PhysicalResourceId") or None,
        type=raw["ResourceType"],
        status=_known(raw["StackResourceDriftStatus"], _DRIFTS, "UNKNOWN"),
        reason=raw.get("DriftStatusReason"),
        differences=[
            Difference(
                path=one["PropertyPath"],
                type=_known(one["DifferenceType"], _DIFFERENCES, "NOT_EQUAL"),
                expected=one["ExpectedValue"],
                actual=one["ActualValue"],
            )
            for one in raw.get("PropertyDifferences", [])
        ],
    )


def _time(value: datetime | None) -> str | None:
    """RFC 3339 in UTC to the millisecond, so that texts compare as the moments do."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds")

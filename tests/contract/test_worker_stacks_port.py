"""One suite for the worker's CloudFormation port: the SDK on the simulated AWS, and the one in memory of tests."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest

from coreo_embedded.simulator import REGION, Simulator
from coreo_worker.aws.clients import ClientFactory, SessionCredentials
from coreo_worker.aws.cloudformation import SdkStacks
from coreo_worker.aws.stacks import (
    ChangeSetOrder,
    StackDeniedError,
    StackRefusalError,
    Stacks,
    StackTroubleError,
)
from coreo_worker.deploy.operation import Operation
from tests.support.memory_stacks import MemoryStacks, modify

TEMPLATE: dict[str, Any] = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "t-1"}}},
    "Outputs": {"Topic": {"Value": {"Ref": "Topic"}, "Description": "d"}},
}


@dataclass
class Subject:
    """The port, and how its next change sets come to have nothing, or something, to change."""

    stacks: Stacks
    memory: MemoryStacks | None = None

    def order(self, name: str = "c1", *, is_update: bool = False, change: str | None = None) -> ChangeSetOrder:
        """A change set; with `change` it gives the topic that display name."""
        template = json.loads(json.dumps(TEMPLATE))
        if change is not None:
            template["Resources"]["Topic"]["Properties"]["DisplayName"] = change
        if self.memory is not None:
            self.memory.making = "FAILED" if is_update and change is None else "CREATE_COMPLETE"
            self.memory.changes = (modify(),) if is_update else MemoryStacks().changes
        return ChangeSetOrder(
            stack_name="web",
            name=name,
            token=name,
            description="for a test",
            is_update=is_update,
            template=json.dumps(template),
            template_url=None,
            parameters={},
            capabilities=[],
            tags={"team": "web"},
            role_arn=None,
            triggers=[],
            monitoring_minutes=0,
        )

    async def apply(self, order: ChangeSetOrder) -> str:
        """Makes and executes it; the stack's ARN once AWS is done."""
        await self.stacks.make_change_set(order)
        made = await self.stacks.change_set("web", order.name)
        assert made is not None
        await self.stacks.execute("web", made.arn, order.token)
        await self.ends(made.stack_arn, order.token)
        return made.stack_arn

    async def ends(self, arn: str, token: str) -> Operation:
        """The operation with this token, once it has ended."""
        while True:
            events = await self.stacks.events(arn, after=None, since="2000")
            operation, _ = Operation().follow(events, stack_arn=arn, token=token)
            if operation.ended is not None:
                return operation


@asynccontextmanager
async def open_stacks(aws: Simulator, account_id: str, **credentials: str) -> AsyncIterator[SdkStacks]:
    root = aws.root_credentials(account_id)
    keys = {"access_key_id": root.access_key_id, "secret_access_key": "x", "session_token": root.session_token or ""}
    given = SessionCredentials(**(keys | credentials), expires_at=2e9)
    async with ClientFactory(given, endpoint_url=aws.endpoint_url) as clients:
        yield SdkStacks(clients, REGION)


@pytest.fixture(params=["memory", "simulator"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "memory":
        memory = MemoryStacks()
        yield Subject(memory, memory)
        return
    aws, new_account = request.getfixturevalue("aws"), request.getfixturevalue("new_account")
    async with open_stacks(aws, new_account()) as stacks:
        yield Subject(stacks)


async def test_what_is_not_there(subject: Subject) -> None:
    stacks = subject.stacks

    assert await stacks.find("web") is None
    assert await stacks.change_sets("web") == []
    assert await stacks.change_set("web", "c1") is None
    await stacks.drop_change_set("web", "c1")
    with pytest.raises(StackRefusalError, match="ValidationError"):
        await stacks.make_change_set(subject.order(is_update=True))


async def test_stack_is_made_by_a_change_set(subject: Subject) -> None:
    stacks = subject.stacks
    await stacks.make_change_set(subject.order())
    with pytest.raises(StackRefusalError, match="AlreadyExistsException"):
        await stacks.make_change_set(subject.order())
    made = await stacks.change_set("web", "c1")
    assert made is not None
    assert (made.status, made.execution) == ("CREATE_COMPLETE", "AVAILABLE")
    assert [(one.action, one.logical_id, one.type) for one in made.changes] == [("Add", "Topic", "AWS::SNS::Topic")]
    assert made == await stacks.change_set("web", made.arn)
    (summary,) = await stacks.change_sets("web")
    assert (summary.arn, summary.name, summary.description) == (made.arn, "c1", "for a test")
    assert "AWS::SNS::Topic" in await stacks.template("web", made.arn)
    shell = await stacks.find("web")
    assert shell is not None
    assert (shell.arn, shell.status) == (made.stack_arn, "REVIEW_IN_PROGRESS")

    await stacks.execute("web", made.arn, "token-1")
    operation = await subject.ends(made.stack_arn, "token-1")
    assert operation.ended == "CREATE_COMPLETE"
    with pytest.raises(StackRefusalError, match="InvalidChangeSetStatus"):
        await stacks.execute("web", made.arn, "token-1")
    await until_execution(stacks, made.arn, "EXECUTE_COMPLETE")
    stack = await stacks.find(made.stack_arn)
    assert stack is not None
    assert (stack.status, [one.key for one in stack.outputs]) == ("CREATE_COMPLETE", ["Topic"])
    assert stack.updated_at > shell.updated_at
    assert [one.logical_id for one in await stacks.resources(made.stack_arn)] == ["Topic"]


async def until_execution(stacks: Stacks, arn: str, execution: str) -> None:
    while True:
        made = await stacks.change_set("web", arn)
        assert made is not None
        if made.execution == execution:
            return


async def test_nothing_to_change_is_a_change_set_that_failed(subject: Subject) -> None:
    await subject.apply(subject.order())
    await subject.stacks.make_change_set(subject.order("c2", is_update=True))

    made = await subject.stacks.change_set("web", "c2")

    assert made is not None
    assert made.status == "FAILED"
    with pytest.raises(StackRefusalError):
        await subject.stacks.execute("web", made.arn, "t")
    await subject.stacks.drop_change_set("web", "c2")
    assert await subject.stacks.change_set("web", "c2") is None


async def test_events_are_read_once_each(subject: Subject) -> None:
    arn = await subject.apply(subject.order())
    first = await subject.stacks.events(arn, after=None, since="2000")
    await subject.apply(subject.order("c2", is_update=True, change="n"))

    later = await subject.stacks.events(arn, after=first[-1].event_id, since="2000")
    everything = await subject.stacks.events(arn, after=None, since="2000")

    assert [one.event_id for one in first + later] == [one.event_id for one in everything]
    assert {one.token for one in later} == {"c2"}
    assert [one.at for one in everything] == sorted(one.at for one in everything)
    assert await subject.stacks.events(arn, after=None, since="2999") == []
    assert await subject.stacks.events(arn, after=everything[-1].event_id, since="2000") == []


async def test_deleted_stack_is_found_by_its_arn_alone(subject: Subject) -> None:
    arn = await subject.apply(subject.order())
    await subject.stacks.delete(arn, "d1", None)

    assert (await subject.ends(arn, "d1")).ended == "DELETE_COMPLETE"
    await subject.stacks.delete(arn, "d1", None)
    found = await subject.stacks.find(arn)
    assert found is not None
    assert found.status == "DELETE_COMPLETE"
    assert await subject.stacks.find("web") is None


async def test_protection_and_cancel(subject: Subject) -> None:
    arn = await subject.apply(subject.order())
    await subject.stacks.protect(arn, on=True)
    found = await subject.stacks.find(arn)
    assert found is not None
    assert found.is_protected
    with pytest.raises(StackRefusalError, match="ValidationError"):
        await subject.stacks.cancel_update(arn, "x-cancel")


async def test_drift(subject: Subject) -> None:
    arn = await subject.apply(subject.order())
    status = await subject.stacks.drift_status(await subject.stacks.detect_drift(arn))

    assert (status.detection, status.drift) == ("DETECTION_COMPLETE", "IN_SYNC")
    assert status.at is not None
    assert all(one.status == "IN_SYNC" for one in await subject.stacks.drifts(arn))


async def test_session_that_may_not_names_the_action(aws: Simulator, new_account: Callable[[], str]) -> None:
    account = new_account()
    iam = aws.root_client("iam", account)
    iam.create_user(UserName="u")
    key = iam.create_access_key(UserName="u")["AccessKey"]
    keys = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"], "session_token": ""}
    async with open_stacks(aws, account) as stacks:
        subject = Subject(stacks)
        arn = await subject.apply(subject.order())
    async with open_stacks(aws, account, **keys) as stacks:
        for call, action in (
            (stacks.find(arn), "DescribeStacks"),
            (stacks.make_change_set(subject.order("c2")), "CreateChangeSet"),
            (stacks.change_set("web", "c1"), "DescribeChangeSet"),
            (stacks.execute("web", "c1", "t"), "ExecuteChangeSet"),
            (stacks.delete(arn, "t", None), "DeleteStack"),
            (stacks.detect_drift("web"), "DetectStackDrift"),
        ):
            with pytest.raises(StackDeniedError) as raised:
                await call
            assert raised.value.action == f"cloudformation:{action}"


async def test_reads_are_tried_again_and_writes_are_not(aws: Simulator, new_account: Callable[[], str]) -> None:
    async with open_stacks(aws, new_account()) as stacks:
        subject = Subject(stacks)
        with aws.fault(kind="throttle", operation="DescribeStacks", times=2) as fault:
            assert await stacks.find("web") is None
        assert fault.hits == 2
        for kind in ("throttle", "error", "unavailable", "disconnect", "lose"):
            lost = aws.fault(kind=kind, operation="CreateChangeSet", times=1)
            with lost as fault, pytest.raises(StackTroubleError):
                await stacks.make_change_set(subject.order())
            assert fault.hits == 1
        assert await stacks.change_set("web", "c1") is not None  # the last one was only lost


async def test_refusals_are_told_in_aws_words(aws: Simulator, new_account: Callable[[], str]) -> None:
    async with open_stacks(aws, new_account()) as stacks:
        order = Subject(stacks).order()
        for changed, code, said in (
            (replace(order, template="{"), "ValidationError", "Template format error"),
            (
                replace(order, template='{"Resources": {"X": {"Type": "AWS::No::Such"}}}'),
                "ValidationError",
                "AWS::No::Such",
            ),
            (
                replace(order, template=None, template_url="https://none.s3.amazonaws.com/t"),
                "ValidationError",
                "S3 error: The specified bucket does not exist",
            ),
            (
                replace(order, template=None, template_url="https://example.com/none/t"),
                "ValidationError",
                "TemplateURL must be a supported URL.",
            ),
        ):
            with pytest.raises(StackRefusalError) as raised:
                await stacks.make_change_set(changed)
            assert raised.value.code == code
            assert said in raised.value.said
        assert await stacks.find("web") is None


@pytest.mark.parametrize(
    ("times", "renewals", "made"),
    [(1, 1, nullcontext()), (20, 3, pytest.raises(StackTroubleError, match="ExpiredToken"))],
)
async def test_session_that_is_over_is_renewed_and_the_call_made_again_but_not_for_ever(
    aws: Simulator,
    new_account: Callable[[], str],
    times: int,
    renewals: int,
    made: AbstractContextManager[object],
) -> None:
    root = aws.root_credentials(new_account())
    renewed = []
    clients: ClientFactory

    async def renew() -> None:
        renewed.append(1)
        await clients.replace_credentials(SessionCredentials(root.access_key_id, "x", root.session_token or "", 2e9))

    old = SessionCredentials(root.access_key_id, "x", root.session_token or "", expires_at=0)
    async with ClientFactory(old, endpoint_url=aws.endpoint_url, renew=renew) as clients:
        with aws.fault(kind="expired", operation="CreateChangeSet", times=times), made:
            await SdkStacks(clients, REGION).make_change_set(Subject(SdkStacks(clients, REGION)).order())

    assert renewed == [1] * renewals

"""Deploy runs through real workers, the real results service and the simulated AWS, which makes stacks as AWS does:
with the permissions of the run's session, or of the role that it handed over.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest

from coreo_embedded.stack import Process
from coreo_shared.contracts.deploys import (
    DeployAction,
    DeploySpec,
    Drift,
    Failure,
    Gate,
    Outputs,
    Preview,
)
from coreo_shared.contracts.results import RunEvent
from coreo_shared.contracts.terms import FindingStatus, RunState
from coreo_shared.ids import new_id
from tests.support.deploys import ACCOUNT, ROLE_NAME, Desk, make_spec

pytestmark = pytest.mark.timeout(120)
PREVIEW, APPLY, DRIFT, DESTROY = DeployAction
EC2 = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
TRUST = {"Version": "2012-10-17", "Statement": [EC2]}


@pytest.fixture(scope="module")
def worker(desk: Desk) -> Iterator[Process]:
    process = desk.worker(max_runs="6", hold_seconds="2")
    yield process
    process.stop()


@pytest.fixture
async def office(desk: Desk, worker: Process) -> AsyncIterator[Desk]:
    """The desk at work, with a worker."""
    async with desk.following():
        yield desk


def topic(name: str, **properties: Any) -> dict[str, Any]:
    return {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name, **properties}}


def template(**resources: Any) -> dict[str, Any]:
    first = next(iter(resources))
    return {"Resources": resources, "Outputs": {"First": {"Value": {"Ref": first}}}}


def waiting(depends: str | None = None) -> dict[str, Any]:
    """Resources that AWS works on until it is signalled to."""
    wait: dict[str, Any] = {
        "Type": "AWS::CloudFormation::WaitCondition",
        "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "300"},
    }
    if depends:
        wait["DependsOn"] = depends
    return {"Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"}, "Wait": wait}


async def failure_of(desk: Desk, run_id: UUID) -> Failure:
    found = await desk.document(run_id, "failure")
    assert isinstance(found, Failure)
    return found


def signal(desk: Desk, stack: str, status: str = "SUCCESS") -> None:
    name = {"StackName": stack, "LogicalResourceId": "Wait", "UniqueId": str(new_id())}
    desk.cloudformation.signal_resource(**name, Status=status)  # type: ignore[arg-type]


async def test_life_of_a_stack(office: Desk) -> None:
    """Previewed, made, found unchanged, protected, drifted, compared and destroyed: each seen as it was."""
    name, role = (
        "life",
        {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "life-1", "AssumeRolePolicyDocument": TRUST}},
    )
    resources = {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "life-1"}}, "Role": role}
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "d", "SecurityGroupIngress": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}]}}  # fmt: skip
    rules = ["ec2-security-group-open-ssh", "s3-bucket-versioning", "s3-bucket-public-access-block"]
    spec = make_spec(template(**resources, Group=group), PREVIEW, name=name, rules=rules)

    run_id, event = await office.carry_out(spec)
    assert (event.state, event.reason) == (RunState.SUCCEEDED, None)
    preview = await office.document(run_id, "preview")
    assert isinstance(preview, Preview)
    assert {change.logical_id: change.action for change in preview.changes} == dict.fromkeys(
        ("Bucket", "Role", "Group"), "Add"
    )
    found = {(finding.rule_id, finding.logical_id): finding.status for finding in preview.findings}
    assert found == {
        ("ec2-security-group-open-ssh", "Group"): FindingStatus.FAIL,
        ("s3-bucket-versioning", "Bucket"): FindingStatus.FAIL,
    }
    assert office.cloudformation.list_change_sets(StackName=name)["Summaries"] == []

    run_id, event = await office.carry_out(make_spec(template(**resources), name=name, tags={"team": "web"}))
    assert (event.state, event.units_done, event.units_total) == (RunState.SUCCEEDED, 2, 2)
    outputs = await office.document(run_id, "outputs")
    assert isinstance(outputs, Outputs)
    assert [(one.key, one.value) for one in outputs.outputs] == [("First", "life-1")]
    events = await office.stack_events(run_id)
    assert {one.token for one in events} == {str(run_id)}
    assert (events[0].status, events[-1].status) == ("CREATE_IN_PROGRESS", "CREATE_COMPLETE")

    run_id, event = await office.carry_out(make_spec(template(**resources), name=name, tags={"team": "web"}))
    assert (event.state, event.deploy is not None and event.deploy.no_change) == (RunState.SUCCEEDED, True)

    protected = make_spec(template(**resources), name=name, tags={"team": "web"}, termination_protection=True)
    run_id, event = await office.carry_out(protected)
    assert (event.state, event.deploy is not None and event.deploy.approved_by != []) == (RunState.SUCCEEDED, True)
    assert office.cloudformation.describe_stacks(StackName=name)["Stacks"][0]["EnableTerminationProtection"]
    run_id, event = await office.carry_out(make_spec(None, DESTROY, name=name))
    assert (event.state, (await failure_of(office, run_id)).code) == (RunState.FAILED, "stack_protected")
    office.cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=False)

    office.client("iam").update_assume_role_policy(
        RoleName="life-1", PolicyDocument=json.dumps(TRUST).replace("ec2", "lambda")
    )
    run_id, event = await office.carry_out(make_spec(None, DRIFT, name=name))
    assert (event.state, event.units_done) == (RunState.SUCCEEDED, 1)
    drift = await office.document(run_id, "drift")
    assert isinstance(drift, Drift)
    assert (drift.status, {one.logical_id: one.status for one in drift.resources}) == (
        "DRIFTED",
        {"Bucket": "IN_SYNC", "Role": "MODIFIED"},
    )
    findings = {one.evidence["logical_id"]: one.status for one in await office.findings(run_id)}
    assert findings == {"Bucket": FindingStatus.PASS, "Role": FindingStatus.FAIL}

    gates = [Gate(resource_type="AWS::S3::*", refuse=["remove"])]
    run_id, event = await office.carry_out(make_spec(None, DESTROY, name=name, gates=gates, allow=["Bucket"]))
    assert event.state is RunState.SUCCEEDED
    assert office.client("s3").list_buckets()["Buckets"] == []


async def test_session_may_do_what_the_plan_states_and_nothing_else(office: Desk) -> None:
    """The role may do anything; the run may not make the queue that its plan does not speak of."""
    both = template(Topic=topic("states"), Queue={"Type": "AWS::SQS::Queue", "DependsOn": "Topic"})
    stated = ["sns:CreateTopic", "sns:DeleteTopic"]
    before = len(office.stack.simulator.requests)

    run_id, event = await office.carry_out(make_spec(both, name="states", permissions=stated))

    assert event.state is RunState.ROLLED_BACK
    assert "Queue (AWS::SQS::Queue) was the first to fail" in (event.reason or "")
    assert "sqs:CreateQueue" in (event.reason or "")
    failure = await failure_of(office, run_id)
    assert (failure.code, failure.denied_action, failure.stack_status) == (
        "access_denied",
        "sqs:CreateQueue",
        "ROLLBACK_COMPLETE",
    )
    policies = [
        json.loads(request.parameters["Policy"])["Statement"]
        for request in office.stack.simulator.requests[before:]
        if request.operation == "AssumeRole" and request.parameters["RoleArn"] == office.role_arn
    ]
    looks, changes = policies
    stack = f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/states/*"
    assert [(one["Resource"], len(one["Action"])) for one in looks] == [(stack, 7)]
    assert changes[0]["Resource"] == stack
    assert changes[1] == {"Effect": "Allow", "Action": stated, "Resource": "*"}

    run_id, event = await office.carry_out(make_spec(both, name="states", permissions=[*stated, "sqs:*"]))
    assert (event.state, (await failure_of(office, run_id)).code) == (RunState.FAILED, "stack_not_updatable")


async def test_stack_whose_rollback_failed_is_said_and_left_alone(office: Desk) -> None:
    """The role loses what it would take to undo the update: only people can go on from there."""
    name, before = "half", template(One=topic("half-1"))
    more = template(One=topic("half-1", DisplayName="x"), **waiting("One"))
    _, event = await office.carry_out(make_spec(before, name=name))
    assert event.state is RunState.SUCCEEDED
    run_id = office.start(make_spec(more, name=name))
    await office.approve(run_id)
    await office.until_event(run_id, lambda event: event.units_done > 1)  # the topic, and the wait's handle
    deny = {"Effect": "Deny", "Action": "sns:SetTopicAttributes", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": deny})
    office.client("iam").put_role_policy(RoleName=ROLE_NAME, PolicyName="half", PolicyDocument=policy)
    try:
        signal(office, name, "FAILURE")
        event = await office.until(run_id)
    finally:
        office.client("iam").delete_role_policy(RoleName=ROLE_NAME, PolicyName="half")
    failure = await failure_of(office, run_id)
    assert (event.state, failure.stack_status) == (RunState.FAILED, "UPDATE_ROLLBACK_FAILED")
    assert failure.first is not None
    assert failure.first.logical_id == "Wait"
    assert "continue-update-rollback" in " ".join(failure.advice)

    run_id, event = await office.carry_out(make_spec(more, name=name))
    assert (event.state, (await failure_of(office, run_id)).code) == (RunState.FAILED, "stack_not_updatable")
    assert "UPDATE_ROLLBACK_FAILED" in (event.reason or "")


async def test_throttling_is_waited_out(office: Desk) -> None:
    """At each call that changes something, and at the looks in between; what was asked for happens once."""
    name, before = "throttled", len(office.stack.simulator.requests)
    with contextlib.ExitStack() as faults:
        throttles = [
            faults.enter_context(
                office.stack.simulator.fault(kind="throttle", operation=operation, containing=name, times=times)
            )
            for operation, times in (("DescribeStacks", 2), ("CreateChangeSet", 2), ("ExecuteChangeSet", 1))
        ]
        _, event = await office.carry_out(make_spec(template(Topic=topic(name)), name=name))
    assert (event.state, [fault.hits for fault in throttles]) == (RunState.SUCCEEDED, [2, 2, 1])
    assert [one.status for one in office.calls("ExecuteChangeSet", before) if one.status == 200] == [200]


async def test_cloudformation_works_with_its_own_role_where_the_plan_has_one(office: Desk) -> None:
    iam = office.client("iam")
    trust = json.dumps(TRUST).replace("ec2", "cloudformation")
    arn = iam.create_role(RoleName="cfn", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="cfn", PolicyName="p", PolicyDocument=json.dumps(allow))
    both = template(Topic=topic("own"), Queue={"Type": "AWS::SQS::Queue", "DependsOn": "Topic"})
    run_id, event = await office.carry_out(make_spec(both, name="own", service_role_arn=arn, permissions=["sqs:*"]))
    assert event.state is RunState.ROLLED_BACK
    assert (await failure_of(office, run_id)).denied_action == "sqs:CreateQueue"
    made = [one.logical_id for one in await office.stack_events(run_id) if one.status == "CREATE_COMPLETE"]
    assert made == ["Topic"]
    destroy = make_spec(None, DESTROY, name="own", service_role_arn=arn, permissions=[])
    _, event = await office.carry_out(destroy)
    assert event.state is RunState.SUCCEEDED


async def test_template_in_s3_is_fetched_by_the_run_and_fixed_by_its_preview(office: Desk) -> None:
    """In a bucket of the account, by both forms of its address; what is put there after the preview is not executed."""
    s3, name = office.client("s3"), "from-s3"
    s3.create_bucket(Bucket="templates-1", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def put(*topics: str) -> None:
        body = json.dumps(template(**{title: topic(f"{name}-{title}") for title in topics}))
        s3.put_object(Bucket="templates-1", Key="net/web.json", Body=body)

    fields: dict[str, Any] = {"name": name, "permissions": ["sns:*"]}  # nothing of S3: the URL says what may be read
    put("One")
    url = "https://templates-1.s3.eu-west-1.amazonaws.com/net/web.json"
    run_id, event = await office.carry_out(make_spec(None, PREVIEW, template_url=url, **fields))
    assert (event.state, event.reason) == (RunState.SUCCEEDED, None)
    path_style = "https://s3.eu-west-1.amazonaws.com/templates-1/net/web.json"
    run_id = office.start(make_spec(None, template_url=path_style, **fields))
    await office.until(run_id, RunState.AWAITING_APPROVAL)
    put("One", "Two")
    await office.approve(run_id)
    assert (await office.until(run_id)).state is RunState.SUCCEEDED
    preview = await office.document(run_id, "preview")
    assert isinstance(preview, Preview)
    assert [change.logical_id for change in preview.changes] == ["One"]
    made = office.cloudformation.list_stack_resources(StackName=name)["StackResourceSummaries"]
    assert [one["LogicalResourceId"] for one in made] == ["One"]
    run_id, event = await office.carry_out(make_spec(None, template_url=url, **fields))
    assert (event.state, event.units_total) == (RunState.SUCCEEDED, 1)  # the one that was put there since


async def test_template_that_the_role_may_not_read_is_named(office: Desk) -> None:
    """Whatever the role may otherwise: denied by its own policy, by another account's bucket, or not there at all."""
    s3, other = office.client("s3"), office.stack.simulator.root_client("s3", "222222220008", "eu-west-1")
    where: Any = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    for client, bucket in ((s3, "closed-1"), (other, "foreign-1")):
        client.create_bucket(Bucket=bucket, **where)
        client.put_object(Bucket=bucket, Key="t.json", Body=json.dumps(template(Topic=topic("unread"))))
    deny = {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::closed-1/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": deny})
    office.client("iam").put_role_policy(RoleName=ROLE_NAME, PolicyName="closed", PolicyDocument=policy)

    async def end(name: str, item: str) -> tuple[str | None, Failure]:
        url = f"https://{item.replace('/', '.s3.eu-west-1.amazonaws.com/', 1)}"
        spec = make_spec(None, PREVIEW, name=name, template_url=url, permissions=["sns:*"])
        run_id, event = await office.carry_out(spec)
        assert event.state is RunState.FAILED
        return event.reason, await failure_of(office, run_id)

    items = ("closed-1/t.json", "foreign-1/t.json", "foreign-1/none.json", "nobodys-1/t.json")
    ends = await asyncio.gather(*(end(f"unread-{number}", item) for number, item in enumerate(items)))
    for item, (reason, failure) in zip(items, ends, strict=True):
        is_there = item != "nobodys-1/t.json"
        assert (failure.code, failure.denied_action) == ("template_unreadable", "s3:GetObject" if is_there else None)
        assert f"s3://{item}" in (reason or "")
        assert "s3:GetObject" in (reason or "")
    ours = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    allow = {
        "Effect": "Allow",
        "Principal": ours,
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::foreign-1/t.json",
    }
    other.put_bucket_policy(Bucket="foreign-1", Policy=json.dumps({"Version": "2012-10-17", "Statement": allow}))
    url = "https://foreign-1.s3.eu-west-1.amazonaws.com/t.json"
    _, event = await office.carry_out(make_spec(None, PREVIEW, name="foreign", template_url=url))
    assert event.state is RunState.SUCCEEDED


async def test_answers_that_do_not_come_change_nothing_twice(office: Desk) -> None:
    name, before = "lost-answers", len(office.stack.simulator.requests)

    def fault(operation: str) -> Any:
        return office.stack.simulator.fault(kind="lose", operation=operation, containing=name, times=1)

    with fault("CreateChangeSet") as first, fault("ExecuteChangeSet") as second, fault("DeleteStack") as third:
        run_id, event = await office.carry_out(make_spec(template(Topic=topic(name)), name=name))
        assert event.state is RunState.SUCCEEDED
        destroy_id, event = await office.carry_out(make_spec(None, DESTROY, name=name))
        assert event.state is RunState.SUCCEEDED
    assert (first.hits, second.hits, third.hits) == (1, 1, 1)

    def took_effect(operation: str) -> list[str]:
        calls = [one for one in office.calls(operation, before) if one.status == 200]
        return [one.parameters.get("ClientRequestToken") or one.parameters["ChangeSetName"] for one in calls]

    assert took_effect("CreateChangeSet") == [f"coreo-{run_id}"]
    assert took_effect("ExecuteChangeSet") == [str(run_id)]
    assert took_effect("DeleteStack") == [str(destroy_id)]


async def test_ten_deliveries_at_once_execute_once(office: Desk) -> None:
    spec = make_spec(template(Topic=topic("ten")), name="ten")
    run_id = office.reserve(spec)
    for _ in range(10):
        office.send(run_id, 0)
    await office.approve(run_id)
    for ticket in (0, 1, 1, 1, 0):
        office.send(run_id, ticket)
    event = await office.until(run_id)

    assert event.state is RunState.SUCCEEDED
    calls = [one for one in office.calls("ExecuteChangeSet") if one.parameters["StackName"] == "ten"]
    assert [(one.status, one.parameters["ClientRequestToken"]) for one in calls] == [(200, str(run_id))]


async def test_slow_change_holds_no_place_and_is_canceled_where_aws_allows_it(office: Desk) -> None:
    spec = make_spec(template(Topic=topic("slow-1"), **waiting()), name="slow")
    run_id = office.start(spec)
    await office.approve(run_id)
    await office.until(run_id, RunState.APPLYING)

    def is_parked(event: RunEvent) -> bool:
        return event.deploy is not None and event.deploy.resume is not None and event.state is RunState.APPLYING

    await office.until_event(run_id, is_parked)
    await office.cancel(run_id)
    event = await office.until_event(
        run_id, lambda one: one.deploy is not None and one.deploy.cancel_refused is not None
    )
    assert event.deploy is not None
    assert "cannot cancel the creation" in (event.deploy.cancel_refused or "")
    signal(office, "slow")
    event = await office.until(run_id)
    assert event.state is RunState.SUCCEEDED

    later = {"Handle2": waiting()["Handle"], "Wait2": waiting("Second")["Wait"]}
    later["Wait2"]["Properties"]["Handle"] = {"Ref": "Handle2"}
    later["Last"] = topic("slow-3") | {"DependsOn": "Wait2"}
    more = make_spec(
        template(Topic=topic("slow-1"), Second=topic("slow-2"), **later, **waiting()),
        name="slow",
    )
    run_id = office.start(more)
    await office.approve(run_id)
    await office.until_event(run_id, is_parked)
    await office.cancel(run_id)
    await office.until_called("CancelUpdateStack", "slow")
    desk_signal = {"StackName": "slow", "LogicalResourceId": "Wait2", "UniqueId": "u", "Status": "SUCCESS"}
    office.cloudformation.signal_resource(**desk_signal)  # type: ignore[arg-type]
    event = await office.until(run_id)

    assert (event.state, event.reason) == (RunState.ROLLED_BACK, "Canceled on request: AWS rolled the update back.")
    executed = [one for one in office.calls("ExecuteChangeSet") if one.parameters["StackName"] == "slow"]
    assert len(executed) == 2


async def test_stack_deleted_under_way_is_said(office: Desk) -> None:
    run_id = office.start(make_spec(template(Topic=topic("gone"), **waiting()), name="gone"))
    await office.approve(run_id)
    await office.until_called("ExecuteChangeSet", "gone")
    office.cloudformation.delete_stack(StackName="gone")
    event = await office.until(run_id)

    assert event.state is RunState.FAILED
    assert (await failure_of(office, run_id)).code == "stack_deleted"


async def test_each_fault_of_the_input_has_a_clear_end(office: Desk) -> None:
    """All at once, each with a stack of its own: what AWS refuses ends the run with what to do about it."""
    role = {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "named-1", "AssumeRolePolicyDocument": TRUST}}
    bounded = {"Parameters": {"P": {"Type": "String", "AllowedPattern": "^a+$"}}, **template(Topic=topic("p"))}
    secret = {"Parameters": {"P": {"Type": "String", "NoEcho": True}}, **template(Topic=topic("s"))}
    office.client("sns").create_topic(Name="taken")
    office.client("s3").create_bucket(Bucket="taken-1", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    office.cloudformation.create_stack(
        StackName="busy", TemplateBody=json.dumps(template(Topic=topic("b"), **waiting()))
    )
    taken = template(Bucket={"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "taken-1"}})
    cases: dict[str, tuple[dict[str, Any], RunState, str]] = {
        "invalid": ({"template": "Resources: {X: {Type: AWS::No::Such}}"}, RunState.FAILED, "template_invalid"),
        "capability": ({"template": template(R=role), "capabilities": []}, RunState.FAILED, "capability_missing"),
        "parameter": ({"template": bounded, "parameters": {"P": "b"}}, RunState.FAILED, "parameter_invalid"),
        "secret": ({"template": secret, "parameters": {"P": "plain"}}, RunState.FAILED, "secret_in_plain"),
        "taken": ({"template": taken}, RunState.ROLLED_BACK, "resource_failed"),
        "busy": ({"template": template(Topic=topic("b2"))}, RunState.FAILED, "stack_busy"),
    }

    async def run(name: str, fields: dict[str, Any]) -> tuple[RunState, str]:
        spec: DeploySpec = make_spec(fields.pop("template"), name=name, **fields)
        run_id, event = await office.carry_out(spec)
        return event.state, (await failure_of(office, run_id)).code

    names = list(cases)
    ends = await asyncio.gather(*(run(name, cases[name][0]) for name in names))

    assert dict(zip(names, ends, strict=True)) == {name: (state, code) for name, (_, state, code) in cases.items()}
    signal(office, "busy")


async def test_role_that_is_taken_away_leaves_the_outcome_open_until_it_is_looked_at_again(office: Desk) -> None:
    run_id = office.start(make_spec(template(Topic=topic("away"), **waiting()), name="away"))
    await office.approve(run_id)
    await office.until_called("ExecuteChangeSet", "away")
    iam = office.client("iam")
    trust = iam.get_role(RoleName=ROLE_NAME)["Role"]["AssumeRolePolicyDocument"]
    iam.update_assume_role_policy(RoleName=ROLE_NAME, PolicyDocument=json.dumps(TRUST))
    try:
        event = await office.until(run_id, RunState.OUTCOME_UNKNOWN)
    finally:
        iam.update_assume_role_policy(RoleName=ROLE_NAME, PolicyDocument=json.dumps(trust))
    assert event.state is RunState.OUTCOME_UNKNOWN
    failure = await failure_of(office, run_id)
    assert (failure.code, failure.stack_arn is not None) == ("outcome_unknown", True)

    signal(office, "away")
    await office.reconcile(run_id)
    event = await office.until(run_id, seconds=60, after=event)
    assert event.state is RunState.SUCCEEDED

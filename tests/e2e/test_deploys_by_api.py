"""Deploys from the `coreo` command to stacks in the simulated AWS; every part is a process of its own."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from coreo_embedded.calls import AwsRequest
from coreo_embedded.stack import Stack
from tests.support.stack import ONBOARD_SETTINGS, _connected, _done, until

COUNT = int(os.environ.get("COREO_E2E_DEPLOYS", "4"))  # how many at once, one after the other and side by side
pytestmark = pytest.mark.timeout(120 + 30 * COUNT)
ACCOUNT, ROLE, REGION = "222222220007", "CoreoDeploy", "eu-west-1"
PERMISSIONS = ["sns:*", "s3:*"]


@dataclass
class Firm:
    """A running stack, its customer with a role that may do everything, and workers of the deploy pool."""

    stack: Stack
    url: str
    token: str
    account: dict[str, Any]

    @property
    def cloudformation(self) -> Any:
        return self.stack.simulator.root_client("cloudformation", ACCOUNT, REGION)

    def calls(self, operation: str) -> list[AwsRequest]:
        """What runs asked of CloudFormation, and got."""
        return [
            request
            for request in self.stack.simulator.requests
            if request.operation == operation and request.role == ROLE and request.status == 200
        ]


@pytest.fixture(scope="module")
def firm() -> Iterator[Firm]:
    directory = Path(tempfile.mkdtemp(prefix="coreo-e2e-"))
    try:
        with Stack(directory, durable=False) as stack:
            stack.start_results(lease_seconds="3", sweep_seconds="0.5")
            api = stack.start_api()
            team = stack.create_team("e2e")
            headers = {"authorization": f"Bearer {team['token']}"}
            with httpx.Client(base_url=api.url, headers=headers, timeout=30) as http:
                account = _done(http.post("/v1/cloud-accounts", json={"name": "acme", "account_id": ACCOUNT}))
                iam: Any = stack.simulator.root_client("iam", ACCOUNT)
                trust = json.dumps(account["trust_policy"])
                arn = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
                allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
                iam.put_role_policy(RoleName=ROLE, PolicyName="all", PolicyDocument=json.dumps(allow))
                onboarding = stack.start_worker("onboard", **ONBOARD_SETTINGS)
                _done(http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": arn}))
                account = _connected(http, account["id"])
                onboarding.stop()
            for _ in range(2):
                stack.start_worker("deploy", visibility_seconds="4", max_runs="5", hold_seconds="5", park_seconds="1")
            yield Firm(stack, api.url, team["token"], account)
    finally:
        shutil.rmtree(directory)


@pytest.fixture
async def http(firm: Firm) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {firm.token}"}
    async with httpx.AsyncClient(base_url=firm.url, headers=headers, timeout=60) as client:
        yield client


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


async def coreo(firm: Firm, directory: Path, *words: str) -> Done:
    """The command, in a directory."""
    environment = {"PATH": os.environ["PATH"], "COREO_URL": firm.url, "COREO_TOKEN": firm.token, "HOME": str(directory)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from coreo_cli.main import run; run()", *words),
        cwd=directory,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return Done(int(process.returncode or 0), out.decode(), err.decode())


async def make_plan(http: httpx.AsyncClient, firm: Firm, stack: str, **fields: Any) -> str:
    """The id of a plan whose changes are applied without asking."""
    usual = {"regions": [REGION], "permissions": PERMISSIONS, "approval": {"auto": True}}
    spec = {"stack_name": stack, **usual, **fields}
    body = {"name": stack, "kind": "deploy", "spec": spec, "cloud_account_ids": [firm.account["id"]]}
    plan_id: str = _done(await http.post("/v1/plans", json=body))["id"]
    return plan_id


async def plans_of_one_template(http: httpx.AsyncClient, firm: Firm, stacks: Sequence[str]) -> list[str]:
    """Plans that have their template from S3, each with a topic that is called after its stack."""
    s3: Any = firm.stack.simulator.root_client("s3", ACCOUNT, REGION)
    s3.create_bucket(Bucket="templates-2", CreateBucketConfiguration={"LocationConstraint": REGION})
    body = {"Parameters": {"Name": {"Type": "String"}}, "Resources": {"Topic": topic({"Ref": "Name"})}}
    s3.put_object(Bucket="templates-2", Key="topic.json", Body=json.dumps(body))
    url = f"https://templates-2.s3.{REGION}.amazonaws.com/topic.json"
    return [await make_plan(http, firm, stack, template_url=url, parameters={"Name": stack}) for stack in stacks]


def template(**resources: Any) -> str:
    return json.dumps({"Resources": resources})


async def start(http: httpx.AsyncClient, plan_id: str, action: str = "apply") -> dict[str, Any]:
    run: dict[str, Any] = _done(await http.post(f"/v1/plans/{plan_id}/runs", json={"action": action}))["runs"][0]
    return run


async def reached(http: httpx.AsyncClient, run: Mapping[str, Any], *states: str, seconds: float = 90) -> dict[str, Any]:
    """The run once it is in one of these states, or has ended."""

    async def look() -> dict[str, Any] | None:
        now = _done(await http.get(f"/v1/runs/{run['id']}"))
        return now if now["state"] in states or now["ended_at"] is not None else None

    return await until(look, what=f"run {run['id']}", seconds=seconds)


def topic(name: Any) -> dict[str, Any]:
    return {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name}}


async def test_a_directory_from_its_start_to_the_end_of_its_stack(firm: Firm, tmp_path: Path) -> None:
    where = ("--stack", "web", "--region", REGION, "--account", "acme")
    assert (await coreo(firm, tmp_path, "deploy", "init", ".", *where)).code == 0
    checked = await coreo(firm, tmp_path, "deploy", "check")
    assert (checked.code, checked.out) == (0, ""), checked
    shown = await coreo(firm, tmp_path, "deploy", "preview", "--watch")
    assert shown.code == 0, shown
    assert "makes the stack (1 to add)" in shown.out
    applied = await coreo(firm, tmp_path, "deploy", "apply", "--watch", "--yes")
    assert applied.code == 0, applied
    assert "BucketName" in applied.out
    assert "CREATE_COMPLETE" in applied.err
    again = await coreo(firm, tmp_path, "deploy", "apply", "--watch", "--yes")
    assert (again.code, "no change" in again.out) == (0, True), again
    outputs = json.loads((await coreo(firm, tmp_path, "deploy", "outputs", "-o", "json")).out)
    (output,) = outputs[0]["outputs"]
    drifted = await coreo(firm, tmp_path, "deploy", "drift", "--watch", "--fail-on-drift")
    assert drifted.code == 0, drifted
    s3: Any = firm.stack.simulator.root_client("s3", ACCOUNT, REGION)
    assert output["value"] in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    waits = await coreo(firm, tmp_path, "deploy", "destroy", "--watch")
    assert waits.code == 8, waits
    run_id = waits.err.split("coreo deploy approve ")[1].split()[0]
    assert "Retain" in (await coreo(firm, tmp_path, "deploy", "changes", run_id)).out
    gone = await coreo(firm, tmp_path, "deploy", "approve", run_id, "--yes", "--watch")
    assert gone.code == 0, gone
    with pytest.raises(firm.cloudformation.exceptions.ClientError):
        firm.cloudformation.describe_stacks(StackName="web")
    assert output["value"] in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}  # DeletionPolicy: Retain


async def test_a_stack_that_changed_in_between_makes_an_approval_worthless(firm: Firm, http: httpx.AsyncClient) -> None:
    plan_id = await make_plan(http, firm, "between", template=template(One=topic("between-1")))
    assert (await reached(http, await start(http, plan_id)))["state"] == "SUCCEEDED"
    more = template(One=topic("between-1"), Two=topic("between-2"))
    spec = {"stack_name": "between", "regions": [REGION], "template": more, "permissions": PERMISSIONS}
    _done(await http.patch(f"/v1/plans/{plan_id}", json={"spec": spec}))
    run = await reached(http, await start(http, plan_id), "AWAITING_APPROVAL")
    seen = run["deploy"]["approval"]["hash"]
    other = template(One=topic("between-1"), Other=topic("between-3"))
    firm.cloudformation.update_stack(StackName="between", TemplateBody=other)  # somebody else, beside Coreo
    approved = await http.post(f"/v1/runs/{run['id']}/approve", headers={"if-match": f'"{seen}"'})
    assert approved.status_code == 202, approved.text

    async def look() -> dict[str, Any] | None:
        now = _done(await http.get(f"/v1/runs/{run['id']}"))
        approval = now["deploy"]["approval"]
        is_anew = now["state"] == "AWAITING_APPROVAL" and approval["hash"] != seen
        return now if now["ended_at"] is not None or is_anew else None

    now = await until(look, what="an end, or another preview", seconds=60)
    assert now["state"] in {"FAILED", "AWAITING_APPROVAL"}
    names = {
        each["LogicalResourceId"]
        for each in firm.cloudformation.list_stack_resources(StackName="between")["StackResourceSummaries"]
    }
    assert names == {"One", "Other"}  # what was approved for another stack was not done to this one
    if now["state"] == "AWAITING_APPROVAL":
        _done(await http.post(f"/v1/runs/{run['id']}/reject", json={"reason": "It is another stack."}))


async def test_applies_of_one_stack_come_one_by_one_and_those_of_many_together(
    firm: Firm, http: httpx.AsyncClient
) -> None:
    one = await make_plan(http, firm, "one", template=template(Topic=topic("one")))
    many = await plans_of_one_template(http, firm, [f"many-{number}" for number in range(COUNT)])
    started = time.monotonic()
    apart = await asyncio.gather(*(start(http, plan_id) for plan_id in many))
    ends = await asyncio.gather(*(reached(http, run, seconds=60 + 10 * COUNT) for run in apart))
    together = time.monotonic() - started
    assert {end["state"] for end in ends} == {"SUCCEEDED"}

    started = time.monotonic()
    queued = await asyncio.gather(*(start(http, one) for _ in range(COUNT)))
    order = [await reached(http, run, seconds=60 + 20 * COUNT) for run in queued]
    in_turn = time.monotonic() - started
    assert {end["state"] for end in order} == {"SUCCEEDED"}
    assert sum(end["deploy"]["no_change"] for end in order) == COUNT - 1
    print(f"{COUNT} on as many stacks: {together:.1f} s; {COUNT} on one: {in_turn:.1f} s")  # noqa: T201  with -s, a figure
    # In AWS's own log no two of one stack overlap: each makes its change set after the one before was done with.
    made = [
        each.parameters["ChangeSetName"]
        for each in firm.calls("CreateChangeSet")
        if each.parameters["StackName"] == "one"
    ]
    assert sorted(made) == sorted(f"coreo-{run['id']}" for run in queued)
    assert len({each.parameters["StackName"] for each in firm.calls("ExecuteChangeSet")} & {"one"}) == 1
    by_end = sorted(order, key=lambda end: str(end["ended_at"]))
    assert [f"coreo-{end['id']}" for end in by_end] == made

"""Which trust policies a verification calls safe: the worker's own code against the simulated AWS, as its own role."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from coreo_embedded.deploy import COREO_ACCOUNT, Deployment
from coreo_embedded.faults import Kind
from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.jobs import TargetAccount
from coreo_shared.contracts.onboarding import CheckName, CheckOutcome, VerifyReport, VerifySpec
from coreo_shared.contracts.results import ClaimAnswer
from coreo_shared.ids import new_id
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.aws.inside import SdkInside
from coreo_worker.aws.own import own_session
from coreo_worker.aws.sts import Refusal, TrustGate, open_gate
from coreo_worker.runner.planning import Completed
from coreo_worker.runner.verification import Verification, VerifyTools
from coreo_worker.runner.work import ClaimedRun
from tests.support.aws import role_credentials
from tests.support.worker import Jobs, MemoryResults

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

REGION = "us-east-1"
RIGHT = "3f6c0b9a5d7e41f28c0d9b6a7e5f4c31"
OTHER = "90ab12cd34ef56ab78cd90ef12ab34cd"
ONBOARD_NAME = "coreo-worker-onboard"
ONBOARD = f"arn:aws:iam::{COREO_ACCOUNT}:role/{ONBOARD_NAME}"
AUDIT = f"arn:aws:iam::{COREO_ACCOUNT}:role/coreo-worker-audit"
ROOT = f"arn:aws:iam::{COREO_ACCOUNT}:root"
ELSEWHERE = "arn:aws:iam::999999999999:root"
READ = ["s3:ListAllMyBuckets", "ec2:DescribeInstances"]

Statement = dict[str, Any]
Verdict = Literal["CONNECTED", "INSECURE", "UNREACHABLE", "UNVERIFIED"]


def allow(principal: Any = ROOT, effect: str = "Allow", **condition: Any) -> Statement:
    """A statement on AssumeRole. `condition`: operator -> value of sts:ExternalId (`IfExists` and sets by `__`)."""
    named = {"AWS": principal} if isinstance(principal, (str, list)) and principal != "*" else principal
    statement = {"Effect": effect, "Principal": named, "Action": "sts:AssumeRole"}
    operators = {name.replace("__", ":"): {"sts:ExternalId": value} for name, value in condition.items()}
    return statement | ({"Condition": operators} if operators else {})


def deny(principal: Any = "*", **condition: Any) -> Statement:
    return allow(principal, effect="Deny", **condition)


TRUST: dict[str, tuple[list[Statement], Verdict]] = {
    # As Coreo shows it, and other ways to say the same.
    "both worker roles, the right id": ([allow([AUDIT, ONBOARD], StringEquals=RIGHT)], "CONNECTED"),
    "the onboard role, the right id": ([allow(ONBOARD, StringEquals=RIGHT)], "CONNECTED"),
    "account root, the right id": ([allow(ROOT, StringEquals=RIGHT)], "CONNECTED"),
    "account number, the right id": ([allow(COREO_ACCOUNT, StringEquals=RIGHT)], "CONNECTED"),
    "a list of ids with the right one": ([allow(StringEquals=[OTHER, RIGHT])], "CONNECTED"),
    "case ignored": ([allow(StringEqualsIgnoreCase=RIGHT.upper())], "CONNECTED"),
    "a pattern without wildcards": ([allow(StringLike=RIGHT)], "CONNECTED"),
    "any of a set": ([allow(ForAnyValue__StringEquals=[RIGHT, OTHER])], "CONNECTED"),
    "every other id denied": ([allow(), deny(StringNotEquals=RIGHT)], "CONNECTED"),
    "an id must be there, and be the right one": ([allow(StringEquals=RIGHT, Null="false")], "CONNECTED"),
    "another customer of the role, with an id of theirs": (
        [allow(StringEquals=RIGHT), allow(ELSEWHERE, StringEquals=OTHER)],
        "CONNECTED",
    ),
    # Anybody in the world who has the id. Only this id opens it, and Coreo gives it to nobody else.
    "anyone, the right id": ([allow("*", StringEquals=RIGHT)], "CONNECTED"),
    # The holes.
    "no condition": ([allow()], "INSECURE"),
    "the onboard role without a condition": ([allow([AUDIT, ONBOARD])], "INSECURE"),
    "anyone without a condition": ([allow("*")], "INSECURE"),
    "anyone of AWS without a condition": ([allow({"AWS": "*"})], "INSECURE"),
    "any id": ([allow(StringLike="*")], "INSECURE"),
    "any id of one character or more": ([allow(StringLike="?*")], "INSECURE"),
    "the right id or any": ([allow(StringLike=[RIGHT, "*"])], "INSECURE"),
    "the right id if there is one": ([allow(StringEqualsIfExists=RIGHT)], "INSECURE"),
    "a pattern if there is an id": ([allow(StringLikeIfExists="*")], "INSECURE"),
    "all of a set, which no id is": ([allow(ForAllValues__StringEquals=[RIGHT])], "INSECURE"),
    "any id as long as there is one": ([allow(Null="false")], "INSECURE"),
    "not another customer's id": ([allow(StringNotEquals=OTHER)], "INSECURE"),
    "two statements, one open": ([allow(StringEquals=RIGHT), allow(ONBOARD)], "INSECURE"),
    "two statements, one for any id": ([allow(StringEquals=RIGHT), allow(StringLike="*")], "INSECURE"),
    "wrong ids denied, none is not": (
        [allow(), deny(StringNotEqualsIfExists=RIGHT, Null="false")],
        "INSECURE",
    ),
    "the right id is the one that is denied": ([allow(), deny(StringEquals=RIGHT)], "INSECURE"),
    # Coreo cannot get in at all.
    "another id": ([allow(StringEquals=OTHER)], "UNREACHABLE"),
    "a list of ids without the right one": ([allow(StringEquals=[OTHER, OTHER[::-1]])], "UNREACHABLE"),
    "case matters": ([allow(StringEquals=RIGHT.upper())], "UNREACHABLE"),
    "only who brings no id": ([deny(Null="false"), allow(ELSEWHERE)], "UNREACHABLE"),
    "another account": ([allow(ELSEWHERE, StringEquals=RIGHT)], "UNREACHABLE"),
    "another role": ([allow(AUDIT, StringEquals=RIGHT)], "UNREACHABLE"),
    "a service": ([allow({"Service": "ec2.amazonaws.com"}, StringEquals=RIGHT)], "UNREACHABLE"),
    "everybody denied": ([allow(StringEquals=RIGHT), deny()], "UNREACHABLE"),
    "the onboard role denied": ([allow(StringEquals=RIGHT), deny(ONBOARD)], "UNREACHABLE"),
}


@dataclass
class Customer:
    """An account with a role for Coreo."""

    target: TargetAccount
    iam: "IAMClient"


@dataclass
class Verifier:
    """Verifications as the onboard pool's worker makes them."""

    tools: VerifyTools
    jobs: Jobs = field(default_factory=Jobs)

    async def verify(self, target: TargetAccount, *, actions: list[str] | None = None) -> VerifyReport:
        spec = VerifySpec(actions=actions or [])
        job = self.jobs.onboard(spec, target=target)
        claim = ClaimAnswer(fence=1, attempt=1, lease_seconds=60, cancel_requested=False, units_done=[])
        run = ClaimedRun(job, claim, MemoryResults().run(job.run_id, job.run_token), patience_seconds=60)
        ending = await Verification(self.tools, run, spec).execute(asyncio.Event())
        assert isinstance(ending, Completed)
        assert isinstance(ending.report, VerifyReport)
        return ending.report


@pytest.fixture
async def verifier(aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Verifier]:
    for name, value in role_credentials(aws, deployment, "worker-onboard").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    async with open_gate(own_session(), region=REGION) as gate:
        yield Verifier(VerifyTools(gate, SdkInside(REGION), settle_seconds=0))


@dataclass
class FaultyGate:
    """Plays a fault on just one part of a verification."""

    inner: TrustGate
    aws: Simulator
    kind: Kind
    part: CheckName

    async def try_role(
        self, role_arn: str, run_id: UUID, *, external_id: str | None, policy: str
    ) -> SessionCredentials | Refusal:
        names = {None: CheckName.WITHOUT_EXTERNAL_ID, RIGHT: CheckName.WITH_EXTERNAL_ID}
        is_it = names.get(external_id, CheckName.WRONG_EXTERNAL_ID) is self.part
        with self.aws.fault(kind=self.kind, operation="AssumeRole") if is_it else contextlib.nullcontext():
            return await self.inner.try_role(role_arn, run_id, external_id=external_id, policy=policy)


@dataclass
class DenyingGate:
    """Denies some tries, as a part of AWS does that does not know the role yet."""

    inner: TrustGate
    denied: list[bool]

    async def try_role(
        self, role_arn: str, run_id: UUID, *, external_id: str | None, policy: str
    ) -> SessionCredentials | Refusal:
        if self.denied.pop(0):
            return Refusal("AccessDenied")
        return await self.inner.try_role(role_arn, run_id, external_id=external_id, policy=policy)


Make = Callable[..., Customer]


@pytest.fixture
def make_customer(aws: Simulator, new_account: Callable[[], str]) -> Make:
    def make(statements: list[Statement], *, actions: list[str] | None = None) -> Customer:
        account = new_account()
        iam: IAMClient = aws.root_client("iam", account)
        role = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=document(statements))["Role"]
        allowed = {"Effect": "Allow", "Action": actions or "*", "Resource": "*"}
        iam.put_role_policy(RoleName="CoreoAudit", PolicyName="all", PolicyDocument=document([allowed]))
        target = TargetAccount(
            cloud_account_id=new_id(), account_id=account, partition="aws", role_arn=role["Arn"], external_id=RIGHT
        )
        return Customer(target, iam)

    return make


def document(statements: list[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def outcomes(report: VerifyReport) -> dict[CheckName, CheckOutcome]:
    return {check.name: check.outcome for check in report.checks}


@pytest.mark.parametrize("case", TRUST)
async def test_each_trust_policy_gets_its_verdict(verifier: Verifier, make_customer: Make, case: str) -> None:
    statements, expected = TRUST[case]
    report = await verifier.verify(make_customer(statements).target)
    assert report.verdict == expected, report.checks
    assert (report.reason is None) == (expected == "CONNECTED")
    assert [check.name for check in report.checks] == list(CheckName)


async def test_a_safe_role_passes_every_check(verifier: Verifier, make_customer: Make) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    report = await verifier.verify(customer.target, actions=READ)
    assert set(outcomes(report).values()) == {CheckOutcome.PASSED}, report.checks
    assert (report.reason, report.missing_actions) == (None, [])


async def test_all_that_is_asked_of_aws(aws: Simulator, verifier: Verifier, make_customer: Make) -> None:
    """The negative tests cannot be left out unnoticed, and no session is worth more than what it is for."""
    customer = make_customer([allow(StringEquals=RIGHT)])
    before = len(aws.requests)
    await verifier.verify(customer.target, actions=READ)
    asked = aws.requests[before:]
    assert sorted(request.operation for request in asked) == [
        "AssumeRole",
        "AssumeRole",
        "AssumeRole",
        "GetCallerIdentity",
        "SimulatePrincipalPolicy",
    ]
    first, without, wrong = (request.parameters for request in asked if request.operation == "AssumeRole")
    assert first["ExternalId"] == RIGHT
    assert "ExternalId" not in without
    assert re.fullmatch(r"[0-9a-f]{32}", wrong["ExternalId"])
    assert wrong["ExternalId"] != RIGHT
    assert {each["DurationSeconds"] for each in (first, without, wrong)} == {"900"}
    nothing = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    ask = {"Effect": "Allow", "Action": ["iam:SimulatePrincipalPolicy"], "Resource": "*"}
    statements = [json.loads(each["Policy"])["Statement"] for each in (first, without, wrong)]
    assert statements == [[ask], [nothing], [nothing]]


async def test_wrong_ids_are_never_the_same(aws: Simulator, verifier: Verifier, make_customer: Make) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    before = len(aws.requests)
    for _ in range(3):
        await verifier.verify(customer.target)
    sent = [request.parameters.get("ExternalId") for request in aws.requests[before:]]
    assert len({each for each in sent if each not in (None, RIGHT)}) == 3


async def test_a_session_gained_by_a_negative_test_is_never_used(
    aws: Simulator, verifier: Verifier, make_customer: Make
) -> None:
    customer = make_customer([allow(), deny(StringEquals=RIGHT)])
    before = len(aws.requests)
    report = await verifier.verify(customer.target, actions=READ)
    assert report.verdict == "INSECURE"
    assert {request.operation for request in aws.requests[before:]} == {"AssumeRole"}


async def test_missing_permissions_are_named_and_keep_no_account_out(verifier: Verifier, make_customer: Make) -> None:
    held = ["s3:List*", "iam:SimulatePrincipalPolicy"]
    customer = make_customer([allow(StringEquals=RIGHT)], actions=held)
    report = await verifier.verify(customer.target, actions=[*READ, "iam:ListUsers"])
    assert report.verdict == "CONNECTED"
    assert outcomes(report)[CheckName.PERMISSIONS] is CheckOutcome.FAILED
    assert report.missing_actions == ["ec2:DescribeInstances", "iam:ListUsers"]
    assert "ec2:DescribeInstances, iam:ListUsers" in report.checks[-1].detail


async def test_permissions_that_may_not_be_asked_for_are_unknown(verifier: Verifier, make_customer: Make) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)], actions=["s3:*"])
    report = await verifier.verify(customer.target, actions=READ)
    assert report.verdict == "CONNECTED"
    assert outcomes(report)[CheckName.PERMISSIONS] is CheckOutcome.UNKNOWN
    assert (report.missing_actions, "iam:SimulatePrincipalPolicy" in report.checks[-1].detail) == ([], True)


async def test_more_actions_than_one_call_takes_are_all_asked(
    aws: Simulator, verifier: Verifier, make_customer: Make
) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)], actions=["iam:*"])
    actions = [f"s3:Get{number:03}" for number in range(201)]
    before = len(aws.requests)
    report = await verifier.verify(customer.target, actions=actions)
    assert report.missing_actions == actions
    calls = [request for request in aws.requests[before:] if request.operation == "SimulatePrincipalPolicy"]
    assert len(calls) == 3
    assert "and 196 more" in report.checks[-1].detail


async def test_a_role_of_another_account_is_no_way_in(verifier: Verifier, make_customer: Make) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    stated = msgspec.structs.replace(customer.target, account_id="999999999999")
    report = await verifier.verify(stated, actions=READ)
    assert (report.verdict, outcomes(report)[CheckName.ACCOUNT]) == ("UNREACHABLE", CheckOutcome.FAILED)
    assert customer.target.account_id in (report.reason or "")
    assert outcomes(report)[CheckName.PERMISSIONS] is CheckOutcome.UNKNOWN


async def test_a_deleted_role_is_unreachable(verifier: Verifier, make_customer: Make) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    assert (await verifier.verify(customer.target)).verdict == "CONNECTED"
    customer.iam.delete_role_policy(RoleName="CoreoAudit", PolicyName="all")
    customer.iam.delete_role(RoleName="CoreoAudit")
    report = await verifier.verify(customer.target)
    assert report.verdict == "UNREACHABLE"
    assert customer.target.role_arn in (report.reason or "")
    assert outcomes(report)[CheckName.WITHOUT_EXTERNAL_ID] is CheckOutcome.UNKNOWN  # nobody is there to refuse


async def test_a_role_opened_or_closed_since_is_seen(verifier: Verifier, make_customer: Make) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    verdicts = []
    for statements in ([allow(StringEquals=RIGHT)], [allow()], [allow(ELSEWHERE)], [allow(StringEquals=RIGHT)]):
        customer.iam.update_assume_role_policy(RoleName="CoreoAudit", PolicyDocument=document(statements))
        verdicts.append((await verifier.verify(customer.target)).verdict)
    assert verdicts == ["CONNECTED", "INSECURE", "UNREACHABLE", "CONNECTED"]


@pytest.mark.parametrize("kind", ["throttle", "error"])
async def test_trouble_that_proves_nothing_is_never_connected(
    aws: Simulator, verifier: Verifier, make_customer: Make, kind: Kind
) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    with aws.fault(kind=kind, service="sts", operation="AssumeRole", role=ONBOARD_NAME):
        report = await verifier.verify(customer.target)
    assert report.verdict == "UNVERIFIED"
    assert set(outcomes(report).values()) == {CheckOutcome.UNKNOWN, CheckOutcome.PASSED}  # no action: no plans
    assert (await verifier.verify(customer.target)).verdict == "CONNECTED"


async def test_trouble_in_the_account_check_is_never_connected(
    aws: Simulator, verifier: Verifier, make_customer: Make
) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    with aws.fault(kind="throttle", service="sts", operation="GetCallerIdentity"):
        report = await verifier.verify(customer.target, actions=READ)
    assert (report.verdict, outcomes(report)[CheckName.ACCOUNT]) == ("UNVERIFIED", CheckOutcome.UNKNOWN)
    assert outcomes(report)[CheckName.PERMISSIONS] is CheckOutcome.UNKNOWN


async def test_trouble_in_the_permission_check_keeps_no_account_out(
    aws: Simulator, verifier: Verifier, make_customer: Make
) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    with aws.fault(kind="throttle", service="iam", operation="SimulatePrincipalPolicy"):
        report = await verifier.verify(customer.target, actions=READ)
    assert (report.verdict, outcomes(report)[CheckName.PERMISSIONS]) == ("CONNECTED", CheckOutcome.UNKNOWN)
    assert report.missing_actions == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("throttle", CheckName.WITHOUT_EXTERNAL_ID),
        ("throttle", CheckName.WRONG_EXTERNAL_ID),
        ("unavailable", CheckName.WITHOUT_EXTERNAL_ID),
        ("disconnect", CheckName.WRONG_EXTERNAL_ID),
    ],
)
async def test_a_safe_role_with_one_negative_test_undone_is_unverified(
    aws: Simulator, verifier: Verifier, make_customer: Make, kind: Kind, name: CheckName
) -> None:
    customer = make_customer([allow(StringEquals=RIGHT)])
    verifier = replace(verifier, tools=replace(verifier.tools, gate=FaultyGate(verifier.tools.gate, aws, kind, name)))
    report = await verifier.verify(customer.target)
    assert (report.verdict, outcomes(report)[name]) == ("UNVERIFIED", CheckOutcome.UNKNOWN)
    assert "proves nothing" in (report.reason or "")


async def test_a_role_so_new_that_aws_refuses_it_is_given_time(
    aws: Simulator, verifier: Verifier, make_customer: Make
) -> None:
    verifier = replace(verifier, tools=replace(verifier.tools, settle_seconds=20))
    with aws.fault(kind="settle", service="sts", operation="AssumeRole", seconds=0.9):
        report = await verifier.verify(make_customer([allow(StringEquals=RIGHT)]).target)
    assert report.verdict == "CONNECTED"


async def test_a_new_role_that_is_open_is_not_taken_for_safe_while_it_settles(
    aws: Simulator, verifier: Verifier, make_customer: Make
) -> None:
    """The first denial of a negative test may come from a part of AWS that does not know the role yet."""
    verifier = replace(verifier, tools=replace(verifier.tools, settle_seconds=20))
    customer = make_customer([allow()])
    gate = DenyingGate(verifier.tools.gate, [True, False, True, False, True, False])
    report = await replace(verifier, tools=replace(verifier.tools, gate=gate)).verify(customer.target)
    assert report.verdict == "INSECURE"


async def test_no_external_id_is_in_a_log_or_report(
    aws: Simulator, verifier: Verifier, make_customer: Make, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    before = len(aws.requests)
    with capture_logs() as events, caplog.at_level("DEBUG", "coreo_worker"):
        reports = [
            await verifier.verify(make_customer(statements).target, actions=READ)
            for statements in ([allow(StringEquals=RIGHT)], [allow()], [allow(ELSEWHERE)])
        ]
    sent = {request.parameters["ExternalId"] for request in aws.requests[before:] if "ExternalId" in request.parameters}
    assert len(sent) == 4  # the right one, and a wrong one for each verification
    said = f"{events} {caplog.text} {reports} {capfd.readouterr()}"
    assert [event["event"] for event in events] == ["role_verified"] * 3
    assert not [external_id for external_id in sent if external_id in said]

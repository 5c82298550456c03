"""Bootstraps by their own process in the simulated AWS, which checks every signature."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from structlog.testing import capture_logs

from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.onboarding import (
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    BootstrapProblem,
    BootstrapReport,
    BootstrapSpec,
    SealingKey,
)
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import Signer, Verifier, public_jwk
from coreo_worker.onboard.keys import SealingKeys
from coreo_worker.onboard.sending import Sender
from coreo_worker.runner.bootstrap import (
    ONBOARDING_MEMORY_MB,
    ONBOARDING_MODULE,
    Bootstrap,
    BootstrapTools,
    onboarding_environment,
)
from coreo_worker.runner.process import ChildProcess, open_process, run_command
from tests.support.bootstrap import (
    ADMINISTRATOR,
    FULL,
    ROLE,
    SECURITY_AUDIT,
    TRUST,
    MadeRole,
    Signing,
    bootstrap_job,
    make_user,
    role_in,
)
from tests.support.onboard import OnboardWorld
from tests.support.worker import MemoryRun, until

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient


@dataclass
class World:
    """A worker that makes roles in the simulated AWS. `processes` are the onboardings' so far."""

    aws: Simulator
    processes: list[ChildProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        environment = onboarding_environment({**os.environ, "AWS_ENDPOINT_URL": self.aws.endpoint_url})
        command = run_command(memory_mb=ONBOARDING_MEMORY_MB, log_level="DEBUG", module=ONBOARDING_MODULE)
        self.onboard = OnboardWorld({})
        key = self.onboard.jobs.tokens.fleet_jwks[Pool.ONBOARD]
        self.keys = SealingKeys(Signer(key), "w1")
        self._verifier = Verifier([public_jwk(key)], issuer="coreo-worker")
        self._open = partial(open_process, command, environment)
        tools = BootstrapTools(self.keys, self._noted)
        self.onboard.trades = {BootstrapSpec: partial(Bootstrap, tools)}
        self.onboard.takes = tools.takes

    @asynccontextmanager
    async def _noted(self) -> AsyncIterator[ChildProcess]:
        async with self._open() as process:
            self.processes.append(process)
            yield process

    def key(self) -> SealingKey:
        """The worker's newest key, as the api verifies it."""
        return self._verifier.verify(
            self.keys.announcement(), SealingKey, typ=SEALING_KEY_TYPE, audience=SEALING_KEY_AUDIENCE
        )

    def job(self, signing: Signing, **changes: Any) -> Job:
        return bootstrap_job(self.onboard.jobs, signing.requests(**changes), self.key())

    async def carried_out(self, job: Job) -> MemoryRun:
        """The run once it has ended."""
        async with self.onboard.worker():
            return await self.onboard.ended(self.onboard.send(job))

    async def report(self, signing: Signing, **changes: Any) -> BootstrapReport:
        run = await self.carried_out(self.job(signing, **changes))
        assert run.state is RunState.SUCCEEDED
        assert isinstance(run.report, BootstrapReport)
        return run.report


@pytest.fixture
def world(aws: Simulator) -> World:
    return World(aws)


@dataclass
class Customer:
    """An account with a key of an administrator."""

    aws: Simulator
    account_id: str
    key: Credentials

    @property
    def iam(self) -> "IAMClient":
        client: IAMClient = self.aws.root_client("iam", self.account_id)
        return client

    def role(self) -> MadeRole | None:
        return role_in(self.aws, self.account_id)

    def signing(self, key: Credentials | None = None, **changes: Any) -> Signing:
        return Signing(key or self.key, url=self.aws.endpoint_url, account_id=self.account_id, **changes)

    def weak(self, *actions: str) -> Credentials:
        return make_user(
            self.aws, self.account_id, {"Effect": "Allow", "Action": list(actions), "Resource": "*"}, name="weak"
        )


@pytest.fixture
def customer(aws: Simulator, new_account: Callable[[], str]) -> Customer:
    account_id = new_account()
    return Customer(aws, account_id, make_user(aws, account_id, ADMINISTRATOR))


DONE = {"attached": True, "problem": None, "detail": None, "missing_action": None}


def fields(report: BootstrapReport) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__struct_fields__}


async def test_a_role_is_made_with_its_policy(world: World, customer: Customer) -> None:
    report = await world.report(customer.signing())
    assert fields(report) == {"role": "created", "policy": "created", **DONE}
    assert customer.role() == MadeRole(TRUST, [f"arn:aws:iam::{customer.account_id}:policy/{ROLE}"], FULL)


async def test_awss_own_policy_is_attached_where_that_is_asked_for(world: World, customer: Customer) -> None:
    report = await world.report(customer.signing(policy=None))
    assert fields(report) == {"role": "created", "policy": "managed", **DONE}
    assert customer.role() == MadeRole(TRUST, [SECURITY_AUDIT], None)


async def test_a_second_time_adopts_what_the_first_one_made(world: World, customer: Customer) -> None:
    await world.report(customer.signing())
    before = customer.role()
    report = await world.report(customer.signing())
    assert fields(report) == {"role": "adopted", "policy": "adopted", **DONE}
    assert customer.role() == before


async def test_another_role_of_that_name_is_left_as_it_is(world: World, customer: Customer) -> None:
    other = json.loads(json.dumps(TRUST).replace("external-id-canary", "another"))
    customer.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(other))
    report = await world.report(customer.signing())
    assert (report.problem, report.role, report.policy) == (BootstrapProblem.ROLE_DIFFERS, None, None)
    assert customer.role() == MadeRole(other, [], None)
    assert not customer.iam.list_policies(Scope="Local")["Policies"]


async def test_another_policy_of_that_name_is_left_as_it_is(world: World, customer: Customer) -> None:
    other = {"Version": "2012-10-17", "Statement": [ADMINISTRATOR]}
    arn = customer.iam.create_policy(PolicyName=ROLE, PolicyDocument=json.dumps(other))["Policy"]["Arn"]
    report = await world.report(customer.signing())
    assert report.problem is BootstrapProblem.POLICY_DIFFERS
    assert customer.iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == other
    assert customer.role() is None


async def test_a_policy_with_a_later_version_is_another_one(world: World, customer: Customer) -> None:
    arn = customer.iam.create_policy(PolicyName=ROLE, PolicyDocument=json.dumps(FULL))["Policy"]["Arn"]
    wider = json.dumps({"Version": "2012-10-17", "Statement": [ADMINISTRATOR]})
    customer.iam.create_policy_version(PolicyArn=arn, PolicyDocument=wider, SetAsDefault=True)
    assert (await world.report(customer.signing())).problem is BootstrapProblem.POLICY_DIFFERS
    assert customer.role() is None


async def test_a_role_under_a_path_is_another_one(world: World, customer: Customer) -> None:
    customer.iam.create_role(Path="/teams/", RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))
    assert (await world.report(customer.signing())).problem is BootstrapProblem.ROLE_DIFFERS


async def test_a_wrong_secret_is_told(world: World, customer: Customer) -> None:
    wrong = Credentials(customer.key.access_key_id, customer.key.secret_access_key[:-4] + "AAAA")
    report = await world.report(customer.signing(wrong))
    assert report.problem is BootstrapProblem.WRONG_KEY
    assert "secret" in str(report.detail)


async def test_a_key_that_is_inactive_is_told(world: World, customer: Customer) -> None:
    customer.iam.update_access_key(UserName="customer", AccessKeyId=customer.key.access_key_id, Status="Inactive")
    report = await world.report(customer.signing())
    assert report.problem is BootstrapProblem.WRONG_KEY
    assert "inactive" in str(report.detail)


async def test_a_key_of_another_account_makes_nothing_anywhere(
    world: World, customer: Customer, new_account: Callable[[], str]
) -> None:
    elsewhere = new_account()
    stranger = make_user(customer.aws, elsewhere, ADMINISTRATOR)
    report = await world.report(customer.signing(stranger))
    assert report.problem is BootstrapProblem.OTHER_ACCOUNT
    assert customer.role() is None
    assert role_in(customer.aws, elsewhere) is None
    assert not customer.aws.root_client("iam", elsewhere).list_policies(Scope="Local")["Policies"]


async def test_a_denied_get_user_of_another_account_tells_whose_key_it_is(
    world: World, customer: Customer, new_account: Callable[[], str]
) -> None:
    stranger = make_user(customer.aws, new_account())
    assert (await world.report(customer.signing(stranger))).problem is BootstrapProblem.OTHER_ACCOUNT


_NEEDED = (
    "iam:GetPolicy",
    "iam:GetRole",
    "iam:CreatePolicy",
    "iam:CreateRole",
    "iam:AttachRolePolicy",
)


@pytest.mark.parametrize("missing", ["iam:GetPolicy", "iam:AttachRolePolicy"])
async def test_the_missing_permission_is_named(world: World, customer: Customer, missing: str) -> None:
    key = customer.weak(*(action for action in _NEEDED if action != missing))
    report = await world.report(customer.signing(key))
    assert (report.problem, report.missing_action) == (BootstrapProblem.MISSING_PERMISSION, missing)
    assert missing in str(report.detail)


async def test_those_permissions_are_enough(world: World, customer: Customer) -> None:
    report = await world.report(customer.signing(customer.weak(*_NEEDED)))
    assert fields(report) == {"role": "created", "policy": "created", **DONE}


async def test_a_temporary_key_makes_the_role_too(world: World, customer: Customer) -> None:
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{customer.account_id}:root"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [{**trust, "Action": "sts:AssumeRole"}]})
    arn = customer.iam.create_role(RoleName="Admin", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    everything = json.dumps({"Version": "2012-10-17", "Statement": [ADMINISTRATOR]})
    customer.iam.put_role_policy(RoleName="Admin", PolicyName="own", PolicyDocument=everything)
    sts: STSClient = customer.aws.client("sts", customer.key)
    given = sts.assume_role(RoleArn=arn, RoleSessionName="someone")["Credentials"]
    key = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    report = await world.report(customer.signing(key))
    assert fields(report) == {"role": "created", "policy": "created", **DONE}


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("throttle", "GetUser"),
        ("unavailable", "CreatePolicy"),
        ("disconnect", "CreateRole"),
        ("error", "AttachRolePolicy"),
    ],
)
async def test_what_aws_does_not_answer_at_first_is_sent_again(
    world: World, customer: Customer, kind: Any, operation: str
) -> None:
    with customer.aws.fault(kind=kind, service="iam", operation=operation, times=2) as fault:
        report = await world.report(customer.signing())
    assert (report.attached, fault.hits) == (True, 2)


async def test_signatures_that_aws_calls_expired_end_it(world: World, customer: Customer) -> None:
    with customer.aws.fault(kind="stale", service="iam", operation="CreateRole", seconds=400):
        report = await world.report(customer.signing())
    assert (report.problem, report.policy, report.role) == (BootstrapProblem.EXPIRED, "created", None)


async def test_a_process_killed_between_policy_and_role_is_followed_by_another(
    world: World, customer: Customer
) -> None:
    async with world.onboard.worker():
        with customer.aws.fault(kind="hang", service="iam", operation="CreateRole") as fault:
            run_id = world.onboard.send(world.job(customer.signing()))
            await until(lambda: fault.hits)
            assert customer.role() is None
            os.kill(world.processes[0].pid, signal.SIGKILL)
            await world.onboard.released(run_id)
        run = await world.onboard.ended(run_id)
    assert isinstance(run.report, BootstrapReport)
    assert fields(run.report) == {"role": "created", "policy": "adopted", **DONE}
    assert customer.role() is not None
    assert len(world.processes) == 2


async def test_the_process_is_gone_afterwards_and_another_one_for_each(world: World, customer: Customer) -> None:
    await world.report(customer.signing())
    await world.report(customer.signing())
    pids = {process.pid for process in world.processes}
    assert len(pids) == 2
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


async def test_a_job_sealed_for_others_alone_is_given_back_unclaimed(world: World, customer: Customer) -> None:
    other = World(customer.aws)
    world.onboard.queue.send(world.onboard.jobs.sign(other.job(customer.signing())))
    async with world.onboard.worker():
        await until(lambda: ("hide", "m1", 1) in world.onboard.queue.calls)
    assert "claim" not in world.onboard.results.calls
    assert world.onboard.queue.ids == ["m1"]
    assert world.processes == []


async def test_a_seal_put_into_another_job_does_not_open(world: World, customer: Customer) -> None:
    job = world.job(customer.signing())
    assert isinstance(job.work, BootstrapSpec)
    moved = bootstrap_job(world.onboard.jobs, customer.signing().requests())
    stolen = world.onboard.jobs.onboard(
        job.work, run_id=moved.run_id, team_id=moved.team_id, target=moved.target, exp=moved.exp
    )
    before = len(customer.aws.requests)
    async with world.onboard.worker():
        run = await world.onboard.released(world.onboard.send(stolen))
    assert "could not open" in str(run.reason)
    assert [each for each in customer.aws.requests[before:] if each.service == "iam"] == []


async def test_requests_to_elsewhere_are_not_sent(world: World, customer: Customer) -> None:
    stray = Signing(customer.key, url="http://127.0.0.1:9", account_id=customer.account_id)
    report = await world.report(customer.signing(), create_role=stray.request("CreateRole"))
    assert report.problem is BootstrapProblem.UNEXPECTED
    assert "create_role: not the address to send to" in str(report.detail)
    assert customer.role() is None


async def test_nothing_that_is_signed_gets_into_a_log_or_the_report(
    world: World, customer: Customer, capfd: pytest.CaptureFixture[str]
) -> None:
    signing = customer.signing()
    requests = signing.requests()
    with capture_logs() as logs, customer.aws.fault(kind="error", service="iam", operation="GetRole", times=1):
        run = await world.carried_out(bootstrap_job(world.onboard.jobs, requests, world.key()))
    written = capfd.readouterr().err
    assert "iam_answered" in written  # the process's own log came through
    texts = written + repr(logs) + repr(run.report)
    signature = requests.get_user.headers["authorization"].rpartition("=")[2]
    secrets = {signing.key.access_key_id, signing.key.secret_access_key, signature}
    assert [secret for secret in secrets if secret in texts] == []


async def test_sts_tells_whose_a_key_is(customer: Customer) -> None:
    """Asked where IAM does not tell, which the simulated one always does."""
    asked = customer.signing().request("GetCallerIdentity", service="sts")
    answer = Sender(endpoint_url=customer.aws.endpoint_url).post(asked)
    assert answer.values["GetCallerIdentityResult/Arn"] == f"arn:aws:iam::{customer.account_id}:user/customer"

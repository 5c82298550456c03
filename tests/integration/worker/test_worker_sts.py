"""Into a customer's account through the simulated STS: what is sent, what is refused, what a session can do."""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from coreo_embedded.deploy import Deployment
from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.contracts.jobs import TargetAccount
from coreo_shared.ids import new_id
from coreo_shared.rules.policy import SessionPolicy, session_policy
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.aws.own import own_session
from coreo_worker.aws.sts import RoleGate, open_gate, session_name
from tests.support.aws import refusal, role_credentials
from tests.support.worker import EXTERNAL_ID

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

REGION = "us-east-1"
RUN = UUID("01a20ac7-5ca4-7338-bda8-8a9b13a01497")
READ_BUCKETS = session_policy(["s3:ListAllMyBuckets"])


@dataclass
class Customer:
    """An account with a role for Coreo that may do everything."""

    target: TargetAccount
    iam: "IAMClient"

    def trust(self, **changes: Any) -> None:
        """Changes the role's trust policy."""
        statement = json.loads(self._document) | changes
        self.iam.update_assume_role_policy(
            RoleName="CoreoAudit", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statement})
        )

    _document: str = ""


@pytest.fixture
def customer(aws: Simulator, deployment: Deployment, new_account: Callable[[], str]) -> Customer:
    account = new_account()
    iam: IAMClient = aws.root_client("iam", account)
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": deployment.role_arns["worker-audit"]},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    role = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=document)["Role"]
    iam.attach_role_policy(RoleName="CoreoAudit", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    target = TargetAccount(
        cloud_account_id=new_id(),
        account_id=account,
        partition="aws",
        role_arn=role["Arn"],
        external_id=EXTERNAL_ID,
    )
    return Customer(target, iam, json.dumps(statement))


@pytest.fixture
async def gate(aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RoleGate]:
    for name, value in role_credentials(aws, deployment, "worker-audit").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    async with open_gate(own_session(), region=REGION) as opened:
        yield opened


def assert_no_secret(error: Exception) -> None:
    assert EXTERNAL_ID not in f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"


async def test_a_session_is_asked_for_with_everything_that_limits_it(
    aws: Simulator, gate: RoleGate, customer: Customer
) -> None:
    before, now = len(aws.requests), time.time()
    credentials = await gate.assume(customer.target, RUN, READ_BUCKETS)
    (request,) = aws.requests[before:]
    assert request.parameters == {
        "RoleArn": customer.target.role_arn,
        "RoleSessionName": "coreo-01a20ac75ca47338bda88a9b13a01497",
        "ExternalId": EXTERNAL_ID,
        "Policy": READ_BUCKETS.document,
        "DurationSeconds": "3600",
    }
    assert now + 3500 < credentials.expires_at < now + 3700


async def test_the_session_policy_narrows_even_an_administrators_role(
    aws: Simulator, gate: RoleGate, customer: Customer
) -> None:
    got = await gate.assume(customer.target, RUN, READ_BUCKETS)
    session = Credentials(got.access_key_id, got.secret_access_key, got.session_token)
    assert refusal(aws.client("s3", session).list_buckets) is None
    assert refusal(aws.client("iam", session).list_users) == "AccessDenied"
    assert refusal(lambda: aws.client("s3", session).create_bucket(Bucket="new")) == "AccessDenied"
    wider = await gate.assume(customer.target, RUN, session_policy(["iam:ListUsers"]))
    session = Credentials(wider.access_key_id, wider.secret_access_key, wider.session_token)
    assert refusal(aws.client("iam", session).list_users) is None  # so it was the policy that refused


@pytest.mark.parametrize("case", ["wrong external id", "role is gone", "trusts another account", "never our own"])
async def test_a_refusal_is_permanent_and_says_what_to_do_without_the_external_id(
    gate: RoleGate, customer: Customer, deployment: Deployment, case: str
) -> None:
    target = customer.target
    if case == "wrong external id":
        target = msgspec.structs.replace(target, external_id=f"{EXTERNAL_ID}-wrong")
    elif case == "role is gone":
        target = msgspec.structs.replace(target, role_arn=f"{target.role_arn}Gone")
    elif case == "trusts another account":
        customer.trust(Principal={"AWS": "arn:aws:iam::999999999999:root"})
    else:
        target = msgspec.structs.replace(target, role_arn=deployment.role_arns["results"])
    with pytest.raises(PermanentError) as refused:
        await gate.assume(target, RUN, READ_BUCKETS)
    assert "trust policy" in str(refused.value)
    assert target.role_arn in str(refused.value)
    assert_no_secret(refused.value)


async def test_a_role_arn_that_is_none_is_permanent(gate: RoleGate, customer: Customer) -> None:
    target = msgspec.structs.replace(customer.target, role_arn="role")
    with pytest.raises(PermanentError, match="ARN"):
        await gate.assume(target, RUN, READ_BUCKETS)


async def test_a_session_policy_that_aws_does_not_take_is_permanent(gate: RoleGate, customer: Customer) -> None:
    with pytest.raises(PermanentError, match="session policy"):
        await gate.assume(customer.target, RUN, SessionPolicy("{", ()))


@pytest.mark.parametrize("kind", ["throttle", "unavailable", "error", "disconnect"])
async def test_what_says_nothing_of_the_role_is_temporary(
    aws: Simulator, gate: RoleGate, customer: Customer, kind: Any
) -> None:
    with aws.fault(kind=kind, service="sts", role="coreo-worker-audit"), pytest.raises(TemporaryError) as failed:
        await gate.assume(customer.target, RUN, READ_BUCKETS)
    assert failed.value.delay > 0
    assert_no_secret(failed.value)


async def test_our_own_expired_credentials_blame_no_customer(
    aws: Simulator, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "ASIAGONEGONEGONEGONE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    async with open_gate(own_session(), region=REGION) as gate:
        with pytest.raises(TemporaryError):
            await gate.assume(customer.target, RUN, READ_BUCKETS)


@pytest.mark.parametrize("setting", ["legacy", "regional", None])
async def test_sts_is_asked_in_the_workers_own_region(setting: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html"""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if setting:
        monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", setting)
    async with open_gate(own_session(), region="us-east-1") as gate:
        assert gate._client.meta.endpoint_url == "https://sts.us-east-1.amazonaws.com"


def test_session_names_fit_into_sts() -> None:
    assert len(session_name(new_id())) == 38

"""What we rely on when a worker assumes a customer's role: trust, external ids and session policies are enforced."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from coreo_embedded.deploy import COREO_ACCOUNT, Deployment
from coreo_embedded.simulator import Credentials, Simulator
from tests.support.aws import refusal, role_credentials

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient

RIGHT, WRONG = "coreo-3f6c0b9a5d", "coreo-0000000000"
WORKER = f"arn:aws:iam::{COREO_ACCOUNT}:role/coreo-worker-onboard"
ROOT = f"arn:aws:iam::{COREO_ACCOUNT}:root"
EXACT = {"StringEquals": {"sts:ExternalId": RIGHT}}


def allow(principal: Any, condition: dict[str, Any] | None = None, effect: str = "Allow") -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"}
    return statement | ({"Condition": condition} if condition else {})


def deny(condition: dict[str, Any]) -> dict[str, Any]:
    return allow({"AWS": "*"}, condition, effect="Deny")


# statements -> whether AssumeRole works with the right, a wrong and no external id
TRUST: dict[str, tuple[list[dict[str, Any]], tuple[bool, bool, bool]]] = {
    "role, exact id": ([allow({"AWS": WORKER}, EXACT)], (True, False, False)),
    "account root, exact id": ([allow({"AWS": ROOT}, EXACT)], (True, False, False)),
    "account number, exact id": ([allow({"AWS": COREO_ACCOUNT}, EXACT)], (True, False, False)),
    "anyone, exact id": ([allow({"AWS": "*"}, EXACT)], (True, False, False)),
    "list of ids": (
        [allow({"AWS": ROOT}, {"StringEquals": {"sts:ExternalId": ["coreo-other", RIGHT]}})],
        (True, False, False),
    ),
    "no condition": ([allow({"AWS": ROOT})], (True, True, True)),
    "pattern": ([allow({"AWS": ROOT}, {"StringLike": {"sts:ExternalId": "coreo-*"}})], (True, True, False)),
    "pattern of anything": ([allow({"AWS": ROOT}, {"StringLike": {"sts:ExternalId": "*"}})], (True, True, False)),
    "only if sent": ([allow({"AWS": ROOT}, {"StringEqualsIfExists": {"sts:ExternalId": RIGHT}})], (True, False, True)),
    "case ignored": (
        [allow({"AWS": ROOT}, {"StringEqualsIgnoreCase": {"sts:ExternalId": RIGHT.upper()}})],
        (True, False, False),
    ),
    "any of a set": (
        [allow({"AWS": ROOT}, {"ForAnyValue:StringEquals": {"sts:ExternalId": [RIGHT]}})],
        (True, False, False),
    ),
    "deny another id": (
        [allow({"AWS": ROOT}), deny({"StringNotEquals": {"sts:ExternalId": RIGHT}})],
        (True, False, False),
    ),
    "deny beats allow": (
        [allow({"AWS": ROOT}), deny({"StringEquals": {"sts:ExternalId": RIGHT}})],
        (False, True, True),
    ),
    "two statements, one open": ([allow({"AWS": ROOT}, EXACT), allow({"AWS": WORKER})], (True, True, True)),
    "another condition not met": (
        [allow({"AWS": ROOT}, EXACT | {"Bool": {"aws:MultiFactorAuthPresent": "true"}})],
        (False, False, False),
    ),
    "another account": ([allow({"AWS": "arn:aws:iam::999999999999:root"}, EXACT)], (False, False, False)),
    "another role": ([allow({"AWS": f"{ROOT[:-4]}role/coreo-api"}, EXACT)], (False, False, False)),
    "a service": ([allow({"Service": "ec2.amazonaws.com"}, EXACT)], (False, False, False)),
}


@pytest.fixture(scope="session")
def worker(aws: Simulator, deployment: Deployment) -> Credentials:
    return role_credentials(aws, deployment, "worker-onboard")


def make_role(
    aws: Simulator, account: str, statements: list[dict[str, Any]], policy: dict[str, Any] | None = None
) -> str:
    iam: IAMClient = aws.root_client("iam", account)
    trust = json.dumps({"Version": "2012-10-17", "Statement": statements})
    arn = iam.create_role(RoleName="customer", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    document = policy or {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="customer", PolicyName="all", PolicyDocument=json.dumps(document))
    return arn


@pytest.mark.parametrize("case", TRUST)
def test_trust_policy_decides_who_assumes_with_which_external_id(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str], case: str
) -> None:
    statements, expected = TRUST[case]
    role = make_role(aws, new_account(), statements)
    sts: STSClient = aws.client("sts", worker)

    answers = [
        refusal(lambda: sts.assume_role(RoleArn=role, RoleSessionName="coreo", ExternalId=RIGHT)),
        refusal(lambda: sts.assume_role(RoleArn=role, RoleSessionName="coreo", ExternalId=WRONG)),
        refusal(lambda: sts.assume_role(RoleArn=role, RoleSessionName="coreo")),
    ]

    assert answers == [None if allowed else "AccessDenied" for allowed in expected]


def test_missing_role_looks_like_a_refusal(aws: Simulator, worker: Credentials, new_account: Callable[[], str]) -> None:
    role = f"arn:aws:iam::{new_account()}:role/customer"
    sts: STSClient = aws.client("sts", worker)

    assert refusal(lambda: sts.assume_role(RoleArn=role, RoleSessionName="coreo", ExternalId=RIGHT)) == "AccessDenied"


def assume(aws: Simulator, caller: Credentials, role: str, **arguments: Any) -> Credentials:
    sts: STSClient = aws.client("sts", caller)
    keys = sts.assume_role(RoleArn=role, RoleSessionName="coreo", ExternalId=RIGHT, **arguments)["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def test_assumed_role_acts_in_the_customers_account(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str]
) -> None:
    customer = new_account()
    role = make_role(aws, customer, [allow({"AWS": ROOT}, EXACT)])

    sts: STSClient = aws.client("sts", assume(aws, worker, role))
    identity = sts.get_caller_identity()

    assert identity["Account"] == customer
    assert identity["Arn"] == f"arn:aws:sts::{customer}:assumed-role/customer/coreo"


def test_session_policy_narrows_an_administrator_role(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str]
) -> None:
    role = make_role(aws, new_account(), [allow({"AWS": ROOT}, EXACT)])
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["ec2:DescribeInstances", "s3:GetEncryption*"], "Resource": "*"}],
    }
    session = assume(aws, worker, role, Policy=json.dumps(policy))

    assert refusal(aws.client("ec2", session).describe_instances) is None
    assert refusal(aws.client("ec2", session).describe_volumes) == "UnauthorizedOperation"
    assert refusal(aws.client("s3", session).list_buckets) == "AccessDenied"
    assert refusal(aws.client("iam", session).list_users) == "AccessDenied"
    assert refusal(aws.client("ec2", assume(aws, worker, role)).describe_volumes) is None


def test_session_policy_cannot_widen_the_role(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str]
) -> None:
    only_ec2 = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}],
    }
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    role = make_role(aws, new_account(), [allow({"AWS": ROOT}, EXACT)], only_ec2)
    session = assume(aws, worker, role, Policy=json.dumps(everything))

    assert refusal(aws.client("ec2", session).describe_instances) is None
    assert refusal(aws.client("s3", session).list_buckets) == "AccessDenied"


def test_overlong_session_policy_is_refused(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str]
) -> None:
    role = make_role(aws, new_account(), [allow({"AWS": ROOT}, EXACT)])
    actions = [f"ec2:Describe{number:04}" for number in range(150)]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}

    assert refusal(lambda: assume(aws, worker, role, Policy=json.dumps(policy))) == "ValidationError"


def test_session_tags_need_the_trust_policys_leave(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str]
) -> None:
    role = make_role(aws, new_account(), [allow({"AWS": ROOT}, EXACT)])

    assert refusal(lambda: assume(aws, worker, role, Tags=[{"Key": "run", "Value": "1"}])) == "AccessDenied"


def test_wrong_secret_and_missing_token_are_refused(
    aws: Simulator, worker: Credentials, new_account: Callable[[], str]
) -> None:
    session = assume(aws, worker, make_role(aws, new_account(), [allow({"AWS": ROOT}, EXACT)]))
    forged = Credentials(session.access_key_id, "x" * 40, session.session_token)
    stripped = Credentials(session.access_key_id, session.secret_access_key)

    assert refusal(aws.client("sts", forged).get_caller_identity) == "SignatureDoesNotMatch"
    assert refusal(aws.client("sts", stripped).get_caller_identity) == "InvalidClientTokenId"

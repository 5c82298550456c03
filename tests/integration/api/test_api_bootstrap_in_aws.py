"""The requests that are signed with a customer's key, sent by somebody who does not have it: AWS takes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from coreo_api.bootstrap.body import PostedKeys, Wish
from coreo_api.bootstrap.requests import EVERYTHING, RoleWish, signed_requests
from coreo_api.bootstrap.secret import Secret
from coreo_embedded.deploy import Deployment
from coreo_embedded.estate.people import make_user
from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.contracts.onboarding import BootstrapRequests, SignedRequest
from tests.support.aws import refusal, role_credentials

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient

EXTERNAL_ID = "ab12" * 8
NAME = "CloudCoreoAssumedRole"


def secret_of(text: str) -> Secret:
    secret = Secret(len(text))
    secret.data[:] = text.encode("ascii")
    return secret


@pytest.fixture
def customer(new_account: Callable[[], str]) -> str:
    return new_account()


@pytest.fixture
def role(deployment: Deployment, customer: str) -> RoleWish:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": deployment.role_arns["worker-audit"]},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
    }
    return RoleWish("aws", customer, NAME, {"Version": "2012-10-17", "Statement": [statement]}, EVERYTHING)


def requests_by(aws: Simulator, role: RoleWish, keys: Credentials) -> BootstrapRequests:
    token = None if keys.session_token is None else secret_of(keys.session_token)
    posted = PostedKeys(Wish(access_key_id=keys.access_key_id), secret_of(keys.secret_access_key), token)
    return signed_requests(role, posted, endpoint_url=aws.endpoint_url, now=datetime.now(UTC))


def send(request: SignedRequest | None) -> httpx.Response:
    assert request is not None
    return httpx.post(request.url, headers=request.headers, content=request.body)


def make_role(requests: BootstrapRequests) -> None:
    """Sends what makes a role where there is none."""
    assert f":{requests.account_id}:" in send(requests.get_user).text
    assert send(requests.get_policy).status_code == 404
    assert send(requests.create_policy).status_code == 200
    assert send(requests.get_policy).status_code == 200
    assert send(requests.get_policy_version).status_code == 200
    assert send(requests.get_role).status_code == 404
    assert send(requests.create_role).status_code == 200
    assert send(requests.attach_role_policy).status_code == 200


def test_signed_requests_make_the_role(aws: Simulator, deployment: Deployment, role: RoleWish, customer: str) -> None:
    requests = requests_by(aws, role, make_user(aws, customer, "setup"))
    make_role(requests)
    iam: IAMClient = aws.root_client("iam", customer)
    made: Any = iam.get_role(RoleName=NAME)["Role"]
    attached = iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
    policy = iam.get_policy_version(PolicyArn=requests.policy_arn, VersionId="v1")["PolicyVersion"]

    assert made["Arn"] == requests.role_arn
    assert made["AssumeRolePolicyDocument"] == role.trust_policy
    assert [each["PolicyArn"] for each in attached] == [requests.policy_arn]
    assert policy["Document"] == EVERYTHING

    sts: STSClient = aws.client("sts", role_credentials(aws, deployment, "worker-audit"))
    keys = sts.assume_role(RoleArn=made["Arn"], RoleSessionName="coreo", ExternalId=EXTERNAL_ID)["Credentials"]
    session = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    assert refusal(lambda: aws.client("s3", session).list_buckets()) is None
    assert refusal(lambda: aws.client("iam", session).create_user(UserName="x")) == "AccessDenied"
    assert refusal(lambda: sts.assume_role(RoleArn=made["Arn"], RoleSessionName="coreo")) == "AccessDenied"


def test_temporary_keys_sign_too(aws: Simulator, role: RoleWish, customer: str) -> None:
    user: STSClient = aws.client("sts", make_user(aws, customer, "setup"))
    keys = user.get_session_token()["Credentials"]
    session = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    make_role(requests_by(aws, role, session))


def test_a_signature_is_good_for_its_request_alone(aws: Simulator, role: RoleWish, customer: str) -> None:
    """Whoever gets hold of the requests can make this role with this policy, and nothing else."""
    requests = requests_by(aws, role, make_user(aws, customer, "setup"))
    assert requests.create_policy is not None
    edits = [
        (requests.create_role, requests.create_role.body.replace(NAME, "Another")),
        (requests.create_policy, requests.create_policy.body.replace("Deny", "Allow")),
        (requests.get_user, requests.create_role.body),
    ]

    for request, body in edits:
        assert body != request.body
        edited = httpx.post(request.url, headers=request.headers, content=body)
        assert edited.status_code == 403, body


def test_a_wrong_secret_makes_nothing(aws: Simulator, role: RoleWish, customer: str) -> None:
    keys = make_user(aws, customer, "setup")
    wrong = Credentials(keys.access_key_id, "x" + keys.secret_access_key[1:])
    answer = send(requests_by(aws, role, wrong).create_role)

    assert answer.status_code == 403
    assert "SignatureDoesNotMatch" in answer.text

"""Our Signature Version 4 is the SDK's, byte for byte; and the secret is gone afterwards."""

import copy
import pickle
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st

from coreo_api.bootstrap.body import PostedKeys, Wish
from coreo_api.bootstrap.requests import ENDPOINTS, EVERYTHING, STS_ENDPOINTS, RoleWish, signed_requests
from coreo_api.bootstrap.secret import Secret
from coreo_api.bootstrap.signing import Scope, Signer
from coreo_shared.contracts.onboarding import BootstrapRequests, SignedRequest

NOW = datetime(2026, 3, 1, 12, 30, 59, tzinfo=UTC)
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "ä 漢 🔑"}}]}


def secret_of(text: str) -> Secret:
    secret = Secret(len(text))
    secret.data[:] = text.encode("ascii")
    return secret


def by_sdk(url: str, headers: dict[str, str], body: bytes, keys: Credentials, scope: Scope, monkeypatch: Any) -> str:
    """The Authorization header that the SDK makes."""
    request = AWSRequest(method="POST", url=url, data=body, headers=headers)
    auth = SigV4Auth(keys, scope.service, scope.region)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: scope.at.replace(tzinfo=None))
    auth.add_auth(request)
    return str(request.headers["Authorization"])


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=128)
HEADER_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)


@given(
    secret=VISIBLE,
    token=st.none() | VISIBLE,
    url=st.sampled_from(
        [*(f"{each}/" for each, _ in ENDPOINTS.values()), "http://127.0.0.1:4566/", "https://iam.example:443/"]
    ),
    headers=st.dictionaries(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), HEADER_TEXT, max_size=4),
    body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    at=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1)),  # noqa: DTZ001  made UTC below
    region=st.sampled_from(["us-east-1", "us-gov-west-1", "cn-north-1"]),
)
def test_signature_is_the_sdks(
    secret: str, token: str | None, url: str, headers: dict[str, str], body: bytes, at: datetime, region: str
) -> None:
    scope = Scope(region, "iam", at.replace(tzinfo=UTC))
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = by_sdk(url, dict(headers), body, Credentials(KEY_ID, secret, token), scope, monkeypatch)
    with Signer(KEY_ID, secret_of(secret), token, scope) as signer:
        signed = signer.headers(url, headers, body)

    assert signed["authorization"] == expected
    assert signed["host"] == urlsplit(url).netloc.removesuffix(":443")


def test_the_sdk_takes_its_time_from_where_this_test_sets_it() -> None:
    """Else the comparison above would hold for any date."""
    assert get_current_datetime.__module__ == "botocore.compat"
    scope = Scope("us-east-1", "iam", NOW)
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = by_sdk("https://iam.amazonaws.com/", {}, b"", Credentials(KEY_ID, SECRET), scope, monkeypatch)
    assert "/20260301/us-east-1/iam/aws4_request" in made


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_endpoints_are_the_sdks(partition: str) -> None:
    session = get_session()
    url, signing_region = ENDPOINTS[partition]
    client = session.create_client("iam", region_name=signing_region, aws_access_key_id="x", aws_secret_access_key="y")

    assert session.get_partition_for_region(signing_region) == partition
    assert client.meta.endpoint_url == url
    client.close()


def posted(token: str | None = None) -> PostedKeys:
    return PostedKeys(Wish(access_key_id=KEY_ID), secret_of(SECRET), None if token is None else secret_of(token))


def wish(policy: dict[str, Any] | None = EVERYTHING, partition: str = "aws") -> RoleWish:
    return RoleWish(partition, "210987654321", "CloudCoreoAssumedRole", TRUST, policy)


def all_of(requests: BootstrapRequests) -> dict[str, SignedRequest]:
    return {
        name: request
        for name in requests.__struct_fields__
        if isinstance(request := getattr(requests, name), SignedRequest)
    }


def fields_of(request: SignedRequest) -> dict[str, str]:
    return dict(parse_qsl(request.body, strict_parsing=True))


def test_seven_requests_are_signed_and_no_more() -> None:
    requests = signed_requests(wish(), posted(), endpoint_url=None, now=NOW)
    made = all_of(requests)

    assert {name: fields_of(each)["Action"] for name, each in made.items()} == {
        "get_user": "GetUser",
        "get_policy": "GetPolicy",
        "get_policy_version": "GetPolicyVersion",
        "create_policy": "CreatePolicy",
        "get_role": "GetRole",
        "create_role": "CreateRole",
        "attach_role_policy": "AttachRolePolicy",
    }
    assert {each.url for each in made.values()} == {"https://iam.amazonaws.com/"}
    assert requests.role_arn == "arn:aws:iam::210987654321:role/CloudCoreoAssumedRole"
    assert requests.policy_arn == "arn:aws:iam::210987654321:policy/CloudCoreoAssumedRole"
    assert fields_of(made["attach_role_policy"])["PolicyArn"] == requests.policy_arn
    assert fields_of(made["get_policy_version"])["VersionId"] == "v1"
    assert requests.expires_at == int(NOW.timestamp()) + 300


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_temporary_keys_come_with_the_question_whose_they_are(partition: str) -> None:
    """Of a role's session GetUser tells nothing; no role is made before it is known whose key it is."""
    requests = signed_requests(wish(partition=partition), posted("token"), endpoint_url=None, now=NOW)
    asked = requests.get_caller_identity
    assert asked is not None
    assert fields_of(asked) == {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
    assert f"/20260301/{ENDPOINTS[partition][1]}/sts/aws4_request" in asked.headers["authorization"]
    assert asked.headers["x-amz-security-token"] == "token"
    session = get_session()
    region = ENDPOINTS[partition][1]
    client = session.create_client("sts", region_name=region, aws_access_key_id="x", aws_secret_access_key="y")
    assert client.meta.endpoint_url == asked.url.removesuffix("/") == STS_ENDPOINTS[partition]
    client.close()


def test_full_policy_is_exactly_everything_but_making_users() -> None:
    requests = signed_requests(wish(), posted(), endpoint_url=None, now=NOW)
    assert requests.create_policy is not None

    assert fields_of(requests.create_policy)["PolicyDocument"] == (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},'
        '{"Effect":"Deny","Action":"iam:CreateUser","Resource":"*"}]}'
    )
    assert requests.policy == EVERYTHING


def test_aws_own_policy_is_neither_read_nor_made() -> None:
    requests = signed_requests(wish(policy=None, partition="aws-cn"), posted(), endpoint_url=None, now=NOW)

    assert set(all_of(requests)) == {"get_user", "get_role", "create_role", "attach_role_policy"}
    assert requests.policy is None
    assert requests.policy_arn == "arn:aws-cn:iam::aws:policy/SecurityAudit"


def test_requests_go_where_the_setting_says() -> None:
    requests = signed_requests(wish(), posted(), endpoint_url="http://127.0.0.1:4566", now=NOW)

    assert requests.get_user.url == "http://127.0.0.1:4566/"
    assert requests.get_user.headers["host"] == "127.0.0.1:4566"


def test_session_token_is_in_the_signed_headers() -> None:
    requests = signed_requests(wish(), posted("FwoGZXIvYXdzEBYaDEXAMPLE=="), endpoint_url=None, now=NOW)

    for each in all_of(requests).values():
        assert each.headers["x-amz-security-token"] == "FwoGZXIvYXdzEBYaDEXAMPLE=="
        assert "x-amz-security-token" in each.headers["authorization"]


def test_keys_are_wiped_by_signing() -> None:
    keys = posted("FwoGZXIvYXdzEBYaDEXAMPLE==")
    assert keys.session_token is not None
    requests = signed_requests(wish(), keys, endpoint_url=None, now=NOW)

    assert keys.secret.data == bytes(len(SECRET))
    assert not any(keys.session_token.data)
    assert SECRET not in str(requests)


def test_a_secret_neither_prints_nor_pickles_nor_copies() -> None:
    secret = secret_of(SECRET)

    assert SECRET not in f"{secret} {secret!r} {posted()!r}"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)


def test_a_signers_key_is_wiped_after_its_block() -> None:
    with Signer(KEY_ID, secret_of(SECRET), None, Scope("us-east-1", "iam", NOW)) as signer:
        assert any(signer._key.data)
        assert "AKIA" not in repr(signer)
    assert not any(signer._key.data)

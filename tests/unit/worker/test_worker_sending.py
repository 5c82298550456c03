"""Where signed requests may go: AWS's own addresses, or the embedded stack's, and as they were signed."""

from typing import Any

import msgspec
import pytest

from coreo_embedded.simulator import Credentials
from coreo_shared.contracts.onboarding import BootstrapRequests, SealContext, SignedRequest
from coreo_shared.ids import new_id
from coreo_worker.onboard.replay import Call
from coreo_worker.onboard.sending import Sender, find_fault, sender_of
from tests.support.bootstrap import ACCOUNT, FULL, Signing

KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00")
AWS = Sender(endpoint_url=None)
SIMULATED = Sender(endpoint_url="http://127.0.0.1:4566")


def request_to(url: str, **changes: Any) -> SignedRequest:
    request = Signing(KEY, url=url.removesuffix("/")).request("GetUser")
    return msgspec.structs.replace(request, **{"url": url, **changes})


@pytest.mark.parametrize(
    "url",
    ["https://iam.amazonaws.com/", "https://iam.us-gov.amazonaws.com/", "https://iam.cn-north-1.amazonaws.com.cn/"],
)
def test_iam_is_where_aws_says_it_is(url: str) -> None:
    assert AWS.problem(Call.GET_USER, request_to(url)) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://iam.amazonaws.com/",
        "https://iam.amazonaws.com:8443/",
        "https://iam.amazonaws.com.evil.example/",
        "https://evil.example/",
        "https://evil.example/iam.amazonaws.com/",
        "https://user@iam.amazonaws.com/",
        "https://iam.amazonaws.com@evil.example/",
        "https://xiam.amazonaws.com/",
        "https://iam.s3.amazonaws.com/",  # a bucket of anybody's
        "https://iam.s3-website-us-east-1.amazonaws.com/",
        "https://iam.s3.us-east-1.amazonaws.com/",
        "https://iam.execute-api.amazonaws.com/",
        "https://iam.a.us-east-1.amazonaws.com/",
        "https://sts.us-east-1.amazonaws.com/",
        "https://127.0.0.1/",
        "https://169.254.169.254/",
        "http://127.0.0.1:4566/",
        "file:///etc/passwd",
        "https://iam.amazonaws.com/path",
        "https://iam.amazonaws.com/?Action=GetUser",
        "https://iam.amazonaws.com/#x",
        "https://iam.amazonaws.com\n/",
    ],
)
def test_nothing_goes_anywhere_else(url: str) -> None:
    assert AWS.problem(Call.GET_USER, request_to(url)) is not None


@pytest.mark.parametrize("url", ["https://sts.us-east-1.amazonaws.com/", "https://sts.us-gov-west-1.amazonaws.com/"])
def test_sts_is_asked_who_it_is_and_nothing_else(url: str) -> None:
    request = request_to(url)
    asked = msgspec.structs.replace(request, body="Action=GetCallerIdentity&Version=2011-06-15")
    assert AWS.problem(Call.GET_CALLER_IDENTITY, asked) is None
    assert AWS.problem(Call.GET_USER, request) is not None


def test_with_an_endpoint_of_ones_own_it_is_the_only_one() -> None:
    assert SIMULATED.problem(Call.GET_USER, request_to("http://127.0.0.1:4566/")) is None
    for url in ("https://iam.amazonaws.com/", "http://127.0.0.1:4567/", "https://127.0.0.1:4566/"):
        assert SIMULATED.problem(Call.GET_USER, request_to(url)) is not None


def test_the_environment_names_the_endpoint_and_no_proxy() -> None:
    sender = sender_of({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "HTTPS_PROXY": "http://127.0.0.1:9"})
    assert sender.problem(Call.GET_USER, request_to("http://127.0.0.1:4566/")) is None
    assert sender_of({"AWS_ENDPOINT_URL": ""}).problem(Call.GET_USER, request_to("https://iam.amazonaws.com/")) is None


def with_header(name: str, value: str | None) -> SignedRequest:
    request = request_to("https://iam.amazonaws.com/")
    headers = {key: each for key, each in request.headers.items() if key != name}
    return msgspec.structs.replace(request, headers=headers if value is None else {**headers, name: value})


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (with_header("host", "evil.example"), "another host"),
        (with_header("host", None), "another host"),
        (with_header("x-amz-date", "a\r\nx: y"), "no plain text"),
        (with_header("x\r\ny", "z"), "no plain text"),
        (with_header("x-amz-security-token", "ü"), "no plain text"),
        (request_to("https://iam.amazonaws.com/", body="Action=DeleteUser&Version=2010-05-08"), "another operation"),
        (request_to("https://iam.amazonaws.com/", body="Action=GetUser&Action=DeleteUser"), "another operation"),
        (request_to("https://iam.amazonaws.com/", body=""), "another operation"),
    ],
)
def test_only_what_the_step_is_for_is_sent(request_: SignedRequest, says: str) -> None:
    assert says in str(AWS.problem(Call.GET_USER, request_))


def context(requests: BootstrapRequests, **changes: Any) -> SealContext:
    values: dict[str, Any] = {"account_id": requests.account_id, "expires_at": requests.expires_at, **changes}
    return SealContext(team_id=new_id(), run_id=new_id(), cloud_account_id=new_id(), **values)


@pytest.mark.parametrize("policy", [FULL, None])
def test_whole_requests_have_no_fault(policy: dict[str, Any] | None) -> None:
    requests = Signing(KEY, policy=policy).requests()
    assert find_fault(requests, context(requests), AWS) is None


STRAY = Signing(KEY, url="https://evil.example")


@pytest.mark.parametrize(
    "changes",
    [
        {"role_arn": "arn:aws:iam::999999999999:role/CloudCoreoAssumedRole"},
        {"create_policy": None},
        {"get_policy_version": None},
        {"policy": None},
        *({name: STRAY.request("GetUser")} for name in ("get_user", "create_role", "attach_role_policy")),
        {"get_role": Signing(KEY).request("CreateRole")},
    ],
)
def test_requests_with_a_fault_are_not_begun(changes: dict[str, Any]) -> None:
    requests = Signing(KEY).requests(**changes)
    assert find_fault(requests, context(requests), AWS)


@pytest.mark.parametrize("changes", [{"account_id": "999999999999"}, {"expires_at": 1}])
def test_requests_of_another_run_are_not_begun(changes: dict[str, Any]) -> None:
    requests = Signing(KEY, account_id=ACCOUNT).requests()
    assert "another" in str(find_fault(requests, context(requests, **changes), AWS))

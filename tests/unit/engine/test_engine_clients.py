"""Clients of a target account: whose credentials they use, what may be seen of them, what AWS's errors mean."""

import copy
import pickle
import ssl
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from coreo_worker.aws import calls
from coreo_worker.aws.clients import ClientFactory, SessionCredentials
from tests.support.engine import LastingSession

FIRST = SessionCredentials("ASIAFIRST", "first-secret", "first-token", 1.0)
SECOND = SessionCredentials("ASIASECOND", "second-secret", "second-token", 2.0)


@pytest.fixture(autouse=True)
def _foreign_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment has some other identity in it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFOREIGN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "foreign")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


async def credentials_of(client: Any) -> tuple[str, str, str]:
    found = await client._request_signer._credentials.get_frozen_credentials()
    return found.access_key, found.secret_key, found.token


def test_credentials_show_no_secret() -> None:
    assert repr(FIRST) == "SessionCredentials(expires_at=1.0)"
    assert str(FIRST) == repr(FIRST)


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_credentials_cannot_be_pickled_or_copied(leave: Any) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        leave(FIRST)


async def test_a_client_uses_the_given_credentials_and_never_the_environments() -> None:
    async with ClientFactory(FIRST) as clients:
        client = await clients.client("ec2", "eu-west-1")
        assert await credentials_of(client) == ("ASIAFIRST", "first-secret", "first-token")
        assert client.meta.region_name == "eu-west-1"


async def test_a_client_is_made_once_for_each_service_and_region() -> None:
    async with ClientFactory(FIRST) as clients:
        client = await clients.client("ec2", "eu-west-1")
        assert await clients.client("ec2", "eu-west-1") is client
        assert await clients.client("ec2", "eu-west-2") is not client
        assert await clients.client("iam", "eu-west-1") is not client


async def test_replaced_credentials_reach_later_calls() -> None:
    async with ClientFactory(FIRST) as clients:
        before = await clients.client("ec2", "eu-west-1")
        await clients.replace_credentials(SECOND)
        after = await clients.client("ec2", "eu-west-1")
        assert await credentials_of(after) == ("ASIASECOND", "second-secret", "second-token")
        assert await credentials_of(before) == ("ASIAFIRST", "first-secret", "first-token")


async def test_services_with_credentials_of_their_own_get_those_and_no_other_does() -> None:
    async with ClientFactory(FIRST, {"kms": SECOND}) as clients:
        assert (await credentials_of(await clients.client("kms", "eu-west-1")))[0] == "ASIASECOND"
        assert (await credentials_of(await clients.client("ec2", "eu-west-1")))[0] == "ASIAFIRST"
        await clients.replace_credentials(SECOND, {"kms": FIRST})
        assert (await credentials_of(await clients.client("kms", "eu-west-1")))[0] == "ASIAFIRST"
        assert (await credentials_of(await clients.client("ec2", "eu-west-1")))[0] == "ASIASECOND"


async def test_two_accounts_in_one_process_never_share_a_client() -> None:
    async with ClientFactory(FIRST) as one, ClientFactory(SECOND) as other:
        assert (await credentials_of(await one.client("iam", "us-east-1")))[0] == "ASIAFIRST"
        assert (await credentials_of(await other.client("iam", "us-east-1")))[0] == "ASIASECOND"


@pytest.mark.parametrize("by_environment", [True, False])
async def test_an_endpoint_stands_in_place_of_aws(monkeypatch: pytest.MonkeyPatch, *, by_environment: bool) -> None:
    endpoint = "http://127.0.0.1:9"
    if by_environment:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    async with ClientFactory(FIRST, endpoint_url=None if by_environment else endpoint) as clients:
        client = await clients.client("s3", "us-east-1")
        assert client.meta.endpoint_url == endpoint
        assert client.meta.config.s3["addressing_style"] == "path"


async def test_tls_is_verified_by_one_context_for_all_clients() -> None:
    async with ClientFactory(FIRST) as clients:
        contexts = []
        for service, region in (("ec2", "eu-west-1"), ("s3", "us-east-1")):
            client = await clients.client(service, region)
            connector = await client._endpoint.http_session._create_connector(None)
            contexts.append(connector._ssl)
            await connector.close()
    assert contexts[0] is contexts[1]
    assert contexts[0].verify_mode == ssl.CERT_REQUIRED
    assert contexts[0].check_hostname
    assert contexts[0].cert_store_stats()["x509_ca"] > 50


class OneAnswer(LastingSession):
    """Clients whose every operation gives the same answer or error."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    async def client(self, _service: str, _region: str) -> Any:
        return self

    async def describe_things(self, **_params: Any) -> dict[str, Any]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def ask(answer: dict[str, Any] | Exception, absent_on: tuple[str, ...] = ()) -> dict[str, Any]:
    clients = OneAnswer(answer)
    return await calls.call(
        clients, "ec2", "eu-west-1", "describe_things", {}, actions=("ec2:DescribeThings",), absent_on=absent_on
    )


def refusal(code: str, status: int = 400, message: str = "arn:aws:sts::1:assumed-role/x/secret-session") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "DescribeThings")


async def test_an_answer_comes_without_metadata() -> None:
    assert await ask({"Things": [1], "ResponseMetadata": {"RequestId": "x"}}) == {"Things": [1]}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refusal("AccessDenied", 403), calls.DeniedError),
        (refusal("UnauthorizedOperation", 403), calls.DeniedError),
        (refusal("SomethingNew", 403), calls.DeniedError),
        (refusal("RequestLimitExceeded", 503), calls.ThrottledError),
        (refusal("Throttling"), calls.ThrottledError),
        (refusal("SlowDown", 503), calls.ThrottledError),
        (refusal("AuthFailure", 401), calls.UnsupportedError),
        (refusal("UnrecognizedClientException", 403), calls.UnsupportedError),
        (EndpointConnectionError(endpoint_url="https://ec2.mars-1.amazonaws.com"), calls.UnsupportedError),
        (refusal("InternalError", 500), calls.FailedError),
        (refusal("ValidationError"), calls.FailedError),
        (ReadTimeoutError(endpoint_url="https://x"), calls.FailedError),
        (refusal("ExpiredToken", 403), calls.SessionExpiredError),
        (refusal("RequestExpired", 400), calls.SessionExpiredError),
    ],
)
async def test_an_error_says_what_it_means(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        await ask(error)
    assert type(caught.value) is kind
    assert "secret-session" not in str(caught.value)
    if isinstance(caught.value, calls.CallError):
        assert caught.value.actions == ("ec2:DescribeThings",)


async def test_absence_is_told_from_denial() -> None:
    with pytest.raises(calls.AbsentError):
        await ask(refusal("NoSuchThing", 404), absent_on=("NoSuchThing",))
    with pytest.raises(calls.DeniedError):
        await ask(refusal("AccessDenied", 403), absent_on=("NoSuchThing",))


async def test_a_denial_names_the_policy_of_the_organization() -> None:
    text = "User: arn:aws:sts::1:assumed-role/a/b is not authorized with an explicit deny in a service control policy"
    with pytest.raises(calls.DeniedError, match="AccessDenied by a service control policy"):
        await ask(refusal("AccessDenied", 403, text))

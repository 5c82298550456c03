"""The proxy where others than this machine's processes reach it: AWS is open to them, what steers AWS is not."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coreo_embedded.proxy import Listen, Proxy
from coreo_embedded.simulator import Simulator

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

NOWHERE = Path("/nonexistent/aws.sock")  # what the proxy lets through is answered 503
SCOPE = "Credential=ASIAEXAMPLE000000001/20260101/us-east-1/s3/aws4_request"
SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 {SCOPE}, SignedHeaders=host, Signature=00"}
OPEN_HOSTS = ["0.0.0.0", "127.0.0.2", "localhost"]  # noqa: S104  the first is a container's
CONTROL = [("GET", "/_coreo/requests"), ("POST", "/_coreo/faults"), ("DELETE", "/_coreo/faults")]
DISGUISES = [
    "/_ministack/reset",
    "//_ministack/reset",
    "/./_ministack/reset",
    "/x/../_ministack/reset",
    "/%5fministack/reset",
    "/_ministack%2Freset",
    "/%2F_ministack/reset",
    "/_ministack/rese%74",
    "/_ministack/reset?X-Amz-Credential=a",
    "http://127.0.0.1/_ministack/reset",
    "http://127.0.0.1//_ministack/reset",
]


@contextmanager
def listening(host: str) -> Iterator[Proxy]:
    proxy = Proxy.start(NOWHERE, "root-token", listen=Listen(host=host))
    try:
        yield proxy
    finally:
        proxy.stop()


def ask(proxy: Proxy, method: str, target: str, host: str, headers: dict[str, str]) -> int:
    """The status of a request whose target is sent as it stands here."""
    body = json.dumps({"kind": "throttle", "service": "s3"}) if method == "POST" else None
    with closing(http.client.HTTPConnection(host, proxy.port, timeout=10)) as connection:
        connection.request(method, target, body, headers)
        return connection.getresponse().status


@pytest.mark.parametrize("headers", [{}, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("host", OPEN_HOSTS)
def test_log_and_faults_are_closed_on_any_address_but_one(host: str, headers: dict[str, str]) -> None:
    with listening(host) as proxy:
        reached = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
        answers = {ask(proxy, method, path, reached, headers) for method, path in CONTROL}
        after = ask(proxy, "GET", "/bucket", reached, SIGNED)

    assert answers == {503 if headers else 403}  # as any other path: to AWS, which asks who it is
    assert after == 503  # and not the fault


@pytest.mark.parametrize("headers", [{}, SIGNED], ids=["unsigned", "signed"])
def test_log_and_faults_are_open_to_this_machine_alone(headers: dict[str, str]) -> None:
    with listening("127.0.0.1") as proxy:
        assert [ask(proxy, method, path, "127.0.0.1", headers) for method, path in CONTROL] == [200, 201, 204]


@pytest.mark.parametrize("target", DISGUISES)
def test_no_spelling_of_its_path_resets_the_simulator(
    target: str, aws: Simulator, new_account: Callable[[], str]
) -> None:
    sqs: SQSClient = aws.root_client("sqs", new_account())
    queue = sqs.create_queue(QueueName="kept")["QueueUrl"]

    status = ask(aws.proxy, "POST", target, "127.0.0.1", SIGNED)

    assert 400 <= status < 500
    assert sqs.list_queues()["QueueUrls"] == [queue]


def test_request_for_another_host_is_refused_with_the_reason() -> None:
    with listening("127.0.0.1") as proxy, closing(http.client.HTTPConnection("127.0.0.1", proxy.port)) as connection:
        connection.request("GET", "http://example.com/", headers=SIGNED)
        answer = connection.getresponse()

        assert answer.status == 400
        assert answer.read() == b"Ask this host for a path; it forwards to the simulated AWS alone"
    assert proxy.requests == []

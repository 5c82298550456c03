"""The simulated AWS dies at any byte of its answer: clients get an error or a broken connection, never the half."""

import asyncio
import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from coreo_embedded.proxy import Proxy

KEYS = b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA"
MESSAGES = b'{"Messages": [{"MessageId": "1", "Body": "job"'


def sized(body: bytes, length: int = 5_000) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: %d\r\n\r\n" % length + body


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n"


class Dying:
    """A server on a unix socket that sends so many bytes as an answer and hangs up."""

    def __init__(self, path: Path) -> None:
        self.answer = b""
        self.resets = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with closing(connection), suppress(OSError):  # the proxy may have hung up first
                if not self.resets:  # what was not read makes the kernel reset the connection
                    connection.recv(65_536)
                connection.sendall(self.answer)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def dying() -> Iterator[tuple[Dying, Proxy]]:
    with tempfile.TemporaryDirectory(prefix="coreo-") as folder:  # not pytest's: too long for a socket
        path = Path(folder) / "s"
        server = Dying(path)
        proxy = Proxy.start(path, "token")
        yield server, proxy
        proxy.stop()
        server.stop()


def ask(proxy: Proxy, service: str) -> None:
    """A call of one kind or another."""
    client = boto3.client(
        service,  # type: ignore[call-overload]  # the name comes from the test
        endpoint_url=proxy.url,
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10, s3={"addressing_style": "path"}),
    )
    match service:
        case "sts":
            client.assume_role(RoleArn="arn:aws:iam::111122223333:role/r", RoleSessionName="name")
        case "sqs":
            client.receive_message(QueueUrl=f"{proxy.url}/111122223333/q")
        case "s3":
            client.get_object(Bucket="bucket", Key="key")["Body"].read()
        case _:
            client.describe_vpcs()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-len"], ids=["", "line", "head"])
@pytest.mark.parametrize("service", ["sts", "sqs", "s3", "ec2"])
def test_before_its_headers_are_there_it_is_unavailable(
    dying: tuple[Dying, Proxy], service: str, answer: bytes
) -> None:
    server, proxy = dying
    server.answer = answer
    with pytest.raises(ClientError, match=r"ServiceUnavailable|503"):
        ask(proxy, service)
    assert proxy.requests[-1].status == 503


@pytest.mark.parametrize("service", ["sts", "sqs"])
@pytest.mark.parametrize("form", [sized, chunked])
def test_in_the_middle_of_keys_or_messages_it_is_unavailable(
    dying: tuple[Dying, Proxy], service: str, form: Callable[[bytes], bytes]
) -> None:
    """These the proxy reads whole before it passes any of it on."""
    server, proxy = dying
    server.answer = form(KEYS if service == "sts" else MESSAGES)
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        ask(proxy, service)
    assert proxy.requests[-1].status == 503


@pytest.mark.parametrize("service", ["s3", "ec2"])
@pytest.mark.parametrize("form", [sized, chunked])
def test_in_the_middle_of_what_is_passed_on_the_connection_breaks(
    dying: tuple[Dying, Proxy], service: str, form: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Also where a prefix of the answer is a whole answer by itself."""
    server, proxy = dying
    server.answer = form(b"<DescribeVpcsResponse></DescribeVpcsResponse>")
    with pytest.raises(BotoCoreError):
        ask(proxy, service)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_connection_that_is_reset_is_unavailable(dying: tuple[Dying, Proxy]) -> None:
    server, proxy = dying
    server.resets = True
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        ask(proxy, "sts")


async def test_a_client_that_hangs_up_before_the_simulator_dies_leaves_nothing_behind(
    dying: tuple[Dying, Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    """The message of its long poll is gone with the simulator: there is nothing to hand back."""
    server, proxy = dying
    server.answer = sized(MESSAGES)
    body = b'{"QueueUrl": "http://127.0.0.1/111122223333/q"}'
    scope = "AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/sqs/aws4_request"
    head = (
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n"
        f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head.encode() + body)
    await writer.drain()
    writer.transport.abort()
    await asyncio.to_thread(proxy.stop)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

"""One suite for the worker's queue port: SQS as simulated, and the one in memory that tests use."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from coreo_embedded.deploy import Deployment, deploy
from coreo_embedded.simulator import Simulator
from coreo_worker.aws import queue as queue_module
from coreo_worker.aws.own import own_session
from coreo_worker.aws.queue import JobQueue, QueueUnavailableError, open_queue
from tests.support.aws import role_credentials
from tests.support.worker import MemoryQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_sqs import SQSClient

REGION = "us-east-1"
VISIBILITY = 2


@dataclass
class Subject:
    """A queue, how to send to it and see its dead letters, and a way to play an outage."""

    queue: JobQueue
    send: Callable[[str], Awaitable[None]]
    dead: Callable[[], Awaitable[list[str]]]
    outage: Callable[[], AbstractContextManager[Any]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Subject]:
    queue = MemoryQueue(visibility_seconds=VISIBILITY)

    async def send(body: str) -> None:
        queue.send(body)

    async def dead() -> list[str]:
        return queue.dead

    @contextmanager
    def outage() -> "Iterator[None]":
        queue.available = False
        yield
        queue.available = True

    yield Subject(queue, send, dead, outage)


@asynccontextmanager
async def on_sqs(
    aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, *, role: Any = "worker-audit"
) -> AsyncIterator[Subject]:
    for name, value in role_credentials(aws, deployment, role).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.setattr(queue_module, "LONG_POLL_SECONDS", 1)
    root: SQSClient = aws.root_client("sqs", deployment.account_id)
    url, dead_url = deployment.queue_urls["audit"], deployment.dead_letter_urls["audit"]

    async def send(body: str) -> None:
        await asyncio.to_thread(root.send_message, QueueUrl=url, MessageBody=body)

    async def dead() -> list[str]:
        found = await asyncio.to_thread(root.receive_message, QueueUrl=dead_url, MaxNumberOfMessages=10)
        return [message["Body"] for message in found.get("Messages", [])]

    async with open_queue(own_session(), url, region=REGION, visibility_seconds=VISIBILITY) as queue:
        yield Subject(
            queue, send, dead, lambda: aws.fault(kind="unavailable", service="sqs", role="coreo-worker-audit")
        )


@pytest.fixture
def own_deployment(aws: Simulator, new_account: Callable[[], str]) -> Deployment:
    """Queues of this test alone."""
    return deploy(aws, account_id=new_account())


@pytest.fixture(params=["memory", "sqs"])
async def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    if request.param == "memory":
        opened = in_memory()
    else:
        aws, own = request.getfixturevalue("aws"), request.getfixturevalue("own_deployment")
        opened = on_sqs(aws, own, monkeypatch)
    async with opened as made:
        yield made


async def test_a_message_comes_with_its_body_and_its_count(subject: Subject) -> None:
    await subject.send("job")
    (message,) = await subject.queue.receive(5)
    assert (message.body, message.receive_count) == ("job", 1)
    assert await subject.queue.receive(5) == []


async def test_no_more_come_than_asked_for(subject: Subject) -> None:
    for number in range(3):
        await subject.send(f"job {number}")
    first, rest = await subject.queue.receive(2), await subject.queue.receive(10)
    assert len(first) <= 2
    assert sorted(message.body for message in first + rest) == ["job 0", "job 1", "job 2"]


async def test_a_hidden_message_stays_hidden_and_a_returned_one_comes_at_once(subject: Subject) -> None:
    await subject.send("job")
    (message,) = await subject.queue.receive(1)
    received = time.monotonic()
    await subject.queue.hide(message, 60)
    while time.monotonic() < received + VISIBILITY + 0.5:
        assert await subject.queue.receive(1) == []
    await subject.queue.hide(message, 0)
    (again,) = await subject.queue.receive(1)
    assert (again.id, again.receive_count) == (message.id, 2)


async def test_a_message_that_is_not_renewed_comes_again(subject: Subject) -> None:
    await subject.send("job")
    (message,) = await subject.queue.receive(1)
    async with asyncio.timeout(VISIBILITY + 5):
        while not (again := await subject.queue.receive(1)):
            pass
    assert again[0].id == message.id


async def test_a_deleted_message_never_comes_again_and_may_be_deleted_twice(subject: Subject) -> None:
    await subject.send("job")
    (message,) = await subject.queue.receive(1)
    await subject.queue.hide(message, 1)
    await subject.queue.delete(message)
    await subject.queue.delete(message)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert await subject.queue.receive(1) == []


async def test_after_five_deliveries_it_is_a_dead_letter(subject: Subject) -> None:
    await subject.send("poison")
    for number in range(1, 6):
        (message,) = await subject.queue.receive(1)
        assert message.receive_count == number
        await subject.queue.hide(message, 0)
    assert await subject.queue.receive(1) == []
    assert await subject.dead() == ["poison"]


async def test_a_message_wakes_who_waits_for_it(subject: Subject) -> None:
    waiting = asyncio.create_task(subject.queue.receive(1))
    await asyncio.sleep(0)
    await subject.send("job")
    async with asyncio.timeout(0.9):
        assert [message.body for message in await waiting] == ["job"]


async def test_an_outage_is_said_in_every_call_and_over_when_it_is_over(subject: Subject) -> None:
    await subject.send("job")
    (message,) = await subject.queue.receive(1)
    with subject.outage():
        for call in (subject.queue.receive(1), subject.queue.hide(message, 1), subject.queue.delete(message)):
            with pytest.raises(QueueUnavailableError):
                await call
    await subject.queue.delete(message)


async def test_neither_body_nor_receipt_is_in_a_messages_repr(subject: Subject) -> None:
    await subject.send("job-canary")
    (message,) = await subject.queue.receive(1)
    assert "canary" not in repr(message)
    assert message.receipt not in repr(message)


async def test_another_pools_role_gets_no_message(
    aws: Simulator, own_deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_sqs(aws, own_deployment, monkeypatch, role="worker-deploy") as subject:
        await subject.send("job")
        with pytest.raises(QueueUnavailableError, match="AccessDenied"):
            await subject.queue.receive(1)


async def test_a_queue_that_nothing_serves_is_unavailable(
    aws: Simulator, own_deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_sqs(aws, own_deployment, monkeypatch) as subject:
        await subject.send("job")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    url = own_deployment.queue_urls["audit"]
    async with open_queue(own_session(), url, region=REGION, visibility_seconds=1) as queue:
        with pytest.raises(QueueUnavailableError):
            await queue.receive(1)

"""One suite for the api's queue port: the real one on the simulated AWS, and the one in memory that tests use."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from coreo_api.dispatch.queue import MAX_BATCH, JobQueue, QueueMessage, QueueUnavailableError
from coreo_api.dispatch.sqs import open_queue
from coreo_embedded.deploy import Deployment
from coreo_embedded.simulator import Simulator
from tests.support.api import MemoryQueue
from tests.support.aws import role_credentials

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

REGION = "us-east-1"


@dataclass
class Subject:
    """A queue, what arrived on it as (body, group), and a way to play an outage."""

    queue: JobQueue
    arrived: Callable[[], list[tuple[str, str]]]
    outage: Callable[[], AbstractContextManager[Any]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Subject]:
    queue = MemoryQueue()

    @contextmanager
    def outage() -> Iterator[None]:
        queue.available = False
        yield
        queue.available = True

    yield Subject(queue, lambda: [(message.body, message.group) for message in queue.messages], outage)


@asynccontextmanager
async def on_sqs(aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    for name, value in role_credentials(aws, deployment, "api").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    url = deployment.queue_urls["audit"]
    root: SQSClient = aws.root_client("sqs", deployment.account_id)
    root.purge_queue(QueueUrl=url)

    def arrived() -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while received := root.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0, MessageSystemAttributeNames=["MessageGroupId"]
        ).get("Messages"):
            for message in received:
                found.append((message["Body"], message["Attributes"]["MessageGroupId"]))
                root.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    async with open_queue(url, region=REGION) as queue:
        yield Subject(queue, arrived, lambda: aws.fault(kind="unavailable", service="sqs", role="coreo-api"))


@pytest.fixture(params=["memory", "sqs"])
async def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    if request.param == "memory":
        opened = in_memory()
    else:
        opened = on_sqs(request.getfixturevalue("aws"), request.getfixturevalue("deployment"), monkeypatch)
    async with opened as made:
        yield made


def messages(count: int) -> list[QueueMessage]:
    return [QueueMessage(f"m{number}", f"body {number}", f"team-{number % 2}") for number in range(count)]


@pytest.mark.parametrize("count", [1, MAX_BATCH])
async def test_all_of_a_batch_arrive_with_their_group(subject: Subject, count: int) -> None:
    assert await subject.queue.send(messages(count)) == {}
    sent = sorted((message.body, message.group) for message in messages(count))
    assert sorted(await asyncio.to_thread(subject.arrived)) == sent


async def test_outage_is_said_and_over_when_it_is_over(subject: Subject) -> None:
    with subject.outage(), pytest.raises(QueueUnavailableError):
        await subject.queue.send(messages(2))
    assert await subject.queue.send(messages(1)) == {}
    assert len(await asyncio.to_thread(subject.arrived)) == 1


async def test_large_messages_arrive_all_the_same(subject: Subject) -> None:
    large = [QueueMessage(f"m{number}", f"{number}" * 300_000, "team") for number in range(5)]
    assert await subject.queue.send(large) == {}
    assert len(await asyncio.to_thread(subject.arrived)) == 5


async def test_only_what_did_not_arrive_is_answered(
    aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_sqs(aws, deployment, monkeypatch) as subject:
        with aws.fault(kind="deny", service="sqs", role="coreo-api", times=1):
            failed = await subject.queue.send(messages(3))
        assert list(failed.values()) == ["AccessDeniedException"]
        left = {message.body for message in messages(3) if message.id not in failed}
        assert {body for body, _ in await asyncio.to_thread(subject.arrived)} == left


async def test_the_body_is_not_in_a_messages_repr(subject: Subject) -> None:
    assert "body 0" not in repr(messages(1)[0])


async def test_sending_is_all_that_is_asked_of_aws(
    aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(aws.requests)
    async with on_sqs(aws, deployment, monkeypatch) as subject:
        await subject.queue.send(messages(3))
    made = [
        f"{request.service}:{request.operation}"
        for request in aws.requests[before:]
        if request.principal is not None and "coreo-api" in request.principal
    ]
    assert made == ["sqs:SendMessage"] * 3


async def test_unreachable_or_unknown_queue_is_unavailable(
    aws: Simulator, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in role_credentials(aws, deployment, "api").environment().items():
        monkeypatch.setenv(name, value)
    other = deployment.queue_urls["audit"].replace("coreo-audit", "coreo-nothing")
    for endpoint in (aws.endpoint_url, "http://127.0.0.1:9"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        async with open_queue(other, region=REGION) as queue:
            with pytest.raises(QueueUnavailableError):
                await queue.send(messages(1))

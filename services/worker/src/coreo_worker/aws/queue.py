"""The port to the pool's queue, and SQS behind it. The role allows these three calls and no other."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from coreo_worker.aws.errors import SDK_ERRORS, TemporaryError, code_of

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

LONG_POLL_SECONDS = 20  # SQS's longest
MAX_BATCH = 10  # messages received at once, SQS's most
_RETRY_SECONDS = 1.0
# The callers try again by themselves. A long poll that nothing answers must end after SQS would have.
_CONFIG = AioConfig(
    connect_timeout=3, read_timeout=LONG_POLL_SECONDS + 10, retries={"mode": "standard", "total_max_attempts": 2}
)


class QueueUnavailableError(TemporaryError):
    """The queue did not do as it was told, or nobody knows whether it did."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the queue answered {code}", delay=_RETRY_SECONDS)
        self.code = code


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message in the worker's hands. `receive_count` is 1 for its first delivery."""

    id: str
    body: str = field(repr=False)
    receipt: str = field(repr=False)
    receive_count: int


class JobQueue(Protocol):
    """A queue with at-least-once delivery. Every method raises QueueUnavailableError."""

    async def receive(self, limit: int) -> list[ReceivedMessage]:
        """Waits up to LONG_POLL_SECONDS for messages: at most `limit`, none if none came."""

    async def hide(self, message: ReceivedMessage, seconds: int) -> None:
        """Nobody else receives the message for so many seconds from now; 0 gives it back at once."""

    async def delete(self, message: ReceivedMessage) -> None:
        """The message never comes again. Deleted already is fine."""


@contextlib.asynccontextmanager
async def open_queue(
    session: AioSession, url: str, *, region: str | None, visibility_seconds: int
) -> AsyncIterator[JobQueue]:
    """The queue at this URL. A received message is hidden from others for `visibility_seconds`."""
    async with session.create_client("sqs", region_name=region, config=_CONFIG) as client:
        yield SqsQueue(client, url, visibility_seconds)


class SqsQueue:
    """A standard SQS queue."""

    def __init__(self, client: "SQSClient", url: str, visibility_seconds: int) -> None:
        self._client = client
        self._url = url
        self._visibility_seconds = visibility_seconds

    async def receive(self, limit: int) -> list[ReceivedMessage]:
        """As the port says."""
        try:
            answer = await self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(limit, MAX_BATCH),
                WaitTimeSeconds=LONG_POLL_SECONDS,
                VisibilityTimeout=self._visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        except SDK_ERRORS as error:
            raise QueueUnavailableError(code_of(error)) from error
        return [
            ReceivedMessage(
                id=message["MessageId"],
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in answer.get("Messages", [])
        ]

    async def hide(self, message: ReceivedMessage, seconds: int) -> None:
        """As the port says."""
        try:
            await self._client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message.receipt, VisibilityTimeout=seconds
            )
        except SDK_ERRORS as error:
            raise QueueUnavailableError(code_of(error)) from error

    async def delete(self, message: ReceivedMessage) -> None:
        """As the port says."""
        try:
            await self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)
        except SDK_ERRORS as error:
            # Deleted already, by a try whose answer was lost; or another worker's by now, who will find the run over.
            if code_of(error) != "ReceiptHandleIsInvalid":
                raise QueueUnavailableError(code_of(error)) from error

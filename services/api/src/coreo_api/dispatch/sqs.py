"""SQS behind the queue port: the one module of the api that uses the SDK, for the one call that its role allows."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from coreo_api.dispatch.queue import JobQueue, QueueMessage, QueueUnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

# All messages of a call together (SQS quotas: 1 MiB since 2025-08), with room for what the SDK puts around them.
_MAX_BYTES = 1_000_000
# The dispatcher tries again by itself, with the rows still locked: so the SDK must not take long.
_CONFIG = AioConfig(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})


@contextlib.asynccontextmanager
async def open_queue(url: str, *, region: str | None) -> AsyncIterator[JobQueue]:
    """The queue at this URL. Credentials, and the region unless given, come from the SDK's usual places."""
    async with get_session().create_client("sqs", region_name=region, config=_CONFIG) as client:
        yield SqsQueue(client, url)


class SqsQueue:
    """A standard SQS queue."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        """As the port says; more than one call only when the messages are large."""
        refused: dict[str, str] = {}
        for part in _parts(messages):
            try:
                answer = await self._client.send_message_batch(
                    QueueUrl=self._url, Entries=[_entry(one) for one in part]
                )
            except (ClientError, BotoCoreError, OSError) as error:
                raise QueueUnavailableError(_name_of(error)) from error
            refused |= {failure["Id"]: failure["Code"] for failure in answer.get("Failed", [])}
        return refused


def _parts(messages: Sequence[QueueMessage]) -> Iterator[list[QueueMessage]]:
    part: list[QueueMessage] = []
    size = 0
    for message in messages:
        if part and size + len(message.body) > _MAX_BYTES:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message.body)
    if part:
        yield part


def _entry(message: QueueMessage) -> "SendMessageBatchRequestEntryTypeDef":
    # On a standard queue the group does not order: it is the tenant among whom SQS shares fairly ("fair queues").
    return {"Id": message.id, "MessageBody": message.body, "MessageGroupId": message.group}


def _name_of(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__

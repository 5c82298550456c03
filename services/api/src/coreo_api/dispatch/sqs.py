"""SQS behind the queue port: the one module of the api that uses the SDK, for the one call that its role allows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from coreo_api.dispatch.queue import JobQueue, QueueMessage, QueueUnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

# Errors that say something of the message, not of the queue.
_ABOUT_MESSAGE = frozenset({"InvalidMessageContents", "InvalidParameterValue"})
# The dispatcher tries again by itself, with the rows still locked: so the SDK must not take long.
_CONFIG = AioConfig(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})


@contextlib.asynccontextmanager
async def open_queue(url: str, *, region: str | None) -> AsyncIterator[JobQueue]:
    """The queue at this URL. Credentials, and the region unless given, come from the SDK's usual places."""
    async with get_session().create_client("sqs", region_name=region, config=_CONFIG) as client:
        yield SqsQueue(client, url)


class SqsQueue:
    """A standard SQS queue. Messages go one by one, side by side: the role's one action is SendMessage."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        """As the port says."""
        problems = await asyncio.gather(*(self._send_one(message) for message in messages))
        failed = {message.id: problem for message, problem in zip(messages, problems, strict=True) if problem}
        if len(failed) == len(messages) and not _ABOUT_MESSAGE.issuperset(failed.values()):
            raise QueueUnavailableError(", ".join(sorted(set(failed.values()))))
        return failed

    async def _send_one(self, message: QueueMessage) -> str | None:
        """Why the message is not on the queue, or None."""
        try:
            # On a standard queue the group does not order: it is the tenant among whom SQS shares fairly.
            await self._client.send_message(QueueUrl=self._url, MessageBody=message.body, MessageGroupId=message.group)
        except (ClientError, BotoCoreError, OSError) as error:
            return _name_of(error)
        return None


def _name_of(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__

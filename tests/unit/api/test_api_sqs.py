"""What the queue port makes of SQS's errors."""

from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from coreo_api.dispatch.queue import QueueMessage, QueueUnavailableError
from coreo_api.dispatch.sqs import SqsQueue

MESSAGES = [QueueMessage(name, name, "team") for name in ("one", "two")]


class Client:
    """Answers SendMessage with these errors, by body."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors

    async def send_message(self, **call: Any) -> None:
        if call["MessageBody"] in self.errors:
            raise self.errors[call["MessageBody"]]


def queue(**errors: Exception) -> SqsQueue:
    return SqsQueue(cast("Any", Client(**errors)), "http://queue")


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "SendMessage")


async def test_message_that_sqs_will_never_take_is_answered_even_when_it_is_alone() -> None:
    bad = refused("InvalidMessageContents")
    assert await queue(one=bad).send(MESSAGES[:1]) == {"one": "InvalidMessageContents"}


async def test_what_failed_is_answered_while_others_went_through() -> None:
    down = EndpointConnectionError(endpoint_url="http://queue")
    assert await queue(two=down).send(MESSAGES) == {"two": "EndpointConnectionError"}


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDenied", "AWS.SimpleQueueService.NonExistentQueue"])
async def test_queue_that_takes_nothing_is_unavailable(code: str) -> None:
    with pytest.raises(QueueUnavailableError, match=code):
        await queue(one=refused(code), two=refused("InvalidMessageContents")).send(MESSAGES)

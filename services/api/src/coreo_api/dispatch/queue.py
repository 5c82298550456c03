"""The port to a pool's queue: all that the api does with AWS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MAX_BATCH = 10  # messages sent at once


class QueueUnavailableError(Exception):
    """The queue took nothing, or nobody knows whether it did: send all again later."""


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """`id` names the message among those sent with it; messages of a `group` share a tenant's part of the queue."""

    id: str
    body: str = field(repr=False)
    group: str


class JobQueue(Protocol):
    """A queue with at-least-once delivery."""

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        """Sends at most MAX_BATCH messages; those that were not taken, by id, and why. The others are on the queue.

        Raises QueueUnavailableError.
        """

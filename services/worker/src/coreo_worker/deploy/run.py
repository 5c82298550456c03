"""What every driver of a deploy run has: the run, AWS, the way to the worker, the time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from coreo_shared.contracts.deploys import Checkpoint, DeployClaim, DeploySpec, Document, StackEvent
from coreo_shared.contracts.findings import Finding
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.stacks import StackRefusalError, Stacks, StackTroubleError
from coreo_worker.deploy.pacing import Hold, after_trouble, next_look
from coreo_worker.deploy.problems import Problem
from coreo_worker.deploy.protocol import Ended

_MARGIN_SECONDS: Final = 300.0  # how far AWS's clocks and ours may be apart
_log = get_logger(__name__)


class Voice(Protocol):
    """The way to the worker, and by it to the ledger."""

    async def store(self, document: Document, checkpoint: Checkpoint | None = None) -> None:
        """Stores a document."""

    async def store_events(self, events: list[StackEvent], checkpoint: Checkpoint, *, done: int, total: int) -> None:
        """Stores the next stack events together with the checkpoint."""

    async def store_findings(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        """Stores findings."""

    async def may_begin(self, digest: str, checkpoint: Checkpoint) -> str | None:
        """Asks the ledger whether AWS may be told; None, or the code of its refusal."""

    async def no_cancel(self, reason: str) -> None:
        """Says that the run cannot be canceled."""


@dataclass
class DeployRun:
    """A run at work in its process. `canceled` is set once somebody wants it to end."""

    run_id: str
    cloud_account_id: str
    account_id: str
    partition: str
    spec: DeploySpec
    claim: DeployClaim
    stacks: Stacks
    voice: Voice
    hold_seconds: float
    park_seconds: float
    canceled: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def change_set_name(self) -> str:
        """Of the run's own change set."""
        return f"coreo-{self.run_id}"

    @property
    def now(self) -> str:
        """RFC 3339, UTC."""
        return stamp(self.clock())

    def waiting(self, since: float) -> "Waiting":
        """A wait that began at `since` (Unix seconds), maybe in another worker's hands."""
        return Waiting(self, since, self.clock())

    async def forget(self, change_set: str) -> None:
        """Drops a change set of a run that fails, where AWS lets it: why the run fails matters more.

        What is left goes with the account's next apply. Raises StackTroubleError.
        """
        try:
            await self.stacks.drop_change_set(self.spec.stack_name, change_set)
        except StackRefusalError as refused:
            _log.warning("change_set_left", action=refused.action, code=refused.code)

    async def fail(self, problem: Problem, checkpoint: Checkpoint | None, stack_status: str | None = None) -> Ended:
        """Stores why, and ends the run."""
        await self.store_failure(problem, checkpoint, stack_status)
        return Ended(outcome="failed", reason=problem.reason)

    async def store_failure(
        self, problem: Problem, checkpoint: Checkpoint | None, stack_status: str | None = None
    ) -> None:
        """Stores why the run did not do what it should."""
        failure = problem.failure(
            stack_arn=None if checkpoint is None else checkpoint.stack_arn,
            stack_status=stack_status,
            change_set_arn=None if checkpoint is None else checkpoint.change_set_arn,
        )
        await self.voice.store(failure)


@dataclass
class Waiting:
    """Waits for CloudFormation: here for a while, then by parking the run."""

    run: DeployRun
    since: float
    began: float
    looks: int = 0

    async def pause(self) -> float | None:
        """None after a pause in which the run held its place; else for how many seconds to park it."""
        now = self.run.clock()
        step = next_look(
            held=now - self.began,
            hold_seconds=self.run.hold_seconds,
            park_seconds=self.run.park_seconds,
            waited=now - self.since,
            looks=self.looks,
        )
        self.looks += 1
        if not isinstance(step, Hold):
            return step.seconds
        await self.run.sleep(step.seconds)
        return None


def stamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond as AWS's own times are kept."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def seconds_of(text: str) -> float:
    """Unix seconds of what `stamp` made."""
    return datetime.fromisoformat(text).timestamp()


def applied_at(checkpoint: Checkpoint, now: float) -> float:
    """When AWS may first have been told, in Unix seconds."""
    known = checkpoint.applied_at or checkpoint.began_at
    return now if known is None else seconds_of(known)


def events_since(checkpoint: Checkpoint, now: float) -> str:
    """From when on the stack's events may be those of the run's operation."""
    return stamp(applied_at(checkpoint, now) - _MARGIN_SECONDS)


def parked(checkpoint: Checkpoint, seconds: float, reason: str) -> Ended:
    """The run gives up its place, and goes on in so many seconds."""
    return Ended(outcome="parked", seconds=seconds, checkpoint=checkpoint, reason=reason)


def interrupted(trouble: StackTroubleError, troubles: int) -> Ended:
    """AWS did not answer."""
    reason = f"AWS did not answer {trouble.action} ({trouble.code})."
    return Ended(outcome="interrupted", reason=reason, seconds=after_trouble(troubles))

"""A claimed run in this worker's hands, and what every kind of work on it has in common.

A kind of work is a class with `execute`; `runner.serve` says which one does which spec. What it raises, `ending_of`
turns into an ending, so that it raises PermanentError and TemporaryError wherever it cannot go on.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.results import ClaimAnswer, RunHeartbeat
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.runner.patience import persistently
from coreo_worker.runner.planning import (
    Canceled,
    Ending,
    Failed,
    Interrupted,
    Over,
    Stopped,
    Superseded,
    Unreachable,
)
from coreo_worker.runner.protocol import ProtocolError
from coreo_worker.runner.results import (
    ResultsRefusedError,
    ResultsUnavailableError,
    RunChannel,
    RunOverError,
    StaleFenceError,
)
from coreo_worker.runner.tasks import first_of


@dataclass
class ClaimedRun:
    """A run that this worker has claimed, and how to speak of it.

    `patience_seconds`: how long it waits for a results service that is down. `units_total` once that is known.
    """

    job: Job
    claim: ClaimAnswer
    channel: RunChannel
    patience_seconds: float
    units_total: int | None = None

    @property
    def may_end_at_once(self) -> bool:
        """Whether somebody asked that the run end, and nothing of it is under way."""
        is_applying = self.claim.deploy is not None and self.claim.deploy.applying
        return self.claim.cancel_requested and not is_applying

    async def beat(self) -> bool:
        """Keeps the lease; whether somebody asked that the run end."""
        beat = RunHeartbeat(fence=self.claim.fence, units_total=self.units_total)
        answer = await persistently(
            lambda: self.channel.heartbeat(beat), patience=self.patience_seconds, what="heartbeat"
        )
        return answer.cancel_requested


class Work(Protocol):
    """One claimed run's work."""

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """Does it and says how it ended; nothing of it is left at work then. Gives it back when that event is set."""


Begin = Callable[[ClaimedRun, Any], Work]  # from the claimed run and its job's spec
Trades = Mapping[type[object], Begin]  # type of spec -> who does it


async def attended(work: Coroutine[Any, Any, Ending], run: ClaimedRun, giving_back: asyncio.Event) -> Ending:
    """Work without units, with the lease kept beside it; cut short when somebody cancels or the worker's time is up."""
    return await first_of(work, _beats(run), stopped(giving_back))


async def _beats(run: ClaimedRun) -> Ending:
    while True:
        await asyncio.sleep(run.claim.lease_seconds / 3)
        if await run.beat():
            return Canceled()


async def stopped(giving_back: asyncio.Event) -> Ending:
    """Ends when the worker's time is up."""
    await giving_back.wait()
    return Stopped()


def ending_of(error: Exception) -> Ending:  # noqa: PLR0911  one for each kind of error
    """How a run ended that raised this; of several errors, the first."""
    match error:
        case ExceptionGroup():
            return ending_of(error.exceptions[0])
        case PermanentError():
            return Failed(str(error))
        case TemporaryError():
            return Interrupted(str(error), error.delay)
        case StaleFenceError():
            return Superseded()
        case RunOverError():
            return Over()
        case ResultsUnavailableError():
            return Unreachable()
        case ResultsRefusedError(status=401 | 403):  # nor would it take word of the end
            return Unreachable()
        case ResultsRefusedError():
            return Failed(f"The results service did not take the findings ({error.code}). This is a fault in Coreo.")
        case ProtocolError():
            return Interrupted(f"The run's process sent what cannot be understood: {error}.")
        case _:
            return Interrupted(f"An internal error ({type(error).__name__}) stopped the run.")

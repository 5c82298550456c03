"""What to do when: pure functions from how something ended to what happens to the run and to its message.

A message is delivered `max_receives` times at most, then SQS keeps it as a dead letter. So the last delivery must end
the run visibly, one way or the other.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from coreo_shared.contracts.deploys import Checkpoint
from coreo_shared.contracts.onboarding import Report

_BACKOFF_SECONDS: Final = 5.0
_LONGEST_BACKOFF_SECONDS: Final = 300.0
_LONGEST_BUSY_SECONDS: Final = 900.0
_CALL_RETRY_SECONDS: Final = 0.5
_LONGEST_CALL_RETRY_SECONDS: Final = 10.0
RENEW_MARGIN_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Completed:
    """All of the work was done, and of an audit all findings stored. `report` of a run of the onboard pool.

    `no_change`: a deploy found nothing to do. `reason`: what else there is to say.
    """

    report: Report | None = None
    reason: str | None = None
    no_change: bool = False


@dataclass(frozen=True)
class Canceled:
    """Somebody asked that the run end, and it did."""

    reason: str | None = None


@dataclass(frozen=True)
class Failed:
    """It cannot work. `reason` is a sentence a person can act on."""

    reason: str


@dataclass(frozen=True)
class Interrupted:
    """It did not work this time: a process died, AWS did not answer. Not before `delay` seconds again."""

    reason: str
    delay: float = 0.0


@dataclass(frozen=True)
class RolledBack:
    """A deploy changed the stack, and AWS undid it."""

    reason: str


@dataclass(frozen=True)
class OutcomeUnknown:
    """A deploy began to change the stack, and nobody can say what became of that. People have to look."""

    reason: str


@dataclass(frozen=True)
class Parked:
    """The run waits, and no worker with it: for `resume_seconds`, or (None) until people approve its preview."""

    checkpoint: Checkpoint
    resume_seconds: float | None
    reason: str


@dataclass(frozen=True)
class Stopped:
    """The worker goes away; nothing is wrong with the run."""


@dataclass(frozen=True)
class Superseded:
    """Somebody else has the run, and its message."""


@dataclass(frozen=True)
class Over:
    """The run had ended already."""


@dataclass(frozen=True)
class Unreachable:
    """The results service did not answer for too long, or does not take this run's word."""


Ending = (
    Completed
    | Canceled
    | Failed
    | RolledBack
    | OutcomeUnknown
    | Parked
    | Interrupted
    | Stopped
    | Superseded
    | Over
    | Unreachable
)


class Keep(Enum):
    """Message fates that need no number."""

    DELETE = "delete"
    LEAVE = "leave"  # another worker has it


@dataclass(frozen=True)
class Return:
    """The message comes again in `seconds`, to any worker."""

    seconds: int


MessageFate = Keep | Return


@dataclass(frozen=True)
class Word:
    """What to say of the run to the ledger."""

    kind: Literal["completed", "failed", "canceled", "rolled_back", "unknown", "release", "park"]
    reason: str | None = None
    report: Report | None = None
    no_change: bool = False
    parked: Parked | None = None  # of "park"


@dataclass(frozen=True)
class Delivery:
    """Which delivery of a message this is. `jitter`, from 0 to 1, spreads out the workers' next tries."""

    number: int
    last: int
    jitter: float

    @property
    def is_last(self) -> bool:
        """Whether the next one would be a dead letter."""
        return self.number >= self.last


@dataclass(frozen=True)
class Disposition:
    """What happens after a run: the word for the ledger, then the fate of the message."""

    word: Word | None
    message: MessageFate


def after_run(ending: Ending, delivery: Delivery) -> Disposition:  # noqa: PLR0911  one for each way to end
    """What to do when a run that this worker had claimed ended in this way."""
    match ending:
        case Completed(report, reason, no_change):
            return Disposition(Word("completed", reason, report, no_change), Keep.DELETE)
        case Canceled(reason):
            return Disposition(Word("canceled", reason), Keep.DELETE)
        case Failed(reason):
            return Disposition(Word("failed", reason), Keep.DELETE)
        case RolledBack(reason):
            return Disposition(Word("rolled_back", reason), Keep.DELETE)
        case OutcomeUnknown(reason):
            return Disposition(Word("unknown", reason), Keep.DELETE)
        case Parked(_, _, reason):
            return Disposition(Word("park", reason, parked=ending), Keep.DELETE)
        case Interrupted(reason, delay):
            return _again(reason, max(delay, backoff(delivery)), delivery)
        case Stopped():
            return _again("The worker was shut down.", 0, delivery)
        case Superseded():
            return Disposition(None, Keep.LEAVE)
        case Over():
            return Disposition(None, Keep.DELETE)
        case Unreachable():
            return Disposition(None, _return(backoff(delivery)))


def after_busy(retry_after: float, delivery: Delivery) -> MessageFate:
    """What to do with a message whose run another worker holds.

    Once the lease may have run out, it is looked at again; if the run is held still, its worker lives and the message
    is probably one sent twice, so each next look is later. The last one drops it: the ledger ends the run in any case,
    and a dead letter would say that something is wrong.
    """
    if delivery.is_last:
        return Keep.DELETE
    delay: float = min(retry_after * 2 ** (delivery.number - 1), max(retry_after, _LONGEST_BUSY_SECONDS))
    return _return(delay + delivery.jitter * max(1.0, delay / 10))


def after_unclaimed(delivery: Delivery) -> MessageFate:
    """What to do with a message whose run could not be claimed for now. After the last try SQS keeps it for people."""
    return _return(backoff(delivery))


def after_bug(receive_count: int) -> MessageFate:
    """What to do with a message that the worker itself failed on."""
    return _return(backoff(Delivery(receive_count, 0, jitter=1.0)))


def backoff(delivery: Delivery) -> float:
    """Seconds until the next delivery: doubling, half of it by chance."""
    longest: float = min(_BACKOFF_SECONDS * 2 ** (delivery.number - 1), _LONGEST_BACKOFF_SECONDS)
    return longest * (0.5 + delivery.jitter / 2)


def call_delay(failures: int, jitter: float) -> float:
    """Seconds before a call to the results service is made again, after so many failures in a row."""
    longest: float = min(_CALL_RETRY_SECONDS * 2 ** min(failures - 1, 16), _LONGEST_CALL_RETRY_SECONDS)
    return longest * (0.5 + jitter / 2)


def renewal_delay(lifetime: float) -> float:
    """Seconds until a session with so much of its life left is to be replaced: ten minutes before its end."""
    if lifetime > 2 * RENEW_MARGIN_SECONDS:
        return lifetime - RENEW_MARGIN_SECONDS
    return max(lifetime / 2, 1.0)


def _again(reason: str, delay: float, delivery: Delivery) -> Disposition:
    if delivery.is_last:
        text = f"{reason} This was delivery {delivery.number} of {delivery.last} of its job. Start the run again."
        return Disposition(Word("failed", text), Keep.DELETE)
    return Disposition(Word("release", reason), _return(delay))


def _return(seconds: float) -> Return:
    return Return(-int(-seconds // 1))

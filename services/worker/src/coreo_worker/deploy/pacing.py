"""How long to wait for AWS here, and when to give the place to other runs and come back. Pure."""

from dataclasses import dataclass
from typing import Final

_FIRST_POLL_SECONDS: Final = 0.5
_LONGEST_POLL_SECONDS: Final = 5.0
_LONGEST_PARK_SECONDS: Final = 120.0
_SHORTEST_TROUBLE_SECONDS: Final = 10.0
_LONGEST_TROUBLE_SECONDS: Final = 900.0
MAX_TROUBLES: Final = 40  # parks in a row for want of an answer: about nine hours


@dataclass(frozen=True)
class Hold:
    """Look again here, in so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Park:
    """Let another job look again, in so many seconds."""

    seconds: float


def next_look(*, held: float, hold_seconds: float, park_seconds: float, waited: float, looks: int) -> Hold | Park:
    """When to look again: `held` seconds this worker has waited, all of them together `waited`; `looks` here so far.

    What is quick is seen at once; what takes hours costs a look every two minutes.
    """
    pause = min(_FIRST_POLL_SECONDS * 1.5 ** min(looks, 20), _LONGEST_POLL_SECONDS)
    if held + pause <= hold_seconds:
        return Hold(pause)
    return Park(min(max(waited / 10, park_seconds), _LONGEST_PARK_SECONDS))


def after_trouble(troubles: int) -> float:
    """Seconds until the next job, after so many in a row that AWS did not answer."""
    longest: float = min(_SHORTEST_TROUBLE_SECONDS * 2 ** min(troubles, 20), _LONGEST_TROUBLE_SECONDS)
    return longest

"""What tables are made of, without anything that draws: columns, and words with their colour."""

from dataclasses import dataclass
from typing import Final

_SEVERITIES: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}
_STATES: Final = {
    "SUCCEEDED": "green",
    "PARTIAL": "yellow",
    "FAILED": "bold red",
    "EXPIRED": "bold red",
    "CANCELED": "magenta",
    "RUNNING": "cyan",
    "CLAIMED": "cyan",
    "AWAITING_APPROVAL": "bold yellow",
    "APPLYING": "cyan",
    "ROLLED_BACK": "bold red",
    "OUTCOME_UNKNOWN": "bold red",
    "PENDING": "yellow",
    "BOOTSTRAPPING": "cyan",
    "VERIFYING": "cyan",
    "CONNECTED": "green",
    "UNVERIFIED": "yellow",
    "INSECURE": "bold red",
    "UNREACHABLE": "red",
    "DISCONNECTED": "dim",
}
_OUTCOMES: Final = {"passed": "green", "failed": "bold red", "unknown": "yellow"}
_STATUSES: Final = {"FAIL": "red", "PASS": "green", "NOT_EVALUATED": "yellow", "SUPPRESSED": "dim"}


@dataclass(frozen=True)
class Styled:
    """A word in a colour; it always also says what the colour says."""

    text: str
    style: str = ""


Cell = str | Styled


@dataclass(frozen=True)
class Column:
    """A column. A flexible one breaks its text when there is too little room."""

    title: str
    flexible: bool = False
    right: bool = False


def severity(value: str, text: str | None = None) -> Styled:
    """A severity, or a text about it, in its colour."""
    return Styled(value if text is None else text, _SEVERITIES.get(value, ""))


def state(value: str, text: str | None = None) -> Styled:
    """A run's or a cloud account's state, or a text about it, in its colour."""
    return Styled(value if text is None else text, _STATES.get(value, ""))


def status(value: str, text: str | None = None) -> Styled:
    """A finding's status, or a text about it, in its colour."""
    return Styled(value if text is None else text, _STATUSES.get(value, ""))


def outcome(value: str, text: str) -> Styled:
    """A text about a check, in the colour of its outcome."""
    return Styled(text, _OUTCOMES.get(value, ""))

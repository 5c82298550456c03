"""Times, spans and counts as people write and read them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from coreo_shared.contracts.terms import Severity

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"(?:[0-9]{1,9}[smhdw])+|[0-9]{1,9}")


def span_seconds(text: str) -> int:
    """Seconds of a span such as `90`, `15m`, `1h30m`, `1d`. Raises ValueError."""
    if not _SPAN.fullmatch(text.strip()):
        raise ValueError("expected a time span such as 90s, 15m, 1h30m or 1d")
    return sum(int(number) * _UNITS[unit or "s"] for number, unit in re.findall(r"([0-9]+)([smhdw]?)", text))


def span(seconds: float) -> str:
    """A span of seconds in its two largest units: `14 s`, `2 min 5 s`, `1 d 2 h`."""
    left = max(round(seconds), 0)
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def moment(text: str) -> datetime:
    """A time of the api."""
    return datetime.fromisoformat(text)


def local(text: str | None) -> str:
    """A time of the api in the local zone; a dash for none."""
    return "-" if text is None else moment(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(text: str, *, now: datetime | None = None) -> str:
    """How long ago, or how soon, a time of the api is, in its largest unit: `3 min ago`, `in 2 h`."""
    elapsed = ((now or datetime.now(UTC)) - moment(text)).total_seconds()
    if abs(elapsed) < 1:
        return "now"
    number, unit, *_ = span(abs(elapsed)).split(" ")
    return f"{number} {unit} ago" if elapsed > 0 else f"in {number} {unit}"


def plural(count: int, noun: str) -> str:
    """`1 finding`, `2 findings`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def expiry(text: str, *, now: datetime | None = None) -> str:
    """RFC 3339 for a span from now (`90d`) or a time with a zone. Raises ValueError."""
    if _SPAN.fullmatch(text.strip()):
        return ((now or datetime.now(UTC)) + timedelta(seconds=span_seconds(text))).isoformat(timespec="seconds")
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        given = None
    if given is None or given.tzinfo is None:
        raise ValueError("expected a span such as 90d, or a time with a zone such as 2027-01-31T12:00:00Z")
    return given.isoformat(timespec="seconds")


def failed_by_severity(counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, int]]:
    """Severities with failed findings and how many, most severe first."""
    failed = counts.get("failed_by_severity", {})
    return [(str(severity), failed[severity]) for severity in Severity if failed.get(severity)]


def failed_words(counts: Mapping[str, Mapping[str, int]]) -> str:
    """`3 critical, 5 high`; `none failed` when there are none."""
    return ", ".join(f"{count} {severity}" for severity, count in failed_by_severity(counts)) or "none failed"


def not_evaluated(counts: Mapping[str, Mapping[str, int]]) -> int:
    """How many findings could not be judged."""
    return counts.get("by_status", {}).get("NOT_EVALUATED", 0)

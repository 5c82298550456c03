"""Schedules: when a plan runs. Pure functions of the schedule, the plan's id and the time; nothing looks at a clock.

A *tick* is a moment at which the plan is due. `rate_seconds` ticks at the multiples of the rate since 1970-01-01 UTC;
`cron` ticks by the wall clock of the time zone, as Debian's cron does over changes to and from summer time: a time that
is skipped comes right after the gap, one that is there twice comes once. Jitter moves all ticks of a plan by the same
part of `jitter_seconds`, which follows from the plan's id.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from coreo_api.schemas import Body

MIN_RATE_SECONDS = 60
MAX_RATE_SECONDS = 366 * 24 * 3600
MAX_JITTER_SECONDS = 3600
# Up to so long after its moment a tick counts as on time, and runs whatever the policy for missed ones says.
GRACE = timedelta(seconds=60)
_CRON = re.compile(r"[0-9A-Za-z*,/#-]+( [0-9A-Za-z*,/#-]+){4}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_MOMENT = datetime(2024, 1, 1, tzinfo=UTC)  # for checking that an expression ever comes up


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _cron(value: str) -> str:
    expression = " ".join(value.split(" "))
    if not _CRON.fullmatch(expression):
        raise ValueError("expected five fields: minute, hour, day of month, month, day of week")
    try:
        if next(CronSim(expression, _ANY_MOMENT), None) is None:
            raise ValueError("this never comes up")
    except CronSimError as error:
        raise ValueError(f"not a cron expression: {str(error)[:1].lower()}{str(error)[1:]}") from None
    return expression


def _time_zone(value: str) -> str:
    if value not in _time_zones():
        raise ValueError("not an IANA time zone such as Europe/Berlin or UTC")
    return value


class Schedule(Body):
    """When a plan runs by itself: `cron` or `rate_seconds`, one of both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"cron": "30 6 * * MON-FRI", "time_zone": "Europe/Berlin"}]}
    )

    cron: Annotated[
        Annotated[str, StringConstraints(max_length=100), AfterValidator(_cron)] | None,
        Field(description="Minute, hour, day of month, month, day of week.", examples=["30 6 * * MON-FRI"]),
    ] = None
    rate_seconds: Annotated[
        int | None,
        Field(ge=MIN_RATE_SECONDS, le=MAX_RATE_SECONDS, description="Seconds from one run to the next."),
    ] = None
    time_zone: Annotated[
        str,
        StringConstraints(max_length=64),
        AfterValidator(_time_zone),
        Field(description="IANA name; what `cron` means by hours and days."),
    ] = "UTC"
    jitter_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_JITTER_SECONDS,
            description="Runs come up to so many seconds late, a plan always by the same, so that plans spread.",
        ),
    ] = 0
    missed: Annotated[
        Literal["run_once", "skip"],
        Field(
            description="What becomes of ticks more than 60 s ago, when Coreo was down: `run_once` makes up for all of "
            "them by one run, `skip` waits for the next."
        ),
    ] = "run_once"

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if (self.cron is None) == (self.rate_seconds is None):
            raise ValueError("give either cron or rate_seconds")
        if self.rate_seconds is not None and self.jitter_seconds >= self.rate_seconds:
            raise ValueError("jitter_seconds must be less than rate_seconds")
        return self


@dataclass(frozen=True, slots=True)
class DueTicks:
    """What a scheduler does about a plan: run it once for each of `fire`, and come again at `following`."""

    fire: tuple[datetime, ...]
    following: datetime | None


def next_tick(schedule: Schedule, plan_id: UUID, after: datetime) -> datetime | None:
    """The first tick later than `after`, in UTC; None when there is none for 50 years."""
    jitter = timedelta(seconds=_part_of(schedule.jitter_seconds, plan_id))
    base = after.astimezone(UTC) - jitter
    if schedule.rate_seconds is not None:
        rate = timedelta(seconds=schedule.rate_seconds)
        return _EPOCH + ((base - _EPOCH) // rate + 1) * rate + jitter
    # In the hour that comes twice the expression's next match by the wall clock may lie before `after`.
    moments = CronSim(schedule.cron or "", base.astimezone(ZoneInfo(schedule.time_zone)))
    found = next((moment for moment in (each.astimezone(UTC) for each in moments) if moment > base), None)
    return None if found is None else found + jitter


def due_ticks(schedule: Schedule, plan_id: UUID, planned: datetime, now: datetime) -> DueTicks:
    """What is due at `now` of a plan whose next tick was `planned` (not later than `now`)."""
    is_late = planned < now - GRACE
    tick = next_tick(schedule, plan_id, now - GRACE - timedelta(microseconds=1)) if is_late else planned
    fire = []
    while tick is not None and tick <= now:
        fire.append(tick)
        tick = next_tick(schedule, plan_id, tick)
    if is_late and not fire and schedule.missed == "run_once":
        fire.append(planned)
    return DueTicks(tuple(fire), tick)


def _part_of(jitter_seconds: int, plan_id: UUID) -> int:
    return int.from_bytes(hashlib.sha256(plan_id.bytes).digest()[:8], "big") % (jitter_seconds + 1)

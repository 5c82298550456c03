"""Ticks of schedules, in virtual time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coreo_api.plans.schedule import GRACE, Schedule, due_ticks, next_tick

PLAN = UUID("01900000-0000-7000-8000-000000000001")
OTHER = UUID("01900000-0000-7000-8000-000000000002")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(schedule: Schedule, after: str, count: int) -> list[str]:
    found, moment = [], at(after)
    for _ in range(count):
        following = next_tick(schedule, PLAN, moment)
        assert following is not None
        assert following > moment
        found.append(following.isoformat().removesuffix("+00:00"))
        moment = following
    return found


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ({"rate_seconds": 60}, "2026-01-01T00:00:00", ["2026-01-01T00:01:00", "2026-01-01T00:02:00"]),
        ({"rate_seconds": 3600}, "2026-01-01T00:59:59.999999", ["2026-01-01T01:00:00", "2026-01-01T02:00:00"]),
        ({"cron": "* * * * *"}, "2026-01-01T00:00:59.5", ["2026-01-01T00:01:00", "2026-01-01T00:02:00"]),
        ({"cron": "30 6 * * MON-FRI"}, "2026-01-02T07:00:00", ["2026-01-05T06:30:00", "2026-01-06T06:30:00"]),
        # 12:00 in Berlin is 11:00 UTC in winter and 10:00 in summer (which begins on 29 March 2026).
        (
            {"cron": "0 12 * * *", "time_zone": "Europe/Berlin"},
            "2026-03-27T23:00:00",
            ["2026-03-28T11:00:00", "2026-03-29T10:00:00"],
        ),
        # 02:30 is skipped on that day: it comes right after the gap, at 03:00.
        (
            {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"},
            "2026-03-28T12:00:00",
            ["2026-03-29T01:00:00", "2026-03-30T00:30:00"],
        ),
        # Two times inside the gap are one tick after it.
        (
            {"cron": "10,40 2 * * *", "time_zone": "Europe/Berlin"},
            "2026-03-28T12:00:00",
            ["2026-03-29T01:00:00", "2026-03-30T00:10:00", "2026-03-30T00:40:00"],
        ),
        # 02:30 is there twice on 25 October 2026: it comes once.
        (
            {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"},
            "2026-10-24T12:00:00",
            ["2026-10-25T00:30:00", "2026-10-26T01:30:00"],
        ),
        # Every half hour goes on through the hour that is there twice.
        (
            {"cron": "*/30 * * * *", "time_zone": "Europe/Berlin"},
            "2026-10-25T00:00:00",
            ["2026-10-25T00:30:00", "2026-10-25T01:00:00", "2026-10-25T01:30:00", "2026-10-25T02:00:00"],
        ),
        # Asked in the second pass of that hour, a tick of the first pass is not answered: it lies before.
        ({"cron": "0-59 2 * * *", "time_zone": "Europe/Berlin"}, "2026-10-25T01:20:00", ["2026-10-26T01:00:00"]),
    ],
)
def test_ticks_come_at_these_moments(fields: dict[str, Any], after: str, expected: list[str]) -> None:
    assert ticks(Schedule(**fields), after, len(expected)) == expected


@pytest.mark.parametrize("fields", [{"rate_seconds": 3600}, {"cron": "0 * * * *"}])
def test_jitter_moves_all_ticks_of_a_plan_alike(fields: dict[str, Any]) -> None:
    plain, late = Schedule(**fields), Schedule(**fields, jitter_seconds=600)
    moves = {
        datetime.fromisoformat(moved) - datetime.fromisoformat(tick)
        for tick, moved in zip(
            ticks(plain, "2026-01-01T00:30:00", 5), ticks(late, "2026-01-01T00:30:00", 5), strict=True
        )
    }
    assert len(moves) == 1
    assert timedelta(0) <= moves.pop() <= timedelta(seconds=600)
    moment = at("2026-01-01T00:30:00")
    assert next_tick(late, PLAN, moment) != next_tick(late, OTHER, moment)


def test_tick_on_time_fires_once_and_the_next_is_set() -> None:
    due = due_ticks(Schedule(rate_seconds=60), PLAN, at("2026-01-01T00:01:00"), at("2026-01-01T00:01:00.2"))
    assert due.fire == (at("2026-01-01T00:01:00"),)
    assert due.following == at("2026-01-01T00:02:00")


def test_ticks_within_the_grace_all_fire_whatever_the_policy() -> None:
    schedule = Schedule(rate_seconds=60, missed="skip")
    due = due_ticks(schedule, PLAN, at("2026-01-01T00:01:00"), at("2026-01-01T00:02:00"))
    assert due.fire == (at("2026-01-01T00:01:00"), at("2026-01-01T00:02:00"))


@pytest.mark.parametrize(("missed", "fired"), [("run_once", [at("2026-01-01T01:00:00")]), ("skip", [])])
def test_hours_of_missed_ticks_follow_the_policy(missed: str, fired: list[datetime]) -> None:
    schedule = Schedule(rate_seconds=3600, missed=missed)
    due = due_ticks(schedule, PLAN, at("2026-01-01T01:00:00"), at("2026-01-01T09:30:00"))
    assert list(due.fire) == fired
    assert due.following == at("2026-01-01T10:00:00")


def test_a_tick_on_time_makes_up_for_the_missed_ones() -> None:
    due = due_ticks(Schedule(rate_seconds=60), PLAN, at("2026-01-01T01:00:00"), at("2026-01-01T09:30:30"))
    assert due.fire == (at("2026-01-01T09:30:00"),)


@given(
    rate=st.integers(60, 10_000),
    jitter=st.integers(0, 59),
    downtime=st.integers(0, 100_000),
    missed=st.sampled_from(["run_once", "skip"]),
)
def test_each_tick_fires_at_most_once_and_time_goes_on(rate: int, jitter: int, downtime: int, missed: str) -> None:
    schedule = Schedule(rate_seconds=rate, jitter_seconds=jitter, missed=missed)
    planned = next_tick(schedule, PLAN, at("2026-01-01T00:00:00"))
    assert planned is not None
    now = planned + timedelta(seconds=downtime)
    due = due_ticks(schedule, PLAN, planned, now)
    assert due.following is not None
    assert due.following > now
    assert len(set(due.fire)) == len(due.fire)
    assert all(planned <= tick <= now for tick in due.fire)
    if downtime <= GRACE.total_seconds():
        assert planned in due.fire
    elif missed == "run_once":
        assert due.fire


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cron": "0 0 * * *", "rate_seconds": 60},
        {"rate_seconds": 59},
        {"rate_seconds": 60, "jitter_seconds": 60},
        {"cron": "0 0 * *"},
        {"cron": "0 0 0 * * *"},
        {"cron": "61 * * * *"},
        {"cron": "0 0 31 4 *"},
        {"cron": "0 0 */31 2 MON#5"},
        {"cron": "0 0 * * *\n"},
        {"cron": "\u0660 0 * * *"},
        {"cron": "0 0 * * *", "time_zone": "Mars/Olympus"},
        {"cron": "0 0 * * *", "time_zone": "../../etc/passwd"},
        {"cron": "0 0 * * *", "time_zone": "europe/berlin"},
        {"cron": "0 0 * * *", "missed": "all"},
        {"cron": "0 0 * * *", "second": 1},
    ],
)
def test_schedules_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Schedule(**fields)


@given(expression=st.text(alphabet="0123456789*,-/#LWMON ", min_size=1, max_size=30))
def test_any_cron_text_is_refused_or_has_a_next_tick(expression: str) -> None:
    try:
        schedule = Schedule(cron=expression)
    except ValidationError:
        return
    moment = at("2026-01-01T00:00:00")
    following = next_tick(schedule, PLAN, moment)
    assert following is not None
    assert following > moment

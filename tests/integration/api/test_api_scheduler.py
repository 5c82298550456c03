"""Schedules fire each tick once, with any number of replicas and over restarts; time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from coreo_api.dispatch.scheduler import Scheduler
from tests.support.api import Api, ApiFactory, Team, VirtualClock, ok, until
from tests.support.postgres import ServiceDatabase

START = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
EVERY_MINUTE = {"rate_seconds": 60}


@pytest.fixture
async def admin(api_database: ServiceDatabase) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(api_database.url("postgres").replace("+asyncpg", ""))
    yield connection
    await connection.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


async def ticks(admin: Any, plan: Any) -> list[datetime]:
    """Ticks of the plan that have runs, in order."""
    rows = await admin.fetch(
        "SELECT g.tick_at FROM run_groups g JOIN runs r ON r.group_id = g.id WHERE g.plan_id = $1 ORDER BY g.tick_at",
        UUID(plan["id"]),
    )
    return [row["tick_at"] for row in rows]


def minutes(*offsets: int) -> list[datetime]:
    """12:01 is minute 1."""
    return [START.replace(second=0) + timedelta(minutes=offset) for offset in offsets]


async def test_replicas_fire_each_tick_once(make_api: ApiFactory, admin: Any, clock: VirtualClock) -> None:
    replicas = [make_api(clock=clock) for _ in range(2)]
    team = await replicas[0].team()
    account = await team.add_account()
    plans = [await team.add_plan(account["id"], schedule=EVERY_MINUTE) for _ in range(3)]
    schedulers = [Scheduler(api.context) for api in (*replicas, *replicas)]
    for _ in range(5):
        clock.now += timedelta(minutes=1)
        await asyncio.gather(*(scheduler.step() for scheduler in schedulers))
    for plan in plans:
        assert await ticks(admin, plan) == minutes(1, 2, 3, 4, 5)


async def test_no_tick_is_lost_over_a_restart(make_api: ApiFactory, admin: Any, clock: VirtualClock) -> None:
    before = make_api(clock=clock)
    team = await before.team()
    plan = await team.add_plan((await team.add_account())["id"], schedule=EVERY_MINUTE)
    clock.now += timedelta(minutes=1)
    await Scheduler(before.context).step()
    await before.close()
    clock.now += timedelta(seconds=59)  # the tick of minute 2 came up in between
    await Scheduler(make_api(clock=clock).context).step()
    assert await ticks(admin, plan) == minutes(1, 2)


@pytest.mark.parametrize(("missed", "offsets"), [("run_once", [5, 60]), ("skip", [60])])
async def test_ticks_missed_in_a_long_outage_follow_the_policy(
    make_api: ApiFactory, admin: Any, clock: VirtualClock, missed: str, offsets: list[int]
) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    schedule = {"rate_seconds": 300, "missed": missed}
    plan = await team.add_plan((await team.add_account())["id"], schedule=schedule)
    clock.now += timedelta(minutes=57)
    await Scheduler(api.context).step()
    clock.now = minutes(60)[0]
    await Scheduler(api.context).step()
    assert await ticks(admin, plan) == minutes(*offsets)
    shown = ok(await team.http.get(f"/v1/plans/{plan['id']}"))
    assert datetime.fromisoformat(shown["next_run_at"]) == minutes(65)[0]


async def test_step_says_when_the_next_tick_is(make_api: ApiFactory, clock: VirtualClock) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    scheduler = Scheduler(api.context)
    assert await scheduler.step() == 30  # nothing is scheduled
    await team.add_plan(schedule=EVERY_MINUTE)
    clock.now += timedelta(seconds=20)
    assert await scheduler.step() == 10


async def test_new_schedule_wakes_the_scheduler(make_api: ApiFactory, admin: Any) -> None:
    clock = VirtualClock(START)
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account()
    async with api.running():
        plan = await team.add_plan(account["id"], schedule=EVERY_MINUTE)
        clock.now += timedelta(minutes=1)
        ok(await team.http.patch(f"/v1/plans/{plan['id']}", json={"name": "wake up"}))

        async def has_fired() -> bool:
            return await ticks(admin, plan) == minutes(1)

        await until(has_fired, seconds=10)  # a look without a signal would come after 30 s


async def test_the_same_tick_cannot_be_stored_twice(make_api: ApiFactory, admin: Any, clock: VirtualClock) -> None:
    """The row lock makes it rare, this makes it impossible."""
    api = make_api(clock=clock)
    team = await api.team()
    plan = await team.add_plan((await team.add_account())["id"], schedule=EVERY_MINUTE)
    clock.now += timedelta(minutes=1)
    await Scheduler(api.context).step()
    await admin.execute("UPDATE plans SET next_tick_at = $1", minutes(1)[0])
    await Scheduler(api.context).step()
    assert await ticks(admin, plan) == minutes(1)


async def test_plan_that_is_off_or_deleted_does_not_fire_and_is_not_made_up_for(
    make_api: ApiFactory, admin: Any, clock: VirtualClock
) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account()
    off = await team.add_plan(account["id"], schedule=EVERY_MINUTE, enabled=False)
    deleted = await team.add_plan(account["id"], schedule=EVERY_MINUTE)
    assert (await team.http.delete(f"/v1/plans/{deleted['id']}")).status_code == 204
    assert off["next_run_at"] is None
    clock.now += timedelta(minutes=3)
    await Scheduler(api.context).step()
    on = ok(await team.http.patch(f"/v1/plans/{off['id']}", json={"enabled": True}))
    assert datetime.fromisoformat(on["next_run_at"]) == minutes(4)[0]
    await Scheduler(api.context).step()
    assert await ticks(admin, off) == await ticks(admin, deleted) == []


async def test_tick_without_a_role_is_shown_on_the_plan(make_api: ApiFactory, admin: Any, clock: VirtualClock) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    ready, waiting = await team.add_account(), await team.add_account(role=None)
    partly = await team.add_plan(ready["id"], waiting["id"], schedule=EVERY_MINUTE)
    empty = await team.add_plan(schedule=EVERY_MINUTE)
    clock.now += timedelta(minutes=1)
    await Scheduler(api.context).step()
    assert await problem_of(team, partly) == "1 of its 2 cloud accounts are not CONNECTED: left out."
    assert await problem_of(team, empty) == "The plan has no cloud accounts."
    assert await ticks(admin, partly) == minutes(1)


async def problem_of(team: Team, plan: Any) -> str | None:
    shown = ok(await team.http.get(f"/v1/plans/{plan['id']}"))
    assert shown["last_tick_at"] is not None
    problem: str | None = shown["last_tick_problem"]
    return problem


async def test_plan_that_breaks_does_not_hold_up_the_others(
    make_api: ApiFactory, admin: Any, clock: VirtualClock
) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account()
    gone = await team.add_plan(account["id"], schedule=EVERY_MINUTE)
    broken = await team.add_plan(account["id"], schedule=EVERY_MINUTE)
    good = await team.add_plan(account["id"], schedule=EVERY_MINUTE)
    for plan, spec in ((gone, '{"rules": ["of-an-older-release"]}'), (broken, '{"rules": 1}')):
        await admin.execute("UPDATE plan_revisions SET spec = $2 WHERE plan_id = $1", UUID(plan["id"]), spec)
    clock.now += timedelta(minutes=1)
    await Scheduler(api.context).step()
    assert await ticks(admin, good) == minutes(1)
    rows = dict(await admin.fetch("SELECT id, last_tick_problem FROM plans"))
    assert rows[UUID(gone["id"])] == "rules.0 of the plan's spec is no longer in the catalogue; send a new spec."
    assert "logged" in rows[UUID(broken["id"])]
    assert rows[UUID(good["id"])] is None


async def test_scheduled_run_says_so(make_api: ApiFactory, clock: VirtualClock) -> None:
    api: Api = make_api(clock=clock)
    team = await api.team()
    await team.add_plan((await team.add_account())["id"], schedule=EVERY_MINUTE)
    clock.now += timedelta(minutes=1)
    await Scheduler(api.context).step()
    (run,) = ok(await team.http.get("/v1/runs"))["items"]
    assert (run["trigger"], run["state"]) == ("schedule", "QUEUED")

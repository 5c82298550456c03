"""Results that go while somebody reads, compares, suppresses or claims: whole or gone, and never back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from coreo_results.backups.repository import BackupRepository
from coreo_results.ledger.repository import RunRepository
from coreo_results.life.repository import LifeRepository
from coreo_results.retention.repository import Locked, RetentionRepository, Scope
from coreo_shared.ids import new_id
from tests.support.results import PLAN, ResultsService, RunClient, make_chunk, make_finding
from tests.support.retention import FAIL, PASS, READS, Kept, is_gone, said

SUPPRESSION = {"resource": "bucket-1*", "reason": "known", "author": "ann"}
SIZE = 40


@pytest.fixture
def team(service: ResultsService, admin: asyncpg.Connection) -> Kept:
    return Kept(service, admin)


async def delete(team: Kept, run: RunClient) -> None:
    answer = await team.call("DELETE", f"/runs/{run.run_id}/results")
    assert answer.status_code == 200, answer.text
    assert await team.left(run) == set()


def once(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The work, the first time that it is asked for."""
    left = [work]

    async def do() -> None:
        if left:
            await left.pop()()

    return do


@pytest.mark.parametrize(
    ("path", "looks"), [("findings", 1), ("findings?full=true", 1), ("rules", 2), ("counts", 2), ("resolved", 1)]
)
async def test_what_goes_while_it_is_read_is_read_whole(
    team: Kept, monkeypatch: pytest.MonkeyPatch, path: str, looks: int
) -> None:
    """Between the statement that says it is there and those that read it, all of it is deleted."""
    await team.run({1: FAIL, 2: PASS})
    run = await team.run({1: PASS, 2: FAIL})
    before = await run.service.call("GET", f"/runs/{run.run_id}/{path}", team.token)
    check, calls = RunRepository.check_readable, list[UUID]()

    async def interrupted(self: RunRepository, team_id: UUID, run_id: UUID) -> None:
        await check(self, team_id, run_id)
        calls.append(run_id)
        if len(calls) == looks:
            await delete(team, run)

    with monkeypatch.context() as patch:
        patch.setattr(RunRepository, "check_readable", interrupted)
        answer = await run.service.call("GET", f"/runs/{run.run_id}/{path}", team.token)
    assert len(calls) == looks
    assert (answer.status_code, answer.json()) == (200, before.json())
    await is_gone(run, "results_deleted")


async def test_a_run_that_goes_while_a_suppression_looks_through_it_is_gone(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await team.run({1: FAIL, 2: FAIL})
    assert (await team.call("POST", "/suppressions", SUPPRESSION)).status_code == 200
    keep, deleted = RunRepository.keep, once(lambda: delete(team, run))

    async def interrupted(self: RunRepository, team_id: UUID, run_id: UUID) -> bool:
        await deleted()
        return await keep(self, team_id, run_id)

    monkeypatch.setattr(RunRepository, "keep", interrupted)
    assert (await said(run, "findings"))[:2] == (410, "results_deleted")
    assert await team.left(run) == set()


async def test_a_run_cannot_go_while_a_suppression_notes_what_it_fits(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever notes holds the run: the deletion comes after, and takes the notes too."""
    run = await team.run({1: FAIL, 2: FAIL})
    assert (await team.call("POST", "/suppressions", SUPPRESSION)).status_code == 200
    keep, deletions = RunRepository.keep, list[asyncio.Task[None]]()

    async def slow(self: RunRepository, team_id: UUID, run_id: UUID) -> bool:
        kept = await keep(self, team_id, run_id)
        if not deletions:
            deletions.append(asyncio.create_task(delete(team, run)))
            await until_somebody_waits(team.admin)
        return kept

    monkeypatch.setattr(RunRepository, "keep", slow)
    status, _, _ = await said(run, "findings")
    assert status in {200, 410}
    await deletions[0]
    await is_gone(run, "results_deleted")
    assert await team.left(run) == set()


async def test_a_run_that_goes_before_its_comparison_is_not_compared(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, run = await team.run({1: FAIL}), await team.run({2: FAIL})
    compare, deletions = LifeRepository.compare, list[asyncio.Task[None]]()

    async def slow(self: LifeRepository, due: Any) -> Any:
        if due.run_id == run.run_id:
            deletions.append(asyncio.create_task(delete(team, run)))
            await until_somebody_waits(team.admin)  # the comparison holds the run
        else:
            await delete(team, await team.run({3: FAIL}))  # another of the plan goes at once
        return await compare(self, due)

    monkeypatch.setattr(LifeRepository, "compare", slow)
    assert (await said(first, "changes"))[0] == 200
    assert (await said(run, "changes"))[0] in {200, 410}
    await deletions[0]
    assert await team.left(run) == set()
    assert (await said(run, "changes"))[0] == 410


async def until_somebody_waits(admin: asyncpg.Connection) -> None:
    """Until a statement waits for a lock of another's."""
    async with asyncio.timeout(20):
        waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
        while not await admin.fetchval(waiting):  # noqa: ASYNC110  it rings no bell
            await asyncio.sleep(0.01)


class Load:
    """Many who do all that can be done at once. Every answer is one that may be given."""

    def __init__(self, team: Kept, runs: list[RunClient]) -> None:
        self.team, self.runs = team, runs
        self.chance = random.Random(7)  # noqa: S311  test data
        self.gone: set[UUID] = set()  # known before a read began
        self.answers: dict[tuple[str, int], int] = {}
        self.deleting = True

    def note(self, what: str, answer: Any, *allowed: int) -> None:
        key = (what, answer.status_code)
        self.answers[key] = self.answers.get(key, 0) + 1
        assert answer.status_code in allowed, (what, answer.text)

    async def read(self) -> None:
        while self.deleting:
            run, path = self.chance.choice(self.runs), self.chance.choice(READS)
            was_gone = run.run_id in self.gone
            full = {"full": "true", "limit": "1000"} if path == "findings" else {}
            answer = await self.team.call("GET", f"/runs/{run.run_id}/{path}", **full)
            self.note(path, answer, 410 if was_gone else 200, 410)
            if answer.status_code == 200 and path == "findings":
                assert len(answer.json()["findings"]) == answer.json()["total"] == SIZE
            elif answer.status_code == 200 and path == "counts":
                assert sum(answer.json()["by_status"].values()) == SIZE

    async def suppress(self) -> None:
        while self.deleting:
            made = await self.team.call("POST", "/suppressions", SUPPRESSION)
            self.note("suppress", made, 200)
            path = f"/suppressions/{made.json()['id']}"
            pattern = f"bucket-{self.chance.randrange(9)}*"
            self.note("change", await self.team.call("PATCH", path, {"resource": pattern, "author": "bob"}), 200)
            self.note("remove", await self.team.call("DELETE", path, author="bob"), 204)

    async def work(self) -> None:
        while self.deleting:
            run = await a_run(self.team)
            self.note("late chunk", await run.put(make_chunk(1)), 409)
            self.note("late claim", await run.claim(), 409)
            self.runs.append(run)

    async def sweep(self) -> None:
        while self.deleting:
            await self.team.service.app.state.services.retention_sweeper.sweep()
            await self.team.service.app.state.services.life_keeper.compare_due()

    async def expire(self, runs: list[RunClient]) -> None:
        for run in runs:
            await self.team.age(run, 91)
            while (await said(run, "rules"))[0] != 410:  # noqa: ASYNC110  the sweepers are at work beside this
                await asyncio.sleep(0)
            self.gone.add(run.run_id)

    async def delete(self, runs: list[RunClient]) -> None:
        for run in runs:
            answers = await asyncio.gather(
                *(self.team.call("DELETE", f"/runs/{run.run_id}/results") for _ in range(2)),
            )
            for answer in answers:
                self.note("delete", answer, 200)
            assert sum(answer.json()["runs"] for answer in answers) == 1
            self.gone.add(run.run_id)

    async def stop_after(self, *work: Awaitable[None]) -> None:
        try:
            await asyncio.gather(*work)
        finally:
            self.deleting = False


async def a_run(team: Kept) -> RunClient:
    run = await team.run({}, ended=False)
    findings = [make_finding(number, status=FAIL if number % 3 else PASS) for number in range(SIZE)]
    for index in range(4):
        part = findings[index * SIZE // 4 : (index + 1) * SIZE // 4]
        await run.stored(make_chunk(1, part, unit="aws.s3.object@global", index=index, final=index == 3))
    await run.say("finish", {"fence": 1, "outcome": "completed", "units_total": 2})
    return run


async def test_readers_sweeper_deletions_comparisons_and_suppressions_at_once(team: Kept) -> None:
    runs = [await a_run(team) for _ in range(16)]
    kept, deleted, expired = runs[:4], runs[4:10], runs[10:]
    load = Load(team, list(runs))
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        for work in (load.read(), load.read(), load.read(), load.suppress(), load.work(), load.sweep(), load.sweep()):
            tasks.create_task(work)
        tasks.create_task(load.stop_after(load.delete(deleted), load.expire(expired)))
    deadlocks = await team.admin.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == 0
    await team.sweep()
    for run in deleted:
        await is_gone(run, "results_deleted")
    for run in expired:
        await is_gone(run, "results_expired")
    assert [await team.left(run) for run in (*deleted, *expired)] == [set()] * 12
    for run in kept:
        assert (await run.findings()).json()["total"] == SIZE
    assert {what for what, status in load.answers if status == 200} >= {"findings", "rules", "delete", "suppress"}


async def test_plans_and_accounts_go_at_once_without_waiting_in_a_circle(team: Kept) -> None:
    plans, accounts = [PLAN, new_id()], [new_id(), new_id()]
    for _ in range(2):
        for plan in plans:
            for account in accounts:
                await team.run({1: FAIL}, plan_id=plan, cloud_account_id=account)
    paths = [f"/plans/{plan}/results" for plan in plans] + [f"/cloud-accounts/{each}/results" for each in accounts]
    work = [team.call("DELETE", path) for path in paths * 2]
    keeper = team.service.app.state.services.life_keeper
    answers = await asyncio.gather(*work, keeper.compare_due(), team.sweep())
    assert {answer.status_code for answer in answers[: len(work)]} == {200, 204}
    assert await team.admin.fetchval("SELECT count(*) FROM chunks") == 0
    assert await team.admin.fetchval("SELECT count(*) FROM finding_life") == 0


async def test_backups_settle_runs_in_the_order_in_which_deletions_lock_them(team: Kept) -> None:
    """By id, wherever their rows lie: else one who has the first waits for the second, and the other way round."""
    first, second = sorted([(await team.run({1: FAIL})).run_id for _ in range(2)])
    await team.admin.execute("UPDATE runs SET updated_at = now() WHERE run_id = $1", first)  # its row lies last
    await team.admin.execute("ANALYZE runs")  # of few rows the planner takes one after the other
    database = team.service.app.state.services.database
    lock = text("SELECT run_id FROM runs WHERE run_id = ANY (:runs) FOR NO KEY UPDATE SKIP LOCKED")
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    async def settle() -> None:
        async with database.transaction(team.team) as connection:
            await BackupRepository(connection, team.team).settle([second, first])

    async with database.transaction(team.team) as holding, database.transaction(team.team) as looking:
        await holding.execute(lock, {"runs": [second]})
        settling = asyncio.create_task(settle())
        while not await team.admin.fetchval(waits):
            assert not settling.done()
            await asyncio.wait([settling], timeout=0.01)
        assert (await looking.execute(lock, {"runs": [first]})).all() == [], (
            "it has the first, and waits for the second"
        )
    await settling


async def test_a_run_that_begins_while_its_plans_results_go_stays(team: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    old, begun = await team.run({1: FAIL}), list[RunClient]()
    lock = RetentionRepository.lock

    async def interrupted(self: RetentionRepository, scope: Scope) -> Locked:
        locked = await lock(self, scope)
        begun.append(await team.run({1: FAIL}, ended=False))
        begun.append(await team.run({1: FAIL}))
        return locked

    monkeypatch.setattr(RetentionRepository, "lock", interrupted)
    assert (await team.call("DELETE", f"/plans/{PLAN}/results")).json() == {"runs": 1}
    await is_gone(old, "results_deleted")
    for run in begun:
        assert (await run.findings()).json()["total"] == 1
    assert (await begun[0].say("finish", {"fence": 1, "outcome": "completed", "units_total": 1})).status_code == 200

"""Exclusions of many runs, and everything but stores and vault is lost on the way: what was asked for is known, is done
in the restored database, and none of these runs is read there."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from coreo_cli.receipts import check_receipt
from coreo_results.backups.log import entry_object
from coreo_results.backups.service import Backups
from coreo_results.backups.wiring import custodian_of
from coreo_results.exclusions.repository import ExclusionRepository, Stored
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.retention.repository import RetentionRepository, Scope
from coreo_shared.contracts.backups import LOG_ENTRY_TYPE, ExclusionAsked, LogEntry
from coreo_shared.contracts.exclusions import ExclusionState, ExclusionStep, Receipt
from coreo_shared.ids import new_id
from tests.support.backups import Installation, rows
from tests.support.crashes import Crasher
from tests.support.exclusions import Place, break_off
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import CLOUD_ACCOUNT, PLAN, RunClient

_PAGE = 2  # runs that one entry of the log names; the service has 1,000
_RUNS = 5


@asynccontextmanager
async def restored(place: Place, databases: Databases) -> AsyncIterator[Place]:
    """The service on an empty database that was filled from the backups, where nothing happens by itself."""
    with databases.empty("coreo_results") as empty:
        await place.installation.restore(empty)
        async with _serving(place.installation, empty) as again:
            yield again


@asynccontextmanager
async def _serving(installation: Installation, database: ServiceDatabase) -> AsyncIterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coreo_results.exclusions.keeper.ExclusionKeeper.run", _nothing)
        async with installation.serving(database, sweep_seconds=3600) as service:
            yield Place(service, installation, database)


async def _nothing(*_: object, **__: object) -> None:
    return None


async def _run_ids(place: Place) -> set[UUID]:
    return {run_id for (run_id,) in await rows(place.database, "SELECT run_id FROM runs")}


async def _offline(place: Place, team: UUID, exclusion_id: UUID) -> Receipt:
    """As the customer checks it, with the published keys alone."""
    token = place.service.tokens.team(team)
    answer = await place.service.call("GET", f"/exclusions/{exclusion_id}/receipt", token)
    assert answer.status_code == 200, answer.text
    keys = await place.service.call("GET", "/custody/keys", token)
    return check_receipt(answer.json()["receipt"], keys.text).receipt


async def _backed_up(place: Place, team: UUID) -> tuple[list[RunClient], RunClient]:
    """(runs of the plan, one of another plan in another account)."""
    doomed = [await place.ended(team, number) for number in range(_RUNS)]
    kept = await place.ended(team, 9, plan_id=new_id(), cloud_account_id=new_id())
    await place.back_up(team)
    return doomed, kept


async def _later(place: Place, team: UUID) -> RunClient:
    """A run of the plan that began after the exclusion was asked for, and is backed up before that is in the log."""
    token = place.service.tokens.team(team)
    answer = await place.service.call("PATCH", f"/plans/{PLAN}/custody", token, {"backup": True})
    assert answer.status_code == 200, answer.text
    run = await place.ended(team, 8)
    await place.back_up(team)
    return run


@pytest.mark.parametrize(("entries", "knows_where_the_log_ended"), [(1, True), (2, False), (3, True)])
async def test_a_loss_between_two_tombstones_brings_none_of_the_runs_back_and_ends_with_a_receipt(
    place: Place,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    entries: int,
    *,
    knows_where_the_log_ended: bool,
) -> None:
    team = new_id()
    if not knows_where_the_log_ended:  # as for those that an older version noted
        monkeypatch.setattr(ExclusionRepository, "log_end", _nothing)
    runs, kept = await _backed_up(place, team)
    doomed = sorted(run.run_id for run in runs)
    before = await place.copies()
    asked = await place.exclude(team, "plan", PLAN, reason="asked by legal")
    later = await _later(place, team)
    await break_off(place, team, page=_PAGE, after=entries)
    assert (await place.installation.verdict(team)).problems == []

    async with restored(place, databases) as again:
        # Once more, one tombstone further.
        assert await _run_ids(again) == {kept.run_id, later.run_id}
        assert (await place.installation.verdict(team)).problems == []
        await break_off(again, team, page=_PAGE, after=1)
    async with restored(place, databases) as again:
        assert await _run_ids(again) == {kept.run_id, later.run_id}
        pending = await again.find(team, asked.id)
        assert (pending.state, pending.runs, pending.reason) == (ExclusionState.PENDING, _RUNS, "asked by legal")
        assert (pending.requested_at, pending.requested_by) == (asked.requested_at, "ann")
        for run_id in doomed:
            assert (await again.service.run(team, run_id).findings()).status_code == 404
        async with again.process(Crasher(), runs_per_entry=_PAGE) as parts:
            assert await parts.worker.work(team)
        receipt = await _offline(again, team, asked.id)
        assert (receipt.run_ids, receipt.backups_deleted, receipt.reason) == (doomed, _RUNS, "asked by legal")
        assert len(receipt.tombstones) == 3  # two, two and one
        for entry in (receipt.intent, *receipt.tombstones):
            assert entry is not None
            stored = place.directory / "backups" / entry_object(team, entry.seq)
            assert hashlib.sha256(stored.read_bytes()).hexdigest() == entry.sha256
        assert {run_id for _, run_id in await again.readable(before)} <= {kept.run_id}
        for run in (kept, later):
            assert (await again.service.run(team, run.run_id).findings()).json()["total"] == 1
        await again.back_up(team)
        assert (await place.installation.verdict(team)).problems == []
    objects = {key.rsplit("/")[-1][:36] for key in place.installation.files("backups") if key.startswith("runs/")}
    assert objects == {str(kept.run_id), str(later.run_id)}
    async with restored(place, databases) as again:
        assert await _run_ids(again) == {kept.run_id, later.run_id}
        assert await _offline(again, team, asked.id) == receipt


async def test_without_the_entry_that_says_what_was_asked_the_later_runs_would_be_back(
    place: Place, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def says_nothing(self: ExclusionWorker, team_id: UUID, exclusion: Stored) -> None:
        await self._passed(team_id, exclusion.id, ExclusionStep.INTENT)

    monkeypatch.setattr(ExclusionWorker, "_announce", says_nothing)
    team = new_id()
    runs, _ = await _backed_up(place, team)
    await place.exclude(team, "plan", PLAN)
    await break_off(place, team, page=_PAGE, after=1)
    async with restored(place, databases) as again:
        assert len(await _run_ids(again) & {run.run_id for run in runs}) == _RUNS - _PAGE


async def test_nothing_is_destroyed_before_the_log_in_the_store_says_what_was_asked(
    place: Place, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store does not take the entry: the runs are whole, and so is a restore."""
    team = new_id()
    runs, kept = await _backed_up(place, team)
    asked = await place.exclude(team, "cloud_account", CLOUD_ACCOUNT)
    journal = place.services.backups
    assert journal is not None
    keys = "SELECT count(*) FROM backup_keys"

    async def is_away(*_: object) -> None:
        raise OSError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(journal.journal._store, "put", is_away)
        assert not await place.work(team)
    assert (await place.find(team, asked.id)).done == []
    assert await rows(place.database, keys) == [(_RUNS + 1,)]
    assert await place.work(team)
    assert await rows(place.database, keys) == [(1,)]
    async with restored(place, databases) as again:
        assert await _run_ids(again) == {kept.run_id}
    assert len(runs) == _RUNS


async def test_a_run_that_is_being_backed_up_when_it_is_asked_for_is_named_by_itself(
    place: Place, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry comes behind the one where the log ended: the extent does not reach it."""
    team = new_id()
    runs, kept = await _backed_up(place, team)
    late, lock = await place.ended(team, 7), RetentionRepository.lock

    async def lock_late(self: RetentionRepository, scope: Scope) -> object:
        await place.back_up(team)  # between the look at the log and the lock
        return await lock(self, scope)

    with monkeypatch.context() as patch:
        patch.setattr(RetentionRepository, "lock", lock_late)
        asked = await place.exclude(team, "plan", PLAN)
    await break_off(place, team, page=_PAGE, after=1)
    newest = max((place.directory / "backups" / "log" / str(team)).iterdir()).read_bytes()
    said = custodian_of(place.installation.settings).statements.read(newest, LogEntry, typ=LOG_ENTRY_TYPE).what
    assert isinstance(said, ExclusionAsked)
    assert (said.runs, said.run_ids) == (_RUNS + 1, [late.run_id])
    async with restored(place, databases) as again:
        assert await _run_ids(again) == {kept.run_id}
        async with again.process(Crasher(), runs_per_entry=_PAGE) as parts:
            assert await parts.worker.work(team)
        receipt = await _offline(again, team, asked.id)
        assert receipt.run_ids == sorted(run.run_id for run in (*runs, late))


@pytest.mark.parametrize("page", [_PAGE, 1_000])
async def test_who_lost_the_lock_while_backing_up_puts_no_run_into_the_log_behind_what_was_asked(
    place: Place, databases: Databases, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Where the entry names the run, nobody could read the log again; where it says how far, the run is back."""
    team = new_id()
    _, kept = await _backed_up(place, team)
    late, log_stored = await place.ended(team, 7), Backups._log_stored

    @asynccontextmanager
    async def lost(*_: object, **__: object) -> AsyncIterator[bool]:
        yield True

    async def after_it_was_asked(self: Backups, *rest: Any) -> None:
        await place.exclude(team, "plan", PLAN)
        await break_off(place, team, page=page, after=1)
        await log_stored(self, *rest)

    backups = place.services.backups
    assert backups is not None
    with monkeypatch.context() as patch:
        patch.setattr("coreo_results.backups.service.team_lock", lost)
        patch.setattr(Backups, "_log_stored", after_it_was_asked)
        cycle = await backups.cycle(team)
    assert (cycle.stored, cycle.failed) == (0, {})
    verdict = await place.installation.verdict(team)
    assert verdict.problems == []
    async with restored(place, databases) as again:
        assert await _run_ids(again) == {kept.run_id}
    assert await place.work(team)
    verdict = await place.installation.verdict(team)
    assert (verdict.problems, verdict.runs) == ([], 1)
    assert not [name for name in place.installation.files("backups") if str(late.run_id) in name]

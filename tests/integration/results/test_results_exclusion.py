"""Exclusion from backups that were made: no key that there still is opens what was copied away before."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coreo_results.backups.excluding import ExcludedBackups
from coreo_results.backups.repository import BackupRepository
from coreo_results.backups.service import Backups, BackupStores
from coreo_results.backups.wiring import custodian_of
from coreo_results.chunks.rekey import Rekeying
from coreo_results.exclusions.repository import ExclusionRepository
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.keys.file_root import FileRootKey
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.service import Keys
from coreo_results.keys.turnover import Turnovers
from coreo_results.keys.vault import Vault
from coreo_results.life.service import Life
from coreo_results.retention.service import Retention
from coreo_results.services import Services
from coreo_results.settings import ResultsSettings
from coreo_results.stores import open_store
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.exclusions import (
    RECEIPT_TYPE,
    Exclusion,
    ExclusionState,
    ExclusionStep,
    Receipt,
    SignedReceipt,
)
from coreo_shared.contracts.terms import ObjectKind
from coreo_shared.crypto.statements import Statements
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.attacker import Attacker, Copies, copy_database, copy_store
from tests.support.backups import Installation, rows
from tests.support.crashes import Crash, Crasher, CrashingDatabase, CrashingStore
from tests.support.deploy_runs import DeployClient
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import CLOUD_ACCOUNT, PLAN, ResultsService, RunClient, make_chunk, make_finding


@dataclass
class Place:
    """A service with backups, and what an intruder finds there."""

    service: ResultsService
    installation: Installation
    database: ServiceDatabase

    @property
    def directory(self) -> Path:
        return self.installation.directory

    @property
    def services(self) -> Services:
        found: Services = self.service.app.state.services
        return found

    async def ended(self, team: UUID, number: int, **claims: Any) -> RunClient:
        run = self.service.run(team)
        run.token = self.service.tokens.run(team, run.run_id, **claims)
        fence = await run.claimed()
        await run.stored(make_chunk(fence, [make_finding(number)]))
        await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        return run

    async def back_up(self, team: UUID) -> None:
        backups = self.services.backups
        assert backups is not None
        cycle = await backups.cycle(team, wait=True)
        assert (cycle.is_done, cycle.failed) == (True, {})

    async def copies(self) -> Copies:
        copies = await copy_database(self.database.url("postgres"))
        copies.backups = copy_store(self.directory / "backups")
        copies.ledger = copy_store(self.directory / "ledger")
        copies.vault = copy_store(self.directory / "vault")
        return copies

    async def readable(self, before: Copies) -> set[tuple[str, UUID]]:
        root = FileRootKey.load(Path(self.installation.settings.root_key.removeprefix("file:")))
        return await Attacker(root, await self.copies(), before).readable()

    async def exclude(self, team: UUID, scope: str, scope_id: UUID, **more: Any) -> Exclusion:
        token = self.service.tokens.team(team, actor_id=UUID(int=7), actor="ann")
        body = {"scope": scope, "scope_id": str(scope_id), **more}
        answer = await self.service.call("POST", "/exclusions", token, body)
        assert answer.status_code == 202, answer.text
        return decode_json(answer.content, Exclusion)

    async def work(self, team: UUID) -> bool:
        worker = self.services.exclusion_worker
        assert worker is not None
        return await worker.work(team)

    async def work_until(self, team: UUID, crasher: Crasher) -> None:
        """As another process does, that dies where the crasher says."""
        settings = self.installation.settings
        database = CrashingDatabase(settings.database_url.get_secret_value(), crasher, pool_size=4)
        try:
            async with open_root_keys(settings.root_key) as roots, AsyncExitStack() as stack:
                places = (settings.vault, settings.backup_store, str(settings.ledger_store))
                stores = [
                    CrashingStore(await stack.enter_async_context(open_store(place)), crasher) for place in places
                ]
                await worker_on(database, Vault(stores[0], roots), BackupStores(stores[1], stores[2]), settings).work(
                    team
                )
        finally:
            await database.close()

    async def find(self, team: UUID, exclusion_id: UUID) -> Exclusion:
        answer = await self.service.call("GET", f"/exclusions/{exclusion_id}", self.service.tokens.team(team))
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, Exclusion)

    async def receipt(self, team: UUID, exclusion_id: UUID) -> Receipt:
        """As a customer reads it, with the published keys alone."""
        token = self.service.tokens.team(team)
        keys = (await self.service.call("GET", "/custody/keys", token)).json()["keys"]
        answer = await self.service.call("GET", f"/exclusions/{exclusion_id}/receipt", token)
        assert answer.status_code == 200, answer.text
        signed = decode_json(answer.content, SignedReceipt).receipt
        return Statements(keys).read(signed.encode(), Receipt, typ=RECEIPT_TYPE)


def worker_on(database: Database, vault: Vault, stores: BackupStores, settings: ResultsSettings) -> ExclusionWorker:
    """A worker of its own, as `opening` and `app` put it together."""
    keys, custodian = Keys(database, vault), custodian_of(settings)
    backups = Backups(database, keys, Life(database, keys), stores, custodian)
    turnovers = Turnovers(database, keys, vault, before_destroying=[backups.renew_ledger])
    excluded = ExcludedBackups(database, backups, stores, custodian)
    return ExclusionWorker(database, vault, turnovers, Rekeying(database, keys), Retention(database), excluded)


@pytest.fixture
async def place(results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[Place]:
    """Nothing happens in the background but when the tests say so."""
    installation = Installation(tmp_path, results_database)
    async with installation.serving(sweep_seconds=3600) as service:
        service.app.state.services.exclusion_keeper.wake = lambda: None
        yield Place(service, installation, results_database)


async def _nothing(*_: object, **__: object) -> None:
    return None


async def _says_rekeyed(*_: object, **__: object) -> str:
    return "rekeyed"


async def _passed_without_turnover(self: ExclusionWorker, team_id: UUID) -> None:
    for exclusion in await self._pending(team_id):
        async with self._database.transaction(team_id) as connection:
            await ExclusionRepository(connection, team_id).new_key(exclusion.id, None)
        await self._passed(team_id, exclusion.id, ExclusionStep.OLD_KEYS)


LEFT_OUT: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "nothing": (lambda _: None, set()),
    "the turnover": (
        lambda patch: patch.setattr(ExclusionWorker, "_turn_over", _passed_without_turnover),
        {"database", "documents", "backup"},
    ),
    "the new key of the readable copy": (
        lambda patch: patch.setattr(ExclusionWorker, "_display", _says_rekeyed),
        {"database", "documents"},
    ),
    "the end of the backup's key": (
        lambda patch: patch.setattr(BackupRepository, "drop_keys", _nothing),
        {"backup"},
    ),
}


@pytest.mark.parametrize("left_out", LEFT_OUT)
async def test_old_copies_of_everything_open_nothing_of_it_with_any_key_that_still_exists(
    place: Place, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each of the steps is needed: where it is left out, they do."""
    change, opens = LEFT_OUT[left_out]
    team, other = new_id(), new_id()
    doomed, kept, foreign = await place.ended(team, 1), await place.ended(team, 2), await place.ended(other, 3)
    deploys = [await DeployClient(place.service, team_id=team).bring_to("SUCCEEDED") for _ in range(2)]
    for each in (team, other):
        await place.back_up(each)
    before = await place.copies()
    all_runs = {(where, run.run_id) for run in (doomed, kept, foreign) for where in ("database", "backup")}
    all_runs |= {(where, run.run_id) for run in deploys for where in ("documents", "backup")}
    assert await place.readable(before) == all_runs  # the keys, and the way to try them, are the right ones

    change(monkeypatch)
    if left_out != "nothing":  # a service that is not told the truth by its own steps
        monkeypatch.setattr(ExclusionRepository, "left", _nothing)
    gone = (doomed.run_id, deploys[0].run_id)
    asked = [await place.exclude(team, "run", run_id) for run_id in gone]
    assert await place.work(team)
    assert {(await place.find(team, each.id)).state for each in asked} == {ExclusionState.DONE}
    expected = {entry for entry in all_runs if entry[1] not in gone or entry[0] in opens}
    assert await place.readable(before) == expected

    # All are there to be read as they were.
    for run in (doomed, kept, foreign):
        assert (await run.findings()).json()["total"] == 1
    for deploy in deploys:
        assert (await deploy.read("documents/preview")).status_code == 200


async def test_how_far_it_is_can_be_seen_and_in_the_end_there_is_a_receipt(
    place: Place, databases: Databases, results_database: ServiceDatabase
) -> None:
    team = new_id()
    doomed = [await place.ended(team, number) for number in (1, 2)]
    kept = await place.ended(team, 3, plan_id=new_id())
    await place.back_up(team)
    asked = await place.exclude(team, "plan", PLAN, reason="asked by legal")
    assert (asked.state, asked.runs, asked.done, asked.remaining) == (
        *(ExclusionState.PENDING, 2, []),
        list(ExclusionStep),
    )
    assert await place.exclude(team, "plan", PLAN, reason="said again") == asked
    token = place.service.tokens.team(team)
    answer = await place.service.call("GET", f"/exclusions/{asked.id}/receipt", token)
    assert (answer.status_code, answer.json()["code"]) == (409, "exclusion_pending")
    # Runs of the plan that end from now on get no backup, whatever becomes of this.
    later = await place.ended(team, 4)
    await place.back_up(team)

    assert await place.work(team)
    done = await place.find(team, asked.id)
    assert (done.state, [each.step for each in done.done], done.remaining) == (
        *(ExclusionState.DONE, list(ExclusionStep)),
        [],
    )
    receipt = await place.receipt(team, asked.id)
    ids = sorted(run.run_id for run in doomed)
    assert (receipt.run_ids, receipt.runs, receipt.backups_deleted, receipt.display_rekeyed) == (ids, 2, 2, 2)
    assert (receipt.requested_by, receipt.reason, receipt.scope) == ("ann", "asked by legal", ObjectKind.PLAN)
    assert (receipt.key_destroyed, receipt.key_now) == (1, 2)
    assert receipt.runs_sha256 == hashlib.sha256("".join(f"{each}\n" for each in ids).encode()).hexdigest()
    for tombstone in receipt.tombstones:
        stored = place.directory / "backups" / "teams" / str(team) / "log" / f"{tombstone.seq:010}.jws"
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == tombstone.sha256
    objects = [path.name[:36] for path in (place.directory / "backups").rglob("*.bin")]
    assert objects == [str(kept.run_id)]
    snapshots = list((place.directory / "ledger").rglob("*.jws"))
    assert len(snapshots) == 2  # that of the turnover, and that of the receipt
    entries = (await place.service.call("GET", "/access", token, params={"action": "EXCLUDE"})).json()["items"]
    assert [(entry["actor"], entry["object_kind"], entry["detail"]["runs"]) for entry in entries] == [
        ("ann", "plan", 2)
    ] * 2
    page = (await place.service.call("GET", "/exclusions", token)).json()
    assert [item["id"] for item in page["items"]] == [str(asked.id)]
    # A new question is a new exclusion: there is a run more.
    assert (await place.exclude(team, "plan", PLAN, display="delete")).runs == 3
    assert await place.work(team)
    for run in (*doomed, later):
        assert (await run.findings()).json()["code"] == "results_deleted"

    # Everything is lost but stores and vault: nothing of it comes back, and the receipts do.
    installation = place.installation
    with databases.empty("coreo_results") as empty:
        assert (await installation.restore(empty)).restored[team].runs == 1
        async with installation.serving(empty) as service:
            again = Place(service, installation, empty)
            assert await again.receipt(team, asked.id) == receipt
            assert (await service.run(team, kept.run_id).findings()).json()["total"] == 1
            fence = await service.run(team, ids[0]).claimed()  # a message that was on its way for long
            await service.run(team, ids[0]).say("finish", {"fence": fence, "outcome": "failed", "reason": "x"})
            await again.back_up(team)
            assert (await installation.verdict(team)).problems == []
            assert [key[-51:-15] for key in installation.files("backups") if "/runs/" in key] == [str(kept.run_id)]


async def test_wherever_it_is_broken_off_it_goes_on_from_there(place: Place, databases: Databases) -> None:
    team, crashes = new_id(), 0
    kept = await place.ended(team, 0)
    view = (await kept.findings()).json()["findings"]
    for at in count(1, 3):  # all of them take minutes
        doomed = await place.ended(team, at)
        await place.back_up(team)
        before = await place.copies()
        asked = await place.exclude(team, "run", doomed.run_id)
        try:
            await place.work_until(team, Crasher(at, after=bool(at % 2)))
        except Crash:
            crashes += 1
        else:
            break
        if at == 10:  # and everything but stores and vault is lost as well
            with databases.empty("coreo_results") as empty:
                await place.installation.restore(empty)
                async with place.installation.serving(empty) as service:
                    again = Place(service, place.installation, empty)
                    assert (await service.run(team, doomed.run_id).findings()).status_code in {404, 200}
                    await again.services.exclusion_worker.work(team)  # type: ignore[union-attr]
        assert await place.work(team)
        receipt = await place.receipt(team, asked.id)
        assert (receipt.run_ids, receipt.backups_deleted) == ([doomed.run_id], 1), at
        if at == 16:
            readable = {run_id for _, run_id in await place.readable(before)}
            assert doomed.run_id not in readable
            assert kept.run_id in readable
    assert crashes > 15
    assert (await kept.findings()).json()["findings"] == view
    assert (await place.installation.verdict(team)).problems == []


async def test_a_readable_copy_that_is_damaged_is_left_to_people(place: Place) -> None:
    team = new_id()
    bad, good = await place.ended(team, 1), await place.ended(team, 2)
    await place.back_up(team)
    await rows(place.database, "UPDATE chunks SET sealed = sealed || '\\x00' WHERE run_id = $1", bad.run_id)
    waits, other = [await place.exclude(team, "run", run.run_id) for run in (bad, good)]
    assert not await place.work(team)
    found = await place.find(team, waits.id)
    assert (found.state, found.remaining[0]) == (ExclusionState.PENDING, ExclusionStep.DISPLAY)
    assert str(bad.run_id) in (found.problem or "")
    assert (await place.find(team, other.id)).state is ExclusionState.DONE
    await place.service.call("DELETE", f"/runs/{bad.run_id}/results", place.service.tokens.team(team))
    assert await place.work(team)
    assert (await place.find(team, waits.id)).problem is None


async def test_no_receipt_is_signed_while_anything_is_there_that_must_be_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = new_id()
    run = await place.ended(team, 1)
    await place.back_up(team)
    with monkeypatch.context() as patch:
        patch.setattr(BackupRepository, "drop_keys", _nothing)
        asked = await place.exclude(team, "run", run.run_id)
        assert not await place.work(team)
    found = await place.find(team, asked.id)
    assert (found.remaining, found.problem) == (
        [ExclusionStep.RECEIPT],
        "backup keys that must be gone are still there",
    )
    await rows(place.database, "DELETE FROM backup_keys WHERE run_id = $1", run.run_id)
    vault = place.services.turnovers._vault
    monkeypatch.setattr(vault, "load", _nothing)
    assert not await place.work(team)
    assert "still in the vault" in ((await place.find(team, asked.id)).problem or "")


async def test_what_cannot_be_excluded_is_refused(place: Place) -> None:
    team = new_id()
    at_work = place.service.run(team)
    await at_work.claimed()
    for status, code, body in (
        (404, "not_found", {"scope": "run", "scope_id": str(new_id())}),
        (409, "nothing_to_exclude", {"scope": "plan", "scope_id": str(new_id())}),
        (409, "run_at_work", {"scope": "run", "scope_id": str(at_work.run_id), "display": "delete"}),
        (409, "runs_at_work", {"scope": "cloud_account", "scope_id": str(CLOUD_ACCOUNT), "display": "delete"}),
        (422, "invalid", {"scope": "team", "scope_id": str(team)}),
        (422, "invalid", {"scope": "plan", "scope_id": str(PLAN), "reason": "x" * 501}),
    ):
        answer = await place.service.call("POST", "/exclusions", place.service.tokens.team(team), body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    # One at work can be, and is never backed up.
    asked = await place.exclude(team, "cloud_account", CLOUD_ACCOUNT)
    assert await place.work(team)
    await at_work.say("finish", {"fence": 1, "outcome": "completed", "units_total": 0})
    await place.ended(team, 2)
    await place.back_up(team)
    assert list((place.directory / "backups").rglob("*.bin")) == []
    assert (await place.receipt(team, asked.id)).display_rekeyed == 1


async def test_without_backups_there_is_nothing_to_exclude_from(service: ResultsService) -> None:
    run = service.run()
    await run.claimed()
    body = {"scope": "run", "scope_id": str(run.run_id)}
    answer = await service.call("POST", "/exclusions", run.team_token, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_backups")

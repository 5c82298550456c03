"""Exclusion from backups that were made: what was copied away before cannot be read with any key that there still is."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from coreo_results.backups.repository import BackupRepository
from coreo_results.exclusions.repository import ExclusionRepository
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.keys.file_root import FileRootKey
from coreo_results.services import Services
from coreo_results.settings import ResultsSettings
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
from coreo_shared.ids import new_id
from tests.support.attacker import Attacker, Copies, copy_database, copy_store
from tests.support.crashes import Crash
from tests.support.deploy_runs import DeployClient
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    CLOUD_ACCOUNT,
    PLAN,
    ResultsService,
    RunClient,
    Tokens,
    backup_settings,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    running,
)


@dataclass
class Place:
    """A service with backups, and what an intruder finds there."""

    service: ResultsService
    settings: ResultsSettings
    database: ServiceDatabase
    directory: Path

    @property
    def services(self) -> Services:
        found: Services = self.service.app.state.services
        return found

    async def ended(self, team: UUID, number: int) -> RunClient:
        run = self.service.run(team)
        fence = await run.claimed()
        await run.stored(make_chunk(fence, [make_finding(number)]))
        await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        return run

    async def back_up(self, team: UUID) -> None:
        backups = self.services.backups
        assert backups is not None
        cycle = await backups.cycle(team, wait=True)
        assert cycle.is_done and not cycle.failed

    async def copies(self) -> Copies:
        copies = await copy_database(self.database.url("postgres"))
        copies.backups = copy_store(self.directory / "backups")
        copies.ledger = copy_store(self.directory / "ledger")
        copies.vault = copy_store(self.directory / "vault")
        return copies

    async def readable(self, before: Copies) -> set[tuple[str, UUID]]:
        root = FileRootKey.load(Path(self.settings.root_key.removeprefix("file:")))
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


@pytest.fixture
async def place(results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[Place]:
    tokens = Tokens()
    # Nothing happens in the background but when the tests say so.
    options = {**backup_settings(tmp_path), "sweep_seconds": 3600}
    settings = make_settings(results_database, tokens, make_root_key(tmp_path), **options)
    async with running(settings) as app:
        app.state.services.exclusion_keeper.wake = lambda: None
        yield Place(ResultsService(app, tokens), settings, results_database, tmp_path)


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

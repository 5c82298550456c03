"""Documents and stack events of deploys in the custody of results: new keys, expiry, what is missing, drills."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from coreo_results.backups.comparison import Side, compare_team
from coreo_results.documents.repository import DocumentRepository
from coreo_results.documents.sealing import SealedDocument, unseal_document
from coreo_results.integrity.service import Integrity
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys
from coreo_results.retention.repository import RetentionRepository
from coreo_results.services import Services
from coreo_shared.contracts.deploys import Output, Outputs
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.backups import rows
from tests.support.deploy_runs import DeployClient, make_events
from tests.support.exclusions import Place
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import (
    ResultsService,
    Tokens,
    make_root_key,
    make_settings,
    running,
)
from tests.support.retention import Kept

PATHS = ("documents/preview", "documents/outputs", "stack-events", "deploy")
OUTPUTS = Outputs(stack_arn="a", stack_status="CREATE_COMPLETE", outputs=[Output(key="Vpc", value="vpc-1")])
NAMES = ["checkpoint", "events", "outputs", "preview"]


async def applied(run: DeployClient, *, ended: bool = True) -> DeployClient:
    """With all that a deploy has: a preview, outputs, stack events in three parts, a checkpoint."""
    await run.bring_to("APPLYING")
    for part in range(3):
        assert (await run.put_events(part, make_events(2, 2 * part))).status_code == 204
    assert (await run.put_document(OUTPUTS)).status_code == 204
    if ended:
        assert (await run.finish("completed")).status_code == 200
    return run


async def view(run: DeployClient, service: ResultsService | None = None) -> dict[str, Any]:
    """All that a reader sees of it, perhaps at another service."""
    found = {}
    for path in PATHS:
        answer = await (service or run.service).call("GET", f"/runs/{run.run_id}/{path}", run.team_token)
        assert answer.status_code == 200, answer.text
        found[path] = answer.json()
    return found


async def stored(services: Services, run: DeployClient) -> list[SealedDocument]:
    async with services.database.transaction(run.team_id) as connection:
        return await DocumentRepository(connection).batch(run.team_id, run.run_id, ("", -1), 100)


@pytest.fixture
async def replicas(
    results_database: ServiceDatabase, tmp_path: Path
) -> AsyncIterator[tuple[ResultsService, ResultsService]]:
    """Two: one keys anew, the other has the old keys in its memory."""
    tokens = Tokens()
    settings = make_settings(results_database, tokens, make_root_key(tmp_path))
    async with running(settings) as one, running(settings) as two:
        yield ResultsService(one, tokens), ResultsService(two, tokens)


async def test_a_new_key_of_the_run_is_that_of_all_its_documents(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, there = replicas
    run = await applied(DeployClient(there), ended=False)
    services: Services = here.app.state.services
    before, old, old_key = await view(run), await stored(services, run), await services.keys.run_key(*run_of(run))
    assert await services.rekeying.run(*run_of(run)) == 2
    new, new_key = await stored(services, run), await services.keys.run_key(*run_of(run))
    assert [each.place for each in new] == [each.place for each in old]
    assert [each.place.name for each in new] == ["checkpoint", *["events"] * 3, "outputs", "preview"]
    for one, other in zip(old, new, strict=True):
        for sealed, key in ((one.sealed, new_key), (other.sealed, old_key)):
            with pytest.raises(DamagedError):
                unseal_document(one.place, sealed, key)
        assert unseal_document(one.place, other.sealed, new_key) == unseal_document(one.place, one.sealed, old_key)
    assert await view(run) == before  # where the old key is remembered
    # A worker that remembers it goes on.
    assert (await run.put_events(3, make_events(1, 6))).status_code == 204
    assert (await run.put_document(OUTPUTS)).status_code == 204
    assert (await view(run, here))["stack-events"]["total"] == 7


async def test_what_does_not_open_keeps_the_run_under_its_old_key(
    replicas: tuple[ResultsService, ResultsService], results_database: ServiceDatabase
) -> None:
    here, there = replicas
    run = await applied(DeployClient(there))
    services: Services = here.app.state.services
    await rows(results_database, "UPDATE run_documents SET sealed = sealed || '\\x00' WHERE name = 'preview'")
    before = await stored(services, run)
    with pytest.raises(DamagedError):
        await services.rekeying.run(*run_of(run))
    assert await stored(services, run) == before
    assert (await run.read("documents/outputs")).status_code == 200


async def test_documents_are_read_after_turnovers_by_who_knows_no_key_yet(
    replicas: tuple[ResultsService, ResultsService], results_database: ServiceDatabase
) -> None:
    here, there = replicas
    run = await applied(DeployClient(here))
    before = await view(run)
    for version in (1, 2):
        await here.app.state.services.turnovers.run(run.team_id)
        destroyed = "SELECT count(*)::int FROM team_keys WHERE destroyed_at IS NOT NULL"
        assert await rows(results_database, destroyed) == [(version,)]
        assert await view(run) == before
    assert await view(run, there) == before


async def test_documents_go_when_their_time_is_over_the_key_first(
    service: ResultsService, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Kept(service, admin)
    old, young = [await applied(DeployClient(service, team_id=team.team)) for _ in range(2)]
    at_work = await applied(DeployClient(service, team_id=team.team), ended=False)
    await team.age(old, 90.01)
    await view(old)  # its key is remembered
    before = await view(young)

    async def is_killed(*_: object) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(RetentionRepository, "clear", is_killed)
        await team.sweep()
    # From the first commit on nothing can be read, and what is left opens no more.
    left = await team.left(old)
    assert "run_documents" in left
    assert "run_keys" not in left
    for path in PATHS:
        answer = await old.read(path)
        assert (answer.status_code, answer.json()["code"]) == (410, "results_expired"), path
    await team.sweep()
    assert await team.left(old) == set()
    assert await view(young) == before
    assert (await at_work.read("stack-events")).json()["total"] == 6


MISSING = {
    "DELETE FROM run_documents WHERE name = 'preview'": ["document preview is missing, or parts of it are"],
    "DELETE FROM run_documents WHERE part = 1": ["document events is missing, or parts of it are"],
    "DELETE FROM run_documents WHERE part = 2": ["document events is missing, or parts of it are"],
    "DELETE FROM run_documents": [
        f"document {name} is missing, or parts of it are" for name in ("events", "outputs", "preview")
    ],
    "UPDATE run_documents SET items = items + 1 WHERE part = 2": [
        "part 2 of document events does not decrypt",
        "document events is missing, or parts of it are",
    ],
}


@pytest.mark.parametrize("damage", MISSING)
async def test_verify_names_documents_that_are_missing(
    service: ResultsService, results_database: ServiceDatabase, damage: str
) -> None:
    run = await applied(DeployClient(service))
    await applied(DeployClient(service), ended=False)
    wired: Services = service.app.state.services

    async def faults() -> list[tuple[Any, str]]:
        integrity = Integrity(wired.database, wired.system_database, wired.keys)
        return [(fault.run_id, fault.what) async for fault in integrity.faults()]

    assert await faults() == []
    where = " AND " if "WHERE" in damage else " WHERE "
    await rows(results_database, f"{damage}{where}run_id = $1", run.run_id)
    assert await faults() == [(run.run_id, what) for what in MISSING[damage]]


async def test_a_drill_holds_every_document_against_the_live_one(place: Place, databases: Databases) -> None:
    team = new_id()
    run, elsewhere = await applied(DeployClient(place.service, team_id=team)), DeployClient(place.service, team_id=team)
    await elsewhere.take()
    await place.back_up(team)
    move = "UPDATE run_documents SET run_id = $1 WHERE run_id = $2 AND name = $3"
    with databases.empty("coreo_results") as empty:
        await place.installation.restore(empty, thorough=True)
        assert await rows(empty, "SELECT DISTINCT name FROM run_documents ORDER BY 1") == [(name,) for name in NAMES]
        restored = Database(empty.url("coreo_results"))
        live = Side(place.services.database, place.services.keys)
        other = Side(restored, Keys(restored, place.services.turnovers._vault))
        assert (await compare_team(team, live, other)).differences == []
        for name in NAMES:
            await rows(place.database, move, elsewhere.run_id, run.run_id, name)
            differences = (await compare_team(team, live, other)).differences
            assert {each.run_id for each in differences} == {run.run_id}, name
            await rows(place.database, move, run.run_id, elsewhere.run_id, name)
            assert (await compare_team(team, live, other)).differences == []
        await restored.close()


def run_of(run: DeployClient) -> tuple[Any, Any]:
    return run.team_id, run.run_id

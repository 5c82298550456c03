"""The operators' commands on keys, and the look through all that is stored: what is wrong is named."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from coreo_results import main
from coreo_results.integrity.service import Fault, Integrity
from coreo_results.keys.inventory import Inventory
from coreo_results.opening import open_for_command
from coreo_results.services import Services
from coreo_results.settings import ResultsSettings
from coreo_shared.db import Database
from tests.support.deploy_runs import DeployClient
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    RunClient,
    Tokens,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    running,
)

COMMAND = Path(sys.executable).with_name("coreo-results")
UNIT = "aws.s3.bucket@global"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def settings(results_database: ServiceDatabase, tokens: Tokens, tmp_path: Path) -> ResultsSettings:
    return make_settings(results_database, tokens, make_root_key(tmp_path))


@pytest.fixture
async def service(settings: ResultsSettings, tokens: Tokens) -> AsyncIterator[ResultsService]:
    async with running(settings) as app:
        yield ResultsService(app, tokens)


async def faults(settings: ResultsSettings, team: UUID | None = None) -> list[Fault]:
    """As a process finds them that knows nothing yet."""
    async with open_for_command(settings) as custody:
        integrity = Integrity(custody.database, custody.system_database, custody.keys)
        return [fault async for fault in integrity.faults(team)]


async def filled(service: ResultsService, team: UUID | None = None) -> RunClient:
    """A run with two chunks of a unit and one of another, and decisions of its team."""
    run = service.run(team)
    fence = await run.claimed()
    await run.stored(make_chunk(fence, [make_finding(1)], index=0, final=False))
    await run.stored(make_chunk(fence, [make_finding(2), make_finding(3)], index=1))
    await run.stored(make_chunk(fence, [], unit="a.b@global"))
    wish: dict[str, Any] = {"resource": "bucket-1", "reason": "known", "author": "ann"}
    assert (await service.call("POST", "/suppressions", run.team_token, wish)).status_code == 200
    wish = {"rule_id": "s3-bucket-public", "severity": "low", "reason": "x", "author": "ann"}
    assert (await service.call("PUT", "/severity-overrides", run.team_token, wish)).status_code == 200
    return run


async def change(database: ServiceDatabase, statement: str) -> None:
    """What an intruder or a bad disk may do to the database, whatever the service's own role may."""
    admin = Database(database.url("postgres"), pool_size=1)
    try:
        async with admin.transaction() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger, no foreign key
            assert (await connection.execute(text(statement))).rowcount > 0, statement
    finally:
        await admin.close()


_FLIP = "set_byte({0}, 70, get_byte({0}, 70) # 1)"
# A change of one run's or team's rows; what is said of it.
OF_RUN = {
    f"UPDATE chunks SET sealed = {_FLIP.format('sealed')} WHERE chunk_index = 1": "does not decrypt",
    "UPDATE chunks SET final = true WHERE chunk_index = 0 AND unit LIKE 'aws%'": "does not decrypt",
    "UPDATE chunks SET findings = 7 WHERE chunk_index = 1": "does not hold what stands in clear beside it",
    "UPDATE finding_groups SET status = 'PASS' WHERE chunk_index = 1": "does not hold what stands in clear beside it",
    "DELETE FROM finding_groups WHERE chunk_index = 1": "does not hold what stands in clear beside it",
    "UPDATE chunks SET resource_hashes[1] = 5 WHERE chunk_index = 1": "has wrong hashes of resources",
    "UPDATE chunks SET tags[1] = gen_random_uuid() WHERE chunk_index = 1": "has wrong tags of fingerprints",
    "UPDATE run_totals SET findings = findings + 1 WHERE true": "the run's totals are not those of its findings",
    "DELETE FROM run_totals WHERE true": "the run's totals are not those of its findings",
    "DELETE FROM chunks WHERE chunk_index = 1": "chunks of the unit are missing",
    "UPDATE units SET chunks = 3 WHERE unit LIKE 'aws%'": "chunks of the unit are missing",
    f"UPDATE run_keys SET wrapped = {_FLIP.format('wrapped')} WHERE true": "the run's key does not open",
    "DELETE FROM run_keys WHERE true": "has findings, and no key",
}
OF_TEAM = {
    "UPDATE suppressions SET sealed = sealed || 'x'": "of suppressions does not decrypt",
    "UPDATE severity_overrides SET override_id = gen_random_uuid()": "of severity_overrides does not decrypt",
    "UPDATE decisions SET sealed = sealed || 'x'": "of decisions does not decrypt",
    "UPDATE team_secrets SET wrapped = wrapped || 'x' WHERE name = 'decisions'": "secret decisions does not open",
    "UPDATE team_secrets SET wrapped = wrapped || 'x' WHERE name = 'tags'": "secret tags does not open",
}


async def test_each_thing_that_is_wrong_is_named_and_the_rest_is_looked_at_all_the_same(
    settings: ResultsSettings, service: ResultsService, results_database: ServiceDatabase
) -> None:
    good = await filled(service)
    assert await faults(settings) == []
    expected: list[tuple[UUID, UUID | None, str]] = []
    for statement, what in OF_RUN.items():
        wrong = await filled(service, good.team_id)
        await change(results_database, f"{statement} AND run_id = '{wrong.run_id}'")
        expected.append((good.team_id, wrong.run_id, what))
        if "finding_groups" in statement:
            expected.append((good.team_id, wrong.run_id, "the run's totals are not those of its findings"))
    found = await faults(settings)
    assert sorted((fault.team_id, fault.run_id, fault.what) for fault in found) == sorted(expected)
    for statement, what in OF_TEAM.items():
        team = (await filled(service)).team_id
        where = " AND" if "WHERE" in statement else " WHERE"
        await change(results_database, f"{statement}{where} team_id = '{team}'")
        found = await faults(settings, team)
        assert found, statement
        assert what in found[0].what
        assert {fault.team_id for fault in found} == {team}
        assert not any(fault.unchecked for fault in found)


async def test_what_cannot_be_looked_at_is_not_called_good(
    settings: ResultsSettings, service: ResultsService, tmp_path: Path
) -> None:
    run, other = await filled(service), await filled(service)
    (key,) = (tmp_path / "vault" / "teams" / str(run.team_id)).rglob("*.key")
    key.rename(tmp_path / "away")
    found = await faults(settings)
    assert {(fault.team_id, fault.unchecked) for fault in found} == {(run.team_id, True)}
    assert any(fault.run_id == run.run_id for fault in found)
    (tmp_path / "away").rename(key)
    assert await faults(settings) == []
    assert other.team_id != run.team_id


async def test_the_list_of_keys_says_where_database_and_vault_disagree(
    settings: ResultsSettings, service: ResultsService, results_database: ServiceDatabase, tmp_path: Path
) -> None:
    run = await filled(service)
    wired: Services = service.app.state.services
    await wired.turnovers.run(run.team_id)

    async def listed() -> list[tuple[int, str, int, str | None]]:
        async with open_for_command(settings) as custody:
            inventory = Inventory(custody.database, custody.system_database, custody.vault)
            return [
                (entry.version, entry.state, entry.wraps, entry.problem) for entry in await inventory.of(run.team_id)
            ]

    good = [(1, "destroyed", 0, None), (2, "in use", 3, None)]  # the run's key and two secrets
    assert await listed() == good
    folder = tmp_path / "vault" / "teams" / str(run.team_id)
    (key,) = folder.rglob("*.key")
    root = key.name
    for where, expected in (
        (folder / "0000000001" / root, (1, "destroyed", 0, "it was destroyed, but the vault has it again")),
        (folder / "0000000003" / root, (3, "not registered", 0, None)),
        (folder / "0000000002" / f"{'0' * 32}.key", (2, "in use", 3, "no root key of the settings opens it")),
    ):
        where.parent.mkdir(exist_ok=True)
        key.rename(where) if where.parent == key.parent else where.write_bytes(key.read_bytes())
        assert expected in await listed()
        where.rename(key) if where.parent == key.parent else where.unlink()
    key.rename(tmp_path / "away")
    assert await listed() == [good[0], (2, "in use", 3, "it is not in the vault")]
    (tmp_path / "away").rename(key)
    await change(results_database, "UPDATE run_keys SET team_key_version = 1")
    assert (await listed())[0] == (1, "destroyed", 1, "keys are under it, and are lost with it")


def environment(settings: ResultsSettings) -> dict[str, str]:
    """What the commands need of it."""
    return {
        "COREO_DATABASE_URL": settings.database_url.get_secret_value(),
        "COREO_SYSTEM_DATABASE_URL": settings.system_database_url.get_secret_value(),
        "COREO_ROOT_KEY": settings.root_key,
        "COREO_VAULT": settings.vault,
        "COREO_BACKUP_STORE": "none",
    }


async def test_the_commands_say_what_they_did_and_end_as_they_should(
    settings: ResultsSettings,
    service: ResultsService,
    results_database: ServiceDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = await filled(service)
    team = str(run.team_id)
    monkeypatch.setattr("coreo_results.commands.configure_logging", lambda *_: None)  # this process's is the tests'

    async def said(status: int, *arguments: str, **changes: str) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["coreo-results", *arguments])
            for name, value in (environment(settings) | changes).items():
                patch.setenv(name, value)
            capsys.readouterr()
            assert await asyncio.to_thread(ended) == status, arguments
            return capsys.readouterr()

    def ended() -> object:
        with pytest.raises(SystemExit) as end:
            main.run()
        return end.value.code

    turned, _ = await said(0, "keys", "rotate-team", team)
    assert f"Team {team} has version 2 of its key; version 1 is destroyed.\n" in turned
    assert (await run.findings()).json()["total"] == 3
    assert f"there is no team {run.run_id}" in (await said(1, "keys", "rotate-team", str(run.run_id)))[1]

    listed, _ = await said(0, "keys", "list")
    lines = [line.split() for line in listed.splitlines()]
    assert [line[:3] for line in lines] == [["TEAM", "VERSION", "STATE"], [team, "1", "destroyed"], [team, "2", "in"]]

    new = make_root_key(tmp_path / "new")
    assert "--to is not COREO_ROOT_KEY" in (await said(1, "keys", "rotate-root", "--to", new))[1]
    both = {"COREO_ROOT_KEY": new, "COREO_OTHER_ROOT_KEYS": settings.root_key}
    assert (
        "wraps all 1 keys, 1 of them from now on.\n" in (await said(0, "keys", "rotate-root", "--to", new, **both))[0]
    )
    assert "no root key of the settings opens it" in (await said(1, "keys", "list"))[0]

    await change(results_database, "UPDATE chunks SET sealed = sealed || 'x' WHERE chunk_index = 1")
    only = {"COREO_ROOT_KEY": new}
    first, last = map(json.loads, (await said(1, "verify", "--json", **only))[0].splitlines())
    assert first == {"team_id": team, "what": "does not decrypt", "run_id": str(run.run_id), "unit": UNIT, "chunk": 1}
    assert (last["faults"], last["unchecked"], last["checked"]["chunks"]) == (1, 0, 3)
    closed, error = await said(1, "verify", "--team", team)  # with the root key of before
    assert "another root key" in closed
    assert "0 faults" in closed
    assert error == ""
    assert "mkdir -m 700" in (await said(2, "verify", COREO_VAULT="dir:/none"))[1]
    assert "COREO_ROOT_KEY" in (await said(2, "keys", "list", COREO_ROOT_KEY="x"))[1]
    away = "postgresql+asyncpg://x@127.0.0.1:9/x"
    assert "database cannot be used" in (await said(1, "verify", COREO_SYSTEM_DATABASE_URL=away))[1]


async def test_documents_of_deploys_are_looked_at_too(
    settings: ResultsSettings, service: ResultsService, results_database: ServiceDatabase
) -> None:
    deploy = await DeployClient(service).bring_to("SUCCEEDED")
    assert await faults(settings) == []
    await change(results_database, f"UPDATE run_documents SET sealed = {_FLIP.format('sealed')} WHERE name = 'preview'")
    (found,) = await faults(settings)
    assert (found.run_id, found.what) == (deploy.run_id, "part 0 of document preview does not decrypt")
    await change(results_database, "DELETE FROM run_keys")
    assert [fault.what for fault in await faults(settings)] == ["has documents, and no key"]


async def test_verify_as_a_process_of_its_own(settings: ResultsSettings, service: ResultsService) -> None:
    await filled(service)
    process = await asyncio.create_subprocess_exec(
        COMMAND, "verify", env={"PATH": os.environ["PATH"], **environment(settings)}, stdout=PIPE, stderr=PIPE
    )
    said, error = await process.communicate()
    assert (process.returncode, error) == (0, b"")
    assert (
        said == b"Decrypted 3 chunks with 3 findings of 1 runs, 0 documents and 4 decisions, of 1 teams. All is well.\n"
    )

"""Restores that are refused, and the commands: run, list, verify, drill, restore, as operators call them."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from coreo_embedded.postgres import Postgres
from coreo_results import main
from coreo_results.auth import Actor
from coreo_results.backups.drill import ScratchError, scratch_url
from coreo_results.backups.reading import BackupsRefusedError
from coreo_results.settings import ResultsSettings
from coreo_shared.crypto.jose import generate_key
from coreo_shared.ids import new_id
from tests.support.backups import Installation, backups_of, ended, rows, seen
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import make_finding

Said = Callable[..., Awaitable[tuple[str, str]]]
DRILL = "coreo_results_test_drill"


@pytest.fixture
def installation(results_database: ServiceDatabase, tmp_path: Path) -> Installation:
    return Installation(tmp_path, results_database)


@pytest.fixture
def empty(databases: Databases) -> Iterator[ServiceDatabase]:
    with databases.empty("coreo_results") as database:
        yield database


@pytest.fixture
def scratch(postgres: Postgres) -> Iterator[ServiceDatabase]:
    """As infra/database/database.sql makes it: there, and without tables."""
    postgres.create_database(DRILL, "coreo_results")
    yield ServiceDatabase(postgres, DRILL)
    postgres.drop_database(DRILL)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in this process: (standard output, standard error)."""
    monkeypatch.setattr("coreo_results.commands.configure_logging", lambda *_: None)  # this process's is the tests'

    def end() -> object:
        with pytest.raises(SystemExit) as ended_:
            main.run()
        return ended_.value.code

    async def run(status: int, settings: ResultsSettings, *arguments: str, **more: str) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["coreo-results", *arguments])
            for name, value in (environment(settings) | more).items():
                patch.setenv(name, value)
            capsys.readouterr()
            assert await asyncio.to_thread(end) == status, (arguments, capsys.readouterr())
            return capsys.readouterr()

    return run


def environment(settings: ResultsSettings) -> dict[str, str]:
    assert settings.ledger_store is not None
    assert settings.custody_key is not None
    return {
        "COREO_DATABASE_URL": settings.database_url.get_secret_value(),
        "COREO_SYSTEM_DATABASE_URL": settings.system_database_url.get_secret_value(),
        "COREO_ROOT_KEY": settings.root_key,
        "COREO_VAULT": settings.vault,
        "COREO_BACKUP_STORE": settings.backup_store,
        "COREO_LEDGER_STORE": settings.ledger_store,
        "COREO_CUSTODY_KEY": settings.custody_key.get_secret_value(),
    }


async def filled(installation: Installation) -> UUID:
    """A team with two runs in the backups."""
    team = new_id()
    async with installation.serving() as service:
        for number in range(2):
            await ended(service, team, {"a@global": [make_finding(each) for each in range(number, number + 3)]})
        await backups_of(service).cycle(team)
    return team


async def test_a_restore_fills_an_empty_migrated_database_alone(
    installation: Installation, empty: ServiceDatabase, scratch: ServiceDatabase
) -> None:
    await filled(installation)
    with pytest.raises(BackupsRefusedError, match="not empty"):
        await installation.restore(installation.database)
    with pytest.raises(BackupsRefusedError, match="coreo-results migrate first"):
        await installation.restore(scratch)
    await rows(empty, "INSERT INTO custody_settings (team_id) VALUES (gen_random_uuid())")
    with pytest.raises(BackupsRefusedError, match="not empty"):
        await installation.restore(empty)


async def test_nothing_is_restored_of_backups_that_are_not_whole_or_somebody_elses(
    installation: Installation, empty: ServiceDatabase, results_database: ServiceDatabase, tmp_path: Path
) -> None:
    team = await filled(installation)
    run = next((installation.directory / "backups" / "runs" / str(team)).iterdir())
    content = run.read_bytes()
    for wrong, expected in (
        (content[:-1], "bytes in place of"),
        (content[:-1] + b"\0", "1 problems"),
        (None, "missing"),
    ):
        run.unlink()
        if wrong is not None:
            run.write_bytes(wrong)
        with pytest.raises(BackupsRefusedError, match=expected):
            await installation.restore(empty)
    run.write_bytes(content)
    stranger = Installation(tmp_path / "stranger", results_database)
    for folder in ("backups", "ledger"):
        (stranger.directory / folder).rmdir()
        (stranger.directory / folder).symlink_to(installation.directory / folder)
    with pytest.raises(BackupsRefusedError, match="none of the given public keys"):
        await stranger.restore(empty)
    with pytest.raises(BackupsRefusedError, match="no key ledger of team"):
        await installation.restore(empty, only=new_id())
    assert await rows(empty, "SELECT count(*) FROM team_keys") == [(0,)]
    assert (await installation.restore(empty)).restored[team].runs == 2


async def test_the_commands_back_up_list_verify_and_restore(
    installation: Installation, empty: ServiceDatabase, said: Said
) -> None:
    team, settings = new_id(), installation.settings
    async with installation.serving() as service:
        run = await ended(service, team, {"a@global": [make_finding(number) for number in range(3)]})
        before = await seen(service, run)
    out, _ = await said(0, settings, "backups", "run")
    assert f"team {team}: 1 run, 3 findings, 0.0 MB stored; 0 runs expired; 0 runs cannot be backed up" in out
    assert "nothing was due" in (await said(0, settings, "backups", "run"))[0]
    out, _ = await said(0, settings, "backups", "list", "--runs")
    assert f"team {team}: 1 run, 3 findings, 0.0 MB; log of 1 entry until 20" in out
    assert f"run {run.run_id}: ended 20" in out
    nowhere = {"COREO_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/none"}
    out, _ = await said(0, settings, "backups", "verify", "--all", **nowhere)
    assert "1 teams: all is good" in out

    target = installation.settings_on(empty)
    out, _ = await said(0, target, "restore")
    assert "restored   1 run, 3 findings in" in out
    async with installation.serving(empty) as service:
        assert await seen(service, service.run(team, run.run_id)) == before
        record = (await service.call("GET", "/access", service.tokens.team(team))).json()["items"]
        assert [entry["action"] for entry in record if entry["action"] == "RESTORE"] == ["RESTORE"]
    assert "not empty" in (await said(1, target, "restore"))[1]

    (object_,) = (installation.directory / "backups" / "runs" / str(team)).iterdir()
    object_.write_bytes(object_.read_bytes()[::-1])
    out, _ = await said(1, settings, "backups", "verify")
    assert f"{object_.name}: this is no backup of a run" in out
    assert "cannot be restored as they are" in out
    assert "no key ledger of team" in (await said(1, settings, "backups", "list", "--team", str(new_id())))[1]
    other = {"COREO_CUSTODY_KEY": json.dumps(generate_key())}
    assert "none of the given public keys" in (await said(1, settings, "backups", "list", **other))[1]
    none = {"COREO_BACKUP_STORE": "none"}
    assert "has no backups" in (await said(2, settings, "backups", "verify", **none))[1]
    assert "mkdir -m 700" in (await said(2, settings, "backups", "run", COREO_LEDGER_STORE="dir:/none"))[1]


async def test_the_drill(installation: Installation, scratch: ServiceDatabase, said: Said) -> None:
    """On real PostgreSQL, as an operator does it; what it says is shown in docs/operations.md."""
    team = new_id()
    settings = installation.settings
    owner = {"COREO_MIGRATION_DATABASE_URL": installation.database.url("coreo_results_owner")}
    async with installation.serving() as service:
        runs = [
            await ended(service, team, {"a@global": [make_finding(each) for each in range(number, number + 5)]})
            for number in range(3)
        ]
        await backups_of(service).cycle(team)
        late = await ended(service, team, {"a@global": [make_finding()]})
        # Not by the route, which would have the keeper tell the log at once.
        await service.app.state.services.retention.delete_run(team, runs[0].run_id, Actor(None, "ann"))
        # An exclusion that was asked for, and is not in the log yet, is no difference.
        await rows(installation.database, "UPDATE runs SET backup = false WHERE run_id = $1", runs[1].run_id)

        out, _ = await said(0, settings, "backups", "drill", "--database", DRILL, **owner)
        assert "compared   2 runs, 10 findings with the live database in" in out
        assert "0 differences" in out
        assert "1 run: the live database no longer shows their results" in out
        assert "1 run of the live database are not in the backups yet" in out
        assert "result     the backups restore what is live" in out
        for table in ("runs", "chunks", "team_keys", "backups"):
            assert await rows(scratch, f"SELECT count(*) FROM {table}") == [(0,)], table

        # It finds what differs: a finding's place, what is known of it, and a whole run.
        await rows(installation.database, "UPDATE finding_groups SET region = 'x' WHERE run_id = $1", runs[1].run_id)
        await rows(installation.database, "UPDATE runs SET reason = 'x' WHERE run_id = $1", runs[2].run_id)
        out, _ = await said(1, settings, "backups", "drill", "--database", DRILL, "--keep", **owner)
        assert f"run {runs[1].run_id} of team {team}: its groups of findings are others" in out
        assert f"run {runs[2].run_id} of team {team}: its entry in the ledger is another" in out
        assert "NOT the same" in out
        assert await rows(scratch, "SELECT count(*) FROM runs") == [(3,)]
        assert late.run_id not in {run_id for (run_id,) in await rows(scratch, "SELECT run_id FROM runs")}
        record = (await service.call("GET", "/access", service.tokens.team(team))).json()["items"]
        assert [entry["detail"] for entry in record if entry["action"] == "DRILL"] == [
            {"runs": 2, "differences": 2},
            {"runs": 2, "differences": 0},
        ]
    assert (
        "must end in _drill" in (await said(2, settings, "backups", "drill", "--database", "coreo_results", **owner))[1]
    )
    with pytest.raises(ScratchError, match="must end in _drill"):
        scratch_url(installation.database.url("coreo_results_owner"), "postgres")

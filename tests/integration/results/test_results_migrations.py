"""Migrations on data of the version before: nothing is lost, and what was not kept then says nothing now."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from coreo_embedded.postgres import Postgres
from coreo_results.keys.file_root import FileRootKey
from coreo_results.keys.material import SecretKey
from coreo_results.keys.root import KeyPlace
from coreo_results.migrate import migrate
from coreo_results.opening import open_for_command
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.life import ChangeCounts, RunChanges
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.deploy_runs import DeployClient
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    Tokens,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    running,
)
from tests.support.versions import go_back, results_database_of_versions


@pytest.fixture
def database(postgres: Postgres) -> Iterator[ServiceDatabase]:
    with results_database_of_versions(postgres) as made:
        yield made


async def ended_run(service: ResultsService, team_id: UUID, *statuses: FindingStatus) -> UUID:
    run = service.run(team_id)
    answer = await run.say("claim", {"worker_id": "w", "rules": ["s3-bucket-public"]})
    fence = answer.json()["fence"]
    findings = [make_finding(number, status=status) for number, status in enumerate(statuses)]
    await run.stored(make_chunk(fence, findings))
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
    return run.run_id


async def changes(service: ResultsService, team_id: UUID, run_id: UUID) -> RunChanges:
    answer = await service.call("GET", f"/runs/{run_id}/changes", service.tokens.team(team_id))
    assert answer.status_code == 200, answer.text
    return decode_json(answer.content, RunChanges)


async def test_runs_of_before_there_was_a_life_of_findings(database: ServiceDatabase, tmp_path: Path) -> None:
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    settings = make_settings(database, tokens, root_key)
    async with running(settings) as app:
        old = await ended_run(ResultsService(app, tokens), team_id, FindingStatus.FAIL, FindingStatus.FAIL)
    go_back(database, "0002")
    migrate(database.url("coreo_results_owner"))

    async with running(settings) as app:
        service = ResultsService(app, tokens)
        page = (await service.run(team_id, old).findings(full="true")).json()
        assert [item["status"] for item in page["findings"]] == ["FAIL", "FAIL"]
        assert not {"change", "first_seen"} & {name for item in page["findings"] for name in item}
        assert (await changes(service, team_id, old)).counts == ChangeCounts()
        # What is missing from it now was never known: nothing is resolved, and what is there is new.
        new = await ended_run(service, team_id, FindingStatus.FAIL)
        assert (await changes(service, team_id, new)).counts == ChangeCounts(new=1)
        last = await ended_run(service, team_id, FindingStatus.PASS)
        said = await changes(service, team_id, last)
        assert (said.previous_run_id, said.counts) == (new, ChangeCounts(resolved=1))


# What the service of revision 0004 stored, and what it answered: two teams with keys in the database.
_OLD = json.loads((Path(__file__).parent / "data" / "revision-0004.json").read_text())


async def load_old(database: ServiceDatabase) -> None:
    """Puts that into the database, whatever is in it."""
    url = make_url(database.url("postgres")).set(drivername="postgresql")
    admin = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        await admin.execute("SET session_replication_role = replica")
        await admin.execute(f"TRUNCATE {', '.join(_OLD['tables'])} CASCADE")
        for table, content in _OLD["tables"].items():
            rows = io.BytesIO(content["rows"].encode())
            await admin.copy_to_table(table, source=rows, columns=content["columns"])
        # Of just now, so that no sweeper finds them lost or too old.
        await admin.execute(
            "UPDATE runs SET created_at = created_at + age, updated_at = updated_at + age, ended_at = ended_at + age,"
            " lease_until = lease_until + age FROM (SELECT now() - max(updated_at) AS age FROM runs) AS a"
        )
    finally:
        await admin.close()


async def team_keys(database: ServiceDatabase, change: str = "") -> list[tuple[bool, bool, bool]]:
    """(in the database, in the vault, destroyed) of all versions of all teams."""
    admin = Database(database.url("postgres"), pool_size=1)
    try:
        async with admin.transaction() as connection:
            if change:
                await connection.execute(text("SET LOCAL session_replication_role = replica"))
                await connection.execute(text(change))
            rows = await connection.execute(
                text("SELECT wrapped, in_vault_at, destroyed_at FROM team_keys ORDER BY team_id, version")
            )
            return [
                (row.wrapped is not None, row.in_vault_at is not None, row.destroyed_at is not None) for row in rows
            ]
    finally:
        await admin.close()


async def test_results_of_before_the_vault_stay_readable_while_their_keys_move_into_it(
    database: ServiceDatabase, tmp_path: Path
) -> None:
    tokens = Tokens()
    go_back(database, "0004")
    await load_old(database)
    migrate(database.url("coreo_results_owner"))
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_text(json.dumps(_OLD["root_key"]))
    settings = make_settings(database, tokens, f"file:{path}")

    async def check() -> None:
        """All that the old service answered, of a process that knows nothing yet."""
        async with running(settings) as app:
            service = ResultsService(app, tokens)
            for old in _OLD["answers"]:
                answer = await service.call("GET", old["path"], tokens.team(UUID(old["team"])))
                assert answer.json() == old["answer"], old["path"]

    # The keeper moves a key whose team nobody asks for; one that is asked for moves at once.
    first, second = {UUID(old["team"]) for old in _OLD["answers"]}
    async with open_for_command(settings) as custody:
        await custody.keys.newest_team_key(first)
    assert sorted(await team_keys(database)) == [(True, False, False), (True, True, False)]
    async with running(settings) as app:
        await app.state.services.key_keeper.keep()
    assert await team_keys(database) == [(True, True, False)] * 2  # replicas of before may run for an hour
    await check()
    await team_keys(database, "UPDATE team_keys SET in_vault_at = in_vault_at - interval '1 hour'")
    async with running(settings) as app:
        await app.state.services.key_keeper.keep()
        assert await team_keys(database) == [(False, True, False)] * 2
    await check()

    async with running(settings) as app:
        service, work = ResultsService(app, tokens), _OLD["at_work"]
        for team in (first, second):
            await app.state.services.turnovers.run(team)
        run = service.run(UUID(work["team"]), UUID(work["run"]))
        await run.stored(make_chunk(work["fence"], [make_finding(8)], index=1))
        page = (await run.findings()).json()
        assert sorted(item["resource_id"] for item in page["findings"]) == ["bucket-7", "bucket-8"]
    assert await team_keys(database) == [(False, True, True), (False, True, False)] * 2
    await check()
    with pytest.raises(DBAPIError, match="has been changed"):
        go_back(database, "0004")

    # A copy of the database from before, put back: it cannot bring the key back that was destroyed.
    admin = Database(database.url("postgres"), pool_size=1)
    async with admin.transaction() as connection:
        await connection.execute(text("TRUNCATE team_secrets"))
    await admin.close()
    await load_old(database)
    async with running(settings) as app:
        old = _OLD["answers"][0]
        answer = await ResultsService(app, tokens).call("GET", old["path"], tokens.team(UUID(old["team"])))
        assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")
    assert not list((tmp_path / "vault").rglob("0000000001/*.key"))


async def test_a_team_that_a_replica_of_before_makes_after_the_migration(
    database: ServiceDatabase, tmp_path: Path
) -> None:
    """As it runs on while the new ones start."""
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    root, key = FileRootKey.load(tmp_path / "root.key"), SecretKey.generate()
    database_ = Database(database.url("coreo_results"))
    async with database_.transaction(team_id) as connection:
        await connection.execute(
            text("INSERT INTO team_keys (team_id, version, root_key, wrapped) VALUES (:team, 1, :root, :wrapped)"),
            {"team": team_id, "root": root.name, "wrapped": await root.wrap(key, KeyPlace(team_id, None))},
        )
    await database_.close()
    settings = make_settings(database, tokens, root_key)
    async with open_for_command(settings) as custody:
        assert (await custody.keys.newest_team_key(team_id)).key == key
    async with running(settings) as app:
        run = ResultsService(app, tokens).run(team_id)
        await run.stored(make_chunk(await run.claimed()))
        await app.state.services.turnovers.run(team_id)
        assert (await run.findings()).json()["total"] == 1
    assert await team_keys(database) == [(False, True, True), (False, True, False)]


async def test_runs_and_decisions_of_before_there_were_deploys(database: ServiceDatabase, tmp_path: Path) -> None:
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    settings = make_settings(database, tokens, root_key)
    suppression = {"resource": "bucket-9", "reason": "x", "author": "ann"}
    async with running(settings) as app:
        service = ResultsService(app, tokens)
        old = await ended_run(service, team_id, FindingStatus.FAIL)
        at_work, canceled = service.run(team_id), service.run(team_id)
        fence = await at_work.claimed()
        await canceled.cancel()
        decided = await service.call("POST", "/suppressions", tokens.team(team_id), suppression)
        assert decided.status_code == 200
        before = await service.events()
    go_back(database, "0008")
    migrate(database.url("coreo_results_owner"))

    async with running(settings) as app:
        service = ResultsService(app, tokens)
        assert await service.events() == before
        log = (await service.call("GET", "/decisions", tokens.team(team_id))).json()["items"]
        assert [(entry["kind"], entry["author"]) for entry in log] == [("suppression", "ann")]
        assert (await changes(service, team_id, old)).counts == ChangeCounts(new=1)
        going = service.run(team_id, at_work.run_id)
        await going.stored(make_chunk(fence, [make_finding(0)]))
        ended = await going.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        assert ended.json()["state"] == "SUCCEEDED"
        assert (await changes(service, team_id, going.run_id)).counts == ChangeCounts(unchanged=1)
        deploy = await DeployClient(service, team_id=team_id).bring_to("ROLLED_BACK")
        assert (await deploy.view()).documents == {"preview": 1}


async def test_runs_of_before_custody_was_kept(database: ServiceDatabase, tmp_path: Path) -> None:
    """What an older version purged is gone as it was; nobody had said anything, so that the defaults hold."""
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    settings = make_settings(database, tokens, root_key)
    async with running(settings) as app:
        service = ResultsService(app, tokens)
        purged, kept = [await ended_run(service, team_id, FindingStatus.FAIL) for _ in range(2)]
    go_back(database, "0004")
    admin = await asyncpg.connect(database.url("postgres").replace("+asyncpg", ""))
    for statement in ("DELETE FROM run_keys WHERE run_id = $1", "UPDATE runs SET purged_at = now() WHERE run_id = $1"):
        await admin.execute(statement, purged)
    migrate(database.url("coreo_results_owner"))

    async with running(settings) as app:
        service = ResultsService(app, tokens)
        answer = await service.run(team_id, purged).findings()
        assert (answer.status_code, answer.json()["code"]) == (410, "results_purged")
        assert (await service.run(team_id, kept).findings()).json()["total"] == 1
        assert await app.state.services.retention_sweeper.sweep() == 0
        row = await admin.fetchrow(
            "SELECT backup, cleared_at IS NOT NULL AS cleared FROM runs WHERE run_id = $1", purged
        )
        assert tuple(row) == (True, True)
        assert await admin.fetchval("SELECT count(*) FROM chunks") == 1
        answer = await service.call("GET", "/custody/settings", tokens.team(team_id))
        assert answer.json()["display_days"] == 90
    await admin.close()


async def test_when_findings_of_before_were_first_seen(database: ServiceDatabase, tmp_path: Path) -> None:
    """What was looked up among all that is known of findings stays with the run since."""
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    settings = make_settings(database, tokens, root_key)

    async def listed(service: ResultsService, run_id: UUID) -> list[dict[str, object]]:
        findings = (await service.run(team_id, run_id).findings(full="true")).json()["findings"]
        names = ("resource_id", "change", "first_run_id", "first_seen")
        return [{name: item.get(name) for name in names} for item in findings]

    async with running(settings) as app:
        service = ResultsService(app, tokens)
        runs = [await ended_run(service, team_id, FindingStatus.FAIL) for _ in range(2)]
        runs.append(await ended_run(service, team_id, FindingStatus.NOT_EVALUATED, FindingStatus.PASS))
        for run_id in runs:
            await changes(service, team_id, run_id)
        before = [await listed(service, run_id) for run_id in runs]
        failed = await _rows(database, "SELECT failed FROM chunk_changes WHERE failed IS NOT NULL")
    assert {item["first_run_id"] for item in before[2]} == {str(runs[0]), str(runs[2])}
    assert len(failed) == 1
    go_back(database, "0009")
    migrate(database.url("coreo_results_owner"))
    async with running(settings) as app:
        assert [await listed(ResultsService(app, tokens), run_id) for run_id in runs] == before
    assert await _rows(database, "SELECT failed FROM chunk_changes WHERE failed IS NOT NULL") == failed


async def test_what_a_replica_of_before_left_of_a_cleared_run_goes(database: ServiceDatabase, tmp_path: Path) -> None:
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    async with running(make_settings(database, tokens, root_key)) as app:
        service = ResultsService(app, tokens)
        cleared, kept = [await ended_run(service, team_id, FindingStatus.FAIL) for _ in range(2)]
        for run_id in (cleared, kept):
            await changes(service, team_id, run_id)
    go_back(database, "0012")
    await _rows(database, f"UPDATE runs SET purged_at = now(), cleared_at = now() WHERE run_id = '{cleared}'")
    migrate(database.url("coreo_results_owner"))
    assert await _rows(database, "SELECT DISTINCT run_id FROM run_totals") == [(kept,)]
    assert await _rows(database, "SELECT run_id FROM runs WHERE first_runs IS NOT NULL") == [(kept,)]


async def test_totals_are_made_while_a_worker_stores_findings(database: ServiceDatabase, tmp_path: Path) -> None:
    """Neither waits for the other for ever: the migration comes when what is being stored is stored, and counts it."""
    tokens, root_key, team_id = Tokens(), make_root_key(tmp_path), new_id()
    async with running(make_settings(database, tokens, root_key)) as app:
        run = ResultsService(app, tokens).run(team_id)
        await run.stored(make_chunk(await run.claimed(), [make_finding()], final=False))
    go_back(database, "0011")
    writer = Database(database.url("coreo_results"))
    of_run = {"team": team_id, "run": run.run_id}
    try:
        async with writer.transaction(team_id) as connection:  # as Chunks.put
            await connection.execute(text("SELECT 1 FROM runs WHERE run_id = :run FOR NO KEY UPDATE"), of_run)
            await connection.execute(
                text("""
                INSERT INTO finding_groups
                SELECT team_id, run_id, severity_order, rule_id, unit, chunk_index, first + 1, findings, status, region
                FROM finding_groups
            """)
            )
            migration = asyncio.create_task(asyncio.to_thread(migrate, database.url("coreo_results_owner")))
            while not await _rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert not migration.done()
            await connection.execute(
                text("INSERT INTO units (team_id, run_id, unit, chunks) SELECT team_id, run_id, unit, 1 FROM chunks")
            )
            await connection.execute(text("UPDATE runs SET units_done = 1 WHERE run_id = :run"), of_run)
        await migration
    finally:
        await writer.close()
    assert await _rows(database, "SELECT run_id, findings FROM run_totals") == [(run.run_id, 2)]


async def _rows(database: ServiceDatabase, statement: str) -> list[object]:
    url = make_url(database.url("postgres")).set(drivername="postgresql")
    admin = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        return [tuple(row) for row in await admin.fetch(statement)]
    finally:
        await admin.close()

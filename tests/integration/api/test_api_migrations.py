"""Migrations on data of the version before: tokens keep their rights, audits stay what they are, both codes write."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import coreo_api
from coreo_api.app import create_app
from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.migrate import migrate
from coreo_api.teams.tokens import new_token
from coreo_embedded.postgres import Postgres
from coreo_shared.contracts.terms import Pool
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from coreo_shared.ids import new_id
from tests.support.api import VERIFIER, MemoryQueue, api_settings, ok
from tests.support.postgres import ServiceDatabase

_NAME = "coreo_api_versions"


@pytest.fixture
def database(postgres: Postgres) -> Iterator[ServiceDatabase]:
    """A database of its own, empty."""
    postgres.create_database(_NAME, "coreo_api")
    yield ServiceDatabase(postgres, _NAME)
    postgres.drop_database(_NAME)


def migrate_to(database: ServiceDatabase, revision: str) -> None:
    """As coreo_api.migrate, to an older version."""

    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(coreo_api.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async def run() -> None:
        engine = create_async_engine(database.url("coreo_api_owner"), poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
        await engine.dispose()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, run()).result()


async def content(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> list[dict[str, Any]]:
    """All rows, whatever columns there are."""
    found = await connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY created_at, 1")
    return [json.loads(record["row"]) for record in found]


_OLD_RUN = """
    INSERT INTO run_groups (team_id, id, plan_id, plan_revision, trigger, spec, created_at)
    VALUES ($1, $2, $3, 1, 'manual', '{"kind": "audit", "rules": [], "regions": ["all"]}', now());
    INSERT INTO runs (team_id, id, group_id, plan_id, plan_revision, cloud_account_id, trigger, created_at, updated_at,
        expires_at) VALUES ($1, $2, $2, $3, 1, $4, 'manual', now(), now(), now() + interval '1 hour');
    INSERT INTO outbox (team_id, id, kind, run_id, created_at, due_at) VALUES ($1, $2, 'job', $2, now(), now())
"""


async def write_as_before(connection: "asyncpg.Connection[asyncpg.Record]", team: UUID) -> UUID:
    """A token, an account, a plan and a run as the code of before stores them; the run's id."""
    plan, account, run = new_id(), new_id(), new_id()
    await connection.execute(
        "INSERT INTO cloud_accounts "
        "(team_id, id, name, account_id, role_arn, external_id, state, created_at, updated_at) VALUES ($1, $2, "
        "'production', '210987654321', 'arn:aws:iam::210987654321:role/' || $3::text, $3, 'CONNECTED', now(), now())",
        team,
        account,
        account.hex,
    )
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO plans (team_id, id, name, kind, revision, enabled, created_at, updated_at) "
            "VALUES ($1, $2, 'nightly', 'audit', 1, true, now(), now())",
            team,
            plan,
        )
        spec = json.dumps({"rule_sets": ["baseline"], "regions": ["all"]})
        await connection.execute(
            "INSERT INTO plan_revisions (team_id, plan_id, revision, spec, created_at) VALUES ($1, $2, 1, $3, now())",
            team,
            plan,
            spec,
        )
    for statement in _OLD_RUN.split(";\n"):
        values = [team, run, plan, account]
        await connection.execute(statement, *values[: 4 if "$4" in statement else 3 if "$3" in statement else 2])
    return run


_GONE = {"at": "2026-06-01T12:00:00+00:00", "why": "requested", "by": "ann"}


@pytest.mark.parametrize("revision", ["0004", "0005"])
async def test_what_there_was_before_deploys_goes_on_as_it_was(database: ServiceDatabase, revision: str) -> None:
    migrate_to(database, revision)
    queue, gone = MemoryQueue(), None if revision == "0004" else _GONE
    team, token = new_id(), new_token()
    admin = await asyncpg.connect(database.url("postgres").replace("+asyncpg", ""))
    try:
        await admin.execute("INSERT INTO teams VALUES ($1, 'team', now())", team)
        insert = "INSERT INTO tokens (team_id, id, name, token_hash, created_at) VALUES ($1, $2, 'x', $3, now())"
        await admin.execute(insert, team, new_id(), token.hash)
        runs = [await write_as_before(admin, team)]
        if gone is not None:
            await admin.execute("UPDATE runs SET backup = false, results_gone = $1", json.dumps(gone))
        tables = ("tokens", "cloud_accounts", "plans", "plan_revisions", "run_groups", "runs", "outbox")
        before = {table: await content(admin, table) for table in tables}
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(migrate, database.url("coreo_api_owner")).result()
        for table, rows in before.items():  # all that was known is known, and more
            found = await content(admin, table)
            assert [{name: row[name] for name in old} for row, old in zip(found, rows, strict=True)] == rows, table
        runs.append(await write_as_before(admin, team))  # the code of before, while it is being replaced
    finally:
        await admin.close()
    app = create_app(api_settings(database), queue=queue)
    headers = {"authorization": f"Bearer {token.text}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=headers) as http:
        shown = ok(await http.get("/v1/runs"))["items"]
        assert {run["id"] for run in shown} == {str(run) for run in runs}
        assert {(run["kind"], run["deploy"]) for run in shown} == {("audit", None)}
        first = ok(await http.get(f"/v1/runs/{runs[0]}"))
        assert (first["results_gone"] and first["results_gone"]["by"]) == (gone and "ann")
        assert ok(await http.get("/v1/tokens"))["items"][0]["scopes"] == ["read", "plan", "approve"]
        ok(await http.post("/v1/tokens", json={"name": "more"}), 201)
        dispatcher = Dispatcher(app.state.context, queue)
        while await dispatcher.step() == 0:
            pass
        jobs = [
            VERIFIER.verify(job.run_token, RunCapability, typ=RUN_CAPABILITY_TYPE, audience=RESULTS_AUDIENCE)
            for job in queue.jobs()
        ]
        wishes = {job.run_id: (job.pool, job.backup) for job in jobs}
        assert wishes == {runs[0]: (Pool.AUDIT, gone is None), runs[1]: (Pool.AUDIT, True)}
        assert ok(await http.post(f"/v1/runs/{runs[0]}/cancel"), 202)["cancel_requested"] is True
        for plan in ok(await http.get("/v1/plans"))["items"]:
            assert (plan["kind"], plan["lint"]) == ("audit", None)
    for closing in (app.state.context.results, app.state.context.database, app.state.context.system_database):
        await closing.close()

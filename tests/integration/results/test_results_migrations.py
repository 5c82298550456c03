"""Migrations on data of the version before: nothing is lost, and what was not kept then says nothing now."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from alembic import command
from alembic.config import Config

from coreo_embedded.postgres import Postgres
from coreo_results.migrate import migrate
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.life import ChangeCounts, RunChanges
from coreo_shared.contracts.terms import FindingStatus
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

_NAME = "coreo_results_versions"


@pytest.fixture
def database(postgres: Postgres) -> Iterator[ServiceDatabase]:
    """A database of its own, as its schema goes back and forth."""
    postgres.create_database(_NAME, "coreo_results")
    database = ServiceDatabase(postgres, _NAME)
    migrate(database.url("coreo_results_owner"))
    yield database
    postgres.drop_database(_NAME)


def go_back(database: ServiceDatabase, revision: str) -> None:
    """To the schema of an older version."""
    config = Config()
    config.set_main_option("script_location", "coreo_results:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = database.url("coreo_results_owner")
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(command.downgrade, config, revision).result()


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
    go_back(database, "0004")
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

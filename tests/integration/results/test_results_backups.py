"""Backups and their way back: what was stored is restored as it was, and what was changed is refused."""

from pathlib import Path
from typing import Any
from uuid import UUID

from coreo_results.backups.restorer import Restorer, RestoreReport, Target
from coreo_results.backups.wiring import custodian_of, open_stores
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.vault import open_vault
from coreo_results.settings import ResultsSettings
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import (
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

FAIL, PASS, UNKNOWN = FindingStatus.FAIL, FindingStatus.PASS, FindingStatus.NOT_EVALUATED


async def restore(settings: ResultsSettings, **options: Any) -> RestoreReport:
    database = Database(settings.database_url.get_secret_value())
    system_database = Database(settings.system_database_url.get_secret_value())
    try:
        async with (
            open_root_keys(settings.root_key, settings.other_root_keys) as roots,
            open_vault(settings.vault, roots) as vault,
            open_stores(settings) as stores,
        ):
            assert stores is not None
            statements = custodian_of(settings).statements
            return await Restorer(stores, vault, statements, Target(database, system_database)).run(**options)
    finally:
        await system_database.close()
        await database.close()


async def ended(service: ResultsService, team_id: UUID, findings: dict[str, list[Any]]) -> RunClient:
    """A run with these findings by unit, compared with those before it."""
    run = service.run(team_id)
    fence = (await run.say("claim", {"worker_id": "w", "rules": ["s3-bucket-public"]})).json()["fence"]
    for unit, found in findings.items():
        await run.stored(make_chunk(fence, found[:2], unit=unit, final=len(found) <= 2))
        if len(found) > 2:
            await run.stored(make_chunk(fence, found[2:], unit=unit, index=1))
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": len(findings)})
    assert (await service.call("GET", f"/runs/{run.run_id}/changes", run.team_token)).status_code == 200
    return run


async def test_it_comes_back_as_it_was(databases: Databases, results_database: ServiceDatabase, tmp_path: Path) -> None:
    tokens, root_key = Tokens(), make_root_key(tmp_path)
    backups = backup_settings(tmp_path)
    settings = make_settings(results_database, tokens, root_key, **backups)
    team = new_id()
    async with running(settings) as app:
        service = ResultsService(app, tokens)
        runs = []
        runs.append(
            await ended(service, team, {"a@global": [make_finding(n, status=FAIL) for n in range(5)], "b@eu": []})
        )
        runs.append(
            await ended(
                service, team, {"a@global": [make_finding(n, status=UNKNOWN if n % 2 else PASS) for n in range(1, 5)]}
            )
        )
        runs.append(await ended(service, team, {"b@eu": [make_finding(9, severity=Severity.LOW)]}))
        cycle = await app.state.services.backups.cycle(team)
        assert (cycle.stored, cycle.findings, cycle.is_done, cycle.failed) == (3, 10, True, {})
        before = [await seen(service, run) for run in runs]
    with databases.empty("coreo_results") as empty:
        changed = make_settings(empty, tokens, root_key, **backups)
        report = await restore(changed)
        assert report.restored[team].runs == 3
        async with running(changed) as app:
            service = ResultsService(app, tokens)
            assert [await seen(service, service.run(team, run.run_id)) for run in runs] == before


async def seen(service: ResultsService, run: RunClient) -> dict[str, Any]:
    """All that a reader sees of a run."""
    answers = {"findings": (await run.findings(full="true", limit=100)).json()}
    for path in ("rules", "changes", "resolved", "counts"):
        answer = await service.call("GET", f"/runs/{run.run_id}/{path}", run.team_token)
        assert answer.status_code == 200, answer.text
        answers[path] = answer.json()
    return answers

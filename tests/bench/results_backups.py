"""How fast runs are backed up and restored, beside copying the same bytes from one directory to another, with checksum.

Run: `.venv/bin/python -m tests.bench.results_backups [RUNS] [FINDINGS] [PLANS]`; by default 100 runs of 2,000
findings of 10 plans; the figure of record is that of 1,000. One finding in seven fails, and with each run others do:
much more changes than in an account, so that what runs resolve counts in full. The copy is what the store does with
each object: read, SHA-256, write, sync. PostgreSQL is durable (fsync on) throughout.
"""

import asyncio
import hashlib
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from coreo_results.backups.restorer import Restorer, Target
from coreo_results.backups.wiring import custodian_of, open_stores
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.vault import open_vault
from coreo_results.life.repository import due_runs
from coreo_results.migrate import migrate
from coreo_results.settings import ResultsSettings
from coreo_results.stores import open_store
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.bench.bars import note, tell
from tests.bench.results_server import results_server
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    Tokens,
    backup_settings,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    running,
)

_CHUNK = 1_000


def _findings(first: int, count: int, run: int) -> list[Finding]:
    return [
        make_finding(
            number,
            rule_id=f"ec2-security-group-rule-{number % 5}",
            status=FindingStatus.FAIL if (number + run) % 7 == 0 else FindingStatus.PASS,
            resource_id=f"sg-{number // 5:017x}",
            resource_arn=f"arn:aws:ec2:eu-west-1:123456789012:security-group/sg-{number // 5:017x}",
            message=f"sg-{number:x} (web-{number}) allows tcp/22 from anywhere",
            evidence={
                "GroupName": f"web-{number}",
                "IpPermissions": [
                    {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
                ],
            },
        )
        for number in range(first, first + count)
    ]


async def _fill(service: ResultsService, team: UUID, runs: int, findings: int, plans: int) -> None:
    for number in range(runs):
        run = service.run(team)
        run.token = service.tokens.run(team, run.run_id, plan_id=UUID(int=1 + number % plans))
        fence = await run.claimed()
        for first in range(0, findings, _CHUNK):
            chunk = _findings(first, min(_CHUNK, findings - first), number // plans)
            index = first // _CHUNK
            await run.stored(make_chunk(fence, chunk, index=index, final=first + _CHUNK >= findings))
        await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
    await service.app.state.services.life_keeper.compare_due()


async def _copy(settings: ResultsSettings, directory: Path) -> tuple[float, int]:
    """Seconds and bytes of copying all objects."""
    await asyncio.to_thread(directory.mkdir, mode=0o700)
    started, size = time.perf_counter(), 0
    async with open_store(settings.backup_store) as source, open_store(f"dir:{directory}") as target:
        async for entry in source.list():

            async def pieces(key: str = entry.key) -> AsyncIterator[bytes]:
                digest = hashlib.sha256()
                async for piece in source.read(key):
                    digest.update(piece)
                    yield piece

            await target.put(entry.key, pieces())
            size += entry.size
    return time.perf_counter() - started, size


@asynccontextmanager
async def _restorer(settings: ResultsSettings) -> AsyncIterator[Restorer]:
    database = Database(settings.database_url.get_secret_value())
    system_database = Database(settings.system_database_url.get_secret_value())
    async with (
        open_root_keys(settings.root_key, settings.other_root_keys) as roots,
        open_vault(settings.vault, roots) as vault,
        open_stores(settings) as stores,
    ):
        assert stores is not None
        yield Restorer(stores, vault, custodian_of(settings).statements, Target(database, system_database))
    await system_database.close()
    await database.close()


async def _measure(database: ServiceDatabase, directory: Path, runs: int, findings: int, plans: int) -> None:
    tokens, team, root_key = Tokens(), new_id(), make_root_key(directory)
    stores = backup_settings(directory)
    settings = make_settings(database, tokens, root_key, **stores)
    async with running(settings) as app:
        await _fill(ResultsService(app, tokens), team, runs, findings, plans)
        while [1 async for _ in _due(app)]:
            pass
        memory = _memory()
        started = time.perf_counter()
        cycle = await app.state.services.backups.cycle(team)
        backed_up = time.perf_counter() - started
        assert (cycle.stored, cycle.findings) == (runs, runs * findings), cycle
        grown = _memory() - memory
    copied, size = await _copy(settings, directory / "copy")
    note(f"{runs} runs of {findings} findings: {size / 1e6:,.0f} MB; copied with checksum in {copied:.1f} s")
    detail = f"{backed_up:.1f} s; memory +{grown:.0f} MB"
    tell("backing them up", backed_up / copied, 3, "times the copy", detail=detail)
    database.server.create_database("coreo_results_2", "coreo_results")
    empty = ServiceDatabase(database.server, "coreo_results_2")
    await asyncio.to_thread(migrate, empty.url("coreo_results_owner"))
    memory = _memory()
    async with _restorer(make_settings(empty, tokens, root_key, **stores)) as restorer:
        report = await restorer.run()
    assert report.restored[team].findings == runs * findings
    assert report.verified_at is not None
    assert report.ended_at is not None
    verified = (report.verified_at - report.started_at).total_seconds()
    restored = (report.ended_at - report.started_at).total_seconds()
    detail = f"{restored:.1f} s, of which verifying all first {verified:.1f} s; memory +{_memory() - memory:.0f} MB"
    tell("restoring them into a database", restored / copied, 3, "times the copy", detail=detail)


async def _due(app: object) -> AsyncIterator[int]:
    async with app.state.services.system_database.transaction() as connection:  # type: ignore[attr-defined]
        due = await due_runs(connection, 1)
    if due:
        await app.state.services.life_keeper.compare_due()  # type: ignore[attr-defined]
        yield 1


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures and prints."""
    runs, findings, plans = (int(value) for value in (*sys.argv[1:4], *("100", "2000", "10")[len(sys.argv) - 1 :]))
    with results_server() as (database, directory):
        asyncio.run(_measure(database, directory, runs, findings, plans))


if __name__ == "__main__":
    main()

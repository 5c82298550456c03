"""How soon the first page of a very large run is there, beside reading as many bytes by primary key.

Run: `.venv/bin/python -m tests.bench.results_pages [FINDINGS]`; by default 1,000,000. The page is what the api asks the
results service for: filtered by severity and status, 100 findings, decrypted, over the ASGI application. The other is a
row with as many bytes as the answer has, from the same PostgreSQL, through the same pool, as the same role.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from coreo_shared.contracts.results import PutChunk
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.db import Database
from tests.bench.bars import tell
from tests.bench.results_server import results_server
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

_CHUNK, _PAGE, _ROUNDS = 1_000, 100, 60


def _chunk(first: int, fence: int, *, final: bool) -> PutChunk:
    findings = [
        make_finding(
            number,
            rule_id=f"ec2-security-group-rule-{number % 20}",
            status=FindingStatus.FAIL if number % 7 == 0 else FindingStatus.PASS,
            severity=list(Severity)[number % 4],
            resource_id=f"sg-{number:017x}",
            resource_arn=f"arn:aws:ec2:eu-west-1:123456789012:security-group/sg-{number:017x}",
            message=f"sg-{number:x} (web-{number}) allows tcp/22 from anywhere",
            evidence={"GroupName": f"web-{number}", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        )
        for number in range(first, first + _CHUNK)
    ]
    return make_chunk(fence, findings, index=first // _CHUNK, final=final)


async def _filled(service: ResultsService, findings: int) -> RunClient:
    run = service.run()
    fence = await run.claimed()
    for first in range(0, findings, _CHUNK):
        await run.stored(_chunk(first, fence, final=first + _CHUNK >= findings))
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
    return run


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _measure(database: ServiceDatabase, directory: Path, findings: int) -> None:
    tokens = Tokens()
    async with running(make_settings(database, tokens, make_root_key(directory))) as app:
        service = ResultsService(app, tokens)
        run = await _filled(service, findings)
        await service.app.state.services.life_keeper.compare_due()

        async def page() -> bytes:
            answer = await run.findings(severity="high", status="FAIL", limit=str(_PAGE), full="true")
            assert answer.status_code == 200, answer.text
            content: bytes = answer.content
            return content

        memory, content = _memory(), await page()
        read = await _plain(database, app.state.services.database, run.team_id, len(content))
        pairs = [(await _timed(read), await _timed(page)) for _ in range(_ROUNDS)]
    by_key, paged = (statistics.median(times) for times in zip(*pairs, strict=True))
    found = json.loads(content)
    assert len(found["findings"]) == _PAGE
    what = f"first page of {findings:,} findings, beside reading its {len(content):,} bytes by primary key"
    tell(what, paged / by_key, 3, "times", detail=f"{paged * 1e3:.1f} ms and {by_key * 1e3:.1f} ms")
    tell("memory that it took", _memory() - memory, 50, "MB")


async def _plain(database: ServiceDatabase, pool: Database, team_id: UUID, size: int) -> Callable[[], Awaitable[bytes]]:
    """Reads a row of so many bytes, as the service reads its own: the team's, in a transaction."""
    admin = Database(database.url("postgres"), pool_size=1)
    async with admin.transaction() as connection:
        await connection.execute(text("CREATE TABLE plain (id uuid PRIMARY KEY, content bytea STORAGE EXTERNAL)"))
        await connection.execute(text("GRANT SELECT ON plain TO coreo_results"))
        row = {"id": team_id, "content": os.urandom(size)}
        await connection.execute(text("INSERT INTO plain VALUES (:id, :content)"), row)
    await admin.close()

    async def read() -> bytes:
        async with pool.transaction(team_id) as connection:
            found = await connection.execute(text("SELECT content FROM plain WHERE id = :id"), {"id": team_id})
            content: bytes = found.scalar_one()
            assert len(content) == size
            return content

    return read


def main() -> None:
    """Measures and prints."""
    findings = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with results_server() as (database, directory):
        asyncio.run(_measure(database, directory, findings))


if __name__ == "__main__":
    main()

"""How fast the results service takes findings and how much they fill, beside plain COPY of the same rows into a table.

Run: `.venv/bin/python -m tests.bench.results_ingest [CHUNKS]`. One worker, one chunk after the other, over the ASGI
application; PostgreSQL is durable (fsync on) for both.
"""

import asyncio
import gc
import sys
import time
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from coreo_shared.contracts.base import encode_json, encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from tests.bench.bars import tell
from tests.bench.results_server import results_server
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

_ROWS = 1_000
_TABLES = ("runs", "run_keys", "units", "chunks", "finding_groups", "run_totals")


def _findings(chunk: int) -> list[Finding]:
    rules = 5
    return [
        make_finding(
            chunk * _ROWS + number,
            rule_id=f"ec2-security-group-rule-{number % rules}",
            status=FindingStatus.FAIL if number % 7 == 0 else FindingStatus.PASS,
            resource_id=f"sg-{chunk * _ROWS + number // rules:017x}",
            resource_arn=f"arn:aws:ec2:eu-west-1:123456789012:security-group/sg-{chunk * _ROWS + number // rules:017x}",
            message=f"sg-{number:x} (web-{number}) allows tcp/22 from anywhere",
            evidence={
                "GroupName": f"web-{number}",
                "IpPermissions": [
                    {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
                ],
            },
        )
        for number in range(_ROWS)
    ]


async def _copy(connection: asyncpg.Connection, chunks: list[list[Finding]]) -> float:
    await connection.execute(
        "CREATE TABLE plain (fingerprint text, rule_id text, status text, severity text, resource_type text,"
        " resource_id text, resource_arn text, region text, message text, evidence jsonb)"
    )
    batches = [
        [
            (
                f.fingerprint, f.rule_id, f.status.value, f.severity.value, f.resource_type,
                f.resource_id, f.resource_arn, f.region, f.message, encode_json(f.evidence).decode(),
            )
            for f in chunk
        ]
        for chunk in chunks
    ]  # fmt: skip
    started = time.perf_counter()
    for batch in batches:
        await connection.copy_records_to_table("plain", records=batch)
    return time.perf_counter() - started


async def _put(service: ResultsService, chunks: list[list[Finding]]) -> float:
    run = service.run()
    fence = await run.claimed()
    bodies = [
        encode_msgpack(make_chunk(fence, chunk, index=index, final=index == len(chunks) - 1))
        for index, chunk in enumerate(chunks)
    ]
    gc.collect()
    gc.freeze()  # the garbage collector shall not look at the benchmark's own data again and again
    started = time.perf_counter()
    for body in bodies:
        answer = await run.put(body)
        assert answer.status_code == 204, answer.text
    return time.perf_counter() - started


async def _measure(database: ServiceDatabase, directory: Path, count: int) -> None:
    chunks = [_findings(number) for number in range(count)]
    tokens = Tokens()
    url = make_url(database.url("postgres")).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    async with running(make_settings(database, tokens, make_root_key(directory))) as app:
        service = ResultsService(app, tokens)
        await _put(service, chunks[:2])
        copied = await _copy(connection, chunks)
        before = await _bytes(connection, *_TABLES)
        put = await _put(service, chunks)
        stored = await _bytes(connection, *_TABLES) - before
        plain = await _bytes(connection, "plain")
    await connection.close()
    rows = count * _ROWS
    detail = f"COPY {rows / copied:,.0f} rows/s; put {rows / put:,.0f} findings/s"
    tell("findings taken in, encrypted", copied / put, 0.5, "of COPY", detail=detail, at_least=True)
    detail = f"{plain / rows:,.0f} and {stored / rows:,.0f} bytes a finding, indexes included"
    tell("storage of them", stored / plain, 0.25, "of plain rows", detail=detail)


async def _bytes(connection: asyncpg.Connection, *tables: str) -> int:
    return sum([await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", table) for table in tables])


def main() -> None:
    """Measures and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with results_server() as (database, directory):
        asyncio.run(_measure(database, directory, count))


if __name__ == "__main__":
    main()

"""How long a run of 100,000 findings is compared with what was known, and how much memory that takes.

Run: `.venv/bin/python -m tests.bench.results_life [CHUNKS]`. Three runs of a plan: all is new; a tenth changes; and
the same again. Each chunk has 1,000 findings of 40 rules. The memory is this process's: PostgreSQL spills to disk.
"""

import asyncio
import resource
import sys
import time
from uuid import UUID

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.ids import new_id
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

_ROWS = 1_000
_RULES = 40


def _findings(chunk: int, changed_every: int | None) -> list[Finding]:
    first = chunk * _ROWS
    failing = {number: number % 7 == 0 for number in range(first, first + _ROWS)}
    if changed_every:
        failing = {number: is_bad != (number % changed_every == 0) for number, is_bad in failing.items()}
    return [
        make_finding(
            number,
            rule_id=f"rule-{number % _RULES:02}",
            status=FindingStatus.FAIL if is_bad else FindingStatus.PASS,
        )
        for number, is_bad in failing.items()
    ]


async def _measure(database: ServiceDatabase, root_key: str, chunks: int) -> None:
    tokens, team = Tokens(), new_id()
    async with running(make_settings(database, tokens, root_key)) as app:
        service = ResultsService(app, tokens)
        for what, changed_every in (("all new", None), ("a tenth changed", 10), ("unchanged", 10)):
            run = service.run(team)
            fence = await run.claimed()
            started = time.perf_counter()
            for chunk in range(chunks):
                findings = _findings(chunk, changed_every)
                await run.stored(make_chunk(fence, findings, index=chunk, final=chunk == chunks - 1))
            stored = time.perf_counter()
            await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun = time.perf_counter()
            answer = await service.call("GET", f"/runs/{run.run_id}/changes", run.team_token)
            compared = time.perf_counter()
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            page = await run.findings(change="NEW", status="FAIL", full="true")
            read = time.perf_counter()
            assert page.status_code == 200, page.text
            times = await _with_suppressions(service, team, run)
            print(  # noqa: T201  the result
                f"{what:16} store {stored - started:5.1f} s, compare {compared - begun:5.2f} s (+{grown:.0f} MB), "
                f"page of new {read - compared:5.2f} s, with suppressions {times}  {answer.json()['counts']}"
            )


async def _with_suppressions(service: ResultsService, team: UUID, run: RunClient) -> str:
    """Seconds of the counts with 300 suppressions of resources: looked through for the first time, and again."""
    token = service.tokens.team(team)
    if not (await service.call("GET", "/suppressions", token)).json()["items"]:
        for number in range(300):
            pattern = f"*bucket-*{number}" if number % 10 == 0 else f"arn:aws:s3:::bucket-{number * 7}"
            body = {"resource": pattern, "reason": "x", "author": "x"}
            await service.call("POST", "/suppressions", token, body)
    times = []
    for _ in range(2):
        started = time.perf_counter()
        answer = await service.call("GET", f"/runs/{run.run_id}/counts", run.team_token)
        times.append(time.perf_counter() - started)
    return f"{times[0]:.2f} s, then {times[1]:.2f} s {answer.json()['by_status']}"


def main() -> None:
    """Prints three lines."""
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with results_server() as (database, directory):
        asyncio.run(_measure(database, make_root_key(directory), chunks))


if __name__ == "__main__":
    main()

"""A team whose results are kept for a while, and what is left of them after."""

from typing import Any
from uuid import UUID

import asyncpg

from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.results import EventPage, RunEvent
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.ids import new_id
from tests.support.results import ResultsService, RunClient, make_chunk, make_finding

FAIL, PASS = FindingStatus.FAIL, FindingStatus.PASS
READS = ("findings", "rules", "counts", "changes", "resolved")
PARTS = (
    *("run_keys", "chunks", "units", "finding_groups", "chunk_changes", "resolved_findings"),
    *("suppression_hits", "suppression_marks", "run_documents", "run_totals"),
)


class Kept:
    """A team whose runs are kept."""

    def __init__(self, service: ResultsService, admin: asyncpg.Connection, team: UUID | None = None) -> None:
        self.service, self.admin, self.team = service, admin, team or new_id()
        self.token = service.tokens.team(self.team, actor_id=UUID(int=7), actor="ann")

    async def call(self, method: str, path: str, body: object = None, **parameters: Any) -> Any:
        return await self.service.call(method, path, self.token, body, params=parameters or None)

    async def run(
        self,
        statuses: dict[int, FindingStatus] | None = None,
        *,
        days: float = 0,
        ended: bool = True,
        **claims: Any,
    ) -> RunClient:
        """A run with these findings by number, that ended so long ago."""
        client = self.service.run(self.team)
        client.token = self.service.tokens.run(self.team, client.run_id, **claims)
        client.team_token = self.token
        answer = await client.say("claim", {"worker_id": "w", "rules": ["s3-bucket-public"]})
        fence = answer.json()["fence"]
        found = {1: FAIL, 2: PASS} if statuses is None else statuses
        await client.stored(make_chunk(fence, [make_finding(number, status=each) for number, each in found.items()]))
        if ended:
            await client.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
            await self.age(client, days)
        return client

    async def age(self, run: RunClient, days: float) -> None:
        """As if the run had ended so long ago."""
        await self.admin.execute(
            "UPDATE runs SET ended_at = now() - make_interval(secs => $1) WHERE run_id = $2", days * 86400, run.run_id
        )

    async def sweep(self) -> int:
        swept: int = await self.service.app.state.services.retention_sweeper.sweep()
        return swept

    async def left(self, run: RunClient) -> set[str]:
        """Tables in which something of the run is left."""
        found = set()
        for table in PARTS:
            if await self.admin.fetchval(f"SELECT count(*) FROM {table} WHERE run_id = $1", run.run_id):
                found.add(table)
        return found

    async def event(self, run: RunClient) -> RunEvent:
        """The run as the feed has it last."""
        answer = await self.service.call("GET", "/events", self.service.tokens.feed(), params={"limit": 1000})
        return [event for event in decode_json(answer.content, EventPage).events if event.run_id == run.run_id][-1]

    async def record(self) -> list[tuple[str, str, str, UUID, Any]]:
        """(who, what, kind, id, detail) of the entries that are not of reads, oldest first."""
        items = (await self.call("GET", "/access", limit=1000)).json()["items"][::-1]
        return [
            (each["actor"], each["action"], each["object_kind"], UUID(each["object_id"]), each["detail"])
            for each in items
            if not each["action"].startswith("READ_")
        ]


async def said(run: RunClient, path: str) -> tuple[int, str, str]:
    """Status, code and detail of what a read answers."""
    answer = await run.service.call("GET", f"/runs/{run.run_id}/{path}", run.team_token)
    body = answer.json()
    return answer.status_code, body.get("code", ""), body.get("detail", "")


async def is_gone(run: RunClient, code: str) -> str:
    """The detail that all reads of the run answer with this code."""
    answers = {await said(run, path) for path in READS}
    ((status, found, detail),) = answers
    assert (status, found) == (410, code)
    return detail

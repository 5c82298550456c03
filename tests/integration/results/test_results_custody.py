"""Settings of custody, and the record of who touched results: complete, chained, and written before any answer."""

import asyncio
import json
from datetime import UTC
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from coreo_results.access.service import AccessRecord
from coreo_results.auth import Actor
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.custody import AccessEntry, AccessPage, CustodySettings, PlanCustody
from coreo_shared.contracts.terms import AccessAction
from coreo_shared.crypto.access_chain import BrokenChainError, check_chain
from coreo_shared.ids import new_id
from tests.integration.results.test_results_access import TEAM_CALLS
from tests.support.results import PLAN, ResultsService, RunClient, make_chunk, make_finding

ANN, BOB = UUID(int=101), UUID(int=102)
# What each route that hands out something of a run is in the record.
READS = {
    "/runs/{run}/findings": AccessAction.READ_FINDINGS,
    "/runs/{run}/findings?export=true": AccessAction.EXPORT,
    "/runs/{run}/resolved": AccessAction.READ_FINDINGS,
    "/runs/{run}/resolved?export=true": AccessAction.EXPORT,
    "/runs/{run}/rules": AccessAction.READ_SUMMARY,
    "/runs/{run}/counts": AccessAction.READ_SUMMARY,
    "/runs/{run}/changes": AccessAction.READ_SUMMARY,
}


class Reader:
    """A token of a team."""

    def __init__(self, service: ResultsService, team: UUID, actor: UUID | None = ANN, name: str | None = "ann") -> None:
        self.service, self.team = service, team
        self.token = service.tokens.team(team, actor_id=actor, actor=name)

    async def call(self, method: str, path: str, body: object = None, **parameters: Any) -> Any:
        return await self.service.call(method, path, self.token, body, params=parameters or None)

    async def page(self, **parameters: Any) -> AccessPage:
        answer = await self.call("GET", "/access", **parameters)
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, AccessPage)

    async def record(self) -> list[AccessEntry]:
        """All entries, oldest first."""
        return (await self.page(limit=1000)).items[::-1]


async def check(reader: Reader) -> tuple[int, str]:
    """The head of the record, whose chain must hold."""
    items = (await reader.call("GET", "/access", limit=1000)).json()["items"]
    return check_chain(items[::-1])


@pytest.fixture
async def run(service: ResultsService) -> RunClient:
    """A run with a finding, that has ended."""
    run = service.run()
    fence = await run.claimed()
    await run.stored(make_chunk(fence, [make_finding(1)]))
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
    return run


def test_every_route_that_hands_out_results_is_known(service: ResultsService) -> None:
    routes = {path for method, path, _ in TEAM_CALLS if method == "GET" and path.startswith("/runs/")}
    assert routes == {path.partition("?")[0] for path in READS}


async def test_a_read_is_in_the_record_with_its_reader(run: RunClient) -> None:
    readers = [Reader(run.service, run.team_id, UUID(int=300 + number), path) for number, path in enumerate(READS)]
    for reader, path in zip(readers, READS, strict=True):
        assert (await reader.call("GET", path.format(run=run.run_id))).status_code == 200
    *reads, last = await readers[0].record()
    assert [(each.seq, each.actor_id, each.actor, each.action) for each in reads] == [
        (number + 1, UUID(int=300 + number), path, action) for number, (path, action) in enumerate(READS.items())
    ]
    assert {(each.object_kind, each.object_id, tuple(each.detail)) for each in reads} == {("run", run.run_id, ())}
    assert (last.action, last.object_kind, last.object_id) == (AccessAction.READ_RECORD, "team", run.team_id)


async def test_without_an_entry_there_is_no_answer(run: RunClient, admin: asyncpg.Connection) -> None:
    reader = Reader(run.service, run.team_id)
    await admin.execute("ALTER TABLE access_log RENAME TO access_log_away")
    try:
        answers = [await reader.call("GET", path.format(run=run.run_id)) for path in READS]
    finally:
        await admin.execute("ALTER TABLE access_log_away RENAME TO access_log")
    for answer in answers:
        assert answer.status_code == 500
        assert not {"bucket-1", "s3-bucket-public", "by_status", "previous_run_id"} & set(answer.text.split('"'))
    for path in READS:
        assert (await reader.call("GET", path.format(run=run.run_id))).status_code == 200
    assert {entry.action for entry in await reader.record()} == {*READS.values(), AccessAction.READ_RECORD}


async def test_what_is_refused_is_no_read(run: RunClient) -> None:
    reader = Reader(run.service, run.team_id)
    for path in (f"/runs/{new_id()}/findings", f"/runs/{run.run_id}/findings?cursor=x"):
        assert (await reader.call("GET", path)).status_code in {404, 422}
    assert (await reader.call("DELETE", f"/runs/{run.run_id}/results")).status_code == 200
    assert (await reader.call("GET", f"/runs/{run.run_id}/findings")).status_code == 410
    assert [entry.action for entry in await reader.record()] == [AccessAction.DELETE, AccessAction.READ_RECORD]


async def test_reads_of_ten_minutes_are_one_entry_for_each_reader_run_and_action(
    run: RunClient, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = Reader(run.service, run.team_id), Reader(run.service, run.team_id, BOB, "bob")
    path = f"/runs/{run.run_id}/findings"
    for reader in (ann, ann, bob, ann, bob):
        await asyncio.gather(*(reader.call("GET", path) for _ in range(3)))
    await ann.call("GET", f"/runs/{run.run_id}/rules")
    assert [(entry.actor, entry.action) for entry in (await ann.record())[:-1]] == [
        ("ann", AccessAction.READ_FINDINGS),
        ("bob", AccessAction.READ_FINDINGS),
        ("ann", AccessAction.READ_SUMMARY),
    ]
    # Another replica remembers nothing, but the database does.
    services = run.service.app.state.services
    other = AccessRecord(services.database)
    actor = Actor(ANN, "ann")
    await other.read(run.team_id, actor, AccessAction.READ_FINDINGS, run.run_id)
    assert len(await ann.record()) == 4
    monkeypatch.setattr("coreo_results.access.service.ONE_ENTRY_SECONDS", 0.0)  # as if they had passed
    await AccessRecord(services.database).read(run.team_id, actor, AccessAction.READ_FINDINGS, run.run_id)
    assert len(await ann.record()) == 5
    assert (await check(ann))[0] == 5


async def test_entries_made_at_once_are_one_chain(run: RunClient) -> None:
    readers = [Reader(run.service, run.team_id, UUID(int=200 + number), f"token {number}") for number in range(12)]
    patches = [reader.call("PATCH", "/custody/settings", {"display_days": 30}) for reader in readers]
    reads = [reader.call("GET", f"/runs/{run.run_id}/findings") for reader in readers]
    answers = await asyncio.gather(*patches, *reads)
    assert {answer.status_code for answer in answers} == {200}
    assert (await check(readers[0]))[0] == 25
    other = Reader(run.service, new_id())
    assert (await check(other))[0] == 1  # each team has a chain of its own


async def test_whoever_changes_the_record_in_the_database_is_found_out(
    run: RunClient, admin: asyncpg.Connection
) -> None:
    reader = Reader(run.service, run.team_id)
    for number in range(4):
        await reader.call("PATCH", "/custody/settings", {"display_days": 30 + number})
    seq, head = await check(reader)
    for forgery in (
        "UPDATE access_log SET actor = 'bob' WHERE seq = 2",
        "UPDATE access_log SET at = at + interval '1 microsecond' WHERE seq = 2",
        "UPDATE access_log SET detail = '{\"display_days\": 99}' WHERE seq = 2",
        "DELETE FROM access_log WHERE seq = 2",
        "DELETE FROM access_log WHERE seq = 1",
    ):
        transaction = admin.transaction()
        await transaction.start()
        rows = await admin.fetch("SELECT count(*) FROM access_log")
        await admin.execute(forgery)
        forged = await admin.fetch(
            "SELECT team_id, seq, at, actor_id, actor, action, object_kind, object_id, detail::text AS detail,"
            " encode(previous, 'hex') AS previous, encode(hash, 'hex') AS hash FROM access_log ORDER BY seq"
        )
        await transaction.rollback()
        assert rows
        with pytest.raises(BrokenChainError):
            check_chain([_as_json(row) for row in forged])
    assert await check(reader) == (seq, head)  # else the test above would find what was never forged


def _as_json(row: asyncpg.Record) -> dict[str, Any]:
    entry = dict(row.items())
    entry |= {name: str(entry[name]) for name in ("team_id", "object_id", "actor_id")}
    return entry | {
        "at": row["at"].astimezone(UTC).isoformat(timespec="microseconds"),
        "detail": json.loads(row["detail"]),
    }


async def test_the_record_is_listed_in_pages_by_what_and_who(run: RunClient) -> None:
    ann, bob = Reader(run.service, run.team_id), Reader(run.service, run.team_id, BOB, "bob")
    for number in range(5):
        await ann.call("PATCH", "/custody/settings", {"display_days": 30 + number})
        await bob.call("PATCH", f"/plans/{PLAN}/custody", {"display_days": 7 + number})
    pages = [await ann.page(limit=4)]
    while pages[-1].next_before is not None:
        pages.append(await ann.page(limit=4, before=pages[-1].next_before))
    assert [entry.seq for page in pages for entry in page.items] == list(range(11, 0, -1))
    assert {entry.actor for entry in (await ann.page(actor_id=BOB)).items} == {"bob"}
    of_plan = (await ann.page(object_id=PLAN, action="SETTINGS", limit=2)).items
    assert [(entry.object_kind, entry.detail) for entry in of_plan] == [
        ("plan", {"display_days": 11}),
        ("plan", {"display_days": 10}),
    ]
    assert (await ann.page(action="EXPORT")).items == []
    stranger = Reader(run.service, new_id())
    assert [entry.action for entry in (await stranger.page()).items] == [AccessAction.READ_RECORD]
    for bad in ({"before": 0}, {"limit": 1001}, {"action": "LOOK"}, {"who": "ann"}):
        assert (await ann.call("GET", "/access", **bad)).status_code == 422


async def test_an_api_that_does_not_say_who_asks_is_recorded_as_unknown(run: RunClient) -> None:
    assert (await run.findings()).status_code == 200
    entry = (await Reader(run.service, run.team_id).record())[0]
    assert (entry.actor_id, entry.actor) == (None, "unknown")


async def test_settings_are_the_defaults_until_somebody_says_otherwise(service: ResultsService) -> None:
    team = Reader(service, new_id())
    assert decode_json((await team.call("GET", "/custody/settings")).content, CustodySettings) == CustodySettings()
    for patch, expected in (
        ({"display_days": 30}, {"display_days": 30}),
        ({"backups": False}, {"display_days": 30, "backups": False}),
        ({}, {"display_days": 30, "backups": False}),
        ({"keep_counts": False, "backup_days": 1}, {"backup_days": 1, "keep_counts": False}),
    ):
        changed = (await team.call("PATCH", "/custody/settings", patch)).json()
        assert {name: changed[name] for name in expected} == expected
        assert (await team.call("GET", "/custody/settings")).json() == changed
    details = [entry.detail for entry in await team.record() if entry.action is AccessAction.SETTINGS]
    assert details == [{"display_days": 30}, {"backups": False}, {"keep_counts": False, "backup_days": 1}]
    stranger = Reader(service, new_id())
    assert (await stranger.call("GET", "/custody/settings")).json()["display_days"] == 90


async def test_a_plans_settings_stand_beside_the_teams(service: ResultsService) -> None:
    team, path = Reader(service, new_id()), f"/plans/{PLAN}/custody"
    found = decode_json((await team.call("GET", path)).content, PlanCustody)
    assert (found.display_days, found.backup, found.team) == (None, True, CustodySettings())
    await team.call("PATCH", "/custody/settings", {"display_days": 30})
    for patch, days, backup in (
        ({"display_days": 7}, 7, True),
        ({"backup": False}, 7, False),
        ({"display_days": None}, None, False),
        ({"backup": True}, None, True),
    ):
        found = decode_json((await team.call("PATCH", path, patch)).content, PlanCustody)
        assert (found.display_days, found.backup, found.team.display_days) == (days, backup, 30)
    assert (await Reader(service, new_id()).call("GET", path)).json()["updated_at"] is None


@pytest.mark.parametrize(
    ("path", "patch", "field"),
    [
        ("/custody/settings", {"display_days": 0}, "body.display_days"),
        ("/custody/settings", {"display_days": 1827}, "body.display_days"),
        ("/custody/settings", {"backup_days": -1}, "body.backup_days"),
        ("/custody/settings", {"display_days": None}, "body.display_days"),
        ("/custody/settings", {"backups": "no"}, "body.backups"),
        (f"/plans/{PLAN}/custody", {"display_days": 1827}, "body.display_days"),
        (f"/plans/{PLAN}/custody", {"backup": None}, "body.backup"),
    ],
)
async def test_bad_settings_are_refused_by_field(
    service: ResultsService, path: str, patch: dict[str, Any], field: str
) -> None:
    team = Reader(service, new_id())
    answer = await team.call("PATCH", path, patch)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert [entry.action for entry in await team.record()] == [AccessAction.READ_RECORD]

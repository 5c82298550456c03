"""Holds a restored database against the live one, run by run: the ledger, every finding, and what is known of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.records import ChunkRecord, Past, Record, RunRecord
from coreo_results.backups.source import RunSource
from coreo_results.chunks.columns import decompress
from coreo_results.keys.service import Keys
from coreo_shared.db import Database

# What belongs to a database, and not to the run. `backup`: whether there may be one; an exclusion that was asked for,
# and is not in the log yet, says no in the live database, where the backups still have the run.
_OWN = {"lease_until", "backup", "backup_settled_at", "cleared_at"}
_IS_SHOWN = text("SELECT purged_at IS NULL FROM runs WHERE team_id = :team AND run_id = :run")
# What lists, filters and the search for a resource go by.
_INDEX = text("""
    SELECT g.severity_order, g.rule_id, g.unit, g.chunk_index, g.first, g.findings, g.status, g.region
    FROM finding_groups g WHERE g.team_id = :team AND g.run_id = :run
    ORDER BY g.unit, g.chunk_index, g.first
""")
_TOTALS = text("""
    SELECT severity_order, rule_id, status, region, findings FROM run_totals WHERE team_id = :team AND run_id = :run
    ORDER BY severity_order, rule_id, status, region
""")
_HASHES = text("""
    SELECT c.unit, c.chunk_index, cardinality(c.resource_hashes) = 2 * c.findings AS hashes, c.tags
    FROM chunks c JOIN units u USING (team_id, run_id, unit) WHERE c.team_id = :team AND c.run_id = :run
    ORDER BY c.unit, c.chunk_index
""")
_COMPARED = {
    "its groups of findings": _INDEX,
    "its totals": _TOTALS,
    "tags or resource hashes": _HASHES,
}
_DUE = text("""
    SELECT count(*) FROM runs WHERE team_id = :team AND ended_at IS NOT NULL AND backup_settled_at IS NULL
        AND purged_at IS NULL AND pool <> 'onboard'
""")
_RUNS = text("SELECT run_id FROM runs WHERE team_id = :team AND purged_at IS NULL ORDER BY run_id")


@dataclass(frozen=True)
class Side:
    """One of the two databases."""

    database: Database
    keys: Keys


@dataclass
class Difference:
    """What is not the same about a run."""

    run_id: UUID
    what: str


@dataclass
class Compared:
    """What a comparison of a team came to."""

    runs: int = 0
    findings: int = 0
    not_shown: int = 0  # in the live database, so that there is nothing to compare with
    due: int = 0  # in the live database, and not in the backups yet
    differences: list[Difference] = field(default_factory=list)


async def compare_team(team_id: UUID, live: Side, restored: Side) -> Compared:
    """Every run of the team that the restored database shows."""
    compared = Compared()
    async with restored.database.transaction(team_id) as connection:
        run_ids = list((await connection.execute(_RUNS, {"team": team_id})).scalars())
    for run_id in run_ids:
        async with live.database.transaction(team_id) as connection:
            is_shown = (await connection.execute(_IS_SHOWN, {"team": team_id, "run": run_id})).scalar_one_or_none()
        if is_shown is None:
            compared.differences.append(Difference(run_id, "the live database does not have it"))
        elif not is_shown:
            compared.not_shown += 1
        else:
            await _compare(team_id, run_id, live, restored, compared)
    async with live.database.transaction(team_id) as connection:
        compared.due = (await connection.execute(_DUE, {"team": team_id})).scalar_one()
    return compared


async def _compare(team_id: UUID, run_id: UUID, live: Side, restored: Side, compared: Compared) -> None:
    async with (
        live.database.transaction(team_id, snapshot=True) as one,
        restored.database.transaction(team_id, snapshot=True) as other,
    ):
        for what, statement in _COMPARED.items():
            rows = [await _rows(connection, statement, team_id, run_id) for connection in (one, other)]
            if rows[0] != rows[1]:
                compared.differences.append(Difference(run_id, f"{what} are others"))
        ours = _records(RunSource(one, team_id, run_id), live.keys)
        theirs = _records(RunSource(other, team_id, run_id), restored.keys)
        async for left, right in _pairs(ours, theirs):
            if isinstance(left, ChunkRecord):
                compared.findings += left.findings
            if left is None or right is None:
                compared.differences.append(Difference(run_id, "one of them has more than the other"))
                break
            if _plain(left) != _plain(right):
                compared.differences.append(Difference(run_id, f"{_name(left)} is another"))
    compared.runs += 1


async def _rows(connection: AsyncConnection, statement: Any, team_id: UUID, run_id: UUID) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.execute(statement, {"team": team_id, "run": run_id})]


async def _records(source: RunSource, keys: Keys) -> AsyncIterator[Record]:
    head, key = await source.head(), None
    if head.key is not None:
        key = await keys.open_run_key(source.team_id, source.run_id, head.key)
    async for record in source.records(head, key):
        yield record


async def _pairs(
    ours: AsyncIterator[Record], theirs: AsyncIterator[Record]
) -> AsyncIterator[tuple[Record | None, Record | None]]:
    while True:
        left, right = await asyncio.gather(anext(ours, None), anext(theirs, None))
        if left is None and right is None:
            return
        yield left, right


def _plain(record: Record) -> Any:
    """The record without what may differ, and unpacked where compressed bytes could be others."""
    if isinstance(record, RunRecord):
        row = {name: value for name, value in msgspec.json.decode(record.row).items() if name not in _OWN}
        return row, record.units
    if isinstance(record, ChunkRecord):
        past = None if record.past is None else msgspec.msgpack.decode(decompress(record.past), type=Past)
        return msgspec.structs.replace(record, past=None), past
    return record


def _name(record: Record) -> str:
    if isinstance(record, ChunkRecord):
        return f"chunk {record.index} of unit {record.unit}"
    return {"RunRecord": "its entry in the ledger", "ResolvedRecord": "what it resolved"}.get(
        type(record).__name__, type(record).__name__
    )

"""Entries of the access record as they are added, and pages of them.

An entry is the last thing that its transaction locks (runs and settings come first), so who waits for the team's chain
holds nothing that the holder could want.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.auth import Actor
from coreo_shared.contracts.custody import AccessEntry
from coreo_shared.contracts.terms import AccessAction, ObjectKind
from coreo_shared.crypto.access_chain import FIRST_PREVIOUS, entry_hash

Detail = dict[str, str | int | bool | None]

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
# After the lock, so that it sees what who had it before has written. The clock, as the transaction may be older.
_HEAD = text("""
    SELECT clock_timestamp() AS at, h.seq, h.hash
    FROM (VALUES (1)) AS one
    LEFT JOIN LATERAL (SELECT seq, hash FROM access_log WHERE team_id = :team ORDER BY seq DESC LIMIT 1) AS h ON true
""")
_ADD = text("""
    INSERT INTO access_log
        (team_id, seq, at, actor_id, actor, action, object_kind, object_id, detail, previous, hash)
    VALUES (:team, :seq, :at, :actor_id, :actor, :action, :kind, :object, CAST(:detail AS jsonb), :previous, :hash)
""")
_RECENT = text("""
    SELECT EXISTS (
        SELECT FROM access_log WHERE team_id = :team AND object_id = :object AND object_kind = :kind
            AND action = :action AND actor = :actor AND actor_id IS NOT DISTINCT FROM CAST(:actor_id AS uuid)
            AND at > clock_timestamp() - make_interval(secs => CAST(:seconds AS float8))
    )
""")
_PAGE = text("""
    SELECT team_id, seq, at, actor_id, actor, action, object_kind, object_id, detail::text AS detail, previous, hash
    FROM access_log WHERE team_id = :team AND seq < :before
        AND (CAST(:action AS text) IS NULL OR action = CAST(:action AS text))
        AND (CAST(:object AS uuid) IS NULL OR object_id = CAST(:object AS uuid))
        AND (CAST(:actor_id AS uuid) IS NULL OR actor_id = CAST(:actor_id AS uuid))
    ORDER BY seq DESC LIMIT :limit
""")


@dataclass(frozen=True)
class NewEntry:
    """An entry to be. `detail` says nothing of a finding."""

    actor: Actor
    action: AccessAction
    object_kind: ObjectKind
    object_id: UUID
    detail: Detail = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Which entries to list; None means any."""

    action: AccessAction | None = None
    object_id: UUID | None = None
    actor_id: UUID | None = None


async def note(connection: AsyncConnection, team_id: UUID, new: NewEntry) -> None:
    """Adds an entry to the team's record, in the transaction of what it tells of."""
    await _lock(connection, team_id)
    await _append(connection, team_id, new)


async def note_unless_recent(connection: AsyncConnection, team_id: UUID, new: NewEntry, seconds: float) -> None:
    """As `note`, unless the same was noted of the same actor within so many seconds."""
    await _lock(connection, team_id)
    same = {
        "team": team_id,
        "object": new.object_id,
        "kind": new.object_kind,
        "action": new.action,
        "actor": new.actor.name,
        "actor_id": new.actor.id,
        "seconds": seconds,
    }
    if not (await connection.execute(_RECENT, same)).scalar_one():
        await _append(connection, team_id, new)


async def page(
    connection: AsyncConnection, team_id: UUID, wanted: Wanted, before: int, limit: int
) -> list[AccessEntry]:
    """Entries older than the number `before`, newest first."""
    values = {"team": team_id, "before": before, "limit": limit}
    values |= {"action": wanted.action, "object": wanted.object_id, "actor_id": wanted.actor_id}
    return [_entry(row) for row in await connection.execute(_PAGE, values)]


async def _lock(connection: AsyncConnection, team_id: UUID) -> None:
    await connection.execute(_LOCK, {"key": f"access {team_id}"})


async def _append(connection: AsyncConnection, team_id: UUID, new: NewEntry) -> None:
    head = (await connection.execute(_HEAD, {"team": team_id})).one()
    entry = AccessEntry(
        team_id=team_id,
        seq=(head.seq or 0) + 1,
        at=_written(head.at),
        actor_id=new.actor.id,
        actor=new.actor.name,
        action=new.action,
        object_kind=new.object_kind,
        object_id=new.object_id,
        detail=new.detail,
        previous=FIRST_PREVIOUS if head.hash is None else bytes(head.hash).hex(),
        hash="",
    )
    values = {
        "team": team_id,
        "seq": entry.seq,
        "at": head.at,
        "actor_id": entry.actor_id,
        "actor": entry.actor,
        "action": entry.action,
        "kind": entry.object_kind,
        "object": entry.object_id,
        "detail": msgspec.json.encode(entry.detail).decode(),
        "previous": bytes.fromhex(entry.previous),
        "hash": bytes.fromhex(entry_hash(msgspec.to_builtins(entry))),
    }
    await connection.execute(_ADD, values)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _entry(row: Row[Any]) -> AccessEntry:
    return AccessEntry(
        team_id=row.team_id,
        seq=row.seq,
        at=_written(row.at),
        actor_id=row.actor_id,
        actor=row.actor,
        action=AccessAction(row.action),
        object_kind=ObjectKind(row.object_kind),
        object_id=row.object_id,
        detail=msgspec.json.decode(row.detail),
        previous=bytes(row.previous).hex(),
        hash=bytes(row.hash).hex(),
    )

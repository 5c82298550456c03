"""Queries on documents of runs."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.documents.sealing import EVENTS, DocumentPlace, SealedDocument
from coreo_results.keys.material import Sealed

_PUT = text("""
    INSERT INTO run_documents (team_id, run_id, name, part, first, items, sealed)
    VALUES (:team, :run, :name, :part, :first, :items, :sealed)
    ON CONFLICT (team_id, run_id, name, part) DO UPDATE SET
        first = excluded.first, items = excluded.items, sealed = excluded.sealed, stored_at = now()
""")
_RESTORE = text("""
    INSERT INTO run_documents (team_id, run_id, name, part, first, items, sealed, stored_at)
    VALUES (:team, :run, :name, :part, :first, :items, :sealed, CAST(CAST(:stored_at AS text) AS timestamptz))
""")
_GET = text(
    "SELECT sealed FROM run_documents"
    " WHERE team_id = :team AND run_id = :run AND name = :name AND part = 0 AND first = 0"
)
_PARTS = text("""
    SELECT part, first, items, sealed FROM run_documents
    WHERE team_id = :team AND run_id = :run AND name = :name AND first + items > :after AND first < :before
    ORDER BY part
""")
_BATCH = text("""
    SELECT name, part, first, items, sealed FROM run_documents
    WHERE team_id = :team AND run_id = :run AND (name, part) > (:name, CAST(:part AS int))
    ORDER BY name, part LIMIT :limit
""")
_TOTAL = text("""
    SELECT coalesce(sum(items), 0)::int FROM run_documents WHERE team_id = :team AND run_id = :run AND name = :name
""")


class DocumentRepository:
    """Documents of the connection's team."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def put(self, document: SealedDocument) -> None:
        """Stores the document in its place, whatever was there. The run must be locked."""
        await self._connection.execute(_PUT, _values(document))

    async def restore(self, document: SealedDocument, stored_at: str) -> None:
        """Stores the document where there is none, with the time (RFC 3339) when it was stored first."""
        await self._connection.execute(_RESTORE, {**_values(document), "stored_at": stored_at})

    async def get(self, place: DocumentPlace) -> bytes | None:
        """The encrypted document that has one part."""
        values = {"team": place.team_id, "run": place.run_id, "name": place.name}
        sealed: bytes | None = (await self._connection.execute(_GET, values)).scalar_one_or_none()
        return sealed

    async def event_parts(
        self, team_id: UUID, run_id: UUID, *, after: int, before: int
    ) -> Sequence[tuple[DocumentPlace, int, bytes]]:
        """The parts that hold events number `after` to `before`, with how many are in each, encrypted."""
        values = {"team": team_id, "run": run_id, "name": EVENTS, "after": after, "before": before}
        rows = await self._connection.execute(_PARTS, values)
        return [
            (DocumentPlace(team_id, run_id, EVENTS, row.part, row.first), row.items, bytes(row.sealed)) for row in rows
        ]

    async def batch(self, team_id: UUID, run_id: UUID, after: tuple[str, int], limit: int) -> list[SealedDocument]:
        """The run's next documents after (name, part), in order."""
        name, part = after
        values = {"team": team_id, "run": run_id, "name": name, "part": part, "limit": limit}
        rows = await self._connection.execute(_BATCH, values)
        return [
            SealedDocument(
                DocumentPlace(team_id, run_id, row.name, row.part, row.first), row.items, Sealed(bytes(row.sealed))
            )
            for row in rows
        ]

    async def event_total(self, team_id: UUID, run_id: UUID) -> int:
        """How many events there are."""
        values = {"team": team_id, "run": run_id, "name": EVENTS}
        return int((await self._connection.execute(_TOTAL, values)).scalar_one())


def _values(document: SealedDocument) -> dict[str, Any]:
    place = document.place
    values = {"team": place.team_id, "run": place.run_id, "name": place.name, "part": place.part}
    return {**values, "first": place.first, "items": document.items, "sealed": document.sealed}

"""Queries on documents of runs."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.documents.sealing import EVENTS, DocumentPlace, SealedDocument

_PUT = text("""
    INSERT INTO run_documents (team_id, run_id, name, part, first, items, sealed)
    VALUES (:team, :run, :name, :part, :first, :items, :sealed)
    ON CONFLICT (team_id, run_id, name, part) DO UPDATE SET
        first = excluded.first, items = excluded.items, sealed = excluded.sealed, stored_at = now()
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
_TOTAL = text("""
    SELECT coalesce(sum(items), 0)::int FROM run_documents WHERE team_id = :team AND run_id = :run AND name = :name
""")


class DocumentRepository:
    """Documents of the connection's team."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def put(self, document: SealedDocument) -> None:
        """Stores the document in its place, whatever was there. The run must be locked."""
        place = document.place
        values = {"team": place.team_id, "run": place.run_id, "name": place.name, "part": place.part}
        values |= {"first": place.first, "items": document.items, "sealed": document.sealed}
        await self._connection.execute(_PUT, values)

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

    async def event_total(self, team_id: UUID, run_id: UUID) -> int:
        """How many events there are."""
        values = {"team": team_id, "run": run_id, "name": EVENTS}
        return int((await self._connection.execute(_TOTAL, values)).scalar_one())

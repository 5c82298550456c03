"""The access record on the request path: a read is noted before its answer is given, and may itself be read."""

from uuid import UUID

from coreo_results.access.record import NewEntry, Wanted, note_unless_recent, page
from coreo_results.auth import Actor
from coreo_results.keys.cache import ExpiringCache
from coreo_shared.contracts.custody import AccessPage
from coreo_shared.contracts.terms import AccessAction, ObjectKind
from coreo_shared.db import Database

ONE_ENTRY_SECONDS = 600.0  # reads of the same by the same actor are one entry within that time
_ASK_AGAIN_SECONDS = 60.0  # the database, which knows what the other replicas have noted
_MAX_REMEMBERED = 16_384


class AccessRecord:
    """Notes reads, and lists the record."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: ExpiringCache[tuple[object, ...], bool] = ExpiringCache(
            seconds=_ASK_AGAIN_SECONDS, max_entries=_MAX_REMEMBERED
        )

    async def read_findings(self, team_id: UUID, actor: Actor, run_id: UUID, *, export: bool) -> None:
        """As `read`; `export`: the reader says that they will be taken away."""
        await self.read(team_id, actor, AccessAction.EXPORT if export else AccessAction.READ_FINDINGS, run_id)

    async def read(self, team_id: UUID, actor: Actor, action: AccessAction, run_id: UUID) -> None:
        """Sees to it that the record says of this read. Without that no answer is given: what it raises, stays."""
        await self._noted_once(team_id, actor, action, (ObjectKind.RUN, run_id))

    async def page(self, team_id: UUID, actor: Actor, wanted: Wanted, *, before: int, limit: int) -> AccessPage:
        """Entries older than `before`, newest first; that somebody looks is noted too, first."""
        await self._noted_once(team_id, actor, AccessAction.READ_RECORD, (ObjectKind.TEAM, team_id))
        async with self._database.transaction(team_id) as connection:
            entries = await page(connection, team_id, wanted, before, limit + 1)
        shown = entries[:limit]
        return AccessPage(items=shown, next_before=shown[-1].seq if len(entries) > limit else None)

    async def _noted_once(
        self, team_id: UUID, actor: Actor, action: AccessAction, what: tuple[ObjectKind, UUID]
    ) -> None:
        async def write() -> bool:
            entry = NewEntry(actor, action, *what)
            async with self._database.transaction(team_id) as connection:
                await note_unless_recent(connection, team_id, entry, ONE_ENTRY_SECONDS)
            return True

        await self._noted.get((team_id, actor, action, *what), write)

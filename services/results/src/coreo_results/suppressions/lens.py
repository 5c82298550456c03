"""What a team's decisions make of a run's findings, as SQL can apply it: made anew for each question."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.chunks.repository import ChunkRepository
from coreo_results.chunks.sealing import ChunkPlace, unseal_chunk
from coreo_results.keys.errors import NoRunKeyError
from coreo_results.keys.service import Keys, RunKey
from coreo_results.ledger.repository import RunRepository
from coreo_results.overrides.repository import OverrideRepository
from coreo_results.suppressions.matching import Rule, Selection, covers
from coreo_results.suppressions.repository import RunInView, StoredSuppression, SuppressionRepository
from coreo_results.suppressions.service import Suppressions
from coreo_shared.db import Database

_CHUNKS_AT_ONCE = 8
_Hits = dict[tuple[str, int], dict[UUID, list[int]]]  # by (unit, chunk): positions that a suppression fits


@dataclass(frozen=True)
class Lens:
    """`whole`: (rule id, region) all of whose failed findings a suppression fits. `selective`: (id, version) of those
    whose fits are kept by finding. `severities`: rule id to the severity order that the team gave it.
    """

    whole: dict[tuple[str, str], UUID] = field(default_factory=dict)
    selective: list[tuple[UUID, int]] = field(default_factory=list)
    severities: dict[str, int] = field(default_factory=dict)
    reasons: dict[UUID, str] = field(default_factory=dict)


class Lenses:
    """Makes them. The first time that a run is read with a selective suppression its chunks are looked through."""

    def __init__(self, database: Database, keys: Keys, suppressions: Suppressions) -> None:
        self._database = database
        self._keys = keys
        self._suppressions = suppressions

    async def of(self, team_id: UUID, run_id: UUID) -> Lens:
        """The lens for a run; an empty one for a run that the ledger does not know.

        Raises KeyUnavailableError, DamagedError.
        """
        async with self._database.transaction(team_id) as connection:
            repository = SuppressionRepository(connection, team_id)
            run = await repository.run(run_id)
            if run is None:
                return Lens()
            severities, stored = await _decided(connection, team_id, run_id, run)
            if not stored:
                return Lens(severities=severities)
            groups = await repository.failed_groups(run_id)
            marked = await repository.marked(run_id)
        texts = await self._suppressions.open(team_id, stored)
        rules = [
            Rule(
                id=row.id,
                version=row.version,
                reason=text.reason,
                rule_id=text.rule_id,
                resource=text.resource,
                tag=text.tag,
                region=text.region,
            )
            for row, text in zip(stored, texts, strict=True)
        ]
        covering = covers(rules, groups)
        selective = {each.id: each for fitting in covering.values() for each in fitting if each.is_selective}
        unknown = [each for each in selective.values() if (each.id, each.version) not in marked]
        if unknown:
            failing = {
                rule_id for (rule_id, _), fitting in covering.items() if any(each in unknown for each in fitting)
            }
            await self._look(team_id, run_id, run, unknown, sorted(failing))
        return Lens(
            whole={place: first for place, fitting in covering.items() for first in _first_whole(fitting)},
            selective=[(each.id, each.version) for each in selective.values()],
            severities=severities,
            reasons={each.id: each.reason for each in rules},
        )

    async def plain(self, connection: AsyncConnection, team_id: UUID, run_id: UUID) -> Lens | None:
        """As `of`, as the transaction sees it; None where suppressions have to be looked at, which it is not for."""
        run = await SuppressionRepository(connection, team_id).run(run_id)
        if run is None:
            return Lens()
        severities, stored = await _decided(connection, team_id, run_id, run)
        return None if stored else Lens(severities=severities)

    async def _look(self, team_id: UUID, run_id: UUID, run: RunInView, rules: list[Rule], failing: list[str]) -> None:
        """Finds what these fit in the run's chunks, and keeps it; a few chunks at a time, whatever the run's size."""
        async with self._database.transaction(team_id) as connection:
            places = await SuppressionRepository(connection, team_id).chunks_with(run_id, failing)
        selection = Selection(rules)
        versions = {each.id: each.version for each in rules}
        for start in range(0, len(places), _CHUNKS_AT_ONCE):
            batch = set(places[start : start + _CHUNKS_AT_ONCE])
            try:
                found = await self._fits(team_id, run_id, selection, batch)
            except NoRunKeyError:
                return
            async with self._database.transaction(team_id) as connection:
                if not await RunRepository(connection).keep(team_id, run_id):
                    return  # it went meanwhile: whoever asked will hear so
                repository = SuppressionRepository(connection, team_id)
                for place, hits in sorted(found.items()):  # as all who look do: nobody waits in a circle
                    known = {(each, versions[each]): at for each, at in sorted(hits.items())}
                    await repository.add_hits(run_id, place, known)
        if run.has_ended:  # and had before we began, so that nothing was added behind us
            async with self._database.transaction(team_id) as connection:
                if await RunRepository(connection).keep(team_id, run_id):
                    await SuppressionRepository(connection, team_id).mark(run_id, sorted(versions.items()))

    async def _fits(self, team_id: UUID, run_id: UUID, selection: Selection, places: set[tuple[str, int]]) -> _Hits:
        async def look(key: RunKey) -> _Hits:
            async with self._database.transaction(team_id) as connection:
                sealed = await ChunkRepository(connection).load(team_id, run_id, places)
                await self._keys.confirm(connection, team_id, run_id, key)
            return await asyncio.to_thread(_hits, selection, sealed, key)

        return await self._keys.with_run_key(team_id, run_id, look)


async def _decided(
    connection: AsyncConnection, team_id: UUID, run_id: UUID, run: RunInView
) -> tuple[dict[str, int], list[StoredSuppression]]:
    severities = await OverrideRepository(connection, team_id).for_run(run_id)
    return severities, await SuppressionRepository(connection, team_id).live(run.cloud_account_id)


def _hits(selection: Selection, sealed: dict[ChunkPlace, bytes], key: RunKey) -> _Hits:
    return {
        (place.unit, place.index): selection.in_chunk(unseal_chunk(place, data, key)) for place, data in sealed.items()
    }


def _first_whole(fitting: list[Rule]) -> Iterator[UUID]:
    """The oldest that fits whole groups, if there is one."""
    yield from [each.id for each in fitting if not each.is_selective][:1]

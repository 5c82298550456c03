"""The settings, as the team reads and changes them. A change and its entry in the access record are one transaction."""

from uuid import UUID

import msgspec
from msgspec import UNSET

from coreo_results.access.record import NewEntry, note
from coreo_results.auth import Actor
from coreo_results.custody.repository import CustodyRepository
from coreo_shared.contracts.custody import MAX_DAYS, CustodyPatch, CustodySettings, PlanCustody, PlanCustodyPatch
from coreo_shared.contracts.terms import AccessAction, ObjectKind
from coreo_shared.db import Database
from coreo_shared.web.problems import invalid


class Custody:
    """The team's settings on the request path."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def team(self, team_id: UUID) -> CustodySettings:
        """The team's."""
        async with self._database.transaction(team_id) as connection:
            return await CustodyRepository(connection, team_id).team()

    async def set_team(self, team_id: UUID, patch: CustodyPatch, actor: Actor) -> CustodySettings:
        """The team's after the change. Raises a 422 Problem."""
        said = _said(patch)
        async with self._database.transaction(team_id) as connection:
            repository = CustodyRepository(connection, team_id)
            if not said:
                return await repository.team()
            changed = await repository.set_team(patch)
            entry = NewEntry(actor, AccessAction.SETTINGS, ObjectKind.TEAM, team_id, said)
            await note(connection, team_id, entry)
        return changed

    async def plan(self, team_id: UUID, plan_id: UUID) -> PlanCustody:
        """The plan's, also of one that the ledger has not heard of."""
        async with self._database.transaction(team_id) as connection:
            return await CustodyRepository(connection, team_id).plan(plan_id)

    async def set_plan(self, team_id: UUID, plan_id: UUID, patch: PlanCustodyPatch, actor: Actor) -> PlanCustody:
        """The plan's after the change. Raises a 422 Problem."""
        said = _said(patch)
        async with self._database.transaction(team_id) as connection:
            repository = CustodyRepository(connection, team_id)
            if not said:
                return await repository.plan(plan_id)
            changed = await repository.set_plan(plan_id, patch)
            entry = NewEntry(actor, AccessAction.SETTINGS, ObjectKind.PLAN, plan_id, said)
            await note(connection, team_id, entry)
        return changed


def _said(patch: CustodyPatch | PlanCustodyPatch) -> dict[str, str | int | bool | None]:
    """What the patch says, by field. Raises a 422 Problem for days that nobody may ask for."""
    said = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
    for name, value in said.items():
        if name.endswith("_days") and value is not None and not 1 <= value <= MAX_DAYS:
            raise invalid(f"body.{name}", f"expected 1 to {MAX_DAYS} days")
    return said

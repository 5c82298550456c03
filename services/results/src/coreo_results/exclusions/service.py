"""Exclusions as the api asks for them and reads them. What they take is done by `worker`."""

from uuid import UUID

from coreo_results.access.record import Detail, NewEntry, note
from coreo_results.auth import Actor
from coreo_results.custody.repository import CustodyRepository
from coreo_results.exclusions.errors import NoBackupsError, NoReceiptError, NothingToExcludeError
from coreo_results.exclusions.repository import STEPS, ExclusionRepository, Stored
from coreo_results.ledger.errors import RunAtWorkError, RunsAtWorkError
from coreo_results.retention.repository import RetentionRepository, Scope
from coreo_shared.contracts.custody import PlanCustodyPatch
from coreo_shared.contracts.exclusions import (
    MAX_REASON,
    SCOPES,
    Display,
    Exclusion,
    ExclusionPage,
    ExclusionState,
    NewExclusion,
    SignedReceipt,
    StepDone,
)
from coreo_shared.contracts.terms import AccessAction, ObjectKind
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from coreo_shared.observability.logs import get_logger
from coreo_shared.web.problems import invalid, not_found

_log = get_logger(__name__)


class Exclusions:
    """The exclusions of all teams, on the request path."""

    def __init__(self, database: Database, *, has_backups: bool) -> None:
        self._database = database
        self._has_backups = has_backups

    async def request(self, team_id: UUID, wish: NewExclusion, actor: Actor) -> Exclusion:
        """A new exclusion, or the one that is pending of the very same runs.

        From the answer on none of these runs gets into a backup. Raises a 404 or 422 Problem, NoBackupsError,
        NothingToExcludeError and, where readable copies shall be deleted too, RunAtWorkError or RunsAtWorkError.
        """
        if wish.scope not in SCOPES:
            raise invalid("body.scope", f"expected {', '.join(SCOPES)}")
        if wish.reason is not None and not 1 <= len(wish.reason) <= MAX_REASON:
            raise invalid("body.reason", f"expected 1 to {MAX_REASON} characters")
        if not self._has_backups:
            raise NoBackupsError
        scope = Scope(wish.scope, wish.scope_id)
        async with self._database.transaction(team_id) as connection:
            repository = ExclusionRepository(connection, team_id)
            log_end = await repository.log_end()
            locked = await RetentionRepository(connection, team_id).lock(scope)
            if not locked.runs:
                raise not_found("run") if scope.kind is ObjectKind.RUN else NothingToExcludeError(_plain(scope.kind))
            if wish.display is Display.DELETE and not locked.have_ended:
                raise RunAtWorkError if scope.kind is ObjectKind.RUN else RunsAtWorkError(scope.kind)
            stored = await repository.same(wish, locked.runs)
            if stored is None:
                stored = await repository.add(new_id(), wish, locked.runs, (actor.name, actor.id), log_end)
                if scope.kind is ObjectKind.PLAN:
                    await CustodyRepository(connection, team_id).set_plan(scope.id, PlanCustodyPatch(backup=False))
                elif scope.kind is ObjectKind.CLOUD_ACCOUNT:
                    await repository.want_no_backups_of_account(scope.id)
                said: Detail = {"exclusion": str(stored.id), "runs": len(locked.runs), "display": wish.display}
                await note(connection, team_id, NewEntry(actor, AccessAction.EXCLUDE, scope.kind, scope.id, said))
        _log.info("exclusion_requested", team_id=str(team_id), exclusion_id=str(stored.id), runs=stored.runs)
        return view_of(stored)

    async def find(self, team_id: UUID, exclusion_id: UUID) -> Exclusion:
        """How far it is. Raises a 404 Problem."""
        return view_of(await self._find(team_id, exclusion_id))

    async def page(self, team_id: UUID, before: UUID, limit: int) -> ExclusionPage:
        """Those before this one, newest first."""
        async with self._database.transaction(team_id) as connection:
            found = await ExclusionRepository(connection, team_id).page(before, limit + 1)
        shown = found[:limit]
        return ExclusionPage(
            items=[view_of(each) for each in shown], next_before=shown[-1].id if len(found) > limit else None
        )

    async def receipt(self, team_id: UUID, exclusion_id: UUID) -> SignedReceipt:
        """What was signed. Raises a 404 Problem, NoReceiptError."""
        receipt = (await self._find(team_id, exclusion_id)).receipt
        if receipt is None:
            raise NoReceiptError
        return SignedReceipt(receipt=receipt)

    async def _find(self, team_id: UUID, exclusion_id: UUID) -> Stored:
        async with self._database.transaction(team_id) as connection:
            found = await ExclusionRepository(connection, team_id).find(exclusion_id)
        if found is None:
            raise not_found("exclusion")
        return found


def view_of(stored: Stored) -> Exclusion:
    """As the api shows it."""
    return Exclusion(
        id=stored.id,
        scope=stored.scope,
        scope_id=stored.scope_id,
        display=stored.display,
        reason=stored.reason,
        requested_at=stored.requested_at,
        requested_by=stored.requested_by,
        state=ExclusionState.PENDING if stored.receipt is None else ExclusionState.DONE,
        runs=stored.runs,
        done=[StepDone(step=step, at=stored.passed[step]) for step in STEPS if step in stored.passed],
        remaining=[step for step in STEPS if step not in stored.passed],
        problem=stored.problem,
    )


def _plain(kind: ObjectKind) -> str:
    return kind.value.replace("_", " ")

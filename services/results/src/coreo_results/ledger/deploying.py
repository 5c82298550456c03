"""What workers, the api and people do to deploys alone. One call is one transaction, and `ledger.deploys` decides it.

Who of the people did what is written into the team's log of decisions with the change itself.
"""

from collections.abc import Callable
from uuid import UUID

from coreo_results.decisions.log import NewDecision, note
from coreo_results.documents.repository import DocumentRepository
from coreo_results.documents.service import Documents, seal_checkpoint
from coreo_results.keys.service import Keys
from coreo_results.ledger import deploys
from coreo_results.ledger.errors import NotPossibleError
from coreo_results.ledger.repository import RunRepository
from coreo_results.ledger.run import Run
from coreo_results.ledger.service import store
from coreo_shared.contracts.decisions import DecisionAction, DecisionKind
from coreo_shared.contracts.deploys import (
    ApproveRun,
    BeginApply,
    Checkpoint,
    DeployStatus,
    ParkRun,
    ReconcileRun,
    RefuseCancel,
    RejectRun,
    SettleRun,
)
from coreo_shared.contracts.results import RunAnswer
from coreo_shared.contracts.terms import RunState
from coreo_shared.db import Database
from coreo_shared.web.problems import not_found


class Deploys:
    """The run ledger's part that only deploys have."""

    def __init__(self, database: Database, keys: Keys, documents: Documents) -> None:
        self._database = database
        self._keys = keys
        self._documents = documents

    async def park(self, team_id: UUID, run_id: UUID, word: ParkRun) -> RunAnswer:
        """The run out of its worker's hands, with its checkpoint.

        Raises StaleFenceError, RunOverError, NotPossibleError, KeyUnavailableError.
        """
        return await self._leave(team_id, run_id, word.checkpoint, lambda run: deploys.park(run, word))

    async def begin_apply(self, team_id: UUID, run_id: UUID, word: BeginApply) -> RunAnswer:
        """The run about to change something in AWS, which is durable with this answer. Raises as `park`."""
        return await self._leave(team_id, run_id, word.checkpoint, lambda run: deploys.begin_apply(run, word))

    async def refuse_cancel(self, team_id: UUID, run_id: UUID, word: RefuseCancel) -> RunAnswer:
        """The run going on. Raises StaleFenceError, RunOverError, NotPossibleError."""
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            return await store(runs, run, deploys.refuse_cancel(run, word))

    async def approve(self, team_id: UUID, run_id: UUID, word: ApproveRun) -> RunAnswer:
        """The run with an approval more. Raises a 404 Problem, and as `deploys.approve`; KeyUnavailableError."""
        details = {"hash": word.hash, "token": str(word.approver_id)}
        decision = _decision(run_id, DecisionAction.APPROVED, word.author, details)
        return await self._decide(team_id, run_id, decision, lambda run: deploys.approve(run, word))

    async def reject(self, team_id: UUID, run_id: UUID, word: RejectRun) -> RunAnswer:
        """The run ended. Raises a 404 Problem, NotPossibleError, KeyUnavailableError."""
        details = {"reason": word.reason, "token": str(word.approver_id)}
        decision = _decision(run_id, DecisionAction.REJECTED, word.author, details)
        return await self._decide(team_id, run_id, decision, lambda run: deploys.reject(run, word.reason))

    async def reconcile(self, team_id: UUID, run_id: UUID, word: ReconcileRun) -> RunAnswer:
        """The run of unknown outcome on its way to a worker. Raises as `reject`."""
        decision = _decision(run_id, DecisionAction.RECONCILED, word.author, {})
        return await self._decide(team_id, run_id, decision, deploys.reconcile)

    async def settle(self, team_id: UUID, run_id: UUID, word: SettleRun) -> RunAnswer:
        """The run of unknown outcome ended as a person says. Raises as `reject`."""
        details = {"outcome": word.outcome, "reason": word.reason}
        decision = _decision(run_id, DecisionAction.SETTLED, word.author, details)
        return await self._decide(team_id, run_id, decision, lambda run: deploys.settle(run, word))

    async def status(self, team_id: UUID, run_id: UUID) -> DeployStatus:
        """The run as it stands. Raises 404 and 410 Problems, KeyUnavailableError, DamagedError."""
        checkpoint = await self._documents.checkpoint(team_id, run_id)
        async with self._database.transaction(team_id) as connection:
            view = await RunRepository(connection).deploy_view(team_id, run_id)
        if view is None:
            raise not_found("deploy run")
        return DeployStatus(view=view, checkpoint=checkpoint)

    async def _leave(
        self, team_id: UUID, run_id: UUID, checkpoint: Checkpoint, change: Callable[[Run], Run]
    ) -> RunAnswer:
        """The run changed, and the checkpoint stored, together."""
        key = await self._documents.writing_key(team_id, run_id)
        sealed = seal_checkpoint(team_id, run_id, checkpoint, key)
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            after = change(run)
            if after.state is RunState.APPLYING and run.state is not RunState.APPLYING:
                await _check_target(runs, run)
            if after != run:
                await DocumentRepository(connection).put(sealed)
            return await store(runs, run, after)

    async def _decide(
        self, team_id: UUID, run_id: UUID, decision: NewDecision, change: Callable[[Run], Run]
    ) -> RunAnswer:
        key = await self._keys.newest_team_key(team_id)  # first, as it may ask KMS: no transaction waits for that
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock(team_id, run_id)
            if run is None:
                raise not_found("run")
            after = change(run)
            if after != run:
                await note(connection, team_id, key, decision)
            return await store(runs, run, after)


async def _check_target(runs: RunRepository, run: Run) -> None:
    _, terms = deploys.deploy_of(run)
    other = await runs.other_on_target(run, terms.target_id)
    if other is not None:
        raise NotPossibleError(
            f"Run {other} may be changing the same stack. Try again when it has ended.", "target_busy"
        )


def _decision(run_id: UUID, action: DecisionAction, author: str, details: dict[str, str]) -> NewDecision:
    return NewDecision(kind=DecisionKind.DEPLOY, action=action, subject=str(run_id), author=author, details={**details})

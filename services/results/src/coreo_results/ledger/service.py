"""What workers and the api do to a run. One call is one transaction, and `ledger.states` decides it.

What is done to deploys alone is in `ledger.deploying`.
"""

from uuid import UUID

from coreo_results.chunks.repository import ChunkRepository
from coreo_results.documents.service import Documents
from coreo_results.keys.repository import KeyRepository
from coreo_results.keys.service import Keys
from coreo_results.ledger import states
from coreo_results.ledger.errors import JobSupersededError, PurgeRefusedError, RunOverError
from coreo_results.ledger.repository import RunRepository
from coreo_results.ledger.run import Run, RunIdentity
from coreo_shared.contracts.deploys import DeployClaim
from coreo_shared.contracts.results import (
    CancelRun,
    ClaimAnswer,
    ClaimRequest,
    FinishRun,
    HeartbeatAnswer,
    ReleaseRun,
    RunAnswer,
    RunHeartbeat,
)
from coreo_shared.contracts.terms import RunState
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)


class Ledger:
    """The run ledger on the request path."""

    def __init__(
        self, database: Database, keys: Keys, documents: Documents, *, lease_seconds: float, max_attempts: int
    ) -> None:
        self._database = database
        self._keys = keys
        self._documents = documents
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts

    async def claim(self, identity: RunIdentity, request: ClaimRequest, ticket: int = 0) -> ClaimAnswer:
        """A fresh fence on the run. Raises RunBusyError, RunOverError, JobSupersededError, KeyUnavailableError."""
        team_id, run_id = identity.team_id, identity.run_id
        # First, as it may ask KMS: no transaction waits for that, and a run that could store nothing is not claimed.
        team_key = await self._keys.newest_team_key(team_id)
        units_done: list[str] = []
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_or_create(identity)
            claimed = states.claim(
                run,
                worker_id=request.worker_id,
                lease_seconds=self._lease_seconds,
                max_attempts=self._max_attempts,
                ticket=ticket,
            )
            await runs.save(claimed)
            if claimed.is_held:
                wrapped = self._keys.new_run_key(team_id, run_id, team_key)
                await KeyRepository(connection).add_run_key(team_id, run_id, wrapped)
                if request.rules is not None:
                    await runs.set_rules(team_id, run_id, request.rules)
                units_done = await ChunkRepository(connection).drop_unfinished(team_id, run_id)
        log_change(run, claimed)
        if not claimed.is_held:  # committed first: the claim itself ended the run, or gave it to people
            raise RunOverError if claimed.state.is_final else JobSupersededError
        return ClaimAnswer(
            fence=claimed.fence,
            attempt=claimed.attempt,
            lease_seconds=self._lease_seconds,
            cancel_requested=claimed.cancel_reason is not None,
            units_done=units_done,
            deploy=await self._deploy_claim(claimed),
        )

    async def _deploy_claim(self, run: Run) -> DeployClaim | None:
        state, terms = run.deploy, run.identity.terms
        if state is None or terms is None:
            return None
        return DeployClaim(
            applying=run.state is RunState.APPLYING,
            approvals=terms.approvals,
            approved_hash=state.approved_hash,
            events_parts=state.parts,
            checkpoint=await self._documents.checkpoint(run.identity.team_id, run.identity.run_id),
        )

    async def heartbeat(self, team_id: UUID, run_id: UUID, beat: RunHeartbeat) -> HeartbeatAnswer:
        """The lease renewed. Raises StaleFenceError, RunOverError."""
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            renewed = states.heartbeat(run, beat.fence, lease_seconds=self._lease_seconds, units_total=beat.units_total)
            if (renewed.state, renewed.units_total) == (run.state, run.units_total):
                await runs.renew_lease(renewed)
            else:
                await runs.save(renewed)
        return HeartbeatAnswer(lease_seconds=self._lease_seconds, cancel_requested=run.cancel_reason is not None)

    async def finish(self, team_id: UUID, run_id: UUID, finish: FinishRun) -> RunAnswer:
        """The run ended. Raises StaleFenceError, RunOverError."""
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            return await store(runs, run, states.finish(run, finish))

    async def release(self, team_id: UUID, run_id: UUID, release: ReleaseRun) -> RunAnswer:
        """The run given back. Raises StaleFenceError, RunOverError."""
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            return await store(runs, run, states.release(run, release.fence, release.reason))

    async def cancel(self, identity: RunIdentity, cancel: CancelRun) -> RunAnswer:
        """The run ended or, when a worker has it, marked to be."""
        change = states.expire if cancel.state == "EXPIRED" else states.cancel
        async with self._database.transaction(identity.team_id) as connection:
            runs = RunRepository(connection)
            run = await runs.lock_or_create(identity)
            return await store(runs, run, change(run, cancel.reason))

    async def purge(self, team_id: UUID, cloud_account_id: UUID) -> int:
        """Destroys keys and findings of all the cloud account's runs; their entries in the ledger stay.

        How many runs there were; doing it again does no harm. Raises PurgeRefusedError while one is at work.
        """
        async with self._database.transaction(team_id) as connection:
            runs = RunRepository(connection)
            if await runs.lock_account(team_id, cloud_account_id):
                raise PurgeRefusedError
            purged = await runs.purge_account(team_id, cloud_account_id)
        _log.info("results_purged", team_id=str(team_id), cloud_account_id=str(cloud_account_id), runs=purged)
        return purged


async def store(runs: RunRepository, before: Run, after: Run) -> RunAnswer:
    """Stores a locked run's change, if there is one."""
    if after != before:
        await runs.save(after)
        log_change(before, after)
    return RunAnswer(run_id=after.identity.run_id, state=after.state, reason=after.reason)


def log_change(before: Run, after: Run) -> None:
    """Says in the log what became of the run. What a person must see to is an error of its own."""
    run = {"team_id": str(after.identity.team_id), "run_id": str(after.identity.run_id)}
    _log.info(
        "run_changed",
        **run,
        was=before.state,
        state=after.state,
        attempt=after.attempt,
        fence=after.fence,
        worker_id=after.worker_id,
    )
    if after.state is RunState.OUTCOME_UNKNOWN and before.state is not after.state:
        _log.error("outcome_unknown", **run, reason=after.reason)

"""A run as the ledger has it. Immutable: `ledger.states` makes the next one, the repository stores it."""

from dataclasses import dataclass, field
from uuid import UUID

from coreo_shared.contracts.onboarding import Report
from coreo_shared.contracts.results import CancelRun, Counts
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.contracts.tokens import RunCapability


@dataclass(frozen=True)
class RunIdentity:
    """What a run is; never changes."""

    team_id: UUID
    run_id: UUID
    plan_id: UUID | None  # none of the onboard pool's runs has a plan
    plan_revision: int | None
    cloud_account_id: UUID
    account_id: str
    pool: Pool
    backup: bool = True  # False: whoever started it wants no backup of it

    @classmethod
    def from_capability(cls, capability: RunCapability) -> "RunIdentity":
        """The run that a worker's capability names."""
        return cls(
            team_id=capability.team_id,
            run_id=capability.run_id,
            plan_id=capability.plan_id,
            plan_revision=capability.plan_revision,
            cloud_account_id=capability.cloud_account_id,
            account_id=capability.account_id,
            pool=capability.pool,
            backup=capability.backup,
        )

    @classmethod
    def from_cancel(cls, team_id: UUID, run_id: UUID, cancel: CancelRun) -> "RunIdentity":
        """The run that the api wants ended."""
        return cls(
            team_id=team_id,
            run_id=run_id,
            plan_id=cancel.plan_id,
            plan_revision=cancel.plan_revision,
            cloud_account_id=cancel.cloud_account_id,
            account_id=cancel.account_id,
            pool=cancel.pool,
        )


@dataclass(frozen=True)
class Run:
    """A run's state. Times are seconds from the database's now(), the ledger's only clock."""

    identity: RunIdentity
    state: RunState = RunState.QUEUED
    reason: str | None = None
    version: int = 0  # of the stored row; grows by one with each stored change
    fence: int = 0  # of the newest claim; grows with each
    attempt: int = 0  # claims so far
    worker_id: str | None = None  # of the newest claim
    lease_left: float | None = None  # negative when it has run out; None when there is none
    cancel_reason: str | None = None  # set when someone asked that the run end
    units_done: int = 0
    units_total: int | None = None
    counts: Counts = field(default_factory=Counts)
    report: Report | None = None  # of the worker that finished it; only the feed keeps it

    @property
    def is_held(self) -> bool:
        """Whether a worker has it, with or without a live lease."""
        return self.state in {RunState.CLAIMED, RunState.RUNNING}

    @property
    def lease_is_live(self) -> bool:
        """Whether its worker may still count on having it alone."""
        return self.is_held and self.lease_left is not None and self.lease_left > 0

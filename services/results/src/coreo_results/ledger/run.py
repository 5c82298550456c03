"""A run as the ledger has it. Immutable: `ledger.states` makes the next one, the repository stores it."""

from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from coreo_shared.contracts.deploys import DeployTerms
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
    terms: DeployTerms | None = None  # of a run of the deploy pool, known from its first claim on

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
            terms=capability.deploy,
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


class DeployState(msgspec.Struct, frozen=True, kw_only=True):
    """What is special of a deploy run's state, as the database keeps it in one column.

    `ticket`: of the newest job that may claim it. `parks`, `nudges`: how often it was parked in all, and by the sweeper
    since the last claim. `preview_hash`: of the stored preview; `approved_hash`: of what enough people approved.
    `documents`: how often each was stored; "events": how many stack events are, in `parts` parts.
    """

    ticket: int = 0
    parks: int = 0
    nudges: int = 0
    preview_hash: str | None = None
    approved_hash: str | None = None
    approved_by: tuple[UUID, ...] = ()
    cancel_refused: str | None = None
    no_change: bool = False
    documents: dict[str, int] = msgspec.field(default_factory=dict)
    parts: int = 0


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
    deploy: DeployState | None = None  # of a run of the deploy pool
    resume_left: float | None = None  # of a parked run: until its next job is to be sent, negative when overdue
    approval_left: float | None = None  # of a run that waits for people: until it expires

    @property
    def is_held(self) -> bool:
        """Whether a worker has it, with or without a live lease."""
        return self.state in {RunState.CLAIMED, RunState.RUNNING, RunState.APPLYING} and not self.is_parked

    @property
    def is_parked(self) -> bool:
        """Whether it waits for its next job, and no worker has it."""
        return self.resume_left is not None

    @property
    def lease_is_live(self) -> bool:
        """Whether its worker may still count on having it alone."""
        return self.is_held and self.lease_left is not None and self.lease_left > 0

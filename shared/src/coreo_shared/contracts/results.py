"""What workers and the api say to the results service, and what it answers.

A *unit* is one resource type in one region, written `aws.s3.bucket@global` or `aws.ec2.instance@eu-west-1`.
A unit's findings come in chunks numbered from 0; the last one says `final`, and makes the unit done.
"""

from typing import Literal
from uuid import UUID

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.deploys import DeployClaim, DeployView
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.onboarding import Report
from coreo_shared.contracts.terms import FindingStatus, Pool, RunState, Severity

MAX_CHUNK_FINDINGS = 1_000
MAX_CHUNK_BYTES = 8 * 1024 * 1024


class ClaimRequest(Message, frozen=True, kw_only=True):
    """A worker asks for a run it was sent.

    `rules`: those that it will run. They tell a resource that is gone from one that nobody asked about.
    """

    worker_id: str
    rules: list[str] | None = None


class ClaimAnswer(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The run is yours until the lease ends. Every later word on it must carry `fence`.

    Defaults are left out, so that workers of other pools need not know what is for deploys.
    """

    fence: int
    attempt: int  # 1 for the first claim, and for the first after a run was parked
    lease_seconds: float
    cancel_requested: bool
    units_done: list[str]  # stored whole by an earlier attempt: skip them
    deploy: DeployClaim | None = None  # of the deploy pool's runs


class PutChunk(Message, frozen=True, kw_only=True):
    """Findings of one unit; stored once however often it comes."""

    fence: int
    unit: str
    index: int
    final: bool
    findings: list[Finding]


class RunHeartbeat(Message, frozen=True, kw_only=True):
    """The worker still works on the run. `units_total` once it is known."""

    fence: int
    units_total: int | None = None


class HeartbeatAnswer(Message, frozen=True, kw_only=True):
    """The lease is good for `lease_seconds` more."""

    lease_seconds: float
    cancel_requested: bool


class FinishRun(Message, frozen=True, kw_only=True):
    """The run is over. The ledger itself tells SUCCEEDED from PARTIAL by what was stored.

    "rolled_back" and "unknown" are for deploys that are APPLYING: the stack is as it was; nobody can say how it is. The
    latter is no end: a person must look.
    """

    fence: int
    outcome: Literal["completed", "failed", "canceled", "rolled_back", "unknown"]
    reason: str | None = None  # a sentence a person can act on; only "completed" and "canceled" need none
    no_change: bool = False  # of a deploy that completed: there was nothing to do
    units_total: int | None = None
    report: Report | None = None  # of a run of the onboard pool; such a run has no units


class ReleaseRun(Message, frozen=True, kw_only=True):
    """The worker gives the run back for another attempt."""

    fence: int
    reason: str


class RunAnswer(Message, frozen=True, kw_only=True):
    """A run as the ledger has it after a finish or release."""

    run_id: UUID
    state: RunState
    reason: str | None = None


class CancelRun(Message, frozen=True, kw_only=True):
    """The api's wish that a run end; the ledger makes a row for a run that no worker has claimed yet."""

    plan_id: UUID | None
    plan_revision: int | None
    cloud_account_id: UUID
    account_id: str
    pool: Pool
    state: Literal["CANCELED", "EXPIRED"]
    reason: str


class Counts(Message, frozen=True, kw_only=True):
    """How many findings of each status and, for FAIL, of each severity."""

    by_status: dict[FindingStatus, int] = {}
    failed_by_severity: dict[Severity, int] = {}


class RunEvent(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the durable feed: the run as it stood after a change. Later ones supersede earlier ones."""

    cursor: str
    run_id: UUID
    team_id: UUID
    version: int  # grows by one with each change of the run
    at: str  # RFC 3339, UTC
    state: RunState
    reason: str | None
    attempt: int
    units_done: int
    units_total: int | None
    counts: Counts
    report: Report | None = None
    deploy: DeployView | None = None  # of the deploy pool's runs


class EventPage(Message, frozen=True, kw_only=True):
    """Events in order. `cursor` is where to go on, also when `events` is empty."""

    events: list[RunEvent]
    cursor: str


class FindingPage(Message, frozen=True, kw_only=True):
    """Findings most severe first; `next_cursor` is None on the last page."""

    findings: list[Finding]
    total: int
    next_cursor: str | None


class RegisterWorker(Message, frozen=True, kw_only=True):
    """A worker process says that it is there, at start and every `interval_seconds` after."""

    worker_id: str
    pool: Pool
    version: str
    host: str
    started_at: str
    current_runs: list[UUID] = []
    rejected_jobs: dict[str, int] = {}  # security event code -> how many since start
    draining: bool = False
    sealing_key: str | None = None  # of an onboard worker: contracts.onboarding.SealingKey as a JWS


class RegisterAnswer(Message, frozen=True, kw_only=True):
    """`drain`: an operator wants this worker to finish what it has and stop."""

    interval_seconds: float
    drain: bool

"""The worker in tests: signed jobs, and its ports in memory.

`Jobs` signs as the api does. `MemoryQueue`, `MemoryResults`, `ScriptedProcess` and `FakeRoles` stand behind the
worker's ports; the contract suites run the first two beside the real ones.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from coreo_shared.contracts.deploys import (
    BeginApply,
    Checkpoint,
    DeployClaim,
    Document,
    ParkRun,
    Preview,
    PutDocument,
    PutEvents,
    RefuseCancel,
)
from coreo_shared.contracts.jobs import JOB_TYPE, AuditSpec, Job, TargetAccount, Work, job_audience, pool_of
from coreo_shared.contracts.onboarding import Report
from coreo_shared.contracts.results import (
    ClaimAnswer,
    FinishRun,
    HeartbeatAnswer,
    PutChunk,
    RegisterAnswer,
    RegisterWorker,
    ReleaseRun,
    RunAnswer,
    RunHeartbeat,
)
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import Signer
from coreo_shared.ids import new_id
from coreo_shared.rules.policy import SessionPolicy
from coreo_shared.templates import preview_hash
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.aws.queue import QueueUnavailableError, ReceivedMessage
from coreo_worker.runner.protocol import RunFrame, WorkerFrame
from coreo_worker.runner.results import (
    ResultsRefusedError,
    ResultsUnavailableError,
    RunBusyError,
    RunOverError,
    RunSupersededError,
    StaleFenceError,
)
from tests.support.results import CLOUD_ACCOUNT, PLAN, Tokens

ACCOUNT = "123456789012"
EXTERNAL_ID = "external-id-canary"
RULE = "s3-bucket-versioning"


@dataclass
class Jobs:
    """Signs jobs as the api does, with its key in `tokens`."""

    tokens: Tokens = field(default_factory=Tokens)

    def make(self, run_id: UUID | None = None, **changes: Any) -> Job:
        """A job for the audit pool, with the capability of its run; `changes` are fields of Job."""
        run_id, team_id, now = run_id or new_id(), changes.pop("team_id", None) or new_id(), int(time.time())
        values: dict[str, Any] = {
            "iss": "coreo-api",
            "aud": job_audience(Pool.AUDIT),
            "jti": str(new_id()),
            "iat": now,
            "exp": now + 3600,
            "team_id": team_id,
            "run_id": run_id,
            "plan_id": PLAN,
            "plan_revision": 1,
            "target": TargetAccount(
                cloud_account_id=CLOUD_ACCOUNT,
                account_id=ACCOUNT,
                partition="aws",
                role_arn=f"arn:aws:iam::{ACCOUNT}:role/CoreoAudit",
                external_id=EXTERNAL_ID,
            ),
            "work": AuditSpec(rules=[RULE], regions=["eu-west-1"]),
            "run_token": self.tokens.run(team_id, run_id),
        }
        return Job(**{**values, **changes})

    def onboard(self, work: Work, **changes: Any) -> Job:
        """A job for the pool of this work, which belongs to no plan."""
        audience = job_audience(pool_of(work))
        return self.make(**{"aud": audience, "work": work, "plan_id": None, "plan_revision": None, **changes})

    def sign(self, job: object, *, key: dict[str, Any] | None = None, typ: str = JOB_TYPE) -> str:
        """As a message's body."""
        return Signer(key or self.tokens.api_jwk).sign(job, typ=typ)


@dataclass
class _Stored:
    id: str
    body: str
    visible_at: float = 0.0
    receives: int = 0
    receipt: str = ""


class MemoryQueue:
    """The worker's queue port in memory, with visibility, receive counts and dead letters."""

    def __init__(self, *, visibility_seconds: float = 60, max_receives: int = 5, poll_seconds: float = 0.2) -> None:
        self.available = True
        self.calls: list[tuple[str, str, int | None]] = []  # (method, message id, seconds)
        self.dead: list[str] = []
        self._messages: dict[str, _Stored] = {}
        self._visibility = visibility_seconds
        self._max_receives = max_receives
        self._poll = poll_seconds
        self._numbers = itertools.count(1)

    def send(self, body: str, *, receives: int = 0) -> str:
        """Puts a message on the queue, as if delivered `receives` times already; gives its id."""
        message = _Stored(id=f"m{next(self._numbers)}", body=body, receives=receives)
        self._messages[message.id] = message
        return message.id

    @property
    def ids(self) -> list[str]:
        """The messages that are there, visible or not."""
        return sorted(self._messages)

    def hidden_for(self, message_id: str) -> float:
        """Seconds until the message can be received."""
        return max(0.0, self._messages[message_id].visible_at - time.monotonic())

    async def receive(self, limit: int) -> list[ReceivedMessage]:
        """As the port says."""
        deadline = time.monotonic() + self._poll
        while True:
            self._check()
            found = [self._deliver(message) for message in self._visible()[: min(limit, 10)]]
            if found or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.005)

    async def hide(self, message: ReceivedMessage, seconds: int) -> None:
        """As the port says."""
        self._check()
        self.calls.append(("hide", message.id, seconds))
        stored = self._messages.get(message.id)
        if stored is None or stored.visible_at <= time.monotonic():
            raise QueueUnavailableError("MessageNotInflight")
        stored.visible_at = time.monotonic() + seconds

    async def delete(self, message: ReceivedMessage) -> None:
        """As the port says."""
        self._check()
        self.calls.append(("delete", message.id, None))
        self._messages.pop(message.id, None)

    def _check(self) -> None:
        if not self.available:
            raise QueueUnavailableError("ServiceUnavailable")

    def _visible(self) -> list[_Stored]:
        now = time.monotonic()
        ready = [message for message in self._messages.values() if message.visible_at <= now]
        for message in [each for each in ready if each.receives >= self._max_receives]:
            del self._messages[message.id]
            self.dead.append(message.body)
        return [message for message in ready if message.id in self._messages]

    def _deliver(self, message: _Stored) -> ReceivedMessage:
        message.receives += 1
        message.visible_at = time.monotonic() + self._visibility
        message.receipt = f"{message.id}-{message.receives}"
        return ReceivedMessage(message.id, message.body, message.receipt, message.receives)


@dataclass
class MemoryRun:
    """A run as MemoryResults has it."""

    state: RunState = RunState.QUEUED
    reason: str | None = None
    fence: int = 0
    lease_until: float = 0.0
    cancel_requested: bool = False
    units_total: int | None = None
    chunks: dict[tuple[str, int], PutChunk] = field(default_factory=dict)
    claims: int = 0
    heartbeats: int = 0
    report: Report | None = None
    rules: list[str] | None = None  # that the last claim named
    is_deploy: bool = False
    ticket: int = 0  # of the job that may claim it
    approvals: int = 1
    approved_hash: str | None = None
    preview_hash: str | None = None
    checkpoint: Checkpoint | None = None
    documents: list[Document] = field(default_factory=list)
    events: list[PutEvents] = field(default_factory=list)
    parks: list[ParkRun] = field(default_factory=list)
    no_change: bool = False
    cancel_refused: str | None = None

    @property
    def units_done(self) -> list[str]:
        """Units whose final chunk is there."""
        return sorted({unit for (unit, _), chunk in self.chunks.items() if chunk.final})

    @property
    def held(self) -> bool:
        """Whether a worker has it."""
        return self.state in {RunState.CLAIMED, RunState.RUNNING} or (self.is_applying and self.lease_until > 0)

    @property
    def is_applying(self) -> bool:
        """Whether its change was begun."""
        return self.state is RunState.APPLYING

    @property
    def deploy(self) -> DeployClaim | None:
        """What a claim tells of a deploy."""
        if not self.is_deploy:
            return None
        return DeployClaim(
            applying=self.is_applying,
            approvals=self.approvals,
            approved_hash=self.approved_hash,
            events_parts=len(self.events),
            checkpoint=self.checkpoint,
        )


class MemoryResults:
    """The worker's results port in memory. `available = False` plays an outage, `refuse` any other answer."""

    def __init__(self, *, lease_seconds: float = 60) -> None:
        self.available = True
        self.refuse: Callable[[str], Exception | None] = lambda _: None
        self.calls: list[str] = []
        self.runs: dict[UUID, MemoryRun] = {}
        self.workers: list[RegisterWorker] = []
        self.drain = False
        self.lease_seconds = lease_seconds

    def run(self, run_id: UUID, token: str) -> "MemoryChannel":
        """As the port says. A token that ends with `#` and a number has that ticket."""
        assert token
        ticket = token.rpartition("#")[2]
        run = self.runs.setdefault(run_id, MemoryRun())
        return MemoryChannel(self, run, run_id, int(ticket) if ticket.isdecimal() else run.ticket)

    async def register(self, worker: RegisterWorker) -> RegisterAnswer:
        """As the port says."""
        self.check("register")
        self.workers.append(worker)
        return RegisterAnswer(interval_seconds=0.05, drain=self.drain)

    def check(self, call: str) -> None:
        """Notes a call, and plays what is to go wrong with it."""
        self.calls.append(call)
        if not self.available:
            raise ResultsUnavailableError("ConnectError")
        problem = self.refuse(call)
        if problem is not None:
            raise problem


@dataclass
class MemoryChannel:
    """A run's channel in memory."""

    results: MemoryResults
    state: MemoryRun
    run_id: UUID
    ticket: int = 0

    async def claim(self, worker_id: str, rules: list[str] | None = None) -> ClaimAnswer:
        """As the port says."""
        assert worker_id
        self.results.check("claim")
        run = self.state
        run.rules = rules
        if run.state.is_final:
            raise RunOverError
        if self.ticket < run.ticket or run.state in {RunState.AWAITING_APPROVAL, RunState.OUTCOME_UNKNOWN}:
            raise RunSupersededError
        left = run.lease_until - time.monotonic()
        if run.held and left > 0:
            raise RunBusyError(float(max(1, round(left))))
        if run.cancel_requested and not run.is_applying:
            run.state = RunState.CANCELED
            raise RunOverError
        run.state = run.state if run.is_applying else RunState.CLAIMED
        run.fence, run.claims = run.fence + 1, run.claims + 1
        run.lease_until = time.monotonic() + self.results.lease_seconds
        done = run.units_done
        run.chunks = {key: chunk for key, chunk in run.chunks.items() if key[0] in done}
        return ClaimAnswer(
            fence=run.fence,
            attempt=run.claims,
            lease_seconds=self.results.lease_seconds,
            cancel_requested=run.cancel_requested,
            units_done=done,
            deploy=run.deploy,
        )

    async def heartbeat(self, beat: RunHeartbeat) -> HeartbeatAnswer:
        """As the port says."""
        self.results.check("heartbeat")
        self._check(beat.fence)
        self.state.heartbeats += 1
        self.state.lease_until = time.monotonic() + self.results.lease_seconds
        if beat.units_total is not None:
            self.state.state, self.state.units_total = RunState.RUNNING, beat.units_total
        return HeartbeatAnswer(lease_seconds=self.results.lease_seconds, cancel_requested=self.state.cancel_requested)

    async def put(self, chunk: PutChunk) -> None:
        """As the port says."""
        self.results.check("put")
        self._check(chunk.fence)
        self.state.state = RunState.RUNNING
        self.state.chunks.setdefault((chunk.unit, chunk.index), chunk)

    async def finish(self, end: FinishRun) -> RunAnswer:
        """As the port says."""
        self.results.check("finish")
        run = self.state
        if not (run.state.is_final and run.fence == end.fence):
            self._check(end.fence)
            if end.outcome in {"rolled_back", "unknown"} and not run.is_applying:
                raise ResultsRefusedError(409, "not_applying")
            states = {
                "completed": RunState.SUCCEEDED,
                "failed": RunState.FAILED,
                "canceled": RunState.CANCELED,
                "rolled_back": RunState.ROLLED_BACK,
                "unknown": RunState.OUTCOME_UNKNOWN,
            }
            run.state, run.reason, run.report = states[end.outcome], end.reason, end.report
            run.no_change, run.lease_until = end.no_change, 0.0
            if end.units_total is not None:
                run.units_total = end.units_total
        return RunAnswer(run_id=self.run_id, state=run.state, reason=run.reason)

    async def put_document(self, document: PutDocument) -> None:
        """As the port says."""
        self.results.check("put_document")
        self._check(document.fence)
        run = self.state
        run.documents.append(document.document)
        run.checkpoint = document.checkpoint or run.checkpoint
        if isinstance(document.document, Preview):
            if document.document.hash != run.preview_hash:
                run.approved_hash = None
            run.preview_hash = document.document.hash
        if not run.is_applying:
            run.state = RunState.RUNNING

    async def put_events(self, events: PutEvents) -> None:
        """As the port says."""
        self.results.check("put_events")
        self._check(events.fence)
        if events.part == len(self.state.events):
            self.state.events.append(events)
            self.state.checkpoint = events.checkpoint

    async def begin_apply(self, begin: BeginApply) -> RunAnswer:
        """As the port says."""
        self.results.check("begin_apply")
        self._check(begin.fence)
        run = self.state
        if run.cancel_requested:
            raise ResultsRefusedError(409, "cancel_requested")
        if begin.hash != run.preview_hash or (run.approvals and run.approved_hash != begin.hash):
            raise ResultsRefusedError(409, "not_approved")
        run.state, run.checkpoint = RunState.APPLYING, begin.checkpoint
        return self._answer()

    async def refuse_cancel(self, refusal: RefuseCancel) -> RunAnswer:
        """As the port says."""
        self.results.check("refuse_cancel")
        self._check(refusal.fence)
        self.state.cancel_requested, self.state.cancel_refused = False, refusal.reason
        return self._answer()

    async def park(self, parking: ParkRun) -> RunAnswer:
        """As the port says."""
        self.results.check("park")
        self._check(parking.fence)
        run = self.state
        if parking.await_approval and run.preview_hash is None:
            raise ResultsRefusedError(409, "no_preview")
        run.parks.append(parking)
        run.ticket, run.lease_until, run.checkpoint = run.ticket + 1, 0.0, parking.checkpoint
        run.reason = parking.reason
        if run.cancel_requested and not run.is_applying:
            run.state = RunState.CANCELED
        elif parking.await_approval:
            run.state = RunState.AWAITING_APPROVAL if run.approvals else RunState.QUEUED
        elif not run.is_applying:
            run.state = RunState.RUNNING
        return self._answer()

    async def release(self, back: ReleaseRun) -> RunAnswer:
        """As the port says."""
        self.results.check("release")
        self._check(back.fence)
        if self.state.is_applying:
            self.state.ticket += 1
        else:
            self.state.state = RunState.QUEUED
        self.state.reason, self.state.lease_until = back.reason, 0.0
        return self._answer()

    def _answer(self) -> RunAnswer:
        return RunAnswer(run_id=self.run_id, state=self.state.state, reason=self.state.reason)

    def _check(self, fence: int) -> None:
        if self.state.state.is_final:
            raise RunOverError
        if not self.state.held or fence != self.state.fence:
            raise StaleFenceError


class ScriptedProcess:
    """A run's process that says what the test tells it to say; `sent` is what it was told."""

    def __init__(self) -> None:
        self.sent: list[WorkerFrame] = []
        self.closed = False
        self._frames: asyncio.Queue[RunFrame | Exception | None] = asyncio.Queue()
        self._heard = asyncio.Condition()

    def say(self, *frames: RunFrame | Exception | None) -> None:
        """What it says next; None is its end without a last word."""
        for frame in frames:
            self._frames.put_nowait(frame)

    async def hears(self, count: int) -> list[WorkerFrame]:
        """What it was told, once that is `count` frames."""
        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: len(self.sent) >= count)
        return self.sent

    async def send(self, frame: WorkerFrame) -> None:
        """As the port says."""
        async with self._heard:
            self.sent.append(frame)
            self._heard.notify_all()

    async def receive(self) -> RunFrame | None:
        """As the port says."""
        frame = await self._frames.get()
        if isinstance(frame, Exception):
            raise frame
        return frame

    async def ending(self) -> str:
        """As the port says."""
        return "SIGKILL"


class Processes:
    """Makes the worker's run processes: `made` are those so far, each a ScriptedProcess with `script` played."""

    def __init__(self, *script: RunFrame | Exception | None) -> None:
        self.made: list[ScriptedProcess] = []
        self._script = script
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ScriptedProcess]:
        """One process."""
        process = ScriptedProcess()
        process.say(*self._script)
        async with self._changed:
            self.made.append(process)
            self._changed.notify_all()
        try:
            yield process
        finally:
            process.closed = True

    async def number(self, count: int) -> ScriptedProcess:
        """The process made as the `count`th, once it is."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.made) >= count)
        return self.made[count - 1]


@dataclass
class FakeRoles:
    """Sessions without AWS. `answers` are played in turn, then sessions of `lifetime` seconds."""

    lifetime: float = 3600
    answers: list[Exception] = field(default_factory=list)
    policies: list[SessionPolicy] = field(default_factory=list)

    async def assume(self, target: TargetAccount, run_id: UUID, policy: SessionPolicy) -> SessionCredentials:
        """As the port says."""
        assert target.external_id == EXTERNAL_ID
        assert run_id
        self.policies.append(policy)
        if self.answers:
            raise self.answers.pop(0)
        return make_credentials(len(self.policies), lifetime=self.lifetime)


def make_credentials(number: int = 1, *, lifetime: float = 3600) -> SessionCredentials:
    """Credentials that open nothing."""
    return SessionCredentials(f"ASIA{number:016}", "secret-canary", "session-canary", time.time() + lifetime)


def make_preview(**changes: Any) -> Preview:
    """A preview with its right hash."""
    values: dict[str, Any] = {
        "hash": "0" * 64,
        "operation": "create",
        "account_id": ACCOUNT,
        "region": "eu-west-1",
        "stack_name": "web",
        "made_at": "2026-01-31T12:00:00Z",
    }
    preview = Preview(**(values | changes))
    return msgspec.structs.replace(preview, hash=preview_hash(preview))


async def until(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """Returns once the condition holds; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.01)


def as_environment(values: dict[str, object]) -> dict[str, str]:
    """Settings as COREO_ variables."""
    return {
        f"COREO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }

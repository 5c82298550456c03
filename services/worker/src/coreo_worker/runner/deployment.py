"""A deploy run in this worker's hands: its process works with the session, this one with the ledger.

A run has up to two parts, each in a process and a session of its own: one that looks, and one that changes what people
approved. Once the ledger has it that the change began, the run ends only as AWS says, or as unknown.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from coreo_shared.cloudformation.permissions import PermissionsError, changing_policy, looking_policy
from coreo_shared.contracts.deploys import (
    BeginApply,
    Checkpoint,
    DeployClaim,
    DeploySpec,
    PutDocument,
    PutEvents,
    RefuseCancel,
)
from coreo_shared.contracts.results import PutChunk
from coreo_shared.observability.logs import get_logger
from coreo_shared.rules.policy import SessionPolicy
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.aws.sts import RoleGate
from coreo_worker.deploy.pacing import MAX_TROUBLES, after_trouble
from coreo_worker.deploy.protocol import (
    Begin,
    Begun,
    Cancel,
    Ended,
    FromRun,
    MayBegin,
    NoCancel,
    Renewed,
    SessionOver,
    Store,
    StoreEvents,
    StoreFindings,
    pack,
    unpack_from_run,
)
from coreo_worker.deploy.unknown import outcome_unknown
from coreo_worker.runner import planning
from coreo_worker.runner.patience import persistently
from coreo_worker.runner.planning import (
    Canceled,
    Completed,
    Ending,
    Failed,
    Interrupted,
    OutcomeUnknown,
    Over,
    Parked,
    RolledBack,
    Stopped,
    Superseded,
    Unreachable,
)
from coreo_worker.runner.protocol import Credentials
from coreo_worker.runner.results import ResultsRefusedError
from coreo_worker.runner.tasks import first_of, happens_within
from coreo_worker.runner.work import ClaimedRun, ending_of, stopped

DEPLOY_MODULE: Final = "coreo_worker.deploy.child"
_CALL_OFF_SECONDS: Final = 30.0  # for a process that only looks to tidy up after itself
_WAITS_FOR_PEOPLE: Final = "The preview waits for approval."
_log = get_logger(__name__)


class DeployProcess(Protocol):
    """A fresh process of coreo_worker.deploy.child."""

    async def write(self, frame: bytes | bytearray) -> None:
        """Gives it a frame, with its length."""

    async def read(self) -> bytes | None:
        """Its frame, without the length; None once it has ended. Raises ProtocolError."""

    async def ending(self) -> str:
        """Waits for its end, and tells how it came about."""


@dataclass(frozen=True)
class DeployTools:
    """What a deploy is done with.

    `hold_seconds`: how long a run waits for CloudFormation before it is parked; `park_seconds`: for how long, at first.
    """

    roles: RoleGate
    open_process: Callable[[], AbstractAsyncContextManager[DeployProcess]]
    hold_seconds: float
    park_seconds: float


class Deployment:
    """A deploy run in this worker's hands."""

    def __init__(self, tools: DeployTools, claimed: ClaimedRun, spec: DeploySpec) -> None:
        self._tools = tools
        self._claimed = claimed
        self._spec = spec
        self._claim = _claim_of(claimed)
        self._checkpoint = self._claim.checkpoint
        self._parts = self._claim.events_parts
        self._is_applying = self._claim.applying
        self._session_over = asyncio.Event()
        self._cancel_told = False

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """As the port says; a change that was begun is never given up as failed."""
        try:
            return await self._safely(await self._execute(giving_back))
        except Exception as error:
            if not self._is_applying:
                raise
            _log.warning("deploy_interrupted", exc_info=error)
            return await self._while_applying(error)

    async def _execute(self, giving_back: asyncio.Event) -> Ending:
        changes = self._is_applying or _is_approved(self._claim)
        ending = await self._part(giving_back, changes=changes)
        if isinstance(ending, Parked) and ending.resume_seconds is None and self._claim.approvals == 0:
            self._claim = msgspec.structs.replace(self._claim, checkpoint=ending.checkpoint)
            ending = await self._part(giving_back, changes=True)
        return ending

    async def _part(self, giving_back: asyncio.Event, *, changes: bool) -> Ending:
        policy = self._policy(changes=changes)
        async with self._tools.open_process() as process:  # it starts up while the session is asked for
            return await first_of(
                self._work(process, policy, changes=changes), self._beat(process), stopped(giving_back)
            )

    def _policy(self, *, changes: bool) -> SessionPolicy:
        target = self._claimed.job.target
        make = changing_policy if changes else looking_policy
        try:
            return make(self._spec, partition=target.partition, account_id=target.account_id)
        except PermissionsError as error:
            raise PermanentError(f"The plan cannot be run. {error}") from None

    async def _work(self, process: DeployProcess, policy: SessionPolicy, *, changes: bool) -> Ending:
        session = await self._assume(policy)
        await process.write(pack(self._begin(session, changes=changes)))
        return await first_of(self._feed(process), self._renew(process, policy, session.expires_at))

    async def _assume(self, policy: SessionPolicy) -> Credentials:
        job = self._claimed.job
        return Credentials.of(await self._tools.roles.assume(job.target, job.run_id, policy))

    def _begin(self, session: Credentials, *, changes: bool) -> Begin:
        job = self._claimed.job
        return Begin(
            run_id=str(job.run_id),
            team_id=str(job.team_id),
            cloud_account_id=str(job.target.cloud_account_id),
            account_id=job.target.account_id,
            partition=job.target.partition,
            spec=self._spec,
            claim=self._claim,
            changes=changes,
            hold_seconds=self._tools.hold_seconds,
            park_seconds=self._tools.park_seconds,
            credentials=session,
            cancel=self._claimed.claim.cancel_requested,
        )

    async def _feed(self, process: DeployProcess) -> Ending:
        """Takes what the process says, in its order, until its last word."""
        while (body := await process.read()) is not None:
            frame = unpack_from_run(body)
            if isinstance(frame, Ended):
                return self._judged(frame)
            await self._take(frame, process)
        return Interrupted(f"The run's process ended unexpectedly ({await process.ending()}).")

    async def _take(self, frame: FromRun, process: DeployProcess) -> None:
        fence, channel = self._claimed.claim.fence, self._claimed.channel
        match frame:
            case Store(document=document, checkpoint=checkpoint):
                put = PutDocument(fence=fence, document=document, checkpoint=checkpoint)
                await self._say(lambda: channel.put_document(put), "document")
                self._checkpoint = checkpoint or self._checkpoint
            case StoreEvents():
                await self._store_events(frame)
            case StoreFindings(unit=unit, index=index, final=final, findings=findings):
                self._claimed.units_total = 1
                chunk = PutChunk(fence=fence, unit=unit, index=index, final=final, findings=findings)
                await self._say(lambda: channel.put(chunk), "chunk")
            case MayBegin():
                await process.write(pack(Begun(code=await self._begin_apply(frame))))
            case NoCancel(reason=reason):
                refusal = RefuseCancel(fence=fence, reason=reason)
                await self._say(lambda: channel.refuse_cancel(refusal), "refuse-cancel")
                self._cancel_told = False
            case SessionOver():
                self._session_over.set()

    async def _store_events(self, frame: StoreEvents) -> None:
        put = PutEvents(
            fence=self._claimed.claim.fence,
            part=self._parts,
            events=frame.events,
            checkpoint=frame.checkpoint,
            done=frame.done,
            total=frame.total,
        )
        await self._say(lambda: self._claimed.channel.put_events(put), "stack-events")
        self._parts += 1
        self._checkpoint = frame.checkpoint

    async def _begin_apply(self, frame: MayBegin) -> str | None:
        """None when AWS may be told; else the ledger's code. Who gets no answer from the ledger tells AWS nothing."""
        begin = BeginApply(fence=self._claimed.claim.fence, hash=frame.hash, checkpoint=frame.checkpoint)
        try:
            await self._say(lambda: self._claimed.channel.begin_apply(begin), "begin-apply")
        except ResultsRefusedError as refused:
            if refused.status != 409:
                raise
            _log.info("apply_refused", code=refused.code)
            return refused.code
        self._is_applying, self._checkpoint = True, frame.checkpoint
        return None

    async def _say(self, call: Callable[[], object], what: str) -> None:
        await persistently(call, patience=self._claimed.patience_seconds, what=what)  # type: ignore[arg-type]

    def _judged(self, last: Ended) -> Ending:  # noqa: PLR0911  one for each way to end
        reason = last.reason or ""
        match last.outcome:
            case "completed":
                return Completed(reason=last.reason, no_change=last.no_change)
            case "failed":
                return Failed(reason)
            case "canceled":
                return Canceled(last.reason)
            case "rolled_back":
                return RolledBack(reason)
            case "unknown":
                return OutcomeUnknown(reason)
            case "parked" if last.checkpoint is not None:
                return Parked(last.checkpoint, last.seconds, reason)
            case "prepared" if last.checkpoint is not None:
                return Parked(last.checkpoint, None, _WAITS_FOR_PEOPLE)
            case _:
                return Interrupted(reason or "The run's process stopped by itself.", last.seconds)

    async def _beat(self, process: DeployProcess) -> Ending:
        """Keeps the lease; tells the process when somebody wants the run to end, or its change undone."""
        while True:
            await asyncio.sleep(self._claimed.claim.lease_seconds / 3)
            if not await self._claimed.beat() or self._cancel_told:
                continue
            self._cancel_told = True
            await process.write(pack(Cancel()))
            if not self._is_applying and await self._still_looks():
                return Canceled()

    async def _still_looks(self) -> bool:
        """Whether a process that had time to end by itself is still there, and has changed nothing."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _CALL_OFF_SECONDS
        while loop.time() < end:
            await asyncio.sleep(min(self._claimed.claim.lease_seconds / 3, 5.0))
            await self._claimed.beat()
            if self._is_applying:
                return False
        return True

    async def _renew(self, process: DeployProcess, policy: SessionPolicy, expires_at: float) -> Ending:
        """Hands the process a new session before the old one ends, or once AWS says that it has."""
        while True:
            over = await happens_within(self._session_over, planning.renewal_delay(expires_at - time.time()))
            self._session_over.clear()
            try:
                session = await self._assume(policy)
            except TemporaryError as error:
                if over or time.time() > expires_at:
                    raise
                _log.warning("session_not_renewed", problem=str(error))
                continue
            await process.write(pack(Renewed(credentials=session)))
            expires_at = session.expires_at
            _log.info("session_renewed")

    async def _safely(self, ending: Ending) -> Ending:
        """The same, unless it would give up a change that was begun."""
        if not self._is_applying:
            return ending
        if isinstance(ending, Interrupted):
            return await self._later(ending.reason)
        if isinstance(ending, Stopped):
            return Parked(self._known(), 0.0, "The worker was shut down.")
        return ending

    async def _while_applying(self, error: Exception) -> Ending:
        """What becomes of a change that was begun when this worker cannot go on."""
        ending = ending_of(error)
        if isinstance(ending, Superseded | Over | Unreachable):
            return ending
        if isinstance(error, PermanentError):
            return await self._nobody_knows(str(error))
        reason = ending.reason if isinstance(ending, Interrupted | Failed) else "The run was interrupted."
        return await self._later(reason)

    async def _later(self, cause: str) -> Ending:
        checkpoint = self._known()
        troubles = int(checkpoint.facts.get("troubles") or 0) + 1
        if troubles >= MAX_TROUBLES:
            return await self._nobody_knows(cause)
        facts = checkpoint.facts | {"troubles": troubles}
        return Parked(msgspec.structs.replace(checkpoint, facts=facts), after_trouble(troubles), cause)

    async def _nobody_knows(self, cause: str) -> Ending:
        known = self._known()
        problem = outcome_unknown(self._spec.action, known, cause=cause)
        failure = problem.failure(stack_arn=known.stack_arn, change_set_arn=known.change_set_arn)
        put = PutDocument(fence=self._claimed.claim.fence, document=failure)
        await self._say(lambda: self._claimed.channel.put_document(put), "document")
        return OutcomeUnknown(problem.reason)

    def _known(self) -> Checkpoint:
        return self._checkpoint or Checkpoint(step="applying")


def _claim_of(claimed: ClaimedRun) -> DeployClaim:
    if claimed.claim.deploy is None:
        raise TemporaryError("The results service does not know deploys: bring it up to date.", delay=60.0)
    return claimed.claim.deploy


def _is_approved(claim: DeployClaim) -> bool:
    """Whether the preview that is stored is one that people approved."""
    known = claim.checkpoint
    return known is not None and known.hash is not None and claim.approved_hash == known.hash

"""A worker of the deploy pool over its ports in memory: a change that was begun is never given up as failed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from coreo_shared.contracts.deploys import (
    Checkpoint,
    DeployAction,
    DeploySpec,
    Drift,
    Failure,
    Outputs,
    StackEvent,
)
from coreo_shared.contracts.jobs import job_audience
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import public_jwk
from coreo_shared.ids import new_id
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.deploy.protocol import (
    Begin,
    Begun,
    Cancel,
    Ended,
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
from coreo_worker.deploy.protocol import _to_run as from_worker
from coreo_worker.runner import deployment
from coreo_worker.runner.consumer import Consumer
from coreo_worker.runner.deployment import Deployment, DeployTools
from coreo_worker.runner.gate import JobGate
from coreo_worker.runner.handler import JobHandler, Terms
from coreo_worker.runner.protocol import LENGTH_BYTES, ProtocolError
from coreo_worker.runner.results import ResultsRefusedError, ResultsUnavailableError
from coreo_worker.runner.stopping import Stopping
from tests.support.results import make_finding
from tests.support.worker import ACCOUNT, FakeRoles, Jobs, MemoryQueue, MemoryResults, MemoryRun, make_preview, until

PREVIEW = make_preview()
SEEN = Checkpoint(step="prepared", hash=PREVIEW.hash, stack_arn="arn:stack", change_set_arn="arn:set")
BEGUN = replace(SEEN, step="applying", applied_at="2026-01-31T12:00:00Z")
SPEC = DeploySpec(
    action=DeployAction.APPLY, region="eu-west-1", stack_name="web", template=b"x", permissions=["sns:CreateTopic"]
)
EVENT = StackEvent(event_id="e1", at="2026-01-31T12:00:00Z", logical_id="L", type="T", status="S")
LOOK = (Store(document=PREVIEW, checkpoint=SEEN), Ended(outcome="prepared", checkpoint=SEEN))
MAY_BEGIN = MayBegin(hash=PREVIEW.hash, checkpoint=BEGUN)
DONE = (
    StoreEvents(events=[EVENT], checkpoint=replace(BEGUN, newest_event="e1"), done=1, total=1),
    Store(document=Outputs(stack_arn="arn:stack", stack_status="CREATE_COMPLETE", outputs=[])),
    Ended(outcome="completed"),
)


class Process:
    """A run's process that says what the test tells it to say."""

    def __init__(self, *script: Any) -> None:
        self.heard: list[Any] = []
        self._says: asyncio.Queue[Any] = asyncio.Queue()
        self.say(*script)

    def say(self, *frames: Any) -> None:
        """What it says next; None is its end without a last word."""
        for frame in frames:
            self._says.put_nowait(frame)

    async def write(self, frame: bytes | bytearray) -> None:
        """As the port says."""
        self.heard.append(from_worker.decode(bytes(frame)[LENGTH_BYTES:]))

    async def read(self) -> bytes | None:
        """As the port says. What follows MayBegin is said once it is answered."""
        frame = await self._says.get()
        if isinstance(frame, Exception):
            raise frame
        if frame is None:
            return None
        return pack(frame)[LENGTH_BYTES:]

    async def ending(self) -> str:
        """As the port says."""
        return "SIGKILL"

    def of(self, kind: type[Any]) -> list[Any]:
        """What it heard of this kind."""
        return [frame for frame in self.heard if isinstance(frame, kind)]


@dataclass
class World:
    """A worker and everything around it, in memory; each process plays the next script."""

    scripts: list[tuple[Any, ...]] = field(default_factory=list)
    made: list[Process] = field(default_factory=list)
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    results: MemoryResults = field(default_factory=MemoryResults)
    roles: FakeRoles = field(default_factory=FakeRoles)
    jobs: Jobs = field(default_factory=Jobs)
    patience: float = 900
    stopping: Stopping = field(default_factory=lambda: Stopping(grace_seconds=0.1))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Process]:
        process = Process(*self.scripts.pop(0))
        self.made.append(process)
        yield process

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A worker at work."""
        tools = DeployTools(self.roles, self._open, hold_seconds=5, park_seconds=10)
        handler = JobHandler(
            "w1",
            gate=JobGate([public_jwk(self.jobs.tokens.api_jwk)], Pool.DEPLOY),
            results=self.results,
            trades={DeploySpec: partial(Deployment, tools)},
            stopping=self.stopping,
            terms=Terms(max_receives=5, patience_seconds=self.patience),
        )
        consumer = Consumer(self.queue, handler, self.stopping, max_runs=2, visibility_seconds=60)
        task = asyncio.create_task(consumer.run())
        try:
            yield
        finally:
            self.stopping.signal("test")
            self.stopping.signal("test")
            await asyncio.wait_for(task, 10)
            self.stopping.close()

    def start(self, spec: DeploySpec = SPEC, *, receives: int = 0, **run: Any) -> UUID:
        """Sends a job of a run that is so at the ledger."""
        run_id = new_id()
        self.results.runs[run_id] = MemoryRun(is_deploy=True, **run)
        job = self.jobs.make(run_id, work=spec, aud=job_audience(Pool.DEPLOY))
        self.queue.send(self.jobs.sign(job), receives=receives)
        return run_id

    async def done(self, run_id: UUID) -> MemoryRun:
        """The run once its message is dealt with."""
        await until(lambda: not self.queue.ids)
        return self.results.runs[run_id]

    def actions(self, number: int) -> set[str]:
        """What a session may do, by its number."""
        statements = json.loads(self.roles.policies[number].document)["Statement"]
        return {action for statement in statements for action in statement["Action"]}


def approved(**more: Any) -> dict[str, Any]:
    """A run that people approved."""
    return {"checkpoint": SEEN, "preview_hash": PREVIEW.hash, "approved_hash": PREVIEW.hash, **more}


def applying(**more: Any) -> dict[str, Any]:
    """A run whose change was begun."""
    return {"state": RunState.APPLYING, "checkpoint": BEGUN, **approved(), **more} | {"checkpoint": BEGUN}


async def test_what_only_looks_waits_for_people_and_could_change_nothing() -> None:
    world = World([LOOK])
    run_id = world.start()
    async with world.worker():
        run = await world.done(run_id)

    assert (run.state, run.checkpoint, run.documents) == (RunState.AWAITING_APPROVAL, SEEN, [PREVIEW])
    (begin,) = world.made[0].of(Begin)
    assert (begin.changes, begin.claim.applying, begin.account_id) == (False, False, ACCOUNT)
    assert "cloudformation:CreateChangeSet" in world.actions(0)
    assert not {"cloudformation:ExecuteChangeSet", "sns:CreateTopic"} & world.actions(0)


async def test_what_people_approved_is_done_with_a_session_for_it() -> None:
    world = World([(MAY_BEGIN, *DONE)])
    run_id = world.start(**approved())
    async with world.worker():
        run = await world.done(run_id)

    assert (run.state, run.reason) == (RunState.SUCCEEDED, None)
    assert [(part.part, len(part.events)) for part in run.events] == [(0, 1)]
    (begin,) = world.made[0].of(Begin)
    assert (begin.changes, begin.claim.approved_hash, begin.claim.checkpoint) == (True, PREVIEW.hash, SEEN)
    assert world.made[0].of(Begun) == [Begun(code=None)]
    assert {"cloudformation:ExecuteChangeSet", "sns:CreateTopic"} <= world.actions(0)
    assert "cloudformation:CreateChangeSet" not in world.actions(0)
    calls = world.results.calls
    assert calls.index("begin_apply") < calls.index("put_events")


async def test_approval_of_another_preview_is_none() -> None:
    world = World([LOOK])
    run_id = world.start(checkpoint=SEEN, preview_hash=PREVIEW.hash, approved_hash="f" * 64)
    async with world.worker():
        await world.done(run_id)

    assert world.made[0].of(Begin)[0].changes is False


async def test_plan_without_approval_goes_on_with_a_second_process_and_session() -> None:
    world = World([LOOK, (MAY_BEGIN, *DONE)])
    run_id = world.start(approvals=0)
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is RunState.SUCCEEDED
    first, second = (process.of(Begin)[0] for process in world.made)
    assert (first.changes, second.changes, second.claim.checkpoint) == (False, True, SEEN)
    assert "cloudformation:ExecuteChangeSet" not in world.actions(0)
    assert "cloudformation:ExecuteChangeSet" in world.actions(1)
    assert run.parks == []


@pytest.mark.parametrize("code", ["cancel_requested", "not_approved", "target_busy"])
async def test_ledgers_no_reaches_the_process(code: str) -> None:
    world = World([(MAY_BEGIN, Ended(outcome="canceled", reason="So."))])
    run_id = world.start(**approved())
    world.results.refuse = lambda call: ResultsRefusedError(409, code) if call == "begin_apply" else None
    async with world.worker():
        run = await world.done(run_id)

    assert world.made[0].of(Begun) == [Begun(code=code)]
    assert (run.state, run.reason) == (RunState.CANCELED, "So.")


async def test_without_the_ledgers_word_the_process_hears_nothing_and_the_job_comes_again() -> None:
    world = World([(MAY_BEGIN,)], patience=0.01)
    run_id = world.start(**approved())
    world.results.refuse = lambda call: ResultsUnavailableError("away") if call == "begin_apply" else None
    async with world.worker():
        await until(lambda: world.queue.calls and world.queue.calls[-1][0] == "hide" and world.made)
        await until(lambda: "begin_apply" in world.results.calls)
        await until(lambda: any(call[0] == "hide" and call[2] and call[2] < 30 for call in world.queue.calls))

    assert world.made[0].of(Begun) == []
    assert world.queue.ids
    assert not {"finish", "release", "park"} & set(world.results.calls)
    assert world.results.runs[run_id].state is not RunState.FAILED


@pytest.mark.parametrize("receives", [0, 4])  # the first delivery, and the last
@pytest.mark.parametrize(
    "end",
    [
        (None,),
        (Ended(outcome="interrupted", reason="An internal error (X) stopped the run."),),
        (ProtocolError("a frame is malformed"),),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_change_that_was_begun_is_looked_at_again_whatever_happens_here(
    end: tuple[Any, ...], receives: int, *, begun: bool
) -> None:
    world = World([end if begun else (MAY_BEGIN, *end)])
    run_id = world.start(receives=receives, **(applying() if begun else approved()))
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is RunState.APPLYING
    (park,) = run.parks
    assert (park.resume_seconds or 0) >= 10
    assert park.checkpoint.applied_at == BEGUN.applied_at
    assert park.checkpoint.facts["troubles"] == 1
    assert park.reason


async def test_what_only_looked_may_fail_when_its_job_is_spent() -> None:
    world = World([(None,)])
    run_id = world.start(receives=4)
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is RunState.FAILED


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (PermanentError("AWS did not let Coreo assume role."), RunState.OUTCOME_UNKNOWN),
        (TemporaryError("AWS STS answered Throttling.", delay=1), RunState.APPLYING),
    ],
)
async def test_account_that_cannot_be_entered_any_more_leaves_the_outcome_open(error: Any, state: RunState) -> None:
    world = World([()], roles=FakeRoles(answers=[error]))
    run_id = world.start(**applying())
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is state
    if state is RunState.OUTCOME_UNKNOWN:
        assert "AWS did not let Coreo assume role." in (run.reason or "")
        (failure,) = run.documents
        assert isinstance(failure, Failure)
        assert (failure.code, failure.stack_arn, failure.change_set_arn) == ("outcome_unknown", "arn:stack", "arn:set")
        assert failure.advice


async def test_account_disconnected_before_the_change_is_a_failure() -> None:
    world = World([()], roles=FakeRoles(answers=[PermanentError("AWS did not let Coreo assume role.")]))
    run_id = world.start(**approved())
    async with world.worker():
        run = await world.done(run_id)

    assert (run.state, run.reason) == (RunState.FAILED, "AWS did not let Coreo assume role.")


async def test_endless_trouble_ends_as_unknown() -> None:
    spent = replace(BEGUN, facts={"troubles": 39})
    world = World([(None,)])
    run_id = world.start(**(applying() | {"checkpoint": spent}))
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is RunState.OUTCOME_UNKNOWN


@pytest.mark.parametrize(("begun", "state"), [(True, RunState.APPLYING), (False, RunState.QUEUED)])
async def test_worker_that_is_shut_down_hands_its_run_on(state: RunState, *, begun: bool) -> None:
    world = World([()])
    run_id = world.start(**(applying() if begun else {}))
    async with world.worker():
        await until(lambda: world.made and world.made[0].of(Begin))

    run = world.results.runs[run_id]
    assert run.state is state
    assert [park.resume_seconds for park in run.parks] == ([0.0] if begun else [])


async def test_wish_to_cancel_is_passed_on_and_refused_each_time_it_is_wished() -> None:
    world = World([()], results=MemoryResults(lease_seconds=0.15))
    run_id = world.start(**applying())
    async with world.worker():
        await until(lambda: world.made and world.made[0].of(Begin))
        process, run = world.made[0], world.results.runs[run_id]
        for count in (1, 2):
            run.cancel_requested = True
            await until(lambda c=count: len(process.of(Cancel)) == c)  # type: ignore[misc]
            await asyncio.sleep(0.2)
            assert len(process.of(Cancel)) == count  # told once a wish
            process.say(NoCancel(reason="It is too late."))
            await until(lambda: not run.cancel_requested)
        process.say(Ended(outcome="completed"))
        await world.done(run_id)

    assert (run.state, run.cancel_refused) == (RunState.SUCCEEDED, "It is too late.")


@pytest.mark.parametrize("begun", [True, False])
async def test_claim_of_a_run_that_somebody_wants_canceled(*, begun: bool) -> None:
    world = World([(Ended(outcome="rolled_back", reason="Canceled on request."),)])
    state = applying() if begun else {"state": RunState.QUEUED}
    run_id = world.start(**state, cancel_requested=True)
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is (RunState.ROLLED_BACK if begun else RunState.CANCELED)
    assert len(world.made) == int(begun)
    if begun:
        assert world.made[0].of(Begin)[0].cancel is True


async def test_process_that_only_looks_and_does_not_listen_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "_CALL_OFF_SECONDS", 0.1)
    world = World([()], results=MemoryResults(lease_seconds=0.15))
    run_id = world.start()
    async with world.worker():
        await until(lambda: world.made and world.made[0].of(Begin))
        world.results.runs[run_id].cancel_requested = True
        run = await world.done(run_id)

    assert run.state is RunState.CANCELED
    assert len(world.made[0].of(Cancel)) == 1


async def test_change_that_began_meanwhile_is_not_ended_by_a_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "_CALL_OFF_SECONDS", 0.5)
    world = World([()], results=MemoryResults(lease_seconds=0.15))
    run_id = world.start(**approved())
    async with world.worker():
        await until(lambda: world.made and world.made[0].of(Begin))
        process, run = world.made[0], world.results.runs[run_id]
        process.say(MAY_BEGIN)
        await until(lambda: process.of(Begun))
        run.cancel_requested = True
        await until(lambda: process.of(Cancel))
        await asyncio.sleep(0.8)
        assert run.is_applying
        process.say(Ended(outcome="rolled_back", reason="Canceled on request."))
        run = await world.done(run_id)

    assert run.state is RunState.ROLLED_BACK


async def test_session_is_replaced_before_and_when_it_ends() -> None:
    world = World([()], roles=FakeRoles(lifetime=2))
    run_id = world.start(**applying())
    async with world.worker():
        await until(lambda: world.made and world.made[0].of(Renewed))
        process = world.made[0]
        count = len(process.of(Renewed))
        process.say(SessionOver())
        await until(lambda: len(process.of(Renewed)) > count)
        process.say(Ended(outcome="completed"))
        await world.done(run_id)

    assert {policy.document for policy in world.roles.policies} == {world.roles.policies[0].document}


async def test_job_that_was_superseded_is_done_with() -> None:
    world = World([])
    run_id = world.start(state=RunState.AWAITING_APPROVAL)
    async with world.worker():
        run = await world.done(run_id)

    assert (run.state, world.made) == (RunState.AWAITING_APPROVAL, [])
    assert world.queue.dead == []


async def test_drift_brings_findings_of_its_one_rule() -> None:
    drift = Drift(stack_arn="arn:stack", status="IN_SYNC", resources=[], detected_at="2026-01-31T12:00:00Z")
    found = StoreFindings(unit="aws.cloudformation.stack@eu-west-1", index=0, final=True, findings=[make_finding(1)])
    world = World([(Store(document=drift), found, Ended(outcome="completed", reason="r"))])
    run_id = world.start(DeploySpec(action=DeployAction.DRIFT, region="eu-west-1", stack_name="web"))
    async with world.worker():
        run = await world.done(run_id)

    assert (run.state, run.rules, run.units_done, run.units_total) == (
        RunState.SUCCEEDED,
        ["drift-resource"],
        ["aws.cloudformation.stack@eu-west-1"],
        1,
    )


async def test_nothing_to_change_is_told() -> None:
    world = World([(Ended(outcome="completed", no_change=True, reason="NO_CHANGE: so."),)])
    run_id = world.start()
    async with world.worker():
        run = await world.done(run_id)

    assert (run.state, run.no_change, run.reason) == (RunState.SUCCEEDED, True, "NO_CHANGE: so.")


@pytest.mark.parametrize(
    ("permissions", "problem"),
    [
        (["*"], "permissions.0: must be an IAM action"),
        ([f"ec2:Some{n:03}Action" for n in range(150)], "2048 characters"),
    ],
)
async def test_permissions_that_make_no_session_are_refused_before_aws_is_asked(permissions: Any, problem: str) -> None:
    world = World([])
    run_id = world.start(replace(SPEC, permissions=permissions), **approved())
    async with world.worker():
        run = await world.done(run_id)

    assert run.state is RunState.FAILED
    assert problem in (run.reason or "")
    assert world.roles.policies == []


async def test_results_service_of_before_is_waited_for() -> None:
    world = World([])
    run_id = world.start()
    world.results.runs[run_id].is_deploy = False
    async with world.worker():
        await until(lambda: "release" in world.results.calls)

    assert "bring it up to date" in (world.results.runs[run_id].reason or "")
    assert world.made == []


def test_every_frame_survives_the_pipe() -> None:
    frames: list[Any] = [*LOOK, MAY_BEGIN, *DONE, NoCancel(reason="r"), SessionOver()]
    assert [unpack_from_run(pack(frame)[LENGTH_BYTES:]) for frame in frames] == frames
    for nonsense in (b"", b"\xc1", b"\x80"):
        with pytest.raises(ProtocolError, match="malformed"):
            unpack_from_run(nonsense)


Condition = Callable[[], object]

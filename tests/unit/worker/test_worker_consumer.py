"""The worker over its ports in memory: what becomes of runs and messages, whatever goes wrong around them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.jobs import AuditSpec, Job
from coreo_shared.contracts.results import PutChunk
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import generate_key, public_jwk
from coreo_shared.ids import new_id
from coreo_shared.rules.needs import REGION_ACTIONS
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.aws.queue import ReceivedMessage
from coreo_worker.runner.consumer import Consumer
from coreo_worker.runner.gate import JobGate
from coreo_worker.runner.handler import JobHandler, Terms
from coreo_worker.runner.keeper import MessageKeeper
from coreo_worker.runner.planning import MessageFate
from coreo_worker.runner.protocol import (
    Cancel,
    Chunk,
    Ended,
    NewCredentials,
    Planned,
    ProtocolError,
    RunFrame,
    SessionOver,
    Start,
    pack,
)
from coreo_worker.runner.results import ResultsRefusedError, ResultsUnavailableError
from coreo_worker.runner.run import Run, Tools
from coreo_worker.runner.stopping import Stopping
from tests.support.results import make_finding
from tests.support.worker import (
    EXTERNAL_ID,
    FakeRoles,
    Jobs,
    MemoryQueue,
    MemoryResults,
    MemoryRun,
    Processes,
    until,
)

DONE = Ended(outcome="completed")
SCRIPT = (
    Planned(units_total=2),
    Chunk(unit="a@global", index=0, final=False, findings=[make_finding(1)]),
    Chunk(unit="a@global", index=1, final=True, findings=[make_finding(2)]),
    Chunk(unit="b@global", index=0, final=True, findings=[]),
    DONE,
)


class Watched(JobHandler):
    """Notes, for each message it has decided on, how many calls the queue had seen by then."""

    def __init__(self, worker_id: str, *, queue: MemoryQueue, decided: dict[str, int], **rest: Any) -> None:
        super().__init__(worker_id, **rest)
        self._queue = queue
        self._decided = decided

    async def handle(self, message: ReceivedMessage, keeper: MessageKeeper) -> MessageFate:
        try:
            return await super().handle(message, keeper)
        finally:
            self._decided[message.id] = len(self._queue.calls)


@dataclass
class World:
    """A worker and everything around it, in memory."""

    processes: Processes = field(default_factory=lambda: Processes(*SCRIPT))
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    results: MemoryResults = field(default_factory=MemoryResults)
    roles: FakeRoles = field(default_factory=FakeRoles)
    jobs: Jobs = field(default_factory=Jobs)
    max_runs: int = 2
    patience: float = 900
    grace: float = 0.5
    decided: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def worker(self, worker_id: str = "w1") -> AsyncIterator[tuple[Stopping, JobHandler, "asyncio.Task[None]"]]:
        """A worker at work; afterwards it is made to give back what it has, and has ended."""
        stopping = Stopping(grace_seconds=self.grace)
        gate = JobGate([public_jwk(self.jobs.tokens.api_jwk)], Pool.AUDIT)
        tools = Tools(roles=self.roles, open_process=self.processes)
        handler = Watched(
            worker_id,
            queue=self.queue,
            decided=self.decided,
            gate=gate,
            results=self.results,
            trades={AuditSpec: partial(Run, tools)},
            stopping=stopping,
            terms=Terms(max_receives=5, patience_seconds=self.patience),
        )
        consumer = Consumer(self.queue, handler, stopping, max_runs=self.max_runs, visibility_seconds=60)
        task = asyncio.create_task(consumer.run())
        try:
            yield stopping, handler, task
        finally:
            stopping.signal("test")
            stopping.signal("test")
            await asyncio.wait_for(task, 10)
            stopping.close()

    def send(self, job: Job | None = None, *, receives: int = 0) -> tuple[UUID, str]:
        """Puts a job on the queue; its run and its message."""
        job = job or self.jobs.make()
        return job.run_id, self.queue.send(self.jobs.sign(job), receives=receives)

    async def ended(self, run_id: UUID, *, seconds: float = 10) -> MemoryRun:
        """The run once it has ended and its message is dealt with."""
        await until(lambda: self.results.runs[run_id].state.is_final if run_id in self.results.runs else False)
        await until(lambda: not self.queue.ids, seconds=seconds)
        return self.results.runs[run_id]

    async def returned(self, message_id: str) -> float:
        """Seconds until the message comes again, once it has been given back: what hid it for its run is over."""
        await until(lambda: message_id in self.decided)
        hidden = ("hide", message_id)
        await until(lambda: any(call[:2] == hidden for call in self.queue.calls[self.decided[message_id] :]))
        return self.queue.hidden_for(message_id)


@pytest.fixture(autouse=True)
def _quick_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreo_worker.runner.planning._CALL_RETRY_SECONDS", 0.02)


async def test_a_run_goes_from_its_job_to_its_end() -> None:
    world = World()
    job = world.jobs.make()
    run_id, _ = world.send(job)
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.units_total, run.claims) == (RunState.SUCCEEDED, 2, 1)
    assert isinstance(job.work, AuditSpec)
    assert run.rules == job.work.rules
    assert sorted(run.chunks) == [("a@global", 0), ("a@global", 1), ("b@global", 0)]
    assert run.chunks["a@global", 1].findings == [make_finding(2)]
    (process,) = world.processes.made
    assert process.closed
    (start,) = process.sent
    assert isinstance(start, Start)
    assert (start.run_id, start.rules) == (str(run_id), ("s3-bucket-versioning",))


async def test_the_runs_process_is_given_neither_the_runs_token_nor_the_external_id() -> None:
    world = World()
    job = world.jobs.make()
    world.send(job)
    async with world.worker():
        await world.ended(job.run_id)
    told = b"".join(pack(frame) for frame in world.processes.made[0].sent)
    assert str(job.run_id).encode() in told
    assert job.run_token.encode() not in told
    assert EXTERNAL_ID.encode() not in told


@pytest.mark.parametrize(("regions", "more"), [(["eu-west-1"], frozenset()), (["all"], REGION_ACTIONS)])
async def test_the_session_is_limited_to_what_the_rules_read(regions: list[str], more: frozenset[str]) -> None:
    world = World()
    run_id, _ = world.send(world.jobs.make(work=AuditSpec(rules=["s3-bucket-versioning"], regions=regions)))
    async with world.worker():
        await world.ended(run_id)
    (policy,) = world.roles.policies
    assert '"s3:GetBucketVersioning"' in policy.document
    assert "iam:" not in policy.document
    assert all(f'"{action}"' in policy.document for action in more)
    assert ("ec2:" in policy.document) == bool(more)


async def test_a_forged_job_is_deleted_and_nobody_is_asked() -> None:
    world = World()
    impostor = generate_key(str(world.jobs.tokens.api_jwk["kid"]))
    world.queue.send(world.jobs.sign(world.jobs.make(), key=impostor))
    world.queue.send("not even a token")
    async with world.worker():
        await until(lambda: not world.queue.ids)
    assert [call[0] for call in world.queue.calls] == ["delete", "delete"]
    assert (world.results.calls, world.roles.policies, world.processes.made) == ([], [], [])


async def test_a_held_run_is_looked_at_again_when_its_lease_ends() -> None:
    world = World(processes=Processes())
    job = world.jobs.make()
    world.send(job)
    async with world.worker():
        await world.processes.number(1)
        _, second = world.send(job)
        delay = await world.returned(second)
        assert 58 <= delay <= 70
        assert [call for call in world.queue.calls if call[1] == second] == [("hide", second, world.queue.calls[-1][2])]
        assert len(world.processes.made) == len(world.roles.policies) == 1


async def test_one_message_sent_ten_times_is_one_run() -> None:
    world = World(max_runs=10)
    job = world.jobs.make()
    for _ in range(10):
        world.send(job)
    async with world.worker("w1"), world.worker("w2"):
        await until(lambda: world.results.calls.count("claim") >= 10)
        await until(lambda: world.results.runs[job.run_id].state.is_final)
    assert world.results.runs[job.run_id].claims == len(world.processes.made) == 1


async def test_a_run_that_is_over_is_only_deleted() -> None:
    world = World()
    job = world.jobs.make()
    world.results.runs[job.run_id] = MemoryRun(state=RunState.CANCELED)
    world.send(job)
    async with world.worker():
        await until(lambda: not world.queue.ids)
    assert (world.results.calls, world.processes.made) == (["claim"], [])


async def test_units_done_by_an_earlier_attempt_are_not_asked_for_again() -> None:
    world = World()
    job = world.jobs.make()
    stored = PutChunk(fence=1, unit="a@global", index=0, final=True, findings=[])
    world.results.runs[job.run_id] = MemoryRun(fence=1, claims=1, chunks={("a@global", 0): stored})
    world.send(job)
    async with world.worker():
        await world.ended(job.run_id)
    (start,) = world.processes.made[0].sent
    assert isinstance(start, Start)
    assert start.units_done == {"a@global"}


async def test_results_down_at_the_claim_is_waited_for_with_the_message_kept() -> None:
    world = World()
    world.results.available = False
    run_id, _ = world.send()
    async with world.worker():
        await until(lambda: world.results.calls.count("claim") >= 3)
        assert world.queue.ids != []
        world.results.available = True
        run = await world.ended(run_id)
    assert (run.state, world.queue.dead) == (RunState.SUCCEEDED, [])


async def test_results_down_for_longer_than_patience_gives_the_message_back() -> None:
    world = World(patience=0.1)
    world.results.available = False
    _, message = world.send()
    async with world.worker():
        assert 2 <= await world.returned(message) <= 5
    assert world.queue.ids == [message]


@pytest.mark.parametrize("call", ["put", "heartbeat", "finish"])
async def test_results_down_in_the_middle_of_a_run_is_waited_for(call: str) -> None:
    world = World()
    failures = iter(range(3))

    def refuse(made: str) -> Exception | None:
        return ResultsUnavailableError("down") if made == call and next(failures, None) is not None else None

    world.results.refuse = refuse
    run_id, _ = world.send()
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, len(run.chunks), len(world.processes.made)) == (RunState.SUCCEEDED, 3, 1)


async def test_results_lost_in_the_middle_of_a_run_leaves_it_to_another_delivery() -> None:
    world = World(processes=Processes(SCRIPT[0]), patience=0.1)
    run_id, message = world.send()
    async with world.worker():
        await until(lambda: run_id in world.results.runs and world.results.runs[run_id].units_total == 2)
        world.results.available = False
        world.processes.made[0].say(*SCRIPT[1:])
        assert 2 <= await world.returned(message) <= 5
        assert world.processes.made[0].closed


async def test_a_stale_fence_stops_the_process_and_leaves_run_and_message_alone() -> None:
    world = World(processes=Processes(SCRIPT[0]))
    run_id, message = world.send()
    async with world.worker():
        await until(lambda: run_id in world.results.runs and world.results.runs[run_id].units_total == 2)
        world.results.runs[run_id].fence += 1  # another worker's claim
        world.processes.made[0].say(SCRIPT[1])
        await until(lambda: world.processes.made[0].closed)
        before = list(world.queue.calls)
        await asyncio.sleep(0.1)
    assert world.results.runs[run_id].held
    assert "delete" not in [call[0] for call in before]
    assert world.queue.calls == before
    assert world.queue.ids == [message]


async def test_cancel_stops_the_run_and_says_so() -> None:
    world = World(processes=Processes(SCRIPT[0]), results=MemoryResults(lease_seconds=0.2))
    run_id, _ = world.send()
    async with world.worker():
        process = await world.processes.number(1)
        await until(lambda: run_id in world.results.runs and world.results.runs[run_id].units_total == 2)
        world.results.runs[run_id].cancel_requested = True
        assert isinstance((await process.hears(2))[1], Cancel)
        process.say(Ended(outcome="canceled"))
        run = await world.ended(run_id)
    assert run.state is RunState.CANCELED


async def test_a_process_that_does_not_listen_is_canceled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreo_worker.runner.run._CANCEL_SECONDS", 0.1)
    world = World(processes=Processes(SCRIPT[0]), results=MemoryResults(lease_seconds=0.2))
    run_id, _ = world.send()
    async with world.worker():
        await world.processes.number(1)
        world.results.runs[run_id].cancel_requested = True
        run = await world.ended(run_id)
    assert run.state is RunState.CANCELED
    assert world.processes.made[0].closed


INTERRUPTIONS: dict[str, tuple[RunFrame | Exception | None, str]] = {
    "killed": (None, "The run's process ended unexpectedly (SIGKILL)."),
    "says so": (Ended(outcome="interrupted", reason="Too little memory."), "Too little memory."),
    "canceled by nobody": (Ended(outcome="canceled"), "The run's process stopped by itself."),
    "not understood": (ProtocolError("a frame is malformed"), "cannot be understood: a frame is malformed."),
}


@pytest.mark.parametrize("name", INTERRUPTIONS)
async def test_a_process_that_dies_gives_the_run_back_with_its_reason(name: str) -> None:
    last, reason = INTERRUPTIONS[name]
    world = World(processes=Processes(*SCRIPT[:3], last))
    run_id, message = world.send()
    async with world.worker():
        assert 2 <= await world.returned(message) <= 5
    run = world.results.runs[run_id]
    assert run.state is RunState.QUEUED
    assert run.reason is not None
    assert reason in run.reason
    assert world.queue.dead == []


async def test_the_last_delivery_fails_the_run_visibly() -> None:
    world = World(processes=Processes(None))
    run_id, _ = world.send(receives=4)
    async with world.worker():
        run = await world.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.reason is not None
    assert "SIGKILL" in run.reason
    assert "delivery 5 of 5" in run.reason
    assert world.queue.dead == []


async def test_what_cannot_work_fails_the_run_at_once() -> None:
    world = World(processes=Processes(Planned(units_total=1), Ended(outcome="failed", reason="regions.0: no.\n")))
    run_id, _ = world.send()
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.reason) == (RunState.FAILED, "regions.0: no. ")


async def test_a_role_that_refuses_fails_the_run_with_its_reason_and_starts_no_audit() -> None:
    world = World(roles=FakeRoles(answers=[PermanentError("Check the role.")]))
    run_id, _ = world.send()
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.reason, run.chunks) == (RunState.FAILED, "Check the role.", {})
    assert world.processes.made[0].sent == []


async def test_aws_that_does_not_answer_gives_the_run_back_for_later() -> None:
    world = World(roles=FakeRoles(answers=[TemporaryError("STS is down.", delay=40)]))
    run_id, message = world.send()
    async with world.worker():
        assert 38 <= await world.returned(message) <= 40
    assert (world.results.runs[run_id].state, world.results.runs[run_id].reason) == (RunState.QUEUED, "STS is down.")


async def test_a_rule_that_only_this_worker_lacks_is_left_to_newer_ones() -> None:
    world = World()
    run_id, message = world.send(world.jobs.make(work=AuditSpec(rules=["from-tomorrow"], regions=["all"])))
    async with world.worker():
        assert 25 <= await world.returned(message) <= 30
    assert world.results.runs[run_id].state is RunState.QUEUED
    assert world.processes.made == []


async def test_findings_that_are_refused_fail_the_run() -> None:
    world = World()
    world.results.refuse = lambda call: ResultsRefusedError(422, "invalid") if call == "put" else None
    run_id, _ = world.send()
    async with world.worker():
        run = await world.ended(run_id)
    assert run.state is RunState.FAILED
    assert "invalid" in str(run.reason)


@pytest.mark.parametrize(
    "make",
    [
        lambda jobs: jobs.sign(jobs.make(), key=generate_key()),
        lambda jobs: jobs.sign(jobs.make(version=2)),
        lambda jobs: jobs.sign({"version": 1, "from": "tomorrow"}),
        lambda jobs: jobs.sign(jobs.make(iat=int(time.time()) + 600)),
    ],
    ids=["unknown key", "unknown version", "unreadable", "not yet valid"],
)
async def test_a_job_that_another_worker_may_understand_is_given_back(make: Callable[[Jobs], str]) -> None:
    world = World()
    message = world.queue.send(make(world.jobs))
    async with world.worker():
        assert 2 <= await world.returned(message) <= 5
    assert (world.results.calls, world.roles.policies, world.processes.made) == ([], [], [])


async def test_a_refused_claim_is_kept_for_people_to_look_at() -> None:
    world = World()
    world.results.refuse = lambda call: ResultsRefusedError(401, "token_unknown_key") if call == "claim" else None
    _, message = world.send()
    async with world.worker():
        assert 2 <= await world.returned(message) <= 5
    assert world.queue.ids == [message]


async def test_sessions_are_renewed_while_the_run_goes_on() -> None:
    world = World(processes=Processes(SCRIPT[0]), roles=FakeRoles(lifetime=2))
    run_id, _ = world.send()
    async with world.worker():
        process = await world.processes.number(1)
        renewed = (await process.hears(2))[1]
        assert isinstance(renewed, NewCredentials)
        assert renewed.credentials.access_key_id.endswith("2")
        process.say(*SCRIPT[1:])
        await world.ended(run_id)
    assert len({policy.document for policy in world.roles.policies}) == 1


async def test_rules_that_need_more_than_one_session_may_do_get_several() -> None:
    catalogue = load_catalogue()
    world = World(processes=Processes(SCRIPT[0]), roles=FakeRoles(lifetime=2))
    work = AuditSpec(rules=sorted(catalogue.rules), regions=["all"])
    run_id, _ = world.send(world.jobs.make(work=work))
    async with world.worker():
        process = await world.processes.number(1)
        start, renewed = (await process.hears(2))[:2]
        assert isinstance(start, Start)
        assert isinstance(renewed, NewCredentials)
        process.say(*SCRIPT[1:])
        await world.ended(run_id)
    count = 1 + len(start.others)
    assert count > 1
    first, second = world.roles.policies[:count], world.roles.policies[count : 2 * count]
    assert first == second
    assert [session.services for session in start.others] == [policy.services for policy in first[1:]]
    keys = [session.access_key_id for session in (start.credentials, *start.others)]
    assert keys == [f"ASIA{number:016}" for number in range(1, count + 1)]
    assert [session.services for session in renewed.others] == [session.services for session in start.others]
    assert not {session.access_key_id for session in renewed.others} & set(keys)


async def test_a_session_that_aws_ended_before_its_time_is_renewed_at_once() -> None:
    world = World(processes=Processes(SCRIPT[0], SessionOver()))
    run_id, _ = world.send()
    async with world.worker():
        process = await world.processes.number(1)
        renewed = (await process.hears(2))[1]
        assert isinstance(renewed, NewCredentials)
        assert renewed.credentials.access_key_id.endswith("2")
        process.say(*SCRIPT[1:])
        await world.ended(run_id)


async def test_a_session_that_cannot_be_renewed_ends_the_run_when_it_is_over() -> None:
    world = World(processes=Processes(SCRIPT[0]), roles=FakeRoles(lifetime=1.5))
    run_id, _ = world.send()
    async with world.worker():
        process = await world.processes.number(1)
        await process.hears(1)
        world.roles.answers = [TemporaryError("STS is down.", delay=0), PermanentError("The role is gone.")]
        run = await world.ended(run_id)
    assert (run.state, run.reason) == (RunState.FAILED, "The role is gone.")


async def test_no_more_runs_at_once_than_there_are_hands() -> None:
    world = World(processes=Processes(), max_runs=2)
    for _ in range(3):
        world.send()
    async with world.worker() as (_, handler, _task):
        await world.processes.number(2)
        await asyncio.sleep(0.5)  # as long as two polls: nothing more may come
        assert len(world.processes.made) == len(handler.current_runs) == 2
        world.processes.made[0].say(DONE)
        await world.processes.number(3)


async def test_a_drained_worker_takes_no_more_and_finishes_what_it_has() -> None:
    world = World(processes=Processes(SCRIPT[0]), grace=30)
    run_id, _ = world.send()
    async with world.worker() as (stopping, handler, task):
        process = await world.processes.number(1)
        stopping.signal("SIGTERM")
        _, waiting = world.send()
        await asyncio.sleep(0.4)
        assert handler.current_runs == [run_id]
        assert not task.done()
        process.say(*SCRIPT[1:])
        await asyncio.wait_for(task, 5)
    assert world.results.runs[run_id].state is RunState.SUCCEEDED
    assert world.queue.ids == [waiting]
    assert world.queue.hidden_for(waiting) == 0


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_worker_whose_time_is_up_gives_its_runs_back_at_once(signals: int) -> None:
    world = World(processes=Processes(SCRIPT[0]), grace=0.2 if signals == 1 else 900)
    run_id, message = world.send()
    async with world.worker() as (stopping, _, task):
        await until(lambda: run_id in world.results.runs and world.results.runs[run_id].units_total == 2)
        for _ in range(signals):
            stopping.signal("SIGTERM")
        await asyncio.wait_for(task, 5)
    assert world.results.runs[run_id].state is RunState.QUEUED
    assert world.queue.hidden_for(message) == 0
    assert world.processes.made[0].closed
    world.processes = Processes(*SCRIPT)
    async with world.worker("w2"):
        assert (await world.ended(run_id)).state is RunState.SUCCEEDED


async def test_a_worker_whose_time_is_up_does_not_wait_for_results_that_are_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coreo_worker.runner.handler._LAST_WORDS_SECONDS", 0.1)
    world = World(processes=Processes(SCRIPT[0]))
    _, message = world.send()
    async with world.worker() as (stopping, _, task):
        await world.processes.number(1)
        world.results.available = False
        stopping.signal("SIGTERM")
        stopping.signal("SIGTERM")
        await asyncio.wait_for(task, 5)
    assert world.queue.ids == [message]
    assert world.queue.hidden_for(message) <= 5


async def test_an_unclaimed_message_goes_back_when_time_is_up() -> None:
    world = World()
    world.results.available = False
    _, message = world.send()
    async with world.worker() as (stopping, _, task):
        await until(lambda: world.results.calls.count("claim") >= 1)
        stopping.signal("SIGTERM")
        stopping.signal("SIGTERM")
        await asyncio.wait_for(task, 5)
    assert world.queue.hidden_for(message) == 0


async def test_the_message_is_hidden_for_longer_than_the_lease() -> None:
    world = World(processes=Processes(SCRIPT[0]), results=MemoryResults(lease_seconds=90))
    _, message = world.send()
    async with world.worker():
        await until(lambda: ("hide", message, 92) in world.queue.calls)


async def test_message_and_lease_are_renewed_while_the_run_goes_on() -> None:
    world = World(processes=Processes(SCRIPT[0]), results=MemoryResults(lease_seconds=0.3))
    run_id, _ = world.send()
    async with world.worker():
        await until(lambda: run_id in world.results.runs and world.results.runs[run_id].heartbeats >= 5)
        assert world.results.runs[run_id].held


async def test_a_queue_that_is_down_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreo_worker.aws.queue._RETRY_SECONDS", 0.05)
    world = World()
    world.queue.available = False
    run_id, _ = world.send()
    with capture_logs() as logs:
        async with world.worker():
            await until(lambda: any(entry["event"] == "queue_unavailable" for entry in logs))
            world.queue.available = True
            assert (await world.ended(run_id)).state is RunState.SUCCEEDED


async def test_a_message_that_cannot_be_deleted_now_is_deleted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreo_worker.aws.queue._RETRY_SECONDS", 0.05)
    world = World()
    run_id, _ = world.send()
    real, failures = world.queue.delete, iter(range(2))

    async def delete(message: Any) -> None:
        world.queue.available = next(failures, None) is None
        try:
            await real(message)
        finally:
            world.queue.available = True

    monkeypatch.setattr(world.queue, "delete", delete)
    async with world.worker():
        assert (await world.ended(run_id)).state is RunState.SUCCEEDED


async def test_a_bug_in_one_message_leaves_the_other_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    real = world.results.run
    unlucky = world.jobs.make()

    def run(run_id: UUID, token: str) -> Any:
        if run_id == unlucky.run_id:
            raise ZeroDivisionError
        return real(run_id, token)

    monkeypatch.setattr(world.results, "run", run)
    _, message = world.send(unlucky)
    lucky, _ = world.send()
    with capture_logs() as logs:
        async with world.worker():
            await until(lambda: lucky in world.results.runs and world.results.runs[lucky].state.is_final)
            await until(lambda: world.queue.ids == [message])
    assert "message_failed" in [entry["event"] for entry in logs]


async def test_no_log_line_holds_a_secret() -> None:
    world = World(processes=Processes(*SCRIPT[:2], None))
    job = world.jobs.make(run_id=new_id())
    _, message = world.send(job)
    with capture_logs() as logs:
        async with world.worker():
            await world.returned(message)
    assert logs != []
    for secret in (EXTERNAL_ID, job.run_token, "secret-canary", "session-canary"):
        assert secret not in str(logs)

"""A bootstrap in the worker's hands, with a process that the test plays: what it is given, and what becomes of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from coreo_embedded.simulator import Credentials
from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.jobs import AuditSpec, Job
from coreo_shared.contracts.onboarding import (
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    BootstrapProblem,
    BootstrapReport,
    BootstrapSpec,
    SealingKey,
)
from coreo_shared.contracts.terms import RunState
from coreo_shared.crypto.jose import Signer, Verifier, generate_key, public_jwk
from coreo_worker.onboard.keys import SealingKeys
from coreo_worker.onboard.protocol import Begin, Broken, Outcome, Reported, Unopened, pack_begin, unpack_begin
from coreo_worker.runner import bootstrap
from coreo_worker.runner.bootstrap import Bootstrap, BootstrapTools, OnboardingProcess, onboarding_environment
from coreo_worker.runner.protocol import LENGTH_BYTES, ProtocolError
from tests.support.bootstrap import Signing, bootstrap_job, context_of
from tests.support.onboard import OnboardWorld
from tests.support.worker import Jobs, MemoryRun, until

FLEET = generate_key("fleet")
MADE = BootstrapReport(role="created", policy="created", attached=True)


@dataclass
class Played:
    """An onboarding's process that gives this body, or never any where it is "silent"."""

    body: bytes | str | None
    begun: list[bytes] = field(default_factory=list)  # as they were written
    frames: list[bytes | bytearray] = field(default_factory=list)  # the very buffers

    async def write(self, frame: bytes | bytearray) -> None:
        self.begun.append(bytes(frame))
        self.frames.append(frame)

    async def read(self) -> bytes | None:
        if isinstance(self.body, str):
            await asyncio.Event().wait()
        assert not isinstance(self.body, str)
        return self.body

    async def ending(self) -> str:
        return "SIGKILL"


def saying(outcome: Outcome) -> Played:
    return Played(encode_msgpack(outcome))


class World:
    """A worker with these processes, one after the other."""

    def __init__(self, *processes: Played, ahead: float = 0.0) -> None:
        self.keys = SealingKeys(Signer(FLEET), "w1")
        self.waiting = list(processes)
        self.onboard = OnboardWorld({})
        tools = BootstrapTools(self.keys, self._open, lambda: time.time() + ahead)
        self.onboard.trades = {BootstrapSpec: lambda run, spec: Bootstrap(tools, run, spec)}
        self.onboard.takes = tools.takes

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[OnboardingProcess]:
        yield self.waiting.pop(0)

    def job(self) -> Job:
        announced = Verifier([public_jwk(FLEET)], issuer="coreo-worker").verify(
            self.keys.announcement(), SealingKey, typ=SEALING_KEY_TYPE, audience=SEALING_KEY_AUDIENCE
        )
        key = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00")
        return bootstrap_job(self.onboard.jobs, Signing(key).requests(), announced)

    async def ended(self) -> MemoryRun:
        async with self.onboard.worker():
            return await self.onboard.ended(self.onboard.send(self.job()))

    async def released(self) -> MemoryRun:
        async with self.onboard.worker():
            return await self.onboard.released(self.onboard.send(self.job()))


async def test_the_processs_report_is_the_runs() -> None:
    run = await World(saying(Reported(report=MADE))).ended()
    assert (run.state, run.report) == (RunState.SUCCEEDED, MADE)


async def test_a_report_of_a_problem_is_work_done_too() -> None:
    problem = BootstrapReport(problem=BootstrapProblem.WRONG_KEY, detail="No.")
    run = await World(saying(Reported(report=problem))).ended()
    assert (run.state, run.report) == (RunState.SUCCEEDED, problem)


async def test_the_process_gets_keys_and_seals_and_the_workers_copy_of_them_is_overwritten() -> None:
    process = saying(Reported(report=MADE))
    world = World(process)
    job = world.job()
    assert isinstance(job.work, BootstrapSpec)
    async with world.onboard.worker():
        await world.onboard.ended(world.onboard.send(job))
    begin = unpack_begin(process.begun[0][LENGTH_BYTES:])
    assert begin.keys == world.keys.holding(job.work.sealed)
    assert (begin.sealed, begin.context) == (job.work.sealed, context_of(job))
    assert set(process.frames[0]) == {0}
    assert "bytearray" not in repr(begin)


@pytest.mark.parametrize(
    ("process", "says"),
    [
        (Played(None), "SIGKILL"),
        (saying(Broken(error="KeyError")), "KeyError"),
        (saying(Unopened()), "could not open"),
        (Played(b"\xc1"), "cannot be understood"),
        (Played(encode_msgpack({"type": "reported", "report": 1})), "cannot be understood"),
    ],
    ids=["killed", "broken", "unopened", "garbage", "malformed"],
)
async def test_a_process_without_a_report_gives_the_run_back(process: Played, says: str) -> None:
    run = await World(process).released()
    assert (run.state, run.report) == (RunState.QUEUED, None)
    assert says in str(run.reason)


async def test_requests_that_are_too_old_by_then_are_not_opened() -> None:
    world = World(saying(Reported(report=MADE)), ahead=301)
    run = await world.ended()
    assert isinstance(run.report, BootstrapReport)
    assert run.report.problem is BootstrapProblem.EXPIRED
    assert len(world.waiting) == 1


async def test_a_process_that_says_nothing_is_left_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_LATE_SECONDS", 0.1)
    run = await World(Played("silent"), ahead=299.9).ended()
    assert isinstance(run.report, BootstrapReport)
    assert run.report.problem is BootstrapProblem.EXPIRED


async def test_the_lease_is_kept_meanwhile() -> None:
    world = World(Played("silent"))
    world.onboard.results.lease_seconds = 0.3
    async with world.onboard.worker():
        run_id = world.onboard.send(world.job())
        await until(lambda: run_id in world.onboard.results.runs and world.onboard.results.runs[run_id].heartbeats > 2)


async def test_a_worker_that_goes_away_gives_the_run_back() -> None:
    world = World(Played("silent"))
    async with world.onboard.worker():
        run_id = world.onboard.send(world.job())
        await until(lambda: not world.waiting)
    assert world.onboard.results.runs[run_id].state is RunState.QUEUED


async def test_a_job_for_other_keys_is_given_back_at_once_and_unclaimed() -> None:
    world, other = World(), World()
    message = world.onboard.queue.send(world.onboard.jobs.sign(other.job()))
    async with world.onboard.worker():
        await until(lambda: ("hide", message, 1) in world.onboard.queue.calls)
    assert world.onboard.results.calls == []
    assert world.onboard.queue.ids == [message]


def test_other_work_needs_no_key() -> None:
    tools = BootstrapTools(SealingKeys(Signer(FLEET), "w1"), lambda: pytest.fail("no process"))
    assert tools.takes(Jobs().make(work=AuditSpec(rules=[], regions=[])))
    assert not tools.takes(Jobs().onboard(BootstrapSpec(sealed={"another": "x"})))


def test_the_process_knows_where_aws_is_and_nothing_of_the_worker() -> None:
    worker = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/ca.pem",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary",
        "AWS_ACCESS_KEY_ID": "canary",
        "COREO_FLEET_JWK": "canary",
        "HTTPS_PROXY": "http://canary",
        "PYTHONPATH": "/canary",
    }
    assert onboarding_environment(worker) == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/ca.pem",
    }


def test_a_begin_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(ProtocolError) as refused:
        unpack_begin(encode_msgpack({"type": "begin", "keys": "canary"}))
    assert "canary" not in str(refused.value)


def test_the_frame_says_how_long_it_is() -> None:
    job = World().job()
    assert isinstance(job.work, BootstrapSpec)
    begin = Begin(run_id=job.run_id, context=context_of(job), keys={"k": bytearray(32)}, sealed={})
    frame = pack_begin(begin)
    assert int.from_bytes(frame[:LENGTH_BYTES], "big") == len(frame) - LENGTH_BYTES
    assert unpack_begin(bytes(frame[LENGTH_BYTES:])) == begin

"""A deploy worker is killed at each step of an apply: AWS executes once, and the run ends as it truly did.

All of it happens at once: runs with a stack of their own, in the hands of a few workers with one run each. A run loses
its worker at one step before the approval and at one after it. Then each test looks at what became of its step's run.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from uuid import UUID

import pytest

from coreo_embedded.stack import Process
from coreo_shared.contracts.deploys import Outputs, Preview
from coreo_shared.contracts.results import RunEvent
from coreo_shared.contracts.terms import RunState
from tests.support.deploys import ROLE_NAME, Desk, make_spec
from tests.support.gate import Gate
from tests.support.stack import until

pytestmark = pytest.mark.timeout(240)
WORKERS = 4
_APPROVED = "approved"  # the step comes in the second part, after the approval


@dataclass(frozen=True)
class Step:
    """Where the worker is when it is killed: at a call to AWS (`operation`) or to the results service (`path`).

    `done`: the call was carried out, and only its answer is lost.
    """

    operation: str = ""
    path: str = ""
    body: str = ""
    done: bool = False
    part: str = ""


STEPS = {
    "entering the account": Step("AssumeRole"),
    "making the change set": Step("CreateChangeSet"),
    "having made the change set": Step("CreateChangeSet", done=True),
    "having stored the preview": Step(path="/documents", body='"preview"', done=True),
    "having parked for approval": Step(path="/park", done=True),
    "beginning": Step(path="/begin-apply", part=_APPROVED),
    "having begun": Step(path="/begin-apply", done=True, part=_APPROVED),
    "executing": Step("ExecuteChangeSet", part=_APPROVED),
    "having executed": Step("ExecuteChangeSet", done=True, part=_APPROVED),
    "having stored events": Step(path="/stack-events", done=True, part=_APPROVED),
    "ending": Step(path="/finish", part=_APPROVED),
    "having ended": Step(path="/finish", done=True, part=_APPROVED),
}


@dataclass(frozen=True)
class Lost:
    """A run that lost its worker."""

    run_id: UUID
    stack_name: str
    event: RunEvent
    preview: Preview
    outputs: Outputs


@pytest.fixture(scope="module")
def lost(desk: Desk) -> dict[str, Lost]:
    """What became of each step's run."""
    with Gate(desk.results.url).open() as gate:
        return asyncio.run(_lose_all(desk, gate))


async def _lose_all(desk: Desk, gate: Gate) -> dict[str, Lost]:
    first = [name for name, step in STEPS.items() if not step.part]
    second = [name for name, step in STEPS.items() if step.part]
    pairs = [[name for name in pair if name] for pair in zip_longest(first, second)]
    losses = Losses(desk, gate)
    try:
        await asyncio.gather(*(losses.start_worker() for _ in range(WORKERS)))
        places = asyncio.Semaphore(WORKERS)

        async def lose(number: int, names: Sequence[str]) -> dict[str, Lost]:
            async with places:
                lost = await losses.lose([STEPS[name] for name in names], f"lost-{number}")
            return dict.fromkeys(names, lost)

        async with desk.following():
            ends = await asyncio.gather(*(lose(number, names) for number, names in enumerate(pairs)))
        return {name: lost for end in ends for name, lost in end.items()}
    finally:
        for worker in losses.workers:
            worker.stop()


class Losses:
    """Workers that are killed, and others that come instead."""

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self.desk, self.gate = desk, gate
        self.workers: list[Process] = []
        self.kills = len(STEPS)  # still to come

    async def start_worker(self) -> None:
        """One more."""
        settings = {"results_url": self.gate.url, "max_runs": "1", "visibility_seconds": "3"}
        self.workers.append(await asyncio.to_thread(self.desk.worker, **settings))

    async def lose(self, steps: Sequence[Step], stack_name: str) -> Lost:
        """What becomes of a run whose worker is killed at each of the steps."""
        desk = self.desk
        template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": stack_name}}}}
        template["Outputs"] = {"Topic": {"Value": {"Ref": "Topic"}}}
        run_id = desk.reserve(make_spec(template, name=stack_name, termination_protection=True))
        first, last = steps[0], steps[-1]
        if first.part:
            desk.send(run_id, 0)
        else:
            killing = asyncio.create_task(self._kill(run_id, stack_name, first))
            await asyncio.sleep(0)
            desk.send(run_id, 0)
            await killing
        await desk.until(run_id, RunState.AWAITING_APPROVAL)
        if last.part:
            await self._kill(run_id, stack_name, last)
        else:
            await desk.approve(run_id)
        event = await desk.until(run_id)
        preview, outputs = await desk.document(run_id, "preview"), await desk.document(run_id, "outputs")
        assert isinstance(preview, Preview)
        assert isinstance(outputs, Outputs), (event, await desk.document(run_id, "failure"))
        return Lost(run_id, stack_name, event, preview, outputs)

    async def _kill(self, run_id: UUID, stack_name: str, step: Step) -> None:
        if step.path:
            hold = self.gate.hold(f"{run_id}{step.path}", "after" if step.done else "before", step.body)
            reached, stack = hold.reached.is_set, None
        else:
            text = run_id.hex if step.operation == "AssumeRole" else stack_name
            stack = self.desk.stack.simulator.fault(
                kind="mute" if step.done else "hang", operation=step.operation, containing=text, times=1
            )
            fault = stack.__enter__()
            reached = lambda: fault.hits > 0  # noqa: E731
        if step.part:
            await self.desk.approve(run_id)
        await _until(reached, f"{step} of {stack_name}")
        victim = _holder(self.workers, run_id)
        await asyncio.to_thread(victim.kill)
        self.workers.remove(victim)
        self.kills -= 1
        if stack is not None:
            stack.__exit__(None, None, None)
        if len(self.workers) <= self.kills:  # else there are enough for what is still to come
            await self.start_worker()


def _holder(workers: list[Process], run_id: UUID) -> Process:
    """The worker that has claimed the run last."""

    def last_claim(worker: Process) -> str:
        lines = [json.loads(line) for line in worker.log.read_text().splitlines() if str(run_id) in line]
        return max((line["timestamp"] for line in lines if line["event"] == "run_claimed"), default="")

    return max(workers, key=last_claim)


async def _until(condition: Callable[[], bool], what: str) -> None:
    async def look() -> bool | None:
        return condition() or None

    await until(look, what=what, seconds=60)


@pytest.mark.parametrize("name", STEPS)
def test_killed_worker_executes_nothing_twice(desk: Desk, lost: dict[str, Lost], name: str) -> None:
    run = lost[name]

    assert (run.event.state, run.event.reason) == (RunState.SUCCEEDED, None)
    executed = [
        request
        for request in desk.stack.simulator.requests
        if request.operation == "ExecuteChangeSet"
        and request.parameters["StackName"] == run.stack_name
        and request.status == 200
    ]
    assert [request.parameters["ClientRequestToken"] for request in executed] == [str(run.run_id)]
    assert executed[0].role == ROLE_NAME
    stack = desk.cloudformation.describe_stacks(StackName=run.stack_name)["Stacks"][0]
    assert (stack["StackStatus"], stack["EnableTerminationProtection"]) == ("CREATE_COMPLETE", True)
    assert [output.value for output in run.outputs.outputs] == [stack["Outputs"][0]["OutputValue"]]
    assert run.outputs.stack_arn == run.preview.stack_arn == stack["StackId"]

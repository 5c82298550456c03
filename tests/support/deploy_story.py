"""One deploy run from its drivers' point of view: CloudFormation and the ledger in memory, and a clock of its own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coreo_shared.contracts.deploys import (
    Checkpoint,
    DeployAction,
    DeployClaim,
    DeploySpec,
    Document,
    Drift,
    Failure,
    Outputs,
    Preview,
    StackEvent,
)
from coreo_shared.contracts.findings import Finding
from coreo_shared.templates import pack, preview_hash
from coreo_worker.deploy.driving import drive
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.run import DeployRun
from tests.support.memory_stacks import ACCOUNT, REGION, MemoryStacks

RUN_ID = "01a21b41-3872-7a10-a366-1a866f24e0fe"
OTHER_RUN_ID = "01a21b41-3872-7a10-a366-1a866f24e0ff"
START = 1_767_225_600.0  # 2026-01-01, as MemoryStacks' own times


@dataclass
class Story:
    """A run's parts, one after the other. The story is its own voice: what is told stays with it, as at the ledger."""

    stacks: MemoryStacks = field(default_factory=MemoryStacks)
    action: DeployAction = DeployAction.APPLY
    fields: dict[str, Any] = field(default_factory=dict)
    hold_seconds: float = 20.0
    now: float = START
    checkpoint: Checkpoint | None = None
    applying: bool = False
    approved: str | None = None
    refuse_begin: str | None = None
    documents: dict[str, Document] = field(default_factory=dict)
    events: list[StackEvent] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    no_cancels: list[str] = field(default_factory=list)
    during_sleep: Callable[[], None] = lambda: None
    run: DeployRun | None = None
    run_id: str = RUN_ID

    @property
    def spec(self) -> DeploySpec:
        """What the run is to do."""
        template = '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}'
        usual: dict[str, Any] = {"permissions": ["sns:*"]}
        if self.action in {DeployAction.APPLY, DeployAction.PREVIEW} and "template_url" not in self.fields:
            usual["template"] = pack(self.fields.pop("text", template))
        return DeploySpec(action=self.action, region=REGION, stack_name="web", **(usual | self.fields))

    async def part(self, *, changes: bool = False, cancel: bool = False) -> Ended:
        """The next part of the run, in another worker's hands."""
        run = DeployRun(
            run_id=self.run_id,
            cloud_account_id="account",
            account_id=ACCOUNT,
            partition="aws",
            spec=self.spec,
            claim=DeployClaim(
                applying=self.applying,
                approvals=1,
                approved_hash=self.approved,
                events_parts=0,
                checkpoint=self.checkpoint,
            ),
            stacks=self.stacks,
            voice=self,
            hold_seconds=self.hold_seconds,
            park_seconds=10.0,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        if cancel:
            run.canceled.set()
        self.run = run
        ended = await drive(run, changes=changes)
        self.checkpoint = ended.checkpoint or self.checkpoint
        return ended

    async def approve(self) -> None:
        """The first part, and people's approval of what it shows."""
        ended = await self.part()
        assert ended.outcome == "prepared", (ended, self.documents)
        self.approved = self.preview.hash

    async def apply(self, **more: Any) -> Ended:
        """The second part."""
        return await self.part(changes=True, **more)

    @property
    def preview(self) -> Preview:
        """As it is stored."""
        found = self.documents["preview"]
        assert isinstance(found, Preview)
        assert found.hash == preview_hash(found)
        return found

    @property
    def failure(self) -> Failure:
        """As it is stored."""
        found = self.documents["failure"]
        assert isinstance(found, Failure)
        return found

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during_sleep()
        await asyncio.sleep(0)

    async def store(self, document: Document, checkpoint: Checkpoint | None = None) -> None:
        """As the voice says."""
        names = {Preview: "preview", Outputs: "outputs", Drift: "drift", Failure: "failure"}
        self.documents[names[type(document)]] = document
        self.checkpoint = checkpoint or self.checkpoint

    async def store_events(self, events: list[StackEvent], checkpoint: Checkpoint, *, done: int, total: int) -> None:
        """As the voice says."""
        self.events += events
        self.progress.append((done, total))
        self.checkpoint = checkpoint

    async def store_findings(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:  # noqa: ARG002
        """As the voice says."""
        assert unit == f"aws.cloudformation.stack@{REGION}"
        self.findings += findings

    async def may_begin(self, digest: str, checkpoint: Checkpoint) -> str | None:
        """As the voice says; like the ledger it lets begin what was approved alone."""
        if self.refuse_begin is not None:
            return self.refuse_begin
        if digest != self.approved:
            return "not_approved"
        self.applying, self.checkpoint = True, checkpoint
        return None

    async def no_cancel(self, reason: str) -> None:
        """As the voice says."""
        self.no_cancels.append(reason)

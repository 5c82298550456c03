"""The work of a deploy run's process: what to do and a session in by one pipe, what came of it out by the other."""

import asyncio
from dataclasses import dataclass, field

import structlog

from coreo_shared.contracts.deploys import Checkpoint, Document, StackEvent
from coreo_shared.contracts.findings import Finding
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.clients import ClientFactory
from coreo_worker.aws.cloudformation import SdkStacks
from coreo_worker.deploy.driving import drive
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
    read_to_run,
)
from coreo_worker.deploy.run import DeployRun
from coreo_worker.runner.pipes import Sessions, open_pipes
from coreo_worker.runner.protocol import ProtocolError

_log = get_logger(__name__)


async def serve(incoming: int, outgoing: int) -> None:
    """One part of a run over these two file descriptors. Raises ProtocolError when the first frame is not the start."""
    reader, writer = await open_pipes(incoming, outgoing)
    begin = await read_to_run(reader)
    if begin is None:  # the worker had no use for this process after all
        return
    if not isinstance(begin, Begin):
        raise ProtocolError("the first frame is not the start")
    structlog.contextvars.bind_contextvars(team_id=begin.team_id, run_id=begin.run_id)
    voice = PipeVoice(writer)
    sessions = Sessions(lambda: voice.send(SessionOver()))
    clients = ClientFactory(begin.credentials.for_clients(), renew=sessions.renew)
    async with clients, asyncio.TaskGroup() as group:
        run = _run(begin, clients, voice)
        work = group.create_task(_drive(run, changes=begin.changes))
        listening = group.create_task(_listen(reader, Heard(clients, sessions, voice, run), work))
        ended = await work
        listening.cancel()
        await voice.send(ended)


@dataclass
class PipeVoice:
    """The way to the worker. It stores frames in the order in which they come, so that few need an answer."""

    writer: asyncio.StreamWriter
    _answers: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)

    async def store(self, document: Document, checkpoint: Checkpoint | None = None) -> None:
        """As the port says."""
        await self.send(Store(document=document, checkpoint=checkpoint))

    async def store_events(self, events: list[StackEvent], checkpoint: Checkpoint, *, done: int, total: int) -> None:
        """As the port says."""
        await self.send(StoreEvents(events=events, checkpoint=checkpoint, done=done, total=total))

    async def store_findings(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        """As the port says."""
        await self.send(StoreFindings(unit=unit, index=index, final=final, findings=findings))

    async def may_begin(self, digest: str, checkpoint: Checkpoint) -> str | None:
        """As the port says: it returns once the ledger has answered."""
        await self.send(MayBegin(hash=digest, checkpoint=checkpoint))
        return await self._answers.get()

    async def no_cancel(self, reason: str) -> None:
        """As the port says."""
        await self.send(NoCancel(reason=reason))

    async def send(self, frame: FromRun) -> None:
        """Returns once the pipe has taken it, or most of it. Raises ConnectionError when the worker is gone."""
        self.writer.write(pack(frame))
        await self.writer.drain()

    def answered(self, code: str | None) -> None:
        """The ledger's answer."""
        self._answers.put_nowait(code)


def _run(begin: Begin, clients: ClientFactory, voice: PipeVoice) -> DeployRun:
    run = DeployRun(
        run_id=begin.run_id,
        cloud_account_id=begin.cloud_account_id,
        account_id=begin.account_id,
        partition=begin.partition,
        spec=begin.spec,
        claim=begin.claim,
        stacks=SdkStacks(clients, begin.spec.region),
        voice=voice,
        hold_seconds=begin.hold_seconds,
        park_seconds=begin.park_seconds,
    )
    if begin.cancel:
        run.canceled.set()
    return run


async def _drive(run: DeployRun, *, changes: bool) -> Ended:
    """Drives, and puts into words what no driver foresaw. The worker knows what that means for a change under way."""
    try:
        return await drive(run, changes=changes)
    except MemoryError:
        reason = "The run needed more memory than its process may have."
    except ConnectionError:
        raise  # the worker is gone, and with it everybody who could be told
    except Exception as error:  # noqa: BLE001  a bug: the log has it whole, the run's reason its name
        _log.exception("deploy_failed")
        reason = f"An internal error ({type(error).__name__}) stopped the run."
    return Ended(outcome="interrupted", reason=reason)


@dataclass(frozen=True)
class Heard:
    """Whom the worker's words are for."""

    clients: ClientFactory
    sessions: Sessions
    voice: PipeVoice
    run: DeployRun


async def _listen(reader: asyncio.StreamReader, heard: Heard, work: "asyncio.Task[Ended]") -> None:
    """Takes what the worker says while the run goes on; without a worker there is nobody to go on for."""
    while True:
        frame = await read_to_run(reader)
        if isinstance(frame, Renewed):
            await heard.clients.replace_credentials(frame.credentials.for_clients())
            heard.sessions.renewed()
        elif isinstance(frame, Cancel):
            heard.run.canceled.set()
        elif isinstance(frame, Begun):
            heard.voice.answered(frame.code)
        elif frame is None:
            work.cancel()
            return
        else:
            raise ProtocolError("the start came twice")

"""The work of a run's process: request and credentials in by one pipe, findings out by the other, then the end."""

import asyncio

import structlog

from coreo_shared.catalogue.packs import catalogue_with
from coreo_shared.contracts.findings import Finding
from coreo_shared.observability.logs import get_logger
from coreo_shared.rules.errors import ParameterError
from coreo_worker.audit.engine import AuditRequest, AuditRequestError, SessionExpiredError, run_audit
from coreo_worker.aws.clients import ClientFactory
from coreo_worker.runner.pipes import Sessions, open_pipes
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
    by_service,
    pack,
    read_worker_frame,
)

_log = get_logger(__name__)


async def serve(incoming: int, outgoing: int) -> None:
    """One audit over these two file descriptors. Raises ProtocolError when the first frame is not the start."""
    reader, writer = await open_pipes(incoming, outgoing)
    sink = PipeSink(writer)
    start = await read_worker_frame(reader)
    if start is None:  # the worker had no use for this process after all
        return
    if not isinstance(start, Start):
        raise ProtocolError("the first frame is not the start")
    structlog.contextvars.bind_contextvars(team_id=start.team_id, run_id=start.run_id)
    sessions = Sessions(lambda: sink.send(SessionOver()))
    clients = ClientFactory(start.credentials.for_clients(), by_service(start.others), renew=sessions.renew)
    async with clients, asyncio.TaskGroup() as group:
        audit = group.create_task(_audit(start, clients, sink))
        control = group.create_task(_obey(reader, clients, sessions, audit))
        ended = await audit
        control.cancel()
        await sink.send(ended)


class PipeSink:
    """The engine's sink. A full pipe holds the audit back, with one chunk waiting here however many units have one."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._lock = asyncio.Lock()

    async def planned(self, units_total: int) -> None:
        """As the engine's port says."""
        await self.send(Planned(units_total=units_total))

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        """As the engine's port says."""
        await self.send(Chunk(unit=unit, index=index, final=final, findings=findings))

    async def send(self, frame: RunFrame) -> None:
        """Returns once the pipe has taken it, or most of it. Raises ConnectionError when the worker is gone."""
        async with self._lock:
            self._writer.write(pack(frame))
            await self._writer.drain()


async def _audit(start: Start, clients: ClientFactory, sink: PipeSink) -> Ended:
    """Audits, and puts each way to end into words. Cancelling it is one of them."""
    request = AuditRequest(
        account_id=start.account_id,
        partition=start.partition,
        rules=start.rules,
        regions=start.regions,
        parameters=start.parameters,
        units_done=start.units_done,
    )
    try:
        await run_audit(request, clients, sink, catalogue=catalogue_with(start.packs))
    except asyncio.CancelledError:
        return Ended(outcome="canceled")
    except (AuditRequestError, ParameterError) as error:
        return Ended(outcome="failed", reason=f"The plan cannot be run. {error}")
    except SessionExpiredError:
        return Ended(outcome="interrupted", reason="The session in the AWS account ended in the middle of the run.")
    except MemoryError:
        return Ended(outcome="interrupted", reason="The run needed more memory than its process may have.")
    except Exception as error:  # noqa: BLE001  a bug: the log has it whole, the run's reason its name
        _log.exception("audit_failed")
        return Ended(outcome="interrupted", reason=f"An internal error ({type(error).__name__}) stopped the run.")
    return Ended(outcome="completed")


async def _obey(
    reader: asyncio.StreamReader, clients: ClientFactory, sessions: Sessions, audit: "asyncio.Task[Ended]"
) -> None:
    """Does what the worker says while the audit goes on; without a worker there is nobody to audit for."""
    while True:
        frame = await read_worker_frame(reader)
        if isinstance(frame, NewCredentials):
            await clients.replace_credentials(frame.credentials.for_clients(), by_service(frame.others))
            sessions.renewed()
        elif isinstance(frame, Cancel) or frame is None:
            audit.cancel()
            return
        else:
            raise ProtocolError("the start came twice")

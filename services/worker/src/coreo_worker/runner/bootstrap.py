"""A bootstrap: the seal for one of this worker's keys, opened and used in a process of its own."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from coreo_shared.contracts.base import MalformedMessageError, decode_msgpack, encode_msgpack
from coreo_shared.contracts.onboarding import BootstrapReport, BootstrapSpec, SealContext
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.errors import TemporaryError
from coreo_worker.onboard.child import Order
from coreo_worker.onboard.keys import SealingKeys
from coreo_worker.runner.planning import Completed, Ending
from coreo_worker.runner.process import describe_exit
from coreo_worker.runner.work import ClaimedRun, attended

_log = get_logger(__name__)
_MEMORY_MB = 256
_OTHER_WORKER_SECONDS = 1.0


@dataclass(frozen=True)
class BootstrapTools:
    """What a bootstrap is done with. `environment` is all that its process gets of the worker's."""

    keys: SealingKeys
    environment: Mapping[str, str]


class Bootstrap:
    """A bootstrap in this worker's hands."""

    def __init__(self, tools: BootstrapTools, claimed: ClaimedRun, spec: BootstrapSpec) -> None:
        self._tools = tools
        self._claimed = claimed
        self._spec = spec

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """As the port says."""
        return await attended(self._work(), self._claimed, giving_back)

    async def _work(self) -> Ending:
        keys = self._tools.keys.holding(self._spec.sealed)
        if not keys:
            raise TemporaryError("It was not sealed for this worker.", delay=_OTHER_WORKER_SECONDS)
        job = self._claimed.job
        context = SealContext(
            team_id=job.team_id,
            run_id=job.run_id,
            cloud_account_id=job.target.cloud_account_id,
            account_id=job.target.account_id,
            expires_at=job.exp,
        )
        report = await self._in_process(Order(keys=keys, sealed=self._spec.sealed, context=context))
        _log.info("bootstrap_done", problem=report.problem, role=report.role, policy=report.policy)
        return Completed(report)

    async def _in_process(self, order: Order) -> BootstrapReport:
        """What a fresh process makes of the order. Raises TemporaryError when it ends without a word."""
        python = [sys.executable, "-I", "-B", "-X", "utf8"]
        process = await asyncio.create_subprocess_exec(
            *python,
            "-m",
            "coreo_worker.onboard.child",
            str(os.getpid()),
            str(_MEMORY_MB),
            env=dict(self._tools.environment),
            cwd="/",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback there might hold what nobody may see
            start_new_session=True,
        )
        try:
            answer, _ = await process.communicate(encode_msgpack(order))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        try:
            return decode_msgpack(answer, BootstrapReport)
        except MalformedMessageError:
            ending = describe_exit(process.returncode or 0)
            raise TemporaryError(f"The bootstrap's process ended unexpectedly ({ending}).", delay=1) from None

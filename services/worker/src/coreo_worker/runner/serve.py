"""Puts a worker together and runs it until it is told to end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final, NoReturn

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.deploys import DeploySpec
from coreo_shared.contracts.jobs import AuditSpec
from coreo_shared.contracts.onboarding import BootstrapSpec, DiscoverSpec, VerifySpec
from coreo_shared.contracts.terms import Pool
from coreo_shared.observability.logs import configure_logging, get_logger
from coreo_shared.settings import load_settings
from coreo_worker.aws.inside import SdkInside
from coreo_worker.aws.organizations import SdkOrganizations
from coreo_worker.aws.own import AioSession, own_session
from coreo_worker.aws.queue import open_queue
from coreo_worker.aws.sts import open_gate
from coreo_worker.onboard.keys import SealingKeys
from coreo_worker.runner.bootstrap import (
    ONBOARDING_MEMORY_MB,
    ONBOARDING_MODULE,
    Bootstrap,
    BootstrapTools,
    onboarding_environment,
)
from coreo_worker.runner.consumer import Consumer
from coreo_worker.runner.deployment import DEPLOY_MODULE, Deployment, DeployTools
from coreo_worker.runner.discovery import DiscoverTools, Discovery
from coreo_worker.runner.fleet import Fleet, Identity, touch_regularly
from coreo_worker.runner.gate import JobGate
from coreo_worker.runner.handler import JobHandler, Terms
from coreo_worker.runner.hardening import harden_worker
from coreo_worker.runner.process import open_process, run_command, run_environment
from coreo_worker.runner.results import HttpResults
from coreo_worker.runner.run import Run, Tools
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.verification import Verification, VerifyTools
from coreo_worker.runner.work import Trades
from coreo_worker.settings import WorkerSettings

_log = get_logger(__name__)
_FAREWELL_SECONDS: Final = 3.0


def main() -> None:
    """`coreo-worker serve`: status 0 after it was told to end, 2 when a setting is wrong."""
    settings = load_settings(WorkerSettings)
    configure_logging("worker", settings.log_level)
    missing = harden_worker()
    if missing:
        _log.warning("hardening_incomplete", missing=missing)
    if settings.heartbeat_file is not None:
        try:
            settings.heartbeat_file.touch()
        except OSError as error:
            _refuse(f"COREO_HEARTBEAT_FILE: cannot be touched: {error.strerror}")
    session = own_session()
    region = settings.aws_region or session.get_config_variable("region")
    if region is None:
        _refuse("AWS_REGION: Field required")
    if settings.pool is Pool.AUDIT:
        load_catalogue()  # here, as it takes a while and would hold up what runs
    asyncio.run(serve(settings, session, region))


def _refuse(problem: str) -> NoReturn:
    print(problem, file=sys.stderr)  # noqa: T201  in the way of load_settings
    raise SystemExit(2)


async def serve(settings: WorkerSettings, session: AioSession, region: str) -> None:
    """Takes jobs until SIGTERM or SIGINT, or until an operator drains this worker."""
    stopping = Stopping(grace_seconds=settings.grace_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.signal, number.name)
    async with AsyncExitStack() as stack:
        stack.callback(stopping.close)
        results = HttpResults(settings.results_url, settings.fleet_signer())
        stack.push_async_callback(results.close)
        queue = await stack.enter_async_context(
            open_queue(session, settings.queue_url, region=region, visibility_seconds=settings.visibility_seconds)
        )
        onboarding = _onboarding_tools(settings)
        trades = await stack.enter_async_context(_open_trades(settings, session, region, onboarding))
        gate = JobGate(settings.api_keys(), settings.pool)
        handler = JobHandler(
            settings.worker_id,
            gate=gate,
            results=results,
            trades=trades,
            stopping=stopping,
            terms=_terms(settings, onboarding),
        )
        fleet = Fleet(
            Identity(settings.worker_id, settings.pool),
            results,
            stopping,
            current_runs=lambda: handler.current_runs,
            refused=gate.refused,
            sealing_key=lambda: None if onboarding is None else onboarding.keys.announcement(),
        )
        consumer = Consumer(
            queue, handler, stopping, max_runs=settings.max_runs, visibility_seconds=settings.visibility_seconds
        )
        _log.info("worker_started", worker_id=settings.worker_id, pool=settings.pool, max_runs=settings.max_runs)
        await _until_drained(consumer, fleet, settings, onboarding)
        _log.info("worker_stopped")


def _onboarding_tools(settings: WorkerSettings) -> BootstrapTools | None:
    """Of a worker of the onboard pool; no other one opens seals."""
    if settings.pool is not Pool.ONBOARD:
        return None
    command = run_command(memory_mb=ONBOARDING_MEMORY_MB, log_level=settings.log_level, module=ONBOARDING_MODULE)
    return BootstrapTools(
        keys=SealingKeys(settings.fleet_signer(), settings.worker_id),
        open_process=partial(open_process, command, onboarding_environment(os.environ)),
    )


def _terms(settings: WorkerSettings, onboarding: BootstrapTools | None) -> Terms:
    terms = Terms(max_receives=settings.max_receives, patience_seconds=settings.patience_seconds)
    return terms if onboarding is None else replace(terms, takes=onboarding.takes)


@asynccontextmanager
async def _open_trades(
    settings: WorkerSettings, session: AioSession, region: str, onboarding: BootstrapTools | None
) -> AsyncIterator[Trades]:
    """The work that this pool's workers do, by its spec."""
    async with open_gate(session, region=region) as roles:
        if settings.pool is Pool.AUDIT:
            command = run_command(memory_mb=settings.run_memory_mb, log_level=settings.log_level)
            tools = Tools(roles=roles, open_process=partial(open_process, command, run_environment(os.environ)))
            yield {AuditSpec: partial(Run, tools)}
        elif onboarding is not None:
            verifying = VerifyTools(roles, SdkInside(region), settings.trust_settle_seconds)
            discovering = DiscoverTools(roles, SdkOrganizations(region))
            yield {
                VerifySpec: partial(Verification, verifying),
                DiscoverSpec: partial(Discovery, discovering),
                BootstrapSpec: partial(Bootstrap, onboarding),
            }
        else:
            command = run_command(memory_mb=settings.run_memory_mb, log_level=settings.log_level, module=DEPLOY_MODULE)
            opened = partial(open_process, command, run_environment(os.environ))
            deploying = DeployTools(roles, opened, settings.hold_seconds, settings.park_seconds)
            yield {DeploySpec: partial(Deployment, deploying)}


async def _until_drained(
    consumer: Consumer, fleet: Fleet, settings: WorkerSettings, onboarding: BootstrapTools | None
) -> None:
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(fleet.run())]
        if onboarding is not None:
            beside.append(group.create_task(onboarding.keys.run(fleet.report)))
        if settings.heartbeat_file is not None:
            touching = touch_regularly(settings.heartbeat_file, settings.heartbeat_file_seconds)
            beside.append(group.create_task(touching))
        await consumer.run()
        for task in beside:
            task.cancel()
    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await fleet.report()  # no runs any more
    except TimeoutError:
        _log.info("farewell_not_heard")

"""The results service as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import coreo_results.access.endpoints as access_endpoints
import coreo_results.backups.endpoints as backup_endpoints
import coreo_results.chunks.endpoints as chunk_endpoints
import coreo_results.custody.endpoints as custody_endpoints
import coreo_results.decisions.endpoints as decision_endpoints
import coreo_results.documents.endpoints as document_endpoints
import coreo_results.events.endpoints as event_endpoints
import coreo_results.exclusions.endpoints as exclusion_endpoints
import coreo_results.findings.endpoints as finding_endpoints
import coreo_results.fleet.endpoints as fleet_endpoints
import coreo_results.ledger.endpoints as ledger_endpoints
import coreo_results.life.endpoints as life_endpoints
import coreo_results.overrides.endpoints as override_endpoints
import coreo_results.retention.endpoints as retention_endpoints
import coreo_results.suppressions.endpoints as suppression_endpoints
from coreo_results import health
from coreo_results.access.service import AccessRecord
from coreo_results.auth import Authenticator
from coreo_results.backups.keeper import BackupKeeper
from coreo_results.chunks.rekey import Rekeying
from coreo_results.chunks.service import Chunks
from coreo_results.custody.service import Custody as TeamCustody
from coreo_results.decisions.log import DecisionLog
from coreo_results.documents.service import Documents
from coreo_results.events.listener import EventListener, Wakeup
from coreo_results.events.service import Events
from coreo_results.exclusions.keeper import ExclusionKeeper
from coreo_results.exclusions.service import Exclusions
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.findings.service import Findings
from coreo_results.fleet.service import Fleet
from coreo_results.keys.errors import RootKeyError
from coreo_results.keys.keeper import KeyKeeper
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.vault import VaultError
from coreo_results.ledger import deploy_endpoints
from coreo_results.ledger.deploying import Deploys
from coreo_results.ledger.service import Ledger
from coreo_results.ledger.sweeper import Sweeper
from coreo_results.life.keeper import LifeKeeper
from coreo_results.life.service import Life
from coreo_results.opening import Custody, open_custody
from coreo_results.overrides.service import Overrides
from coreo_results.retention.service import Retention
from coreo_results.retention.sweeper import RetentionSweeper
from coreo_results.services import Services
from coreo_results.settings import ResultsSettings
from coreo_results.stores import StoreSetupError
from coreo_results.suppressions.lens import Lenses
from coreo_results.suppressions.service import Suppressions
from coreo_shared.contracts.results import MAX_CHUNK_BYTES
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import Problem, install
from coreo_shared.web.problems import answer, on_unexpected

_log = get_logger(__name__)


def create_app(settings: ResultsSettings) -> FastAPI:
    """The application. It connects when its lifespan starts; RootKeyError and VaultError tell what is wrong."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        database = Database(settings.database_url.get_secret_value(), pool_size=16)
        system_database = Database(settings.system_database_url.get_secret_value(), pool_size=8)
        wakeup = Wakeup()

        def begin_stop() -> None:
            stopping.set()
            wakeup.ring()

        app.state.begin_stop = begin_stop
        try:
            async with open_custody(settings, database, system_database) as custody:
                services = _wire(settings, custody, Events(system_database, wakeup, stopping))
                app.state.services = services
                listener = EventListener(settings.system_database_url.get_secret_value(), wakeup)
                keepers = (
                    *(services.sweeper, services.life_keeper, services.key_keeper),
                    *(services.retention_sweeper, services.backup_keeper, services.exclusion_keeper),
                )
                jobs = (keeper.run(stopping) for keeper in keepers if keeper is not None)
                async with _background(listener.run(stopping), *jobs):
                    try:
                        yield
                    finally:
                        begin_stop()
        except RootKeyError as error:
            _log.critical("root_key_unusable", problem=str(error))
            raise
        except (VaultError, StoreSetupError) as error:
            _log.critical("store_unusable", problem=str(error))
            raise
        finally:
            await system_database.close()
            await database.close()

    app = FastAPI(title="Coreo results (internal)", lifespan=lifespan, openapi_url=None)
    app.state.authenticator = Authenticator(settings.api_keys(), settings.fleet_keys())
    install(app, max_body_bytes=MAX_CHUNK_BYTES)
    app.add_exception_handler(DamagedError, _on_damaged)
    # The first three are bugs of ours, other database errors are its state; while it is away, connecting raises the
    # driver's or the socket's own.
    for bug in (DataError, IntegrityError, ProgrammingError):
        app.add_exception_handler(bug, on_unexpected)
    for trouble in (DBAPIError, PoolTimeoutError, asyncpg.PostgresError, OSError):
        app.add_exception_handler(trouble, _on_database_down)
    parts = (ledger_endpoints, chunk_endpoints, finding_endpoints, life_endpoints, event_endpoints, fleet_endpoints)
    decisions = (suppression_endpoints, override_endpoints, decision_endpoints)
    deploys = (deploy_endpoints, document_endpoints)
    custody = (custody_endpoints, retention_endpoints, exclusion_endpoints, access_endpoints, backup_endpoints)
    for part in (*parts, *decisions, *deploys, *custody, health):
        app.include_router(part.router)
    app.include_router(fleet_endpoints.keepers)
    return app


def _wire(settings: ResultsSettings, custody: Custody, events: Events) -> Services:
    database, system_database, keys = custody.database, custody.system_database, custody.keys
    life = Life(database, keys)
    documents = Documents(database, keys)
    suppressions = Suppressions(database, keys)
    retention, rekeying = Retention(database), Rekeying(database, keys)
    worker = None
    if custody.excluded is not None:
        worker = ExclusionWorker(database, custody.vault, custody.turnovers, rekeying, retention, custody.excluded)
    return Services(
        database=database,
        system_database=system_database,
        keys=keys,
        turnovers=custody.turnovers,
        rekeying=rekeying,
        ledger=Ledger(
            database, keys, documents, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts
        ),
        deploys=Deploys(database, keys, documents),
        documents=documents,
        chunks=Chunks(database, keys),
        findings=Findings(database, keys, life, Lenses(database, keys, suppressions)),
        life=life,
        suppressions=suppressions,
        overrides=Overrides(database, keys),
        log=DecisionLog(database, keys),
        access=AccessRecord(database),
        custody=TeamCustody(database),
        retention=retention,
        retention_sweeper=RetentionSweeper(system_database, retention, interval_seconds=settings.retention_seconds),
        life_keeper=LifeKeeper(system_database, life, interval_seconds=settings.sweep_seconds),
        key_keeper=KeyKeeper(system_database, keys, custody.turnovers, interval_seconds=settings.sweep_seconds),
        backups=custody.backups,
        exclusions=Exclusions(database, has_backups=worker is not None),
        exclusion_worker=worker,
        exclusion_keeper=None
        if worker is None
        else ExclusionKeeper(system_database, database, worker, interval_seconds=settings.sweep_seconds),
        custody_keys=settings.custody_keys(),
        backup_keeper=None
        if custody.backups is None
        else BackupKeeper(system_database, database, custody.backups, interval_seconds=settings.backup_seconds),
        events=events,
        fleet=Fleet(system_database),
        sweeper=Sweeper(
            system_database,
            abandon_after_seconds=settings.abandon_after_seconds,
            interval_seconds=settings.sweep_seconds,
        ),
    )


@asynccontextmanager
async def _background(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs the jobs beside the block, which must make them end; what they raise is raised."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(job)
        yield


async def _on_damaged(request: Request, error: Exception) -> Response:
    _log.error("stored_data_damaged", security_event="stored_data_damaged", exc_info=error)
    detail = "Stored data fails its integrity check, so nothing of it is shown. Restore it from a backup."
    return answer(Problem(500, "data_damaged", detail, title="Stored data is damaged"), request)


async def _on_database_down(request: Request, error: Exception) -> Response:
    _log.error("database_unavailable", exc_info=error)
    detail = "The database cannot be reached at the moment. Nothing was changed, or the same call again does no harm."
    problem = Problem(503, "database_unavailable", detail, title="Database unavailable", headers={"Retry-After": "2"})
    return answer(problem, request)

"""The api: HTTP routes, and the background tasks that run beside them in each replica."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import httpx
from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from coreo_api import health, openapi, signals
from coreo_api.accounts import endpoints as accounts
from coreo_api.bootstrap import endpoints as bootstrap
from coreo_api.compliance import endpoints as compliance
from coreo_api.console.serving import add_console
from coreo_api.context import Clock, Context, utc_now
from coreo_api.custody import endpoints as custody
from coreo_api.custody import exclusions
from coreo_api.deploys import endpoints as deploys
from coreo_api.dispatch.background import Task, running
from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.dispatch.onboarding import Onboarding
from coreo_api.dispatch.projector import Projector
from coreo_api.dispatch.purges import Purges
from coreo_api.dispatch.queue import JobQueue
from coreo_api.dispatch.scheduler import Scheduler
from coreo_api.dispatch.sqs import open_queue
from coreo_api.dispatch.turns import DeployDispatcher
from coreo_api.dispatch.wishes import Wishes
from coreo_api.findings import endpoints as findings
from coreo_api.grants import endpoints as grants
from coreo_api.packs import endpoints as packs
from coreo_api.plans import endpoints as plans
from coreo_api.plans.linter import Linter
from coreo_api.results import ResultsClient
from coreo_api.rules import endpoints as rules
from coreo_api.runs import endpoints as runs
from coreo_api.settings import ApiSettings
from coreo_api.signals import Signals
from coreo_api.suppressions import endpoints as suppressions
from coreo_api.teams import endpoints as teams
from coreo_shared.catalogue import load_catalogue
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import Problem, install
from coreo_shared.web.problems import answer

MAX_BODY_BYTES = 256 * 1024
_DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeoutError, ConnectionError)
_log = get_logger(__name__)


def create_app(
    settings: ApiSettings,
    *,
    queue: JobQueue | None = None,
    onboard_queue: JobQueue | None = None,
    deploy_queue: JobQueue | None = None,
    results_transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = utc_now,
) -> FastAPI:
    """The application. Its background tasks run during its lifespan; queue and network can be stood in for."""
    context = Context(
        settings=settings,
        database=Database(settings.database_url.get_secret_value()),
        system_database=Database(settings.system_database_url.get_secret_value()),
        results=ResultsClient(settings.results_url, settings.signer(), transport=results_transport),
        signals=Signals(settings.system_database_url.get_secret_value()),
        linter=Linter(settings.lint_python or sys.executable),
        catalogue=load_catalogue(),
        clock=clock,
        stopping=asyncio.Event(),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for closing in (context.results.close, context.system_database.close, context.database.close):
                stack.push_async_callback(closing)

            async def opened(given: JobQueue | None, url: str) -> JobQueue:
                if given is not None:
                    return given
                return await stack.enter_async_context(open_queue(url, region=settings.aws_region))

            audit = await opened(queue, settings.queue_url_audit)
            onboard = await opened(onboard_queue, settings.queue_url_onboard)
            deploy = await opened(deploy_queue, settings.queue_url_deploy)
            app.state.onboard_queue = onboard
            await stack.enter_async_context(running(context, background_tasks(context, audit, onboard, deploy)))
            yield

    app = FastAPI(title="Coreo", version=version("coreo-api"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.context = context
    app.state.onboard_queue = onboard_queue  # opened with the lifespan unless it is given
    install(app, max_body_bytes=MAX_BODY_BYTES)
    for error in _DATABASE_DOWN:
        app.add_exception_handler(error, _on_database_down)
    features = (
        teams,
        accounts,
        grants,
        bootstrap,
        rules,
        packs,
        plans,
        runs,
        deploys,
        findings,
        suppressions,
        compliance,
        custody,
        exclusions,
    )
    for feature in (*features, health):
        app.include_router(feature.router)
    app.include_router(plans.templates)
    if settings.console:
        add_console(app)
    openapi.describe(app)
    return app


async def _on_database_down(request: Request, error: Exception) -> Response:
    _log.error("database_unavailable", error=type(error).__name__)
    detail = (
        "The database does not answer just now. Try again soon; what you asked for was not done, or (rarely) was done "
        "without an answer: an Idempotency-Key keeps a run from starting twice."
    )
    problem = Problem(503, "database_unavailable", detail, title="Database unavailable", headers={"Retry-After": "2"})
    return answer(problem, request)


def background_tasks(context: Context, queue: JobQueue, onboard_queue: JobQueue, deploy_queue: JobQueue) -> list[Task]:
    """All that goes on beside the requests."""
    return [
        Task("dispatcher", Dispatcher(context, queue).step, signals.OUTBOX),
        Task("deploys", DeployDispatcher(context, deploy_queue).step, signals.OUTBOX),
        Task("onboarding", Onboarding(context, onboard_queue).step, signals.TASKS),
        Task("wishes", Wishes(context).step, signals.OUTBOX),
        Task("purges", Purges(context).step, signals.TASKS),
        Task("scheduler", Scheduler(context).step, signals.SCHEDULE),
        Task("projector", Projector(context).step, waits_long=True),
    ]

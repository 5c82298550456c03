"""The api in process on a real database, with a queue in memory and a stand-in for the results service."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from fastapi import FastAPI

from coreo_api.accounts.reports import Reports
from coreo_api.app import create_app
from coreo_api.context import Clock, Context, utc_now
from coreo_api.dispatch.queue import MAX_BATCH, QueueMessage, QueueUnavailableError
from coreo_api.settings import ApiSettings
from coreo_api.teams.service import create_team
from coreo_shared.contracts.base import decode_json, encode_json
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.jobs import JOB_TYPE, Job, job_audience
from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome, Report, VerifyReport
from coreo_shared.contracts.results import CancelRun, Counts, EventPage, FindingPage, RunAnswer, RunEvent
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, SERVICE_TOKEN_TYPE, ServiceToken
from coreo_shared.crypto.jose import Verifier, generate_key, public_jwk
from tests.support.custody import FakeCustody
from tests.support.decisions import FakeDecisions
from tests.support.postgres import ServiceDatabase

OWN_ACCOUNT = "111111111111"
CUSTOMER_ACCOUNT = "210987654321"
SIGNING_KEY = generate_key("api-test")
FLEET_KEY = generate_key("fleet-onboard-test")
VERIFIED = VerifyReport(
    verdict="CONNECTED",
    reason=None,
    checks=[Check(name=name, outcome=CheckOutcome.PASSED, detail="As it must be.") for name in CheckName],
)
VERIFIER = Verifier([public_jwk(SIGNING_KEY)], issuer="coreo-api")


class VirtualClock:
    """A clock that goes only when told to."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


class MemoryQueue:
    """The queue port in memory. `available=False` plays an outage; `refused` are message ids that it will not take."""

    def __init__(self) -> None:
        self.messages: list[QueueMessage] = []
        self.available = True
        self.refused: dict[str, str] = {}
        self.calls = 0
        self.arrived = asyncio.Event()

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        self.calls += 1
        await asyncio.sleep(0)  # as a call over the network, it lets others run in between
        if not self.available:
            raise QueueUnavailableError("switched off")
        assert 0 < len(messages) <= MAX_BATCH
        assert len({message.id for message in messages}) == len(messages)
        refused = {message.id: self.refused[message.id] for message in messages if message.id in self.refused}
        self.messages += [message for message in messages if message.id not in refused]
        self.arrived.set()
        return refused

    def jobs(self, pool: Pool = Pool.AUDIT) -> list[Job]:
        """The jobs on the queue, verified as a worker of the pool would."""
        return [
            VERIFIER.verify(message.body, Job, typ=JOB_TYPE, audience=job_audience(pool)) for message in self.messages
        ]


@dataclass
class FakeResults:
    """Answers as the results service: feed, cancel and findings of what a test puts in. `down` plays an outage."""

    down: bool = False
    events: list[RunEvent] = field(default_factory=list)
    findings: dict[UUID, list[Finding]] = field(default_factory=dict)
    rules: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    kept: dict[tuple[UUID, str], object] = field(default_factory=dict)  # (run, last word of the path) -> answer
    cancels: list[tuple[UUID, CancelRun]] = field(default_factory=list)
    cancel_answers: dict[UUID, RunState] = field(default_factory=dict)
    workers: list[dict[str, Any]] = field(default_factory=list)
    purges: list[tuple[UUID | None, UUID]] = field(default_factory=list)  # (team, cloud account)
    decisions: FakeDecisions = field(default_factory=FakeDecisions)
    custody: FakeCustody = field(default_factory=FakeCustody)
    refusal: tuple[int, dict[str, Any]] | None = None
    requests: list[httpx.Request] = field(default_factory=list)
    tokens: list[ServiceToken] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def transport(self) -> httpx.AsyncBaseTransport:
        """For ResultsClient."""
        return httpx.MockTransport(self._answer)

    def emit(self, run: Mapping[str, Any], team_id: UUID, version: int, state: RunState, **fields: Any) -> RunEvent:
        """Puts an event of a run (as the api shows it) on the feed."""
        event = RunEvent(
            cursor=str(len(self.events) + 1),
            run_id=UUID(run["id"]),
            team_id=team_id,
            version=version,
            at=datetime.now(UTC).isoformat(),
            state=state,
            **{
                "reason": None,
                "attempt": 1,
                "units_done": 0,
                "units_total": None,
                "counts": Counts(),
            }
            | fields,
        )
        self.events.append(event)
        self.changed.set()
        return event

    async def _answer(self, request: httpx.Request) -> httpx.Response:  # noqa: PLR0911  one for each route
        if self.down:
            raise httpx.ConnectError("switched off", request=request)
        self.requests.append(request)
        bearer = request.headers["authorization"].removeprefix("Bearer ")
        token = VERIFIER.verify(bearer, ServiceToken, typ=SERVICE_TOKEN_TYPE, audience=RESULTS_AUDIENCE)
        self.tokens.append(token)
        if self.refusal is not None:
            status, problem = self.refusal
            return httpx.Response(status, json=problem)
        path = request.url.path
        if path == "/internal/v1/events":
            assert token.scope == "feed"
            return await self._feed(request.url.params)
        if path == "/internal/v1/workers":
            assert token.scope == "feed"
            return httpx.Response(200, json={"workers": self.workers})
        assert token.scope == "team"
        assert token.team_id is not None
        for part in (self.decisions, self.custody):
            if (answered := part.answer(token.team_id, request)) is not None:
                return answered
        if request.method == "DELETE" and path.startswith("/internal/v1/cloud-accounts/"):
            self.purges.append((token.team_id, UUID(path.split("/")[4])))
            return httpx.Response(204)
        run_id = UUID(path.split("/")[4])
        if path.endswith("/cancel"):
            return self._cancel(run_id, request.content)
        if path.endswith("/findings"):
            return self._findings(run_id)
        if (kept := self.kept.get((run_id, path.rsplit("/", 1)[1]))) is not None:
            return httpx.Response(200, content=encode_json(kept))
        if run_id not in self.rules:
            return httpx.Response(404, json={"code": "not_found"})
        return httpx.Response(200, json={"rules": self.rules[run_id]})

    async def _feed(self, parameters: httpx.QueryParams) -> httpx.Response:
        after = int(parameters.get("after", "0"))
        if after >= len(self.events):
            self.changed.clear()
            try:
                async with asyncio.timeout(float(parameters["wait_seconds"])):
                    await self.changed.wait()
            except TimeoutError:
                pass
        events = self.events[after : after + int(parameters["limit"])]
        page = EventPage(events=events, cursor=str(after + len(events)))
        return httpx.Response(200, content=encode_json(page))

    def _cancel(self, run_id: UUID, body: bytes) -> httpx.Response:
        wish = decode_json(body, CancelRun)
        self.cancels.append((run_id, wish))
        state = self.cancel_answers.get(run_id, RunState(wish.state))
        return httpx.Response(200, content=encode_json(RunAnswer(run_id=run_id, state=state, reason=wish.reason)))

    def _findings(self, run_id: UUID) -> httpx.Response:
        if run_id not in self.findings:
            return httpx.Response(404, json={"code": "not_found"})
        found = self.findings[run_id]
        return httpx.Response(200, content=encode_json(FindingPage(findings=found, total=len(found), next_cursor=None)))


@dataclass
class Team:
    """A team, and a client that shows its token."""

    id: UUID
    token: str
    http: httpx.AsyncClient
    context: Context = field(repr=False)

    async def add_account(self, *, role: str | None = "CoreoAudit", account_id: str = CUSTOMER_ACCOUNT) -> Any:
        """A cloud account, CONNECTED by its role unless that is None."""
        body = {"name": "production", "account_id": account_id}
        account = ok(await self.http.post("/v1/cloud-accounts", json=body), 201)
        if role is None:
            return account
        arn = {"role_arn": f"arn:aws:iam::{account_id}:role/{role}"}
        ok(await self.http.put(f"/v1/cloud-accounts/{account['id']}/role", json=arn))
        return await self.report(account, VERIFIED)

    async def report(self, account: Mapping[str, Any], report: Report | None, **event: Any) -> Any:
        """The cloud account once the task under way in it has ended with this report."""
        path = f"/v1/cloud-accounts/{account['id']}"
        entries = ok(await self.http.get(f"{path}/history"))["items"]
        (task,) = [entry for entry in entries if entry["state"] is not None and entry["ended_at"] is None]
        values: dict[str, Any] = {"cursor": "", "run_id": UUID(task["id"]), "team_id": self.id, "version": 3}
        values |= {"at": datetime.now(UTC).isoformat(), "state": RunState.SUCCEEDED, "reason": None, "attempt": 1}
        values |= {"units_done": 0, "units_total": None, "counts": Counts(), "report": report}
        values |= event
        async with self.context.system_database.transaction() as connection:
            await Reports(connection, self.context.settings).apply([RunEvent(**values)], self.context.clock())
        return ok(await self.http.get(path))

    async def add_plan(self, *account_ids: str, **fields: Any) -> Any:
        """A plan on these cloud accounts."""
        body = {"name": "nightly", "spec": {"rule_sets": ["baseline"]}, "cloud_account_ids": account_ids} | fields
        return ok(await self.http.post("/v1/plans", json=body), 201)

    async def start(self, plan: Mapping[str, Any]) -> list[Any]:
        """Starts a plan; its runs."""
        return list(ok(await self.http.post(f"/v1/plans/{plan['id']}/runs"), 202)["runs"])

    async def started_run(self, *, role: str = "CoreoAudit") -> Any:
        """A run of a fresh plan on a fresh cloud account."""
        account = await self.add_account(role=role)
        return (await self.start(await self.add_plan(account["id"])))[0]

    async def show(self, run: Mapping[str, Any]) -> Any:
        """The run as it is now."""
        return ok(await self.http.get(f"/v1/runs/{run['id']}"))


@dataclass
class Api:
    """One replica. Its background tasks run inside `running()` only."""

    app: FastAPI
    queue: MemoryQueue
    results: FakeResults
    onboard_queue: MemoryQueue = field(default_factory=MemoryQueue)
    deploy_queue: MemoryQueue = field(default_factory=MemoryQueue)
    _clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A client without or with a token."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://api", headers=headers
        )
        self._clients.append(client)
        return client

    async def team(self, name: str = "team") -> Team:
        """A fresh team."""
        team_id, token = await create_team(self.context.database, name, self.context.clock())
        return Team(team_id, token, self.client(token), self.context)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block runs beside the background tasks, as in a served process; the api is closed after it."""
        async with self.app.router.lifespan_context(self.app):
            yield

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        await self.context.results.close()
        await self.context.database.close()
        await self.context.system_database.close()


def ok(answer: httpx.Response, status: int = 200) -> Any:
    """The body of an answer that has this status."""
    assert answer.status_code == status, answer.text
    return answer.json()


def problem(answer: httpx.Response, status: int, *fields: str) -> Any:
    """The body of a problem answer that has this status and names these fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "code", "detail"} <= set(body)
    assert [error["field"] for error in body.get("errors", [])] == list(fields)
    return body


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Waits until the (possibly async) condition holds; fails after so many seconds."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return
            await asyncio.sleep(0.02)


def api_settings(database: ServiceDatabase, **fields: Any) -> ApiSettings:
    """Settings for a test's database."""
    values = {
        "database_url": database.url("coreo_api"),
        "system_database_url": database.url("coreo_api_system"),
        "results_url": "http://results",
        "signing_jwk": json.dumps(SIGNING_KEY),
        "queue_url_audit": "http://127.0.0.1:9/111111111111/coreo-audit",
        "queue_url_deploy": "http://127.0.0.1:9/111111111111/coreo-deploy",
        "queue_url_onboard": "http://127.0.0.1:9/111111111111/coreo-onboard",
        "onboard_fleet_jwks": json.dumps({"keys": [public_jwk(FLEET_KEY)]}),
        "aws_account_id": OWN_ACCOUNT,
    }
    return ApiSettings(**values | fields)


@pytest.fixture(autouse=True, scope="session")
def _plain_logs() -> None:
    """structlog's default draws errors with all local variables, which takes seconds for each."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


ApiFactory = Callable[..., Api]


@pytest.fixture
async def make_api(api_database: ServiceDatabase) -> AsyncIterator[ApiFactory]:
    """Makes replicas on the test's database: `make_api(clock=…, queue=…, results=…, team_max_active_runs=2)`.

    `results_transport` leads to another results service than the stand-in.
    """
    made: list[Api] = []

    def make(
        *,
        clock: Clock = utc_now,
        queue: MemoryQueue | None = None,
        onboard_queue: MemoryQueue | None = None,
        deploy_queue: MemoryQueue | None = None,
        results: FakeResults | None = None,
        results_transport: httpx.AsyncBaseTransport | None = None,
        **settings: Any,
    ) -> Api:
        queue, results, onboard_queue = queue or MemoryQueue(), results or FakeResults(), onboard_queue or MemoryQueue()
        deploy_queue = deploy_queue or MemoryQueue()
        app = create_app(
            api_settings(api_database, **settings),
            queue=queue,
            onboard_queue=onboard_queue,
            deploy_queue=deploy_queue,
            results_transport=results_transport or results.transport(),
            clock=clock,
        )
        made.append(Api(app, queue, results, onboard_queue, deploy_queue))
        return made[-1]

    yield make
    for api in made:
        await api.close()


@pytest.fixture
async def api(make_api: ApiFactory) -> Api:
    """One replica; its background tasks do not run unless the test says `async with api.running():`."""
    return make_api()

"""Deploys as they run: real workers and results service, the simulated AWS, and a desk that does the api's part.

The desk sends a run's first job, follows the feed, and sends another job whenever the feed says so, as the api's
projector and dispatcher do; and it approves.
"""

import asyncio
import json
import shutil
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from coreo_embedded.calls import AwsRequest
from coreo_embedded.stack import Process, Stack
from coreo_shared.contracts.base import decode_json, encode_json
from coreo_shared.contracts.deploys import (
    ApproveRun,
    DeployAction,
    DeploySpec,
    DeployTerms,
    Document,
    ReconcileRun,
    StackEvent,
    StackEventPage,
)
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.jobs import JOB_TYPE, Job, TargetAccount, job_audience
from coreo_shared.contracts.results import CancelRun, EventPage, FindingPage, RunEvent
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.contracts.tokens import (
    RESULTS_AUDIENCE,
    RUN_CAPABILITY_TYPE,
    SERVICE_TOKEN_TYPE,
    RunCapability,
    ServiceToken,
)
from coreo_shared.ids import new_id
from coreo_shared.templates import pack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sqs import SQSClient

ACCOUNT = "222222220003"
REGION = "eu-west-1"
ROLE_NAME = "CoreoDeploy"
EXTERNAL_ID = "0123456789abcdef0123456789abcdef"
PERMISSIONS = [
    "ec2:*",
    "iam:AttachRolePolicy",
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:GetRole",
    "iam:PutRolePolicy",
    "iam:TagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
    "s3:*",
    "sns:*",
    "sqs:*",
    "ssm:*",
]
LEASE_SECONDS = "3"
WAITING = {RunState.AWAITING_APPROVAL}
_TLS = ssl.create_default_context()  # made once: each client would make its own, at most of a request's cost


@dataclass
class Desk:
    """What the api does for a deploy run. One team, one cloud account."""

    stack: Stack
    results: Process
    role_arn: str
    team_id: UUID = field(default_factory=new_id)
    cloud_account_id: UUID = field(default_factory=new_id)
    plan_id: UUID = field(default_factory=new_id)
    specs: dict[UUID, tuple[DeploySpec, DeployTerms]] = field(default_factory=dict)
    events: dict[UUID, list[RunEvent]] = field(default_factory=dict)
    sent: list[tuple[UUID, int]] = field(default_factory=list)  # (run, ticket)

    @property
    def cloudformation(self) -> "CloudFormationClient":
        """The customer's own look at the region."""
        client: CloudFormationClient = self.stack.simulator.root_client("cloudformation", ACCOUNT, REGION)
        return client

    def client(self, service: str) -> Any:
        """The customer's own hand."""
        return self.stack.simulator.root_client(service, ACCOUNT, REGION)

    def worker(self, **settings: str) -> Process:
        """A worker of the pool that notices losses within seconds."""
        return self.stack.start_worker(
            "deploy", **{"visibility_seconds": "4", "hold_seconds": "5", "park_seconds": "1", **settings}
        )

    def calls(self, operation: str, since: int = 0) -> list[AwsRequest]:
        """What runs asked CloudFormation for with sessions in the customer's account."""
        return [
            request
            for request in self.stack.simulator.requests[since:]
            if request.operation == operation and request.service == "cloudformation" and request.role == ROLE_NAME
        ]

    def start(self, spec: DeploySpec, *, target_id: UUID | None = None, **terms: Any) -> UUID:
        """Requests a run; its id."""
        run_id = self.reserve(spec, target_id=target_id, **terms)
        self.send(run_id, 0)
        return run_id

    def reserve(self, spec: DeploySpec, *, target_id: UUID | None = None, **terms: Any) -> UUID:
        """The id of a run whose first job `send` will send."""
        run_id = new_id()
        self.specs[run_id] = (spec, DeployTerms(action=spec.action, target_id=target_id or new_id(), **terms))
        return run_id

    def send(self, run_id: UUID, ticket: int) -> None:
        """Sends a job of the run."""
        sqs: SQSClient = self.stack.simulator.root_client("sqs", self.stack.deployment.account_id)
        self.sent.append((run_id, ticket))
        sqs.send_message(QueueUrl=self.stack.deployment.queue_urls["deploy"], MessageBody=self.job(run_id, ticket))

    def job(self, run_id: UUID, ticket: int) -> str:
        """A job of the run, signed."""
        spec, terms = self.specs[run_id]
        now = int(time.time())
        times: dict[str, Any] = {"iss": "coreo-api", "jti": str(new_id()), "iat": now, "exp": now + 600}
        run: dict[str, Any] = {"team_id": self.team_id, "run_id": run_id, "plan_id": self.plan_id, "plan_revision": 1}
        capability = RunCapability(
            **times,
            **run,
            aud=RESULTS_AUDIENCE,
            cloud_account_id=self.cloud_account_id,
            account_id=ACCOUNT,
            pool=Pool.DEPLOY,
            deploy=terms,
            ticket=ticket,
        )
        target = TargetAccount(
            cloud_account_id=self.cloud_account_id,
            account_id=ACCOUNT,
            partition="aws",
            role_arn=self.role_arn,
            external_id=EXTERNAL_ID,
        )
        job = Job(
            **times,
            **run,
            aud=job_audience(Pool.DEPLOY),
            target=target,
            work=spec,
            run_token=self.stack.sign(capability, typ=RUN_CAPABILITY_TYPE),
        )
        return self.stack.sign(job, typ=JOB_TYPE)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Obeys the feed while the block runs."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        cursor = ""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    answer = await self._ask(
                        "GET", "/internal/v1/events", scope="feed", params={"after": cursor, "wait_seconds": "1"}
                    )
                except httpx.TransportError:  # the results service is away
                    await asyncio.sleep(0.1)
                    continue
                page = decode_json(answer.content, EventPage)
                cursor = page.cursor
                for event in page.events:
                    if event.run_id not in self.specs:
                        continue
                    self.events.setdefault(event.run_id, []).append(event)
                    resume = None if event.deploy is None else event.deploy.resume
                    if resume is not None and (event.run_id, resume.ticket) not in self.sent:
                        self.sent.append((event.run_id, resume.ticket))
                        group.create_task(self._resume(event.run_id, resume.ticket, resume.at))

    async def _resume(self, run_id: UUID, ticket: int, at: str) -> None:
        await asyncio.sleep(max(0.0, datetime.fromisoformat(at).timestamp() - time.time()))
        await asyncio.to_thread(self.send, run_id, ticket)

    async def until(
        self, run_id: UUID, *states: RunState, seconds: float = 60, after: RunEvent | None = None
    ) -> RunEvent:
        """The run once it is in one of these states, or has ended; later than the event `after`."""
        version = 0 if after is None else after.version
        return await self.until_event(
            run_id,
            lambda event: event.version > version and (event.state in states or event.state.is_final),
            seconds=seconds,
        )

    async def until_event(
        self, run_id: UUID, condition: Callable[[RunEvent], bool], *, seconds: float = 60
    ) -> RunEvent:
        """The run's newest event once the condition holds of it."""
        deadline = time.monotonic() + seconds
        while True:
            known = self.events.get(run_id, [])
            if known and condition(known[-1]):
                return known[-1]
            assert time.monotonic() < deadline, f"{known[-1:]} after {seconds} s"
            await asyncio.sleep(0.05)

    async def until_called(self, operation: str, stack_name: str, *, seconds: float = 60) -> None:
        """Until a run asked CloudFormation for this, of this stack, and was answered."""
        deadline = time.monotonic() + seconds

        def is_it(request: AwsRequest) -> bool:
            return stack_name in request.parameters.get("StackName", "") and request.status is not None

        while not any(is_it(request) for request in self.calls(operation)):
            assert time.monotonic() < deadline, operation
            await asyncio.sleep(0.05)

    async def approve(self, run_id: UUID, digest: str | None = None) -> httpx.Response:
        """Approves what waits, or what has this hash."""
        event = await self.until(run_id, RunState.AWAITING_APPROVAL)
        assert event.deploy is not None
        assert event.deploy.approval is not None, event
        said = ApproveRun(hash=digest or event.deploy.approval.hash, approver_id=new_id(), author="ann")
        return await self._ask("POST", f"/internal/v1/runs/{run_id}/approve", content=encode_json(said))

    async def cancel(self, run_id: UUID) -> None:
        """Wishes that the run end."""
        wish = CancelRun(
            plan_id=self.plan_id,
            plan_revision=1,
            cloud_account_id=self.cloud_account_id,
            account_id=ACCOUNT,
            pool=Pool.DEPLOY,
            state="CANCELED",
            reason="Canceled on request.",
        )
        answer = await self._ask("POST", f"/internal/v1/runs/{run_id}/cancel", content=encode_json(wish))
        assert answer.status_code == 200, answer.text

    async def reconcile(self, run_id: UUID) -> None:
        """Has a worker look again."""
        said = encode_json(ReconcileRun(author="ann"))
        answer = await self._ask("POST", f"/internal/v1/runs/{run_id}/reconcile", content=said)
        assert answer.status_code == 200, answer.text

    async def carry_out(self, spec: DeploySpec, *, seconds: float = 60, **terms: Any) -> tuple[UUID, RunEvent]:
        """Requests a run, approves what it waits for, and gives it as it ended."""
        run_id = self.start(spec, **terms)
        event = await self.until(run_id, RunState.AWAITING_APPROVAL, seconds=seconds)
        if not event.state.is_final:
            await self.approve(run_id)
            event = await self.until(run_id, seconds=seconds)
        return run_id, event

    async def document(self, run_id: UUID, name: str) -> Document | None:
        """A document of the run."""
        answer = await self._ask("GET", f"/internal/v1/runs/{run_id}/documents/{name}")
        return None if answer.status_code == 404 else decode_json(answer.content, Document)  # type: ignore[arg-type]

    async def stack_events(self, run_id: UUID) -> list[StackEvent]:
        """All stored stack events of the run."""
        answer = await self._ask("GET", f"/internal/v1/runs/{run_id}/stack-events", params={"limit": "1000"})
        page = decode_json(answer.content, StackEventPage)
        assert page.total == len(page.events)
        return page.events

    async def findings(self, run_id: UUID) -> list[Finding]:
        """The run's findings."""
        answer = await self._ask("GET", f"/internal/v1/runs/{run_id}/findings", params={"limit": "1000"})
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, FindingPage).findings

    async def _ask(self, method: str, path: str, *, scope: str = "team", **more: Any) -> httpx.Response:
        now = int(time.time())
        claims = ServiceToken(
            iss="coreo-api",
            aud=RESULTS_AUDIENCE,
            jti="test",
            iat=now,
            exp=now + 60,
            scope=scope,
            team_id=self.team_id if scope == "team" else None,
        )
        token = self.stack.sign(claims, typ=SERVICE_TOKEN_TYPE)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        async with httpx.AsyncClient(base_url=self.results.url, headers=headers, timeout=30, verify=_TLS) as client:
            return await client.request(method, path, **more)


def make_spec(
    template: dict[str, Any] | str | None, action: DeployAction = DeployAction.APPLY, *, name: str, **fields: Any
) -> DeploySpec:
    """A spec for a stack in REGION; `template` as an object or text."""
    text = template if isinstance(template, str | None) else json.dumps(template)
    usual: dict[str, Any] = {"capabilities": ["CAPABILITY_NAMED_IAM"], "permissions": PERMISSIONS}
    packed = None if text is None else pack(text)
    return DeploySpec(action=action, region=REGION, stack_name=name, template=packed, **(usual | fields))


def make_deploy_role(stack: Stack, *, actions: str | list[str] = "*") -> str:
    """The customer's role for the deploy pool; its ARN."""
    iam: IAMClient = stack.simulator.root_client("iam", ACCOUNT)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": stack.deployment.role_arns["worker-deploy"]},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
            }
        ],
    }
    role = iam.create_role(RoleName=ROLE_NAME, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_role_policy(RoleName=ROLE_NAME, PolicyName="deploy", PolicyDocument=json.dumps(allow))
    return role["Arn"]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A stack without api and workers, with a customer's account."""
    directory = Path(tempfile.mkdtemp(prefix="coreo-dep-"))
    try:
        with Stack(directory, durable=False) as stack:
            results = stack.start_results(lease_seconds=LEASE_SECONDS, sweep_seconds="0.5")
            yield Desk(stack, results, make_deploy_role(stack))
    finally:
        shutil.rmtree(directory)

"""What tests of the audit engine share: a sink that remembers, clients that note each call, an AWS of functions."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import MAX_CHUNK_BYTES, MAX_CHUNK_FINDINGS
from coreo_worker.audit.engine import AuditRequest, Limits, run_audit
from coreo_worker.aws.clients import ClientFactory, Clients

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class MadeCall:
    """A call as the engine made it; `params` as JSON."""

    service: str
    region: str
    operation: str
    params: str


class RememberingSink:
    """Takes an audit's findings, and fails where they come against the rules of the contract."""

    def __init__(self) -> None:
        self.units_total: int | None = None
        self.units: dict[str, list[list[Finding]]] = {}
        self.finished: list[str] = []

    async def planned(self, units_total: int) -> None:
        """Once, first."""
        assert self.units_total is None
        self.units_total = units_total

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        """In order, within the limits, and none after the final one."""
        assert self.units_total is not None
        assert unit not in self.finished
        chunks = self.units.setdefault(unit, [])
        assert index == len(chunks)
        assert len(findings) <= MAX_CHUNK_FINDINGS
        assert len(encode_msgpack(findings)) < MAX_CHUNK_BYTES
        chunks.append(findings)
        if final:
            self.finished.append(unit)

    @property
    def findings(self) -> list[Finding]:
        """All of them, sorted."""
        every = [finding for chunks in self.units.values() for chunk in chunks for finding in chunk]
        return sorted(every, key=lambda finding: (finding.rule_id, finding.region, finding.resource_id))

    def of(self, rule_id: str) -> list[Finding]:
        """The findings of one rule."""
        return [finding for finding in self.findings if finding.rule_id == rule_id]


class NotingClients(ClientFactory):
    """The real clients; every call is noted in `calls`."""

    calls: list[MadeCall]

    async def client(self, service: str, region: str) -> Any:
        """The real client, listened to."""
        if not hasattr(self, "calls"):
            self.calls = []
        return _Noted(await super().client(service, region), service, region, self.calls)


class _Noted:
    def __init__(self, client: Any, service: str, region: str, calls: list[MadeCall]) -> None:
        self._client, self._service, self._region, self._calls = client, service, region, calls

    def __getattr__(self, operation: str) -> Any:
        async def call(**params: Any) -> Any:
            self._calls.append(MadeCall(self._service, self._region, operation, json.dumps(params, sort_keys=True)))
            return await getattr(self._client, operation)(**params)

        return call


Answer = Callable[[str, Mapping[str, Any]], Any]
"""What an operation answers, from region and parameters; it may be awaitable or raise."""


class LastingSession:
    """Clients whose session never ends: what a fake needs besides `client`."""

    generation = 0

    async def renewed(self, generation: int) -> bool:  # noqa: ARG002  as the port says
        """There are no other credentials."""
        return False


@dataclass
class PlainAws(LastingSession):
    """An AWS made of functions, one for each operation; `calls` has what was asked, `most` the calls at once."""

    answers: dict[str, Answer]
    calls: list[MadeCall] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)

    async def client(self, service: str, region: str) -> Any:
        """A client of the service: operations are `service.operation` in `answers`."""
        return _PlainClient(self, service, region)

    def asked(self, operation: str) -> list[MadeCall]:
        """The calls of one operation, as `s3.get_bucket_acl`."""
        return [call for call in self.calls if f"{call.service}.{call.operation}" == operation]


@dataclass
class _PlainClient:
    aws: PlainAws
    service: str
    region: str

    def __getattr__(self, operation: str) -> Any:
        async def call(**params: Any) -> Any:
            aws, keys = self.aws, ("all", self.service, f"{self.service}@{self.region}")
            aws.calls.append(MadeCall(self.service, self.region, operation, json.dumps(params, sort_keys=True)))
            aws.at_once.update(keys)
            aws.most.update({key: max(0, aws.at_once[key] - aws.most[key]) for key in keys})
            try:
                answer = aws.answers[f"{self.service}.{operation}"](self.region, params)
                await asyncio.sleep(0)  # every call gives way, as a real one would
                return dict(await answer if asyncio.iscoroutine(answer) else answer)
            finally:
                aws.at_once.subtract(keys)

        return call


def refuse(code: str, status: int = 400) -> Answer:
    """An answer that is this error."""

    def answer(_region: str, _params: Mapping[str, Any]) -> Any:
        shape: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(shape, "Operation")

    return answer


def request(*rules: str, regions: tuple[str, ...] = ("eu-west-1",), done: frozenset[str] = frozenset()) -> AuditRequest:
    """A request for these rules."""
    return AuditRequest(ACCOUNT, "aws", rules, regions, {}, done)


async def audit(asked: AuditRequest, clients: Clients, limits: Limits | None = None) -> RememberingSink:
    """Runs an audit to its end."""
    sink = RememberingSink()
    await run_audit(asked, clients, sink, limits=limits)
    assert sorted(sink.finished) == sorted(sink.units)
    return sink

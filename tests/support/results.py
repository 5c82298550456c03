"""The results service in tests: keys and tokens of its three kinds, its settings, and the application with a client."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from coreo_results.app import create_app
from coreo_results.backups.keeper import BackupKeeper
from coreo_results.keys.file_root import FileRootKey
from coreo_results.settings import ResultsSettings
from coreo_shared.contracts.base import encode_json, encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import CancelRun, PutChunk
from coreo_shared.contracts.terms import FindingStatus, Pool, Severity
from coreo_shared.contracts.tokens import (
    FLEET_TOKEN_TYPE,
    RESULTS_AUDIENCE,
    RUN_CAPABILITY_TYPE,
    SERVICE_TOKEN_TYPE,
    FleetToken,
    RunCapability,
    ServiceToken,
)
from coreo_shared.crypto.jose import Signer, generate_key, public_jwk
from coreo_shared.ids import new_id
from tests.support.postgres import ServiceDatabase

PLAN, CLOUD_ACCOUNT = UUID(int=1), UUID(int=2)


@dataclass
class Tokens:
    """Signs like the api and like the workers of each pool."""

    api_jwk: dict[str, Any] = field(default_factory=generate_key)
    fleet_jwks: dict[Pool, dict[str, Any]] = field(default_factory=lambda: {pool: generate_key() for pool in Pool})

    def run(self, team_id: UUID, run_id: UUID, **claims: Any) -> str:
        """A run's capability, as it travels in the job."""
        known: dict[str, Any] = {"plan_id": PLAN, "plan_revision": 1, "cloud_account_id": CLOUD_ACCOUNT}
        known |= {"account_id": "123456789012", "pool": Pool.AUDIT, "team_id": team_id, "run_id": run_id}
        capability = RunCapability(**{**_times("coreo-api"), **known, **claims})
        return Signer(self.api_jwk).sign(capability, typ=RUN_CAPABILITY_TYPE)

    def team(self, team_id: UUID, **claims: Any) -> str:
        """The api's word for one team."""
        token = ServiceToken(**{**_times("coreo-api"), "scope": "team", "team_id": team_id, **claims})
        return Signer(self.api_jwk).sign(token, typ=SERVICE_TOKEN_TYPE)

    def feed(self, **claims: Any) -> str:
        """The api's word for the feed."""
        token = ServiceToken(**{**_times("coreo-api"), "scope": "feed", **claims})
        return Signer(self.api_jwk).sign(token, typ=SERVICE_TOKEN_TYPE)

    def fleet(self, pool: Pool, worker_id: str, *, signed_by: Pool | None = None, **claims: Any) -> str:
        """A worker's word."""
        token = FleetToken(**{**_times("coreo-worker"), "pool": pool, "worker_id": worker_id, **claims})
        return Signer(self.fleet_jwks[signed_by or pool]).sign(token, typ=FLEET_TOKEN_TYPE)


def make_settings(database: ServiceDatabase, tokens: Tokens, root_key: str, **changes: Any) -> ResultsSettings:
    """Settings on a test database. `root_key`: "file:PATH" (see `make_root_key`) or "kms:ARN".

    The vault is beside the file; with KMS say `vault=make_vault(...)`.
    """
    fleet = {pool: {"keys": [public_jwk(jwk)]} for pool, jwk in tokens.fleet_jwks.items()}
    values: dict[str, Any] = {
        "database_url": database.url("coreo_results"),
        "system_database_url": database.url("coreo_results_system"),
        "api_jwks": json.dumps({"keys": [public_jwk(tokens.api_jwk)]}),
        "fleet_jwks": json.dumps(fleet),
        "root_key": root_key,
        "sweep_seconds": 3600,
        "backup_store": "none",
    }
    if "vault" not in changes:
        values["vault"] = make_vault(Path(root_key.removeprefix("file:")).parent / "vault")
    return ResultsSettings(**{**values, **changes})


def make_root_key(directory: Path) -> str:
    """A fresh root key file, as COREO_ROOT_KEY wants it."""
    directory.mkdir(exist_ok=True)
    path = directory / "root.key"
    FileRootKey.create(path)
    return f"file:{path}"


def make_vault(path: Path) -> str:
    """An empty vault in a directory, made if it is not there, as COREO_VAULT wants it."""
    path.mkdir(mode=0o700, exist_ok=True)
    return f"dir:{path}"


def backup_settings(directory: Path, custody_jwk: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `make_settings` needs to know for backups into this directory; nothing is backed up unless asked for."""
    for name in ("backups", "ledger"):
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "backup_store": f"dir:{directory / 'backups'}",
        "ledger_store": f"dir:{directory / 'ledger'}",
        "custody_key": json.dumps(custody_jwk or generate_key()),
        "backup_seconds": 3600,
    }


@asynccontextmanager
async def running(settings: ResultsSettings, *, keeps_backups: bool = False) -> AsyncIterator[FastAPI]:
    """The application between start and stop. Unless asked for, nothing is backed up but by a test's own call."""

    async def wait(_: BackupKeeper, stopping: asyncio.Event) -> None:
        await stopping.wait()

    app = create_app(settings)
    with pytest.MonkeyPatch.context() as patch:
        if not keeps_backups:
            patch.setattr(BackupKeeper, "run", wait)
        async with app.router.lifespan_context(app):
            yield app


class ResultsService:
    """A running application, spoken to as workers and the api do. Answers are httpx responses."""

    def __init__(self, app: FastAPI, tokens: Tokens) -> None:
        self.app = app
        self.tokens = tokens
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://results")

    async def call(
        self, method: str, path: str, token: str | None, body: object = None, **options: Any
    ) -> httpx.Response:
        """One call below /internal/v1; `body` is a contract, or bytes as they are."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        content = body if isinstance(body, bytes | None) else encode_json(body)
        return await self.http.request(method, f"/internal/v1{path}", headers=headers, content=content, **options)

    def run(self, team_id: UUID | None = None, run_id: UUID | None = None) -> "RunClient":
        """A run's worker and reader, of fresh ids unless given."""
        return RunClient(self, team_id or new_id(), run_id or new_id())

    async def events(self, after: str = "", *, wait_seconds: float = 0, limit: int = 500) -> dict[str, Any]:
        """A page of the feed."""
        parameters = {"after": after, "wait_seconds": wait_seconds, "limit": limit}
        answer = await self.call("GET", "/events", self.tokens.feed(), params=parameters)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page


class RunClient:
    """What can be said of one run."""

    def __init__(self, service: ResultsService, team_id: UUID, run_id: UUID) -> None:
        self.service = service
        self.team_id = team_id
        self.run_id = run_id
        self.token = service.tokens.run(team_id, run_id)
        self.team_token = service.tokens.team(team_id)

    async def say(self, word: str, body: object) -> httpx.Response:
        """POST .../{word} with the run's capability."""
        return await self.service.call("POST", f"/runs/{self.run_id}/{word}", self.token, body)

    async def claim(self, worker_id: str = "worker-1") -> httpx.Response:
        """A claim."""
        return await self.say("claim", {"worker_id": worker_id})

    async def claimed(self, worker_id: str = "worker-1") -> int:
        """The fence of a claim that works."""
        answer = await self.claim(worker_id)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["fence"])

    async def put(self, chunk: PutChunk | bytes) -> httpx.Response:
        """A chunk."""
        body = chunk if isinstance(chunk, bytes) else encode_msgpack(chunk)
        return await self.service.call("PUT", f"/runs/{self.run_id}/chunks", self.token, body)

    async def stored(self, chunk: PutChunk) -> None:
        """A chunk that must be taken."""
        answer = await self.put(chunk)
        assert answer.status_code == 204, answer.text

    async def cancel(self, state: str = "CANCELED") -> httpx.Response:
        """The api's wish that the run end."""
        wish = CancelRun(
            plan_id=PLAN,
            plan_revision=1,
            cloud_account_id=CLOUD_ACCOUNT,
            account_id="123456789012",
            pool=Pool.AUDIT,
            state=state,  # type: ignore[arg-type]  # tests say the words of the wire
            reason="Somebody asked.",
        )
        return await self.service.call("POST", f"/runs/{self.run_id}/cancel", self.team_token, wish)

    async def findings(self, **parameters: Any) -> httpx.Response:
        """A page of findings as the api asks for it."""
        path = f"/runs/{self.run_id}/findings"
        return await self.service.call("GET", path, self.team_token, params=parameters)

    async def rules(self) -> httpx.Response:
        """The counts by rule."""
        return await self.service.call("GET", f"/runs/{self.run_id}/rules", self.team_token)

    async def last_event(self) -> dict[str, Any]:
        """The run as the feed has it last."""
        events = (await self.service.events(limit=1000))["events"]
        mine: dict[str, Any] = [event for event in events if event["run_id"] == str(self.run_id)][-1]
        return mine


def make_finding(number: int = 0, **changes: Any) -> Finding:
    """A finding that differs from others by its number."""
    values: dict[str, Any] = {
        "fingerprint": f"{number:032x}",
        "rule_id": "s3-bucket-public",
        "status": FindingStatus.FAIL,
        "severity": Severity.HIGH,
        "resource_type": "aws.s3.bucket",
        "resource_id": f"bucket-{number}",
        "resource_arn": f"arn:aws:s3:::bucket-{number}",
        "region": "eu-west-1",
        "message": f"bucket-{number} is public",
        "evidence": {"Name": f"bucket-{number}", "Grants": [{"Grantee": "AllUsers"}]},
    }
    return Finding(**{**values, **changes})


def make_chunk(fence: int, findings: list[Finding] | None = None, **changes: Any) -> PutChunk:
    """A unit's only chunk, unless told otherwise."""
    values: dict[str, Any] = {"fence": fence, "unit": "aws.s3.bucket@global", "index": 0, "final": True}
    return PutChunk(**{**values, "findings": findings if findings is not None else [make_finding()], **changes})


def _times(issuer: str) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer, "aud": RESULTS_AUDIENCE, "jti": str(new_id()), "iat": now, "exp": now + 600}

"""The command `coreo-api` as it is deployed: a process, its signals, its standard streams."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from coreo_api.teams import command as create_team
from coreo_embedded.processes import free_port
from coreo_shared.crypto.jose import public_jwk
from tests.support.api import FLEET_KEY, OWN_ACCOUNT, SIGNING_KEY, ApiFactory, Team, until
from tests.support.postgres import ServiceDatabase

COMMAND = Path(sys.executable).with_name("coreo-api")
NOWHERE = "http://127.0.0.1:9"


def environment(database: ServiceDatabase, port: int = 8080) -> dict[str, str]:
    """Queue and results service are down: nothing listens there."""
    return {
        "COREO_DATABASE_URL": database.url("coreo_api"),
        "COREO_SYSTEM_DATABASE_URL": database.url("coreo_api_system"),
        "COREO_MIGRATION_DATABASE_URL": database.url("coreo_api_owner"),
        "COREO_RESULTS_URL": NOWHERE,
        "COREO_SIGNING_JWK": json.dumps(SIGNING_KEY),
        "COREO_QUEUE_URL_AUDIT": f"{NOWHERE}/{OWN_ACCOUNT}/coreo-audit",
        "COREO_QUEUE_URL_DEPLOY": f"{NOWHERE}/{OWN_ACCOUNT}/coreo-deploy",
        "COREO_QUEUE_URL_ONBOARD": f"{NOWHERE}/{OWN_ACCOUNT}/coreo-onboard",
        "COREO_ONBOARD_FLEET_JWKS": json.dumps({"keys": [public_jwk(FLEET_KEY)]}),
        "COREO_AWS_ACCOUNT_ID": OWN_ACCOUNT,
        "COREO_PORT": str(port),
        "COREO_LOG_LEVEL": "DEBUG",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": NOWHERE,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "aws-secret-canary",
        "PATH": os.environ["PATH"],
    }


def command(database: ServiceDatabase, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], env=environment(database), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["migrate", "--help"], ["create-team", "-h"]])
def test_help_is_quick_and_needs_no_settings(arguments: list[str]) -> None:
    code = "import sys; from coreo_api.main import run\ntry: run()\nfinally: print('fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: coreo-api")
    assert done.stdout.endswith("False\n")


def test_migrate_may_run_again(api_database: ServiceDatabase) -> None:
    assert command(api_database, "migrate").returncode == 0


def test_create_team_prints_the_token_alone(api_database: ServiceDatabase) -> None:
    done = command(api_database, "create-team", "ACME")
    assert set(json.loads(done.stdout)) == {"team_id", "token"}


@pytest.mark.parametrize("name", ["", "x" * 101, "canary\x07"])
def test_create_team_refuses_a_name_that_is_none(name: str) -> None:
    with pytest.raises(SystemExit, match=r"^NAME: ") as stop:
        create_team.main(argparse.Namespace(name=name))
    assert "canary" not in str(stop.value)


def start(variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([COMMAND, "serve"], env=variables, stderr=file)


@pytest.fixture
async def served(
    api_database: ServiceDatabase, make_api: ApiFactory, tmp_path: Path
) -> AsyncIterator[tuple[subprocess.Popen[bytes], Team, Path]]:
    """A serving process, a team on it, and its log."""
    port, log = free_port(), tmp_path / "api.log"
    made = json.loads(command(api_database, "create-team", "ACME").stdout)
    process = start(environment(api_database, port), log)
    try:
        headers = {"authorization": f"Bearer {made['token']}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:

            async def is_ready() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return (await http.get("/health/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(is_ready, seconds=30)
            yield process, Team(UUID(made["team_id"]), made["token"], http, make_api().context), log
    finally:
        process.kill()
        process.wait()


async def test_accepts_runs_with_queue_and_results_down_and_ends_its_streams_on_sigterm(
    served: tuple[subprocess.Popen[bytes], Team, Path],
) -> None:
    process, team, log = served
    account = await team.add_account()
    plan = await team.add_plan(account["id"])
    run = (await team.start(plan))[0]
    async with team.http.stream("GET", f"/v1/runs/{run['id']}/events", timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        assert await anext(lines) == "id: 0"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):  # a look without a signal would come after 15 s
            rest: list[Any] = [line async for line in lines]
    assert rest[0] == "event: run"
    assert await asyncio.to_thread(process.wait, 10) in {0, -signal.SIGTERM}
    written = log.read_text()
    assert '"event": "task_waits"' in written
    for line in written.splitlines():
        assert json.loads(line)["service"] == "api"
    for secret in (team.token, account["external_id"], "aws-secret-canary", SIGNING_KEY["d"]):
        assert secret not in written

"""The command: help, migrate, root keys, settings, and serving as a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from sqlalchemy.engine import make_url

from coreo_embedded.postgres import Postgres
from coreo_embedded.processes import free_port
from coreo_results.migrate import migrate
from tests.support.postgres import ServiceDatabase
from tests.support.results import Tokens, make_root_key, make_settings

COMMAND = Path(sys.executable).with_name("coreo-results")


def environment(settings: Any, **more: str) -> dict[str, str]:
    names = ("api_jwks", "fleet_jwks", "root_key", "vault", "backup_store")
    values = {f"COREO_{name.upper()}": str(getattr(settings, name)) for name in names}
    for name in ("database_url", "system_database_url"):
        values[f"COREO_{name.upper()}"] = getattr(settings, name).get_secret_value()
    return {"PATH": os.environ["PATH"], **values, **more}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_says_what_there_is() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("serve", "migrate", "create-root-key"))


def test_missing_settings_are_named_without_values(tmp_path: Path) -> None:
    done = run("serve", COREO_DATABASE_URL="postgresql://SECRET", COREO_ROOT_KEY="SECRET")
    assert done.returncode == 2
    for name in ("SYSTEM_DATABASE_URL", "API_JWKS", "FLEET_JWKS", "ROOT_KEY", "VAULT", "BACKUP_STORE"):
        assert f"COREO_{name}: " in done.stderr
    assert "SECRET" not in done.stderr


def test_a_root_key_is_made_once(tmp_path: Path) -> None:
    first, second = (run("create-root-key", str(tmp_path / "k")) for _ in range(2))
    assert first.returncode == 0
    assert second.returncode == 1
    assert "never overwritten" in second.stderr
    secret = json.loads((tmp_path / "k").read_text())["key"]
    assert secret not in first.stdout + second.stderr


def test_migrations_run_twice_and_in_parallel(postgres: Postgres) -> None:
    name = "coreo_results_migrations"
    postgres.create_database(name, "coreo_results")
    try:
        url = postgres.url(name, "coreo_results_owner")
        both = [
            subprocess.Popen([COMMAND, "migrate"], env={"COREO_MIGRATION_DATABASE_URL": url}, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        ends = [(process.communicate()[1], process.returncode) for process in both]
        assert [status for _, status in ends] == [0, 0], ends
        migrate(url)
    finally:
        postgres.drop_database(name)


@pytest.fixture
def served(results_database: ServiceDatabase, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, Tokens]]:
    """The service as a process, its address, and tokens for it."""
    tokens = Tokens()
    settings = make_settings(results_database, tokens, make_root_key(tmp_path))
    port = free_port()
    process = subprocess.Popen(
        [COMMAND, "serve"], env=environment(settings, COREO_PORT=str(port)), stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, f"http://127.0.0.1:{port}", tokens
    finally:
        process.kill()
        process.communicate()


async def ready(client: httpx.AsyncClient, process: subprocess.Popen[str]) -> None:
    deadline = monotonic() + 30
    while True:
        assert process.poll() is None
        assert monotonic() < deadline
        try:
            answer = await client.get("/health/ready")
        except httpx.ConnectError:
            await asyncio.sleep(0.05)
            continue
        assert answer.status_code == 200
        return


async def test_sigterm_ends_a_long_poll_at_once_and_the_process_cleanly(
    served: tuple[subprocess.Popen[str], str, Tokens],
) -> None:
    process, url, tokens = served
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await ready(client, process)
        connections = psutil.Process(process.pid).net_connections()
        assert {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        headers = {"authorization": f"Bearer {tokens.feed()}"}
        poll = asyncio.create_task(client.get("/internal/v1/events?wait_seconds=25", headers=headers))
        done, _ = await asyncio.wait({poll}, timeout=0.5)
        assert not done
        started = monotonic()
        process.send_signal(signal.SIGTERM)
        answer = await poll
        assert (answer.status_code, answer.json()["events"]) == (200, [])
    _, log = await asyncio.to_thread(process.communicate, timeout=10)
    assert monotonic() - started < 8
    assert process.returncode in {0, -signal.SIGTERM}  # uvicorn ends itself with the signal it was sent
    lines = [json.loads(line) for line in log.splitlines()]
    assert all(line["service"] == "results" for line in lines)
    assert [line for line in lines if line["level"] in {"error", "critical", "warning"}] == []


async def test_a_lost_database_is_a_503_and_comes_back(
    served: tuple[subprocess.Popen[str], str, Tokens], results_database: ServiceDatabase
) -> None:
    process, url, tokens = served
    admin_url = make_url(results_database.url("postgres")).set(drivername="postgresql", database="postgres")
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await ready(client, process)
        admin = await asyncpg.connect(admin_url.render_as_string(hide_password=False))
        name = results_database.name
        headers = {"authorization": f"Bearer {tokens.feed()}"}
        try:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            assert (await client.get("/health/live")).status_code == 200
            for path in ("/health/ready", "/internal/v1/events"):
                lost = await client.get(path, headers=headers)
                assert (lost.status_code, lost.json()["code"]) == (503, "database_unavailable"), path
        finally:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await admin.close()
        assert (await client.get("/internal/v1/events", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "hint"),
    [({"root_key": "file:{}/none"}, "create-root-key"), ({"vault": "dir:{}/none"}, "mkdir -m 700")],
    ids=["root-key", "vault"],
)
def test_unusable_keys_stop_the_start_and_say_why(
    results_database: ServiceDatabase, tmp_path: Path, changes: dict[str, str], hint: str
) -> None:
    where = {name: value.format(tmp_path) for name, value in changes.items()}
    settings = make_settings(results_database, Tokens(), **{"root_key": make_root_key(tmp_path), **where})
    done = subprocess.run(
        [COMMAND, "serve"],
        env=environment(settings, COREO_PORT=str(free_port())),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    problems = [json.loads(line).get("problem", "") for line in done.stderr.splitlines()]
    assert any(hint in problem for problem in problems)

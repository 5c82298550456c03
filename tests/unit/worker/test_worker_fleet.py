"""Registration, the operator's drain flag, the two signals, the heartbeat file and the health command."""

import asyncio
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import generate_key, public_jwk
from coreo_worker.health import find_problem
from coreo_worker.runner.fleet import Fleet, Identity, touch_regularly
from coreo_worker.runner.results import ResultsRefusedError
from coreo_worker.runner.stopping import Stopping
from coreo_worker.settings import HealthSettings, WorkerSettings
from tests.support.worker import MemoryResults, as_environment, until

RUNS = [uuid4()]


def make_fleet(results: MemoryResults, stopping: Stopping) -> Fleet:
    identity = Identity("w1", Pool.AUDIT)
    return Fleet(identity, results, stopping, current_runs=lambda: RUNS, refused={"expired": 2})


async def test_a_worker_says_what_it_does_and_what_it_refused() -> None:
    results = MemoryResults()
    await make_fleet(results, Stopping(grace_seconds=1)).report()
    (said,) = results.workers
    assert (said.worker_id, said.pool, said.current_runs, said.rejected_jobs) == (
        "w1",
        Pool.AUDIT,
        RUNS,
        {"expired": 2},
    )
    assert said.version
    assert said.host
    assert not said.draining


async def test_an_operator_can_drain_it_and_it_says_that_it_drains() -> None:
    results, stopping = MemoryResults(), Stopping(grace_seconds=60)
    task = asyncio.create_task(make_fleet(results, stopping).run())
    await until(lambda: len(results.workers) >= 3)  # in the interval that the answer gave
    assert not stopping.draining.is_set()
    results.drain = True
    await until(stopping.draining.is_set)
    await until(lambda: results.workers[-1].draining)
    task.cancel()
    stopping.close()


async def test_a_results_service_that_is_down_is_told_of_once_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreo_worker.runner.fleet._FIRST_INTERVAL_SECONDS", 0.02)
    results = MemoryResults()
    results.available = False
    with capture_logs() as logs:
        task = asyncio.create_task(make_fleet(results, Stopping(grace_seconds=1)).run())
        await until(lambda: results.calls.count("register") >= 3)
        results.refuse = lambda _: ResultsRefusedError(401, "token_unknown_key")
        results.available = True
        asked = len(results.calls)
        await until(lambda: len(results.calls) >= asked + 2)
        results.refuse = lambda _: None
        await until(lambda: results.workers)
        task.cancel()
    assert [entry["event"] for entry in logs] == ["worker_not_registered", "worker_registered_again"]


async def test_the_first_signal_drains_and_the_grace_time_ends_it() -> None:
    stopping = Stopping(grace_seconds=0.05)
    stopping.signal("SIGTERM")
    assert stopping.draining.is_set()
    assert not stopping.giving_back.is_set()
    await until(stopping.giving_back.is_set)


async def test_the_second_signal_does_not_wait() -> None:
    stopping = Stopping(grace_seconds=900)
    stopping.signal("SIGTERM")
    stopping.signal("SIGTERM")
    assert stopping.giving_back.is_set()
    stopping.close()


async def test_a_signal_after_the_operators_drain_does_not_wait_either() -> None:
    stopping = Stopping(grace_seconds=900)
    stopping.drain("operator")
    stopping.signal("SIGTERM")
    assert stopping.giving_back.is_set()
    stopping.close()


async def test_the_heartbeat_file_is_touched_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    task = asyncio.create_task(touch_regularly(path, 0.02))
    await until(path.exists)
    os.utime(path, (0, 0))
    await until(lambda: path.stat().st_mtime > 1000)
    task.cancel()
    assert path.read_bytes() == b""


def test_a_worker_is_alive_while_its_heartbeat_is_fresh(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    settings = HealthSettings(heartbeat_file=path)
    now = time.time()
    assert "has not started" in str(find_problem(settings, now=now))
    path.touch()
    assert find_problem(settings, now=now + 59) is None
    assert "61 s ago" in str(find_problem(settings, now=path.stat().st_mtime + 61))


VALUES: dict[str, object] = {
    "pool": "audit",
    "queue_url": "http://127.0.0.1:1/111111111111/coreo-audit",
    "results_url": "http://127.0.0.1:2/",
    "api_jwks": {"keys": [public_jwk(generate_key("a"))]},
    "fleet_jwk": generate_key("f"),
}


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("COREO_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in as_environment(VALUES).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_come_from_the_environment_and_hide_the_key(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("AWS_REGION", "eu-west-1")
    settings = WorkerSettings()
    assert (settings.pool, settings.results_url, settings.aws_region) == (Pool.AUDIT, "http://127.0.0.1:2", "eu-west-1")
    assert (settings.max_runs, settings.max_receives, settings.visibility_seconds) == (2, 5, 60)
    assert str(os.getpid()) in settings.worker_id
    assert str(VALUES["fleet_jwk"]["d"]) not in repr(settings)  # type: ignore[index]  # a JWK


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POOL", "canary"),
        ("QUEUE_URL", "canary"),
        ("API_JWKS", "canary"),
        ("FLEET_JWK", '{"kty": "canary"}'),
        ("MAX_RUNS", "0"),
        ("VISIBILITY_SECONDS", "43201"),
        ("WORKER_ID", "two canaries"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(variables: pytest.MonkeyPatch, name: str, value: str) -> None:
    variables.setenv(f"COREO_{name}", value)
    with pytest.raises(ValidationError) as refused:
        WorkerSettings()
    assert [error["loc"] for error in refused.value.errors()] == [(name.lower(),)]
    assert "canar" not in str(refused.value)

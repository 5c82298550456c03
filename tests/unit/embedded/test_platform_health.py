"""What the platform's health command calls well, and that nothing of an earlier platform passes for it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coreo_embedded import platform_service
from coreo_embedded.platform_service import (
    REFRESH_SECONDS,
    SERVICES,
    SESSION_SECONDS,
    Places,
    find_problem,
    run_platform,
)
from coreo_embedded.proxy import Listen
from coreo_embedded.simulator import Simulator, SimulatorError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """Fresh ones for each service."""
    for service in SERVICES:
        (tmp_path / service).mkdir()
        write(tmp_path, service, age=0)
    return tmp_path


def write(credentials: Path, service: str, *, age: float) -> None:
    """As they are `age` seconds after they were made."""
    expires = NOW + timedelta(seconds=SESSION_SECONDS - age)
    (credentials / service / "credentials.json").write_text(json.dumps({"Expiration": expires.isoformat()}))


def test_credentials_that_are_refreshed_in_time_are_well(credentials: Path) -> None:
    write(credentials, "worker-audit", age=2 * REFRESH_SECONDS)

    assert find_problem(credentials, now=NOW) is None


def test_credentials_that_nobody_refreshes_are_a_problem(credentials: Path) -> None:
    write(credentials, "worker-audit", age=3 * REFRESH_SECONDS + 1)

    problem = find_problem(credentials, now=NOW)

    assert problem is not None
    assert problem.startswith("the credentials of worker-audit were not refreshed")


@pytest.mark.parametrize("content", ["", "{", "{}", '{"Expiration": "soon"}'])
def test_file_that_says_no_time_is_a_problem(content: str, credentials: Path) -> None:
    (credentials / "api" / "credentials.json").write_text(content)

    assert str(find_problem(credentials, now=NOW)).startswith("api has no credentials yet")


def test_sdk_reads_again_while_what_it_has_is_good() -> None:
    asks_again = 15 * 60  # seconds before they expire: botocore's advisory refresh
    youngest, oldest = SESSION_SECONDS, SESSION_SECONDS - REFRESH_SECONDS

    # What it finds in the file is good for longer than that, or it would read the file before each call.
    assert oldest > asks_again
    # And it comes back within five minutes, as a platform that starts anew needs.
    assert youngest - asks_again <= 300


def test_credentials_of_an_earlier_platform_are_gone_before_this_one_starts(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_directory: Path, *, listen: Listen) -> Simulator:
        assert str(find_problem(credentials, now=NOW)).startswith("api has no credentials yet")
        assert not list(credentials.rglob("credentials.json"))
        raise SimulatorError("reached")

    monkeypatch.setattr(Simulator, "start", start)
    monkeypatch.setattr(platform_service, "_on_signals", lambda: None)

    with pytest.raises(SimulatorError, match="reached"):
        run_platform(Places(credentials / "private", credentials, "/run/coreo"), Listen())

"""Following what a worker does about a cloud account: waits, outages, and what is shown meanwhile."""

from typing import Any

import httpx
import pytest

from coreo_cli.client import Client
from coreo_cli.config import Connection
from coreo_cli.errors import ApiError, UnreachableError
from coreo_cli.tasks import follow, newest_verification
from coreo_cli.text import Json
from tests.support.cli import (
    TOKEN,
    URL,
    Answer,
    Cli,
    ScriptedApi,
    a_task,
    a_verify_report,
    an_account,
    over,
    problem,
)

ACCOUNT = an_account()
TASK = a_task()
HISTORY = f"/v1/cloud-accounts/{ACCOUNT['id']}/history"
PATH = f"{HISTORY}/{TASK['id']}"
ENDED = over(TASK, a_verify_report())


class Time:
    """A clock that goes on by each wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return False

    def clock(self) -> float:
        return sum(self.waits)


@pytest.fixture
def client(scripted_api: ScriptedApi) -> Client:
    return Client(Connection(URL, TOKEN), wait=lambda _: None)


def followed(client: Client, api: ScriptedApi, *answers: Answer) -> tuple[Json, list[float]]:
    """How the task ended, and the waits between."""
    time = Time()
    api.on("GET", PATH, *answers)
    return follow(client, ACCOUNT, TASK, wait=time.wait, clock=time.clock), time.waits


def test_it_asks_until_the_task_has_ended(client: Client, scripted_api: ScriptedApi) -> None:
    running = TASK | {"state": "RUNNING"}
    ended, waits = followed(client, scripted_api, *[running] * 30, ENDED)
    assert ended == ENDED
    assert len(waits) == 30
    assert waits == sorted(waits)
    assert waits[0] < 1
    assert waits[-1] == 3


def test_a_task_that_is_over_is_not_asked_for(client: Client, scripted_api: ScriptedApi) -> None:
    assert follow(client, ACCOUNT, ENDED) == ENDED
    assert scripted_api.requests == []


def test_outages_are_waited_for_and_said_once(
    client: Client, scripted_api: ScriptedApi, capsys: pytest.CaptureFixture[str]
) -> None:
    away = httpx.ConnectError("x")
    ended, waits = followed(client, scripted_api, TASK, away, away, away, ENDED)
    assert ended == ENDED
    assert waits[-1] > waits[0] * 8
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Verifying production: waiting for a worker"
    assert lines[1].startswith(f"Verifying production: Nobody answers at {URL} (")
    assert lines[1].endswith("Trying again …")
    assert len(lines) == 2


def test_it_gives_up_after_five_minutes_of_silence(client: Client, scripted_api: ScriptedApi) -> None:
    with pytest.raises(UnreachableError) as caught:
        followed(client, scripted_api, httpx.ConnectError("x"))
    assert f"The watching ended; the work goes on: coreo account show {ACCOUNT['id']}" in caught.value.lines


@pytest.mark.parametrize("status", [401, 404])
def test_what_waiting_does_not_help_ends_it_at_once(client: Client, scripted_api: ScriptedApi, status: int) -> None:
    with pytest.raises(ApiError):
        followed(client, scripted_api, problem(status, "unauthenticated", "No."))
    assert len(scripted_api.requests) == 1


def test_the_newest_verification_is_found_among_other_things(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.lists(HISTORY, a_task("role_set"), TASK, a_task())
    assert newest_verification(client, ACCOUNT) == TASK
    scripted_api.lists(HISTORY, a_task("role_set"))
    assert newest_verification(client, ACCOUNT) is None


def test_on_a_terminal_it_is_a_line_that_changes_and_goes_away(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account: dict[str, Any] = ACCOUNT | {"name": "web \x1b]0;x\x07"}
    scripted_api.on("GET", f"/v1/cloud-accounts/{ACCOUNT['id']}", account)
    scripted_api.on("POST", f"/v1/cloud-accounts/{ACCOUNT['id']}/verify", TASK)
    scripted_api.on("GET", PATH, ENDED)
    done = coreo.on_terminal("account", "verify", ACCOUNT["id"])
    assert done.code == 0
    assert "Verifying web \\x1b]0;x\\x07 …" in done.err
    assert "\x1b]0" not in done.err + done.out
    assert done.err.count("\x1b[?25l") == done.err.count("\x1b[?25h")  # the cursor is shown again
    assert "\x1b[1A\x1b[2K" in done.err  # a line up, which is cleared

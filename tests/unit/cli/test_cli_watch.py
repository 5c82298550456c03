"""Following runs: resume, falling back to asking, patience, and many runs at once."""

from typing import Any

import httpx
import pytest

from coreo_cli import watch
from coreo_cli.client import Client
from coreo_cli.config import Connection
from coreo_cli.errors import ApiError, CliError, UnreachableError
from coreo_cli.watch import GroupFollower, Report, RunFollower, RunSeen, Trouble, WatchFailed, watching
from tests.support.cli import TOKEN, URL, Answer, ScriptedApi, a_run, problem, sse

RUN = a_run("QUEUED")
PATH = f"/v1/runs/{RUN['id']}"
EVENTS = f"{PATH}/events"


def at(state: str, **fields: Any) -> dict[str, Any]:
    """The run in another state."""
    return RUN | {"state": state} | fields


class Time:
    """A clock that goes on by each wait; the watching ends after `patience` waits."""

    def __init__(self, patience: int = 1_000) -> None:
        self.waits: list[float] = []
        self._patience = patience

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self._patience

    def clock(self) -> float:
        return sum(self.waits)


@pytest.fixture
def client(scripted_api: ScriptedApi) -> Client:
    return Client(Connection(URL, TOKEN), wait=lambda _: None)


def follow(client: Client, time: Time | None = None) -> tuple[list[Report], list[float]]:
    """All that following RUN reports, and the waits between."""
    time, reports = time or Time(), list[Report]()
    RunFollower(client, RUN, reports.append, time.wait, time.clock).follow()
    return reports, time.waits


def states(reports: list[Report]) -> list[str]:
    return [report.run["state"] for report in reports if isinstance(report, RunSeen)]


def test_one_stream_is_enough_when_nothing_breaks(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", EVENTS, sse((1, at("QUEUED")), (2, at("RUNNING")), (3, at("SUCCEEDED"))))
    reports, waits = follow(client)
    assert states(reports) == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert (len(scripted_api.requests), waits) == (1, [])


def test_a_broken_stream_is_resumed_after_the_last_event(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", EVENTS, sse((4, at("RUNNING")), breaks=True), sse((6, at("SUCCEEDED"))))
    scripted_api.on("GET", PATH, at("RUNNING", units_done=3))
    reports, waits = follow(client)
    assert states(reports) == ["RUNNING", "RUNNING", "SUCCEEDED"]
    first, second = scripted_api.sent("GET", EVENTS)
    assert "last-event-id" not in first.headers
    assert second.headers["last-event-id"] == "4"
    assert waits == [1.0]


def test_a_stream_that_ends_early_is_resumed_too(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", EVENTS, sse((4, at("RUNNING"))), None)
    scripted_api.on("GET", PATH, at("RUNNING"), at("FAILED"))
    reports, _ = follow(client)
    assert states(reports) == ["RUNNING", "RUNNING", "FAILED"]


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.ReadTimeout("a proxy collects the answer"),
        problem(404, "not_found", "no such path"),
        lambda _: httpx.Response(406, text="no"),
        {"html": "of a proxy"},
        lambda _: httpx.Response(
            200, headers={"content-type": "text/event-stream"}, text="data: no run\nevent: run\n\n"
        ),
    ],
)
def test_where_streams_do_not_get_through_it_asks_again_and_again(
    client: Client, scripted_api: ScriptedApi, refusal: Answer
) -> None:
    scripted_api.on("GET", EVENTS, refusal)
    scripted_api.on("GET", PATH, at("QUEUED"), at("RUNNING"), at("SUCCEEDED"))
    reports, waits = follow(client)
    assert states(reports) == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert len(scripted_api.sent("GET", EVENTS)) == 1
    assert waits == [2.0, 2.0]


def test_it_waits_longer_each_time_nobody_answers_and_says_when_all_is_well(
    client: Client, scripted_api: ScriptedApi
) -> None:
    away = httpx.ConnectError("x")
    scripted_api.on("GET", EVENTS, sse((1, at("QUEUED")), breaks=True), away, away, away, sse((5, at("SUCCEEDED"))))
    scripted_api.on("GET", PATH, away)
    reports, waits = follow(client)
    assert waits == [2.0, 4.0, 8.0, 15.0]
    troubles = [report for report in reports if isinstance(report, Trouble)]
    assert [bool(report.problem) for report in troubles] == [True, True, True, True, False]
    assert states(reports)[-1] == "SUCCEEDED"


def test_it_gives_up_after_five_minutes_of_silence(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", EVENTS, sse((1, at("QUEUED")), breaks=True), httpx.ConnectError("x"))
    scripted_api.on("GET", PATH, httpx.ConnectError("x"))
    time = Time()
    with pytest.raises(UnreachableError):
        follow(client, time)
    assert 300 < time.clock() < 330


@pytest.mark.parametrize("status", [401, 404])
def test_what_waiting_does_not_help_ends_it_at_once(client: Client, scripted_api: ScriptedApi, status: int) -> None:
    for path in (EVENTS, PATH):
        scripted_api.on("GET", path, problem(status, "unauthenticated" if status == 401 else "not_found", "No."))
    with pytest.raises(ApiError):
        follow(client)


def test_an_overloaded_api_is_waited_for(client: Client, scripted_api: ScriptedApi) -> None:
    busy = problem(503, "busy", "Later.", retry_after="60")
    scripted_api.on("GET", EVENTS, busy, sse((2, at("SUCCEEDED"))))
    scripted_api.on("GET", PATH, busy)
    reports, _ = follow(client)
    assert states(reports) == ["SUCCEEDED"]


def test_it_ends_when_asked_to(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", EVENTS, sse((1, at("RUNNING"))))
    scripted_api.on("GET", PATH, at("RUNNING"))
    _, waits = follow(client, Time(patience=3))
    assert len(waits) == 3


def test_several_runs_are_watched_together_each_to_its_end(client: Client, scripted_api: ScriptedApi) -> None:
    runs = [a_run("QUEUED") for _ in range(3)]
    for run in runs:
        events = sse((1, run), (2, run | {"state": "RUNNING"}), (3, run | {"state": "SUCCEEDED"}))
        scripted_api.on("GET", f"/v1/runs/{run['id']}/events", events)
    with watching(client, [*runs, a_run("FAILED")]) as reports:
        seen = list(reports)
    ended = {report.run["id"] for report in seen if isinstance(report, RunSeen) and report.run["state"] == "SUCCEEDED"}
    assert ended == {run["id"] for run in runs}


def test_runs_that_are_over_need_no_watching(client: Client, scripted_api: ScriptedApi) -> None:
    with watching(client, [a_run("SUCCEEDED"), a_run("FAILED")]) as reports:
        assert list(reports) == []
    assert scripted_api.requests == []


def test_a_large_group_is_asked_for_together(
    client: Client, scripted_api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_STREAMS", 2)
    runs = [a_run("QUEUED", group_id="g") for _ in range(3)]
    ended = [run | {"state": "SUCCEEDED"} for run in runs]
    scripted_api.lists("/v1/runs", *ended, a_run("QUEUED", group_id="g"))
    with watching(client, runs) as reports:
        assert [report.run for report in reports if isinstance(report, RunSeen)] == ended
    assert {request.url.params["group_id"] for request in scripted_api.requests} == {"g"}


def test_a_group_reports_changes_only(client: Client, scripted_api: ScriptedApi) -> None:
    run, reports, time = a_run("QUEUED", group_id="g"), list[Report](), Time()
    over = run | {"state": "PARTIAL"}
    pages = [{"items": [item], "next_cursor": None} for item in (run, run, over)]
    scripted_api.on("GET", "/v1/runs", pages[0], httpx.ConnectError("x"), *pages[1:])
    GroupFollower(client, [run], reports.append, time.wait, time.clock).follow()
    assert [report.run for report in reports if isinstance(report, RunSeen)] == [over]
    assert [bool(report.problem) for report in reports if isinstance(report, Trouble)] == [True, False]
    assert time.waits == [2.0, 4.0, 2.0]


def test_the_failure_of_one_ends_the_watching_of_all(client: Client, scripted_api: ScriptedApi) -> None:
    for path in (EVENTS, PATH):
        scripted_api.on("GET", path, problem(401, "unauthenticated", "No."))
    with watching(client, [RUN]) as reports:
        (report,) = reports
    assert isinstance(report, WatchFailed)
    assert report.error.next_step is not None
    assert "coreo login" in report.error.next_step


def test_an_event_that_is_no_run_is_an_error() -> None:
    with pytest.raises(CliError, match="no run"):
        watch._run_of('{"id": "a"}')

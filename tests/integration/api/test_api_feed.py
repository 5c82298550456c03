"""The event feed becomes what customers see, in order and once, and who follows a run hears of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from coreo_api.dispatch.background import Task, repeat
from coreo_api.dispatch.projector import Projector, apply
from coreo_api.results import Asker, ResultsUnavailableError
from coreo_api.runs import stream
from coreo_api.teams.session import Caller
from coreo_api.teams.tokens import hash_of
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, RunState
from coreo_shared.ids import new_id
from tests.support.api import Api, ApiFactory, FakeResults, Team, ok, problem, until
from tests.support.postgres import ServiceDatabase


@pytest.fixture
async def admin(api_database: ServiceDatabase) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(api_database.url("postgres").replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def put(api: Api, *events: Any) -> None:
    async with api.context.system_database.transaction() as connection:
        await apply(connection, events, timedelta(hours=6), api.context.clock())


def caller(api: Api, team: Team) -> Caller:
    token_hash = hash_of(team.token)
    assert token_hash is not None
    return Caller(Asker(team.id), new_id(), api.context, token_hash, frozenset())


async def test_older_and_repeated_events_change_nothing(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    old = api.results.emit(run, team.id, 3, RunState.CLAIMED)
    new = api.results.emit(run, team.id, 5, RunState.SUCCEEDED, reason="done", units_done=4)
    await put(api, new)
    after = await team.show(run)
    for events in ([old], [new], [new, old], [old, old]):
        await put(api, *events)
        assert await team.show(run) == after
    assert (after["state"], after["reason"], after["units_done"]) == ("SUCCEEDED", "done", 4)


async def test_newest_event_of_a_page_wins_in_any_order(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    events = [api.results.emit(run, team.id, version, RunState.RUNNING, units_done=version) for version in (2, 4, 3)]
    await put(api, *events)
    assert (await team.show(run))["units_done"] == 4


async def test_event_with_the_wrong_team_or_of_no_run_changes_nothing(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    before = await team.show(run)
    stray = api.results.emit({"id": str(new_id())}, team.id, 2, RunState.FAILED)
    await put(api, api.results.emit(run, new_id(), 2, RunState.FAILED), stray)
    assert await team.show(run) == before


async def test_released_run_is_open_again(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    await put(api, api.results.emit(run, team.id, 2, RunState.RUNNING))
    await put(api, api.results.emit(run, team.id, 3, RunState.QUEUED, reason="Given back by its worker: stopping"))
    shown = await team.show(run)
    assert (shown["state"], shown["ended_at"]) == ("QUEUED", None)
    assert shown["reason"].startswith("Given back")


async def test_feed_goes_on_where_it_was_after_a_restart(make_api: ApiFactory, admin: Any) -> None:
    results = FakeResults()
    first, second = (make_api(results=results) for _ in range(2))
    team = await first.team()
    run = await team.started_run()
    results.emit(run, team.id, 1, RunState.CLAIMED)
    await Projector(first.context).step()
    results.emit(run, team.id, 2, RunState.RUNNING)
    await Projector(second.context).step()
    assert [request.url.params.get("after") for request in results.requests] == [None, "1"]
    assert await admin.fetchval("SELECT cursor FROM feed_position") == "2"
    assert (await team.show(run))["state"] == "RUNNING"


async def test_one_replica_follows_and_another_takes_over_when_it_dies(make_api: ApiFactory) -> None:
    results = FakeResults()
    first, second = (make_api(results=results) for _ in range(2))
    team = await first.team()
    run = await team.started_run()
    following = asyncio.create_task(Projector(first.context).step())
    await until(lambda: results.requests)
    assert await Projector(second.context).step() == 2.0
    assert len(results.requests) == 1
    following.cancel()  # as when its process dies: the transaction is gone
    with pytest.raises(asyncio.CancelledError):
        await following
    results.emit(run, team.id, 1, RunState.CLAIMED)
    await Projector(second.context).step()
    assert (await team.show(run))["state"] == "CLAIMED"


async def test_waiting_for_the_feed_holds_no_transaction_id(api: Api, admin: Any) -> None:
    """The feed tells what is older than the oldest transaction id at work on its server: ours would hold it up."""
    waiting = asyncio.create_task(Projector(api.context).step())
    await until(lambda: api.results.requests)
    held = "SELECT count(*), count(backend_xid) FROM pg_stat_activity WHERE usename = 'coreo_api_system'"
    transactions, ids = await admin.fetchrow(f"{held} AND state = 'idle in transaction'")
    assert (transactions, ids) == (1, 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_feed_outlasts_an_outage(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    api.results.down = True
    with pytest.raises(ResultsUnavailableError):
        await Projector(api.context).step()
    async with api.running():
        api.results.emit(run, team.id, 1, RunState.CLAIMED)
        api.results.down = False

        async def is_claimed() -> bool:
            return bool((await team.show(run))["state"] == "CLAIMED")

        await until(is_claimed)


async def test_stream_tells_each_change_and_ends_with_the_run(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    counts = Counts(by_status={FindingStatus.PASS: 2})
    async with (
        api.running(),
        aclosing(stream.events(api.context, caller(api, team), UUID(run["id"]), after=None)) as events,
    ):
        first = await read(events)
        assert first == (0, run | {"dispatched_at": first[1]["dispatched_at"]})
        api.results.emit(run, team.id, 4, RunState.RUNNING, units_done=1, counts=counts)
        version, shown = await read(events)
        assert (version, shown["state"], shown["counts"]["by_status"]) == (4, "RUNNING", {"PASS": 2})
        ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
        version, shown = await read(events)
        assert (version, shown["cancel_requested"]) == (4, True)
        api.results.emit(run, team.id, 6, RunState.CANCELED)
        assert (await read(events))[1] == await team.show(run)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def read(events: AsyncIterator[str]) -> tuple[int, Any]:
    """Version and run of the next event."""
    text = await asyncio.wait_for(anext(events), 10)  # a look without a signal would come after 15 s
    number, kind, data = text.removesuffix("\n\n").split("\n")
    assert kind == "event: run"
    return int(number.removeprefix("id: ")), json.loads(data.removeprefix("data: "))


async def test_stream_goes_on_after_the_last_event_seen(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    await put(api, api.results.emit(run, team.id, 4, RunState.RUNNING))
    run_id = UUID(run["id"])
    resumed = stream.events(api.context, caller(api, team), run_id, after=stream.Position(4), keep_alive_seconds=0.05)
    async with aclosing(resumed) as events:
        assert await anext(events) == ": keep-alive\n\n"  # nothing that was seen before
        await put(api, api.results.emit(run, team.id, 5, RunState.SUCCEEDED))
        assert (await skip_keep_alives(events)).startswith("id: 5\n")
    path = f"/v1/runs/{run['id']}/events"
    assert (await team.http.get(path, headers={"last-event-id": "5"})).status_code == 204
    late = await team.http.get(path, headers={"last-event-id": "4"})
    assert late.headers["content-type"].startswith("text/event-stream")
    assert late.text.startswith("id: 5\n")
    problem(await team.http.get(path, headers={"last-event-id": "five"}), 422, "header.last-event-id")


async def skip_keep_alives(events: AsyncIterator[str]) -> str:
    async for text in events:
        if text != stream.KEEP_ALIVE:
            return text
    raise AssertionError("the stream ended")


async def test_stream_ends_when_its_token_is_revoked(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci"}), 201)
    token_hash = hash_of(made["token"])
    assert token_hash is not None
    watcher = Caller(Asker(team.id), UUID(made["id"]), api.context, token_hash, frozenset())
    async with aclosing(
        stream.events(api.context, watcher, UUID(run["id"]), after=None, keep_alive_seconds=0.05)
    ) as events:
        await read(events)
        await team.http.delete(f"/v1/tokens/{made['id']}")
        async with asyncio.timeout(5):
            assert {text async for text in events} <= {stream.KEEP_ALIVE}


async def test_stream_ends_when_the_process_stops(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    async with aclosing(stream.events(api.context, caller(api, team), UUID(run["id"]), after=None)) as events:
        async with api.running():
            await read(events)
            rest = asyncio.create_task(anext(events, None))
            await asyncio.sleep(0)
        assert await asyncio.wait_for(rest, 5) is None


async def test_listener_outlives_any_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = asyncpg.connect
    tries = 0

    async def shaky(*arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += bool(arguments)  # SQLAlchemy, which connects too, has keywords alone
        if arguments and tries == 1:
            raise asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncpg, "connect", shaky)
    with api.context.signals.bell("coreo_runs") as bell:
        async with api.running():
            assert await bell.wait(8)
    assert tries == 2


async def test_listener_comes_back_and_rings_when_its_connection_is_cut(api: Api, admin: Any) -> None:
    listeners = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'coreo_api_system' "
        "AND query ~ '^LISTEN'"
    )
    async with api.running():
        await until(lambda: admin.fetchval(listeners))
        pid = await admin.fetchval(listeners)
        with api.context.signals.bell("coreo_runs") as bell:
            await admin.execute("SELECT pg_terminate_backend($1)", pid)
            assert await bell.wait(40)

        async def is_back() -> bool:
            return await admin.fetchval(listeners) not in {None, pid}

        await until(is_back)


async def test_task_that_fails_is_tried_again(api: Api) -> None:
    tries = 0

    async def step() -> float:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("a bug")
        api.context.stopping.set()
        return 0.0

    async with asyncio.timeout(10):
        await repeat(api.context, Task("shaky", step))
    assert tries == 3


async def test_ready_says_no_when_the_database_is_gone_and_when_stopping(api: Api, make_api: ApiFactory) -> None:
    client = api.client()
    assert ok(await client.get("/health/live")) == ok(await client.get("/health/ready")) == {"status": "ok"}
    nowhere = make_api(system_database_url="postgresql+asyncpg://coreo_api_system:x@127.0.0.1:9/coreo_api")
    assert problem(await nowhere.client().get("/health/ready"), 503)["code"] == "database_unavailable"
    answer = await gone_database(make_api).get("/v1/team")
    assert problem(answer, 503)["code"] == "database_unavailable"
    assert answer.headers["retry-after"] == "2"
    api.context.stopping.set()
    assert problem(await client.get("/health/ready"), 503)["code"] == "stopping"
    ok(await client.get("/health/live"))


def gone_database(make_api: ApiFactory) -> httpx.AsyncClient:
    api = make_api(database_url="postgresql+asyncpg://coreo_api:x@127.0.0.1:9/coreo_api")
    return api.client("coreo_" + "a" * 43)

"""Accepted is never lost: the outbox delivers each job whatever breaks, and never more than the team's share."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.dispatch.projector import apply
from coreo_api.dispatch.queue import QueueMessage, QueueUnavailableError
from coreo_api.dispatch.wishes import Wishes
from coreo_api.results import ResultsUnavailableError
from coreo_shared.contracts.terms import RunState
from tests.support.api import Api, ApiFactory, FakeResults, MemoryQueue, Team, VirtualClock, ok, problem, until
from tests.support.postgres import ServiceDatabase


@pytest.fixture
async def admin(api_database: ServiceDatabase) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(api_database.url("postgres").replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def start_many(team: Team, count: int, prefix: str = "Role") -> list[Any]:
    """Runs of one plan over so many cloud accounts."""
    accounts = [(await team.add_account(role=f"{prefix}{number}"))["id"] for number in range(count)]
    return await team.start(await team.add_plan(*accounts))


async def drain(*dispatchers: Dispatcher) -> None:
    """Steps of all, side by side, until none has more to send at once."""
    while 0.0 in await asyncio.gather(*(dispatcher.step() for dispatcher in dispatchers)):
        pass


def sent_runs(queue: MemoryQueue) -> list[str]:
    return sorted(message.id for message in queue.messages)


async def end(api: Api, team: Team, run: Mapping[str, Any], version: int = 9) -> None:
    """The run's end, as the event feed tells it."""
    event = api.results.emit(run, team.id, version, RunState.SUCCEEDED)
    async with api.context.system_database.transaction() as connection:
        await apply(connection, [event], timedelta(hours=6), api.context.clock())


async def test_new_run_wakes_the_dispatcher_at_once(api: Api, admin: Any) -> None:
    team = await api.team()
    plan = await team.add_plan((await team.add_account())["id"])
    async with api.running():
        await team.start(plan)
        await until(lambda: api.queue.messages)
        listening = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^LISTEN'"
        await until(lambda: admin.fetchval(listening))
        api.queue.arrived.clear()
        started = asyncio.get_running_loop().time()
        await team.start(plan)
        await asyncio.wait_for(api.queue.arrived.wait(), 8)  # a look without a signal would come after 15 s
        assert asyncio.get_running_loop().time() - started < 8


async def test_two_dispatchers_send_each_job_once(make_api: ApiFactory) -> None:
    queue = MemoryQueue()
    first, second = make_api(queue=queue), make_api(queue=queue)
    runs = []
    for number in range(3):
        runs += await start_many(await first.team(), 15, f"T{number}R")
    await drain(*(Dispatcher(api.context, queue) for api in (first, second, first, second)))
    assert sent_runs(queue) == sorted(run["id"] for run in runs)


async def test_queue_down_then_up_delivers_what_was_accepted(api: Api) -> None:
    team = await api.team()
    api.queue.available = False
    runs = await start_many(team, 3)
    dispatcher = Dispatcher(api.context, api.queue)
    with pytest.raises(QueueUnavailableError):
        await dispatcher.step()
    assert (await team.show(runs[0]))["dispatched_at"] is None
    api.queue.available = True
    await drain(dispatcher)
    assert sent_runs(api.queue) == sorted(run["id"] for run in runs)
    assert (await team.show(runs[0]))["dispatched_at"] is not None


async def test_outage_ends_without_a_restart_or_a_new_run(api: Api) -> None:
    team = await api.team()
    api.queue.available = False
    async with api.running():
        run = await team.started_run()
        await until(lambda: api.queue.calls >= 2)
        assert not api.queue.messages
        api.queue.available = True
        await until(lambda: sent_runs(api.queue) == [run["id"]])


class DyingQueue(MemoryQueue):
    """Takes the messages, and the process dies before it can note that."""

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        await super().send(messages)
        raise asyncio.CancelledError


async def test_death_between_send_and_note_sends_again(make_api: ApiFactory) -> None:
    dying = make_api(queue=DyingQueue())
    run = await (await dying.team()).started_run()
    with pytest.raises(asyncio.CancelledError):
        await Dispatcher(dying.context, dying.queue).step()
    heir = make_api()
    await drain(Dispatcher(heir.context, heir.queue))
    assert sent_runs(dying.queue) == sent_runs(heir.queue) == [run["id"]]


class SlowQueue(MemoryQueue):
    """Does not answer until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        self.arrived.set()
        await self.go_on.wait()
        return await super().send(messages)


async def test_waiting_for_the_queue_holds_no_transaction_id(make_api: ApiFactory, admin: Any) -> None:
    """The results service's feed, on the same server, waits for the oldest transaction id at work."""
    queue = SlowQueue()
    api = make_api(queue=queue)
    run = await (await api.team()).started_run()
    sending = asyncio.create_task(Dispatcher(api.context, queue).step())
    await queue.arrived.wait()
    held = "SELECT count(*), count(backend_xid) FROM pg_stat_activity WHERE usename = 'coreo_api_system'"
    transactions, ids = await admin.fetchrow(f"{held} AND state = 'idle in transaction'")
    assert (transactions, ids) == (1, 0)
    queue.go_on.set()
    await sending
    assert sent_runs(queue) == [run["id"]]


async def test_message_the_queue_refuses_does_not_hold_up_the_others(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    runs = await start_many(await api.team(), 3)
    refused = runs[1]["id"]
    api.queue.refused = {refused: "InvalidMessageContents"}
    dispatcher = Dispatcher(api.context, api.queue)
    await drain(dispatcher)
    assert sent_runs(api.queue) == sorted(run["id"] for run in runs if run["id"] != refused)
    api.queue.refused = {}
    await drain(dispatcher)
    assert refused not in sent_runs(api.queue)  # not due yet
    clock.now += timedelta(seconds=1)
    await drain(dispatcher)
    assert refused in sent_runs(api.queue)


async def test_no_team_has_more_runs_at_work_than_its_share(make_api: ApiFactory) -> None:
    queue, results = MemoryQueue(), FakeResults()
    first, second = (make_api(queue=queue, results=results, team_max_active_runs=4) for _ in range(2))
    busy, quiet = await first.team("busy"), await first.team("quiet")
    runs = await start_many(busy, 9)
    (other,) = await start_many(quiet, 1, "Quiet")
    dispatchers = [Dispatcher(api.context, queue) for api in (first, second, first)]
    await drain(*dispatchers)
    sent = set(sent_runs(queue))
    assert other["id"] in sent
    assert len(sent) == 5
    ended = next(run for run in runs if run["id"] in sent)
    await end(first, busy, ended)
    await drain(*dispatchers)
    assert len(sent_runs(queue)) == 6


async def test_end_of_a_run_wakes_the_dispatcher_for_the_next(make_api: ApiFactory) -> None:
    api = make_api(team_max_active_runs=1)
    team = await api.team()
    async with api.running():
        runs = await start_many(team, 2)
        await until(lambda: len(api.queue.messages) == 1)
        first = api.queue.messages[0].id
        api.results.emit(next(run for run in runs if run["id"] == first), team.id, 9, RunState.FAILED)
        await until(lambda: len(api.queue.messages) == 2, seconds=8)


async def test_canceled_before_it_was_sent_is_not_sent_but_told_to_the_ledger(api: Api) -> None:
    team = await api.team()
    api.queue.available = False
    run = await team.started_run()
    canceled = ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
    assert (canceled["state"], canceled["cancel_requested"]) == ("QUEUED", True)
    again = ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
    assert again == canceled
    api.queue.available = True
    await drain(Dispatcher(api.context, api.queue))
    await Wishes(api.context).step()
    assert api.queue.messages == []
    ((run_id, wish),) = api.results.cancels
    assert (str(run_id), wish.state, wish.account_id) == (run["id"], "CANCELED", "210987654321")
    await Wishes(api.context).step()
    assert len(api.results.cancels) == 1


async def test_cancel_outlasts_an_outage_of_the_results_service(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    api.results.down = True
    ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
    wishes = Wishes(api.context)
    with pytest.raises(ResultsUnavailableError):
        await wishes.step()
    api.results.down = False
    await wishes.step()
    assert [str(run_id) for run_id, _ in api.results.cancels] == [run["id"]]


async def test_wish_that_is_refused_waits_and_does_not_hold_up_the_next(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    first, second = await start_many(team, 2)
    ok(await team.http.post(f"/v1/runs/{first['id']}/cancel"), 202)
    api.results.refusal = (401, {"code": "unknown_key", "detail": "rotated"})
    wishes = Wishes(api.context)
    await wishes.step()
    api.results.refusal = None
    ok(await team.http.post(f"/v1/runs/{second['id']}/cancel"), 202)
    await wishes.step()
    assert [str(run_id) for run_id, _ in api.results.cancels] == [second["id"]]
    clock.now += timedelta(seconds=31)
    await wishes.step()
    assert [str(run_id) for run_id, _ in api.results.cancels] == [second["id"], first["id"]]


async def test_ended_run_cannot_be_canceled(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    await end(api, team, run)
    answer = await team.http.post(f"/v1/runs/{run['id']}/cancel")
    assert problem(answer, 409)["code"] == "run_over"


@pytest.mark.parametrize(
    ("progress", "words"), [("sent", "audit workers are running"), ("waiting", "the queue did not answer")]
)
async def test_run_that_nobody_took_expires_and_says_what_to_check(
    make_api: ApiFactory, progress: str, words: str
) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    run = await team.started_run()
    dispatcher, wishes = Dispatcher(api.context, api.queue), Wishes(api.context)
    if progress == "sent":
        await drain(dispatcher)
    clock.now += timedelta(hours=6, seconds=-1)
    await wishes.step()
    assert api.results.cancels == []
    clock.now += timedelta(seconds=1)
    await wishes.step()
    ((run_id, wish),) = api.results.cancels
    assert (str(run_id), wish.state) == (run["id"], "EXPIRED")
    assert words in wish.reason
    assert "6 hours" in wish.reason
    messages = len(api.queue.messages)
    await drain(dispatcher)
    assert len(api.queue.messages) == messages  # a job that no worker may start is not sent


async def test_expiry_asks_again_while_a_worker_has_the_run(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    run = await team.started_run()
    api.results.cancel_answers[UUID(run["id"])] = RunState.RUNNING
    clock.now += timedelta(hours=6)
    wishes = Wishes(api.context)
    await wishes.step()
    await wishes.step()
    assert len(api.results.cancels) == 1
    clock.now += timedelta(minutes=5)
    del api.results.cancel_answers[UUID(run["id"])]
    await wishes.step()
    assert len(api.results.cancels) == 2
    await end(api, team, run)
    clock.now += timedelta(hours=1)
    await wishes.step()
    assert len(api.results.cancels) == 2


async def test_idempotency_key_makes_one_group_however_often_it_comes(api: Api) -> None:
    team = await api.team()
    plan = await team.add_plan((await team.add_account())["id"])
    path, headers = f"/v1/plans/{plan['id']}/runs", {"idempotency-key": "deploy-42"}
    answers = await asyncio.gather(*(team.http.post(path, headers=headers) for _ in range(5)))
    bodies = [ok(answer, 202) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert len(ok(await team.http.get("/v1/runs"))["items"]) == 1
    other = ok(await team.http.post(path, headers={"idempotency-key": "deploy-43"}), 202)
    assert other["group_id"] != bodies[0]["group_id"]


async def test_idempotency_key_with_another_request_is_refused(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    first, second = await team.add_plan(account["id"]), await team.add_plan(account["id"])
    headers = {"idempotency-key": "k"}
    ok(await team.http.post(f"/v1/plans/{first['id']}/runs", headers=headers), 202)
    body = {"cloud_account_ids": [account["id"]]}
    for answer in (
        await team.http.post(f"/v1/plans/{second['id']}/runs", headers=headers),
        await team.http.post(f"/v1/plans/{first['id']}/runs", headers=headers, json=body),
    ):
        problem(answer, 422, "header.idempotency-key")
    assert len(ok(await team.http.get("/v1/runs"))["items"]) == 1
    stranger = await api.team()
    plan = await stranger.add_plan((await stranger.add_account(role="Other"))["id"])
    ok(await stranger.http.post(f"/v1/plans/{plan['id']}/runs", headers=headers), 202)


async def test_malformed_idempotency_key_is_refused(api: Api) -> None:
    team = await api.team()
    plan = await team.add_plan((await team.add_account())["id"])
    for key in (b"", b"two words", b"x" * 256, "ü".encode("latin-1")):
        answer = await team.http.post(f"/v1/plans/{plan['id']}/runs", headers={b"idempotency-key": key})
        problem(answer, 422, "header.idempotency-key")


async def test_part_of_a_plans_accounts_can_be_run(api: Api) -> None:
    team = await api.team()
    accounts = [(await team.add_account(role=f"R{number}"))["id"] for number in range(3)]
    plan = await team.add_plan(*accounts)
    body = {"cloud_account_ids": accounts[1:]}
    group = ok(await team.http.post(f"/v1/plans/{plan['id']}/runs", json=body), 202)
    assert {run["cloud_account_id"] for run in group["runs"]} == set(accounts[1:])


async def test_plan_that_cannot_run_is_refused_and_starts_nothing(api: Api) -> None:
    team = await api.team()
    ready, waiting = await team.add_account(), await team.add_account(role=None)
    cases = {
        "plan_disabled": await team.add_plan(ready["id"], enabled=False),
        "no_targets": await team.add_plan(),
    }
    plan = await team.add_plan(ready["id"], waiting["id"])
    refused = await team.http.post(f"/v1/plans/{plan['id']}/runs")
    said = problem(refused, 409, f"cloud_accounts.{waiting['id']}")
    assert (said["code"], said["errors"][0]["message"]) == ("account_not_connected", "production is PENDING")
    for code, plan in cases.items():
        assert problem(await team.http.post(f"/v1/plans/{plan['id']}/runs"), 409)["code"] == code
    assert ok(await team.http.get("/v1/runs"))["items"] == []


async def test_202_is_not_sent_before_the_commit_has_succeeded(api: Api, admin: Any) -> None:
    team = await api.team()
    plan = await team.add_plan((await team.add_account())["id"])
    await admin.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$;"
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON runs DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    answer = await team.http.post(f"/v1/plans/{plan['id']}/runs")
    assert problem(answer, 500)["code"] == "internal_error"
    assert await admin.fetchval("SELECT count(*) FROM outbox") == 0

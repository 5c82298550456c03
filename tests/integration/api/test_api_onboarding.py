"""Tasks in cloud accounts reach the onboard workers whatever breaks, end when nobody does them, and come again in time.

Time is virtual.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from coreo_api.dispatch.onboarding import Onboarding
from coreo_api.dispatch.queue import QueueMessage, QueueUnavailableError
from coreo_shared.contracts.onboarding import VerifyReport
from coreo_shared.contracts.terms import RunState
from tests.support.api import VERIFIED, Api, ApiFactory, MemoryQueue, Team, VirtualClock, ok, until
from tests.support.postgres import ServiceDatabase

ARN = "arn:aws:iam::210987654321:role/"
INSECURE = VerifyReport(verdict="INSECURE", reason="It lets anybody in.", checks=[])
UNREACHABLE = VerifyReport(verdict="UNREACHABLE", reason="It refuses Coreo.", checks=[])
UNKNOWN = VerifyReport(verdict="UNVERIFIED", reason="AWS throttled.", checks=[])
INTERVAL = 6 * 3600


@pytest.fixture
async def admin(api_database: ServiceDatabase) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(api_database.url("postgres").replace("+asyncpg", ""))
    yield connection
    await connection.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime(2026, 1, 1, 12, 0, tzinfo=UTC))


async def waiting(team: Team, count: int, prefix: str = "Role") -> list[str]:
    """So many accounts whose roles are to be tried; the ids of the tasks, sorted."""
    found = []
    for number in range(count):
        account = await team.add_account(role=None)
        path = f"/v1/cloud-accounts/{account['id']}"
        ok(await team.http.put(f"{path}/role", json={"role_arn": f"{ARN}{prefix}{number}"}))
        found.append(ok(await team.http.get(f"{path}/history"))["items"][0]["id"])
    return sorted(found)


async def drain(*replicas: Onboarding) -> None:
    """Steps of all, side by side, until none has more to send at once."""
    while 0.0 in await asyncio.gather(*(replica.step() for replica in replicas)):
        pass


def sent(queue: MemoryQueue) -> list[str]:
    return sorted(message.id for message in queue.messages)


async def show(team: Team, account: Mapping[str, Any]) -> Any:
    return ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))


async def verifications(team: Team, account: Mapping[str, Any]) -> list[Any]:
    """The account's verifications, newest first."""
    entries = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/history", params={"limit": 100}))["items"]
    return [entry for entry in entries if entry["kind"] == "verify"]


async def test_replicas_send_each_task_once(make_api: ApiFactory) -> None:
    queue = MemoryQueue()
    first, second = make_api(onboard_queue=queue), make_api(onboard_queue=queue)
    tasks = await waiting(await first.team(), 23)
    await drain(*(Onboarding(api.context, queue) for api in (first, second, first, second)))
    assert sent(queue) == tasks


async def test_queue_down_then_up_delivers_what_was_accepted(api: Api) -> None:
    tasks = await waiting(await api.team(), 2)
    api.onboard_queue.available = False
    onboarding = Onboarding(api.context, api.onboard_queue)
    with pytest.raises(QueueUnavailableError):
        await onboarding.step()
    api.onboard_queue.available = True
    await drain(onboarding)
    assert sent(api.onboard_queue) == tasks


async def test_a_task_that_the_queue_refuses_is_sent_later_and_holds_up_no_other(
    make_api: ApiFactory, clock: VirtualClock
) -> None:
    api = make_api(clock=clock)
    tasks = await waiting(await api.team(), 2)
    api.onboard_queue.refused = {tasks[0]: "InternalError"}
    onboarding = Onboarding(api.context, api.onboard_queue)
    await drain(onboarding)
    assert sent(api.onboard_queue) == [tasks[1]]
    api.onboard_queue.refused = {}
    await drain(onboarding)
    assert sent(api.onboard_queue) == [tasks[1]]  # not at once
    clock.now += timedelta(seconds=15)
    await drain(onboarding)
    assert sent(api.onboard_queue) == tasks


class DyingQueue(MemoryQueue):
    """Takes the messages, and the process dies before it can note that."""

    async def send(self, messages: Sequence[QueueMessage]) -> Mapping[str, str]:
        await super().send(messages)
        raise asyncio.CancelledError


async def test_death_between_send_and_note_sends_again(make_api: ApiFactory) -> None:
    dying, heir = make_api(onboard_queue=DyingQueue()), make_api()
    tasks = await waiting(await dying.team(), 1)
    with pytest.raises(asyncio.CancelledError):
        await Onboarding(dying.context, dying.onboard_queue).step()
    await drain(Onboarding(heir.context, heir.onboard_queue))
    assert sent(dying.onboard_queue) == sent(heir.onboard_queue) == tasks


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
    api = make_api(onboard_queue=queue)
    tasks = await waiting(await api.team(), 1)
    sending = asyncio.create_task(Onboarding(api.context, queue).step())
    await queue.arrived.wait()
    held = "SELECT count(*), count(backend_xid) FROM pg_stat_activity WHERE usename = 'coreo_api_system'"
    connections, transaction_ids = await admin.fetchrow(held)
    queue.go_on.set()
    await sending
    assert (connections > 0, transaction_ids) == (True, 0)
    assert sent(queue) == tasks


async def test_a_task_that_nobody_does_ends_and_is_tried_again_ever_more_rarely(
    make_api: ApiFactory, clock: VirtualClock
) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await team.http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": ARN + "R"}))
    replicas = [Onboarding(api.context, api.onboard_queue) for _ in range(2)]
    for round_, pause in enumerate((60, 300, 900, 3600, 3600), start=1):
        await drain(*replicas)
        assert len(api.onboard_queue.messages) == round_
        clock.now += timedelta(seconds=330)
        await drain(*replicas)
        assert (await show(team, account))["verifying"]  # its worker may still say how it ended
        clock.now += timedelta(seconds=1)
        await drain(*replicas)
        shown = await show(team, account)
        assert (shown["state"], shown["verifying"]) == ("UNVERIFIED", False)
        assert "No onboard worker" in shown["reason"]
        assert datetime.fromisoformat(shown["next_verification_at"]) == clock.now + timedelta(seconds=pause)
        clock.now += timedelta(seconds=pause - 1)
        await drain(*replicas)
        assert len(await verifications(team, account)) == round_
        clock.now += timedelta(seconds=1)
    newest = (await verifications(team, account))[0]
    assert (newest["state"], newest["verdict"], newest["by"]) == ("EXPIRED", None, "schedule")


async def test_what_proves_nothing_is_tried_again_until_it_proves_something(
    make_api: ApiFactory, clock: VirtualClock
) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account()
    onboarding = Onboarding(api.context, api.onboard_queue)
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 202)
    for pause in (60, 300, 900, 3600):
        shown = await team.report(account, UNKNOWN)
        assert (shown["state"], shown["reason"]) == ("UNVERIFIED", "AWS throttled.")
        assert datetime.fromisoformat(shown["next_verification_at"]) == clock.now + timedelta(seconds=pause)
        clock.now += timedelta(seconds=pause)
        await onboarding.step()
    assert (await team.report(account, VERIFIED))["state"] == "CONNECTED"
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 202)
    shown = await team.report(account, UNKNOWN)
    assert datetime.fromisoformat(shown["next_verification_at"]) == clock.now + timedelta(seconds=60)  # from the start


async def test_every_proof_is_renewed_within_the_interval_and_once(make_api: ApiFactory, clock: VirtualClock) -> None:
    queue = MemoryQueue()
    replicas = [make_api(clock=clock, onboard_queue=queue) for _ in range(2)]
    team = await replicas[0].team()
    states = {"CONNECTED": VERIFIED, "INSECURE": INSECURE, "UNREACHABLE": UNREACHABLE}
    accounts = {}
    for state, report in states.items():
        account = await team.add_account(role=state)
        ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 202)
        accounts[state] = shown = await team.report(account, report)
        due = datetime.fromisoformat(shown["next_verification_at"])
        assert timedelta(seconds=INTERVAL * 0.9) <= due - clock.now <= timedelta(seconds=INTERVAL)
    left_alone = await team.add_account(role="LeftAlone")
    ok(await team.http.post(f"/v1/cloud-accounts/{left_alone['id']}/disconnect", json={"results": "keep"}))
    deleted = await team.add_account(role="Deleted")
    assert (await team.http.delete(f"/v1/cloud-accounts/{deleted['id']}")).status_code == 204

    everyone = [Onboarding(api.context, queue) for api in (*replicas, *replicas)]
    clock.now += timedelta(seconds=INTERVAL * 0.9 - 1)
    await drain(*everyone)
    assert sent(queue) == []
    clock.now += timedelta(seconds=INTERVAL * 0.1 + 1)
    await drain(*everyone)
    begun = {state: (await verifications(team, account))[0] for state, account in accounts.items()}
    assert sent(queue) == sorted(task["id"] for task in begun.values())
    assert {(task["by"], task["state"]) for task in begun.values()} == {("schedule", "QUEUED")}
    for state, account in accounts.items():
        assert (await show(team, account))["state"] == state  # until the verdict


async def test_a_proof_outlives_a_short_absence_of_workers_and_not_a_long_one(
    make_api: ApiFactory, clock: VirtualClock
) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    safe, insecure = await team.add_account(role="Safe"), await team.add_account(role="Insecure")
    ok(await team.http.post(f"/v1/cloud-accounts/{insecure['id']}/verify"), 202)
    await team.report(insecure, INSECURE)
    onboarding = Onboarding(api.context, api.onboard_queue)
    clock.now += timedelta(seconds=INTERVAL)
    states = []
    for pause in (60, 300, 900, 3600, 3600):
        await drain(onboarding)
        clock.now += timedelta(seconds=331)
        await drain(onboarding)
        states.append((await show(team, safe))["state"])
        shown = await show(team, insecure)
        assert (shown["state"], shown["reason"]) == ("INSECURE", "It lets anybody in.")
        clock.now += timedelta(seconds=pause)
    assert states == ["CONNECTED"] * 4 + ["UNVERIFIED"]


async def test_word_that_comes_after_the_end_is_too_late(make_api: ApiFactory, clock: VirtualClock) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await team.http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": ARN + "R"}))
    (task,) = await verifications(team, account)
    clock.now += timedelta(seconds=331)
    await Onboarding(api.context, api.onboard_queue).step()
    assert not api.onboard_queue.messages  # its time was over before it could be sent
    async with api.running():
        api.results.emit(task, team.id, 9, RunState.SUCCEEDED, report=VERIFIED)
        marker = await team.started_run(role="Marker")
        api.results.emit(marker, team.id, 9, RunState.SUCCEEDED)

        async def is_read() -> bool:
            return bool((await team.show(marker))["ended_at"])

        await until(is_read)
    assert (await show(team, account))["state"] == "UNVERIFIED"
    assert (await verifications(team, account))[0]["state"] == "EXPIRED"


async def test_a_worker_that_could_not_do_it_says_why(make_api: ApiFactory, clock: VirtualClock) -> None:
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await team.http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": ARN + "R"}))
    shown = await team.report(account, None, state=RunState.FAILED, reason="STS did not answer.")
    assert (shown["state"], shown["last_verification"]) == ("UNVERIFIED", None)
    assert shown["reason"] == "The role could not be tried. STS did not answer. Coreo tries again by itself."
    (task,) = await verifications(team, account)
    assert (task["state"], task["reason"], task["report"]) == ("FAILED", "STS did not answer.", None)

"""A role is used when it is proven, and no longer than that: verdicts, and what they mean for runs."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from coreo_api.accounts.changes import Changes
from coreo_api.accounts.reports import Reports
from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.dispatch.onboarding import Onboarding
from coreo_api.dispatch.wishes import Wishes
from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome, VerifyReport, VerifySpec
from coreo_shared.contracts.results import Counts, RunEvent
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from coreo_shared.ids import new_id
from tests.support.api import VERIFIED, VERIFIER, Api, ApiFactory, Team, VirtualClock, ok, problem, until

ARN = "arn:aws:iam::210987654321:role/"
REFUSED = Check(name=CheckName.WITH_EXTERNAL_ID, outcome=CheckOutcome.FAILED, detail="AWS refused.")


def verdict(name: Any, reason: str = "It says why.", **fields: Any) -> VerifyReport:
    return VerifyReport(verdict=name, reason=None if name == "CONNECTED" else reason, checks=[REFUSED], **fields)


async def with_role(team: Team, role: str = "CoreoAudit") -> Any:
    """A cloud account whose role is being tried for the first time."""
    account = await team.add_account(role=None)
    path = f"/v1/cloud-accounts/{account['id']}"
    return ok(await team.http.put(f"{path}/role", json={"role_arn": ARN + role}))


async def tasks_of(team: Team, account: Any) -> list[Any]:
    """Entries of the account's history that are tasks, newest first."""
    entries = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/history"))["items"]
    return [entry for entry in entries if entry["state"] is not None]


def event_of(team: Team, task: Any, version: int, state: RunState, report: VerifyReport | None = None) -> RunEvent:
    return RunEvent(
        cursor=str(version),
        run_id=UUID(task["id"]),
        team_id=team.id,
        version=version,
        at=task["at"],
        state=state,
        reason=None,
        attempt=1,
        units_done=0,
        units_total=None,
        counts=Counts(),
        report=report,
    )


async def apply(api: Api, *events: RunEvent) -> None:
    async with api.context.system_database.transaction() as connection:
        await Reports(connection, api.context.settings).apply(events, api.context.clock())


async def test_setting_the_role_sends_its_verification_at_once(api: Api) -> None:
    team = await api.team()
    async with api.running():
        account = await with_role(team)
        assert (account["state"], account["verifying"], account["reason"]) == ("VERIFYING", True, None)
        await until(lambda: api.onboard_queue.messages, seconds=4)  # a look without a signal would come after 5 s
    (job,) = api.onboard_queue.jobs(Pool.ONBOARD)
    (task,) = await tasks_of(team, account)
    assert (str(job.run_id), job.team_id, job.plan_id, job.plan_revision) == (task["id"], team.id, None, None)
    assert (job.target.role_arn, job.target.external_id) == (ARN + "CoreoAudit", account["external_id"])
    assert (str(job.target.cloud_account_id), job.target.account_id) == (account["id"], account["account_id"])
    assert job.work == VerifySpec(actions=[])
    assert job.exp - job.iat <= 300
    capability = VERIFIER.verify(job.run_token, RunCapability, typ=RUN_CAPABILITY_TYPE, audience=RESULTS_AUDIENCE)
    assert (capability.run_id, capability.pool, capability.plan_id) == (job.run_id, Pool.ONBOARD, None)
    assert api.onboard_queue.messages[0].group == str(team.id)
    assert not api.queue.messages


async def test_a_verification_asks_for_the_actions_of_all_plans_of_the_account(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    plans = [
        await team.add_plan(account["id"], spec={"rules": [rule], "regions": ["eu-west-1"]})
        for rule in ("ec2-security-group-open-ssh", "s3-bucket-versioning")
    ]
    deleted = await team.add_plan(account["id"])
    assert (await team.http.delete(f"/v1/plans/{deleted['id']}")).status_code == 204
    await team.add_plan((await team.add_account(role="Other"))["id"])
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 202)
    await Onboarding(api.context, api.onboard_queue).step()
    (job,) = api.onboard_queue.jobs(Pool.ONBOARD)
    assert isinstance(job.work, VerifySpec)
    wanted: set[str] = set()
    for plan in plans:
        wanted |= set(ok(await team.http.get(f"/v1/plans/{plan['id']}/required-policy"))["actions"])
    assert job.work.actions == sorted(wanted)


@pytest.mark.parametrize("name", ["CONNECTED", "INSECURE", "UNREACHABLE", "UNVERIFIED"])
async def test_a_verdict_is_the_accounts_state_with_its_reason(make_api: ApiFactory, name: str) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    account = await with_role(team)
    shown = await team.report(account, verdict(name, missing_actions=["s3:GetBucketAcl"]))
    assert (shown["state"], shown["verifying"]) == (name, False)
    assert shown["reason"] == (None if name == "CONNECTED" else "It says why.")
    assert shown["missing_actions"] == ["s3:GetBucketAcl"]
    last = shown["last_verification"]
    (task,) = await tasks_of(team, account)
    assert (last["id"], last["verdict"], last["reason"]) == (task["id"], name, shown["reason"])
    assert last["checks"] == [{"name": "with_external_id", "outcome": "failed", "detail": "AWS refused."}]
    assert (task["state"], task["verdict"], task["reason"], task["by"]) == (
        "SUCCEEDED",
        name,
        shown["reason"],
        "first token",
    )
    assert task["report"]["verdict"] == name
    assert shown["next_verification_at"] is not None


async def test_the_feed_brings_the_verdict(api: Api) -> None:
    team = await api.team()
    async with api.running():
        account = await with_role(team)
        (task,) = await tasks_of(team, account)
        api.results.emit(task, team.id, 1, RunState.CLAIMED)
        api.results.emit(task, team.id, 2, RunState.SUCCEEDED, report=VERIFIED)

        async def is_connected() -> bool:
            return bool(ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))["state"] == "CONNECTED")

        await until(is_connected)


async def test_a_second_look_leaves_the_state_until_its_verdict(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    path = f"/v1/cloud-accounts/{account['id']}"
    first = ok(await team.http.post(f"{path}/verify"), 202)
    assert ok(await team.http.post(f"{path}/verify"), 202) == first  # one at a time
    shown = ok(await team.http.get(path))
    assert (shown["state"], shown["verifying"]) == ("CONNECTED", True)
    assert ok(await team.http.get(f"{path}/history/{first['id']}")) == first
    assert (await team.report(account, verdict("INSECURE")))["state"] == "INSECURE"


async def test_the_same_role_put_again_is_tried_again(api: Api) -> None:
    team = await api.team()
    account = await with_role(team)
    assert len(await tasks_of(team, account)) == 1
    await team.report(account, verdict("UNREACHABLE"))
    shown = ok(await team.http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": account["role_arn"]}))
    assert (shown["state"], shown["verifying"]) == ("UNREACHABLE", True)
    assert len(await tasks_of(team, account)) == 2


async def test_what_is_found_of_a_role_that_was_replaced_is_of_the_past(api: Api) -> None:
    team = await api.team()
    account = await with_role(team, "Old")
    (old,) = await tasks_of(team, account)
    path = f"/v1/cloud-accounts/{account['id']}"
    ok(await team.http.put(f"{path}/role", json={"role_arn": ARN + "New"}))
    await apply(api, event_of(team, old, 5, RunState.SUCCEEDED, VERIFIED))
    shown = ok(await team.http.get(path))
    assert (shown["state"], shown["role_arn"]) == ("VERIFYING", ARN + "New")
    new, canceled = await tasks_of(team, account)
    assert (canceled["id"], canceled["state"]) == (old["id"], "CANCELED")
    await apply(api, event_of(team, new, 5, RunState.SUCCEEDED, VERIFIED))
    assert ok(await team.http.get(path))["state"] == "CONNECTED"


async def test_a_verdict_is_for_the_role_that_was_tried(api: Api) -> None:
    """Whatever changed the role: the task still being open says nothing of it."""
    team = await api.team()
    account = await with_role(team, "Tried")
    (task,) = await tasks_of(team, account)
    async with api.context.system_database.transaction() as connection:
        await connection.execute(text("UPDATE cloud_accounts SET role_arn = :arn"), {"arn": ARN + "Another"})
    await apply(api, event_of(team, task, 5, RunState.SUCCEEDED, VERIFIED))
    assert ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))["state"] == "VERIFYING"


async def test_events_that_come_late_or_twice_change_nothing(api: Api) -> None:
    team = await api.team()
    account = await with_role(team)
    (task,) = await tasks_of(team, account)
    await apply(api, event_of(team, task, 3, RunState.RUNNING), event_of(team, task, 2, RunState.CLAIMED))
    assert (await tasks_of(team, account))[0]["state"] == "RUNNING"
    done = event_of(team, task, 5, RunState.SUCCEEDED, verdict("INSECURE"))
    await apply(api, done, event_of(team, task, 4, RunState.RUNNING), done)
    await apply(api, event_of(team, task, 6, RunState.SUCCEEDED, VERIFIED))
    stranger = await api.team("stranger")
    await apply(api, event_of(stranger, task, 9, RunState.SUCCEEDED, VERIFIED))
    assert ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))["state"] == "INSECURE"
    assert (await tasks_of(team, account))[0]["state"] == "SUCCEEDED"


async def test_a_report_that_cannot_be_taken_in_holds_up_no_other(api: Api) -> None:
    team = await api.team()
    broken, good = await with_role(team, "One"), await with_role(team, "Two")
    (bad_task,), (good_task,) = await tasks_of(team, broken), await tasks_of(team, good)
    await apply(
        api,
        event_of(team, bad_task, 3, RunState.SUCCEEDED, verdict("INSECURE", "no \x00 in PostgreSQL")),
        event_of(team, good_task, 3, RunState.SUCCEEDED, VERIFIED),
    )
    assert ok(await team.http.get(f"/v1/cloud-accounts/{good['id']}"))["state"] == "CONNECTED"
    shown = ok(await team.http.get(f"/v1/cloud-accounts/{broken['id']}"))
    assert (shown["state"], shown["verifying"]) == ("UNVERIFIED", False)
    assert "logged" in shown["reason"]
    assert (await tasks_of(team, broken))[0]["state"] == "FAILED"


class DeadlockError(Exception):
    """As the driver has it."""

    sqlstate = "40P01"


@pytest.mark.parametrize("error", [DBAPIError("UPDATE", None, DeadlockError()), ConnectionResetError(), TimeoutError()])
async def test_a_report_that_could_not_be_stored_just_now_is_not_lost(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    team = await api.team()
    account = await with_role(team)
    (task,) = await tasks_of(team, account)
    done = event_of(team, task, 3, RunState.SUCCEEDED, VERIFIED)

    async def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Changes, "judge", fail)
        with pytest.raises(type(error)):  # so the feed's position stays, and the event comes again
            await apply(api, done)
    assert (await tasks_of(team, account))[0]["state"] == "QUEUED"
    await apply(api, done)
    assert ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))["state"] == "CONNECTED"


async def test_a_request_and_a_report_on_one_account_do_not_lock_each_other_out(api: Api) -> None:
    """Both take the account first, then its task; the other way round PostgreSQL would end one of them."""
    team = await api.team()
    account = await with_role(team)
    (task,) = await tasks_of(team, account)
    values = {"team": team.id, "id": UUID(account["id"]), "task": UUID(task["id"])}
    async with api.context.database.transaction(team.id) as request:
        lock = "SELECT id FROM cloud_accounts WHERE team_id = :team AND id = :id FOR UPDATE"
        await request.execute(text(lock), values)
        report = asyncio.create_task(apply(api, event_of(team, task, 5, RunState.SUCCEEDED, VERIFIED)))

        async def waits() -> bool:
            async with api.context.system_database.transaction() as watcher:
                waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                return int((await watcher.execute(waiting)).scalar_one()) > 0

        await until(waits)
        update = "UPDATE account_history SET state = 'CANCELED', ended_at = now() WHERE team_id = :team AND id = :task"
        await request.execute(text(update), values)
    await report
    assert ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))["state"] == "VERIFYING"


@pytest.mark.parametrize("name", ["INSECURE", "UNREACHABLE", "UNVERIFIED", "VERIFYING", "PENDING", "DISCONNECTED"])
async def test_runs_start_where_the_role_is_proven_and_nowhere_else(api: Api, name: str) -> None:
    team = await api.team()
    ready = await team.add_account()
    account = await team.add_account(role=None) if name == "PENDING" else await with_role(team, "Other")
    if name == "DISCONNECTED":
        ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/disconnect", json={"results": "keep"}))
    elif name not in {"PENDING", "VERIFYING"}:
        await team.report(account, verdict(name))
    plan = await team.add_plan(ready["id"], account["id"])
    path = f"/v1/plans/{plan['id']}/runs"
    said = problem(await team.http.post(path), 409, f"cloud_accounts.{account['id']}")
    assert said["code"] == "account_not_connected"
    assert said["errors"][0]["message"] == f"production is {name}"
    assert "1 of the 2" in said["detail"]
    assert "/verify" in said["detail"]
    assert ok(await team.http.get("/v1/runs"))["items"] == []
    assert len(ok(await team.http.post(path, json={"cloud_account_ids": [ready["id"]]}), 202)["runs"]) == 1


async def test_runs_by_a_role_that_is_found_insecure_are_canceled(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    plan = await team.add_plan(account["id"])
    (sent,) = await team.start(plan)
    await Dispatcher(api.context, api.queue).step()
    (waiting,) = await team.start(plan)
    other = await team.started_run(role="Other")
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 202)
    await team.report(account, verdict("INSECURE"))
    assert [(await team.show(run))["cancel_requested"] for run in (sent, waiting, other)] == [True, True, False]
    await Dispatcher(api.context, api.queue).step()
    assert {message.id for message in api.queue.messages} == {sent["id"], other["id"]}
    await Wishes(api.context).step()
    assert {str(run_id) for run_id, _ in api.results.cancels} == {sent["id"], waiting["id"]}
    assert all("INSECURE" in (wish.reason or "") for _, wish in api.results.cancels)


async def test_a_run_that_was_not_sent_waits_until_its_role_is_proven_again(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    (run,) = await team.start(await team.add_plan(account["id"]))
    ok(await team.http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": ARN + "Next"}))
    dispatcher = Dispatcher(api.context, api.queue)
    await dispatcher.step()
    assert not api.queue.messages
    await team.report(account, VERIFIED)
    await dispatcher.step()
    (job,) = api.queue.jobs()
    assert (str(job.run_id), job.target.role_arn) == (run["id"], ARN + "Next")


async def test_a_proof_wakes_the_dispatcher(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    await team.start(await team.add_plan(account["id"]))
    ok(await team.http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": ARN + "Next"}))
    async with api.running():
        (task, *_) = await tasks_of(team, account)
        api.results.emit(task, team.id, 4, RunState.SUCCEEDED, report=VERIFIED)
        await until(lambda: api.queue.messages, seconds=10)  # a look without a signal would come after 15 s


async def test_there_is_nothing_to_verify_without_a_role(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    said = problem(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 409)
    assert said["code"] == "account_without_role"
    assert "PENDING" in said["detail"]
    problem(await team.http.post(f"/v1/cloud-accounts/{new_id()}/verify"), 404)


async def test_a_team_uses_a_role_for_one_account_alone(api: Api) -> None:
    team = await api.team()
    await team.add_account(role="Mine")
    other = await team.add_account(role=None)
    path = f"/v1/cloud-accounts/{other['id']}/role"
    said = problem(await team.http.put(path, json={"role_arn": ARN + "Mine"}), 422, "body.role_arn")
    assert "your cloud accounts" in said["detail"]


async def test_the_history_does_not_say_connected_of_a_role_that_is_anothers(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    owner, stranger = await api.team("owner"), await api.team("stranger")
    await owner.add_account(role="Taken")
    mine = await with_role(stranger, "Taken")
    shown = await stranger.report(mine, VERIFIED)
    assert (shown["state"], shown["last_verification"]["verdict"]) == ("UNVERIFIED", "UNVERIFIED")
    (task,) = await tasks_of(stranger, mine)
    assert (task["verdict"], task["reason"]) == ("UNVERIFIED", shown["reason"])
    clock.now += timedelta(seconds=3599)
    onboarding = Onboarding(api.context, api.onboard_queue)
    await onboarding.step()
    assert len(await tasks_of(stranger, mine)) == 1
    clock.now += timedelta(seconds=1)
    await onboarding.step()
    assert len(await tasks_of(stranger, mine)) == 2

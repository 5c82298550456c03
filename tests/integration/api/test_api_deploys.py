"""Turns on stacks: one holder at a time, whatever dies or comes twice; jobs for parked runs; drift checks."""

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.dispatch.onboarding import Onboarding
from coreo_api.dispatch.projector import apply
from coreo_api.dispatch.scheduler import Scheduler
from coreo_api.dispatch.turns import DeployDispatcher
from coreo_api.dispatch.wishes import Wishes
from coreo_shared.contracts.deploys import Approval, DeployView, Resume
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from tests.support.api import VERIFIER, Api, ApiFactory, MemoryQueue, Team, VirtualClock, ok, problem
from tests.support.postgres import ServiceDatabase

SPEC = {
    "stack_name": "network",
    "regions": ["eu-west-1"],
    "template_url": "https://templates.s3.eu-west-1.amazonaws.com/network.yaml",
}
TTL = timedelta(hours=6)


@pytest.fixture
async def admin(api_database: ServiceDatabase) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(api_database.url("postgres").replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def plan_of(team: Team, *account_ids: str, schedule: Any = None, **spec: Any) -> Any:
    body = {"name": "network", "kind": "deploy", "spec": SPEC | spec, "cloud_account_ids": account_ids}
    return ok(await team.http.post("/v1/plans", json=body | {"schedule": schedule}), 201)


async def start(team: Team, plan: Mapping[str, Any], action: str = "apply", **body: Any) -> list[Any]:
    wish = {"action": action} | body
    return list(ok(await team.http.post(f"/v1/plans/{plan['id']}/runs", json=wish), 202)["runs"])


async def tell(api: Api, team: Team, run: Mapping[str, Any], version: int, state: RunState, **view: Any) -> None:
    """An event of the feed about a deploy."""
    deploy = DeployView(action=run["deploy"]["action"], target_id=UUID(run["deploy"]["target_id"]), **view)
    event = api.results.emit(run, team.id, version, state, deploy=deploy)
    async with api.context.system_database.transaction() as connection:
        await apply(connection, [event], TTL, api.context.clock())


def sent(queue: MemoryQueue) -> list[str]:
    return [message.id for message in queue.messages]


def payload(token: str) -> Any:
    """What a token says; its time may be another than ours."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def jobs(queue: MemoryQueue) -> list[Any]:
    return [payload(message.body) for message in queue.messages]


def tickets(queue: MemoryQueue) -> list[int]:
    return [payload(job["run_token"]).get("ticket", 0) for job in jobs(queue)]


async def test_a_run_goes_to_its_own_pool_with_the_terms_it_was_asked_for_with(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    plan = await plan_of(
        team, account["id"], regions=["eu-west-1", "us-east-1"], approval={"approvers": 2, "expires_seconds": 3600}
    )
    runs = await start(team, plan)
    changed = SPEC | {"approval": {"auto": True}}
    ok(await team.http.patch(f"/v1/plans/{plan['id']}", json={"spec": changed}))
    await Dispatcher(api.context, api.queue).step()
    await DeployDispatcher(api.context, api.deploy_queue).step()
    assert not api.queue.messages
    queued = api.deploy_queue.jobs(Pool.DEPLOY)
    assert {(job.work.region, job.work.action) for job in queued} == {  # type: ignore[union-attr]  # deploys
        ("eu-west-1", "apply"),
        ("us-east-1", "apply"),
    }
    for job in queued:
        capability = VERIFIER.verify(job.run_token, RunCapability, typ=RUN_CAPABILITY_TYPE, audience=RESULTS_AUDIENCE)
        terms = capability.deploy
        assert terms is not None
        assert (terms.approvals, terms.approval_seconds, capability.pool) == (2, 3600, Pool.DEPLOY)
        assert str(terms.target_id) in {run["deploy"]["target_id"] for run in runs}
        listed = ok(await team.http.get("/v1/tokens"))["items"]
        assert str(terms.requested_by) == listed[0]["id"]


async def test_two_cloud_accounts_that_lead_to_one_stack_have_one_queue(api: Api) -> None:
    team = await api.team()
    one, two = await team.add_account(role="One"), await team.add_account(role="Two")
    first = (await start(team, await plan_of(team, one["id"])))[0]
    second = (await start(team, await plan_of(team, two["id"])))[0]
    assert first["deploy"]["target_id"] == second["deploy"]["target_id"]
    both = await start(team, await plan_of(team, one["id"], two["id"]))
    assert len(both) == 1  # of two ways to one stack one is enough
    await DeployDispatcher(api.context, api.deploy_queue).step()
    assert sent(api.deploy_queue) == [first["id"]]


class DyingQueue(MemoryQueue):
    """The process dies before it can note what was sent; or, if `early`, before anything was."""

    def __init__(self, *, early: bool) -> None:
        super().__init__()
        self._early = early

    async def send(self, messages: Sequence[Any]) -> Mapping[str, str]:
        if not self._early:
            await super().send(messages)
        raise asyncio.CancelledError


@pytest.mark.parametrize("early", [True, False])
async def test_death_around_the_send_lets_nobody_else_onto_the_stack(make_api: ApiFactory, *, early: bool) -> None:
    dying = make_api(deploy_queue=DyingQueue(early=early))
    team = await dying.team()
    plan = await plan_of(team, (await team.add_account())["id"])
    first, second, third = [(await start(team, plan))[0] for _ in range(3)]
    with pytest.raises(asyncio.CancelledError):
        await DeployDispatcher(dying.context, dying.deploy_queue).step()
    # Whoever reorders meanwhile cannot get past the one whose turn it is, though it is not noted as sent.
    target = first["deploy"]["target_id"]
    order = [third["id"], second["id"]]
    path = f"/v1/deploy-targets/{target}/queue/reorder"
    wrong = [third["id"], first["id"], second["id"]]
    assert problem(await team.http.post(path, json={"run_ids": wrong}), 409)["code"] == "queue_changed"
    ok(await team.http.post(path, json={"run_ids": order}))
    heir = make_api()
    await DeployDispatcher(heir.context, heir.deploy_queue).step()
    assert sent(heir.deploy_queue) == [first["id"]]


async def test_a_parked_run_is_gone_on_with_when_it_is_due_and_under_its_newest_ticket(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock, team_max_active_runs=1)
    team = await api.team()
    run = (await start(team, await plan_of(team, (await team.add_account())["id"])))[0]
    dispatcher = DeployDispatcher(api.context, api.deploy_queue)
    await dispatcher.step()
    soon, later = clock.now + timedelta(seconds=20), clock.now + timedelta(seconds=40)
    await tell(api, team, run, 3, RunState.APPLYING, resume=Resume(ticket=1, at=soon.isoformat()))
    await tell(api, team, run, 5, RunState.APPLYING, resume=Resume(ticket=3, at=later.isoformat()))
    await tell(api, team, run, 4, RunState.APPLYING, resume=Resume(ticket=2, at=soon.isoformat()))  # late, and old
    clock.now = soon + timedelta(seconds=1)
    assert 0 < await dispatcher.step() <= 15  # it looks again when the run is due, signal or not
    assert len(sent(api.deploy_queue)) == 1
    clock.now = later - timedelta(seconds=1)
    assert await dispatcher.step() <= 1
    clock.now = later
    await dispatcher.step()  # the team's share is used up by this very run: what goes on needs no room
    assert tickets(api.deploy_queue) == [0, 3]
    await tell(api, team, run, 6, RunState.APPLYING, resume=Resume(ticket=4, at=later.isoformat()))
    await tell(api, team, run, 7, RunState.SUCCEEDED)
    await dispatcher.step()
    assert len(sent(api.deploy_queue)) == 2


async def test_a_ticket_that_comes_while_the_one_before_is_sent_is_not_lost(make_api: ApiFactory) -> None:
    api = make_api()
    team = await api.team()
    run = (await start(team, await plan_of(team, (await team.add_account())["id"])))[0]
    past = datetime.now(UTC).isoformat()

    class Racing(MemoryQueue):
        async def send(self, messages: Sequence[Any]) -> Mapping[str, str]:
            if self.messages:  # while the second job is on its way, the ledger says that a third is wanted
                await tell(api, team, run, 9, RunState.APPLYING, resume=Resume(ticket=2, at=past))
            return await super().send(messages)

    queue = Racing()
    dispatcher = DeployDispatcher(api.context, queue)
    await dispatcher.step()
    await tell(api, team, run, 3, RunState.APPLYING, resume=Resume(ticket=1, at=past))
    await dispatcher.step()
    await dispatcher.step()
    assert tickets(queue) == [0, 1, 2]


async def test_waiting_for_people_or_for_ones_turn_is_not_expiry(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    plan = await plan_of(team, (await team.add_account())["id"])
    first, second = (await start(team, plan))[0], (await start(team, plan))[0]
    dispatcher, wishes = DeployDispatcher(api.context, api.deploy_queue), Wishes(api.context)
    await dispatcher.step()
    approval = Approval(hash="0" * 64, expires_at=(clock.now + timedelta(days=5)).isoformat(), needed=1)
    await tell(api, team, first, 3, RunState.AWAITING_APPROVAL, approval=approval)
    clock.now += timedelta(days=4)
    await wishes.step()
    assert api.results.cancels == []
    resume = Resume(ticket=1, at=clock.now.isoformat())
    await tell(api, team, first, 4, RunState.QUEUED, resume=resume)
    await wishes.step()
    await dispatcher.step()
    job = jobs(api.deploy_queue)[-1]
    assert (job["run_id"], tickets(api.deploy_queue)[-1]) == (first["id"], 1)
    assert job["exp"] >= int((clock.now + TTL).timestamp())
    await tell(api, team, first, 5, RunState.SUCCEEDED)
    await dispatcher.step()
    assert sent(api.deploy_queue)[-1] == second["id"]
    clock.now += timedelta(hours=7)  # it was sent, and no worker took it
    await wishes.step()
    ((run_id, wish),) = api.results.cancels
    assert (str(run_id), wish.state, wish.pool) == (second["id"], "EXPIRED", Pool.DEPLOY)
    assert wish.reason.startswith("No deploy worker took this run within 6 hours.")


async def test_one_holder_at_a_time_over_replicas_and_any_course_of_events(make_api: ApiFactory, admin: Any) -> None:
    """Three replicas, two stacks, runs of all actions that end, wait, are approved and canceled at random."""
    chance = random.Random(20)  # noqa: S311  no secret
    queue = MemoryQueue()
    replicas = [make_api(deploy_queue=queue) for _ in range(3)]
    api = replicas[0]
    team = await api.team()
    account = (await team.add_account())["id"]
    plans = [await plan_of(team, account, stack_name=name) for name in ("network", "storage")]
    runs = {}
    for _ in range(9):
        for plan in plans:
            action = chance.choice(["apply", "apply", "destroy", "preview", "drift"])
            (run,) = await start(team, plan, action)
            runs[run["id"]] = run
    versions, changes = Counter[str](), dict[str, list[str]]()
    for _ in range(200):
        await asyncio.gather(*(DeployDispatcher(each.context, queue).step() for each in replicas))
        rows = await admin.fetch("SELECT id, target_id, action, state FROM runs WHERE holds_target")
        assert max(Counter(row["target_id"] for row in rows).values(), default=0) <= 1
        alive = await admin.fetch("SELECT id, state, holds_target, action FROM runs WHERE ended_at IS NULL")
        if not alive:
            break
        moved = [row for row in alive if row["holds_target"] or row["state"] == "AWAITING_APPROVAL"]
        row = chance.choice(moved)
        run = runs[str(row["id"])]
        versions[run["id"]] += 1
        now = Resume(ticket=versions[run["id"]], at=datetime.now(UTC).isoformat())
        view: dict[str, Any]
        if row["state"] == "AWAITING_APPROVAL":
            state, view = chance.choice([(RunState.QUEUED, {"resume": now}), (RunState.CANCELED, {})])
        elif row["action"] in {"apply", "destroy"} and versions[run["id"]] == 1:
            approval = Approval(hash="0" * 64, expires_at=now.at, needed=1)
            state, view = RunState.AWAITING_APPROVAL, {"approval": approval}
        else:
            state, view = chance.choice([(RunState.APPLYING, {"resume": now}), (RunState.SUCCEEDED, {})])
        if state is RunState.APPLYING:
            changes.setdefault(run["deploy"]["target_id"], []).append(run["id"])
        await tell(api, team, run, versions[run["id"]], state, **view)
    assert await admin.fetchval("SELECT count(*) FROM runs WHERE ended_at IS NULL") == 0
    for order in changes.values():  # who changes a stack is done with it before the next one begins
        assert [run for index, run in enumerate(order) if index == 0 or order[index - 1] != run] == list(
            dict.fromkeys(order)
        )
    assert await admin.fetchval("SELECT count(*) FROM outbox") == 0


async def test_twenty_on_one_stack_go_one_by_one_and_twenty_on_twenty_go_at_once(make_api: ApiFactory) -> None:
    api = make_api()
    team = await api.team()
    account = (await team.add_account())["id"]
    one = await plan_of(team, account)
    order = [(await start(team, one))[0] for _ in range(20)]
    dispatcher = DeployDispatcher(api.context, api.deploy_queue)
    for number, run in enumerate(order):
        while not await dispatcher.step():
            pass
        assert sent(api.deploy_queue) == [each["id"] for each in order[: number + 1]]
        await tell(api, team, run, 9, RunState.SUCCEEDED)
    api.deploy_queue.messages.clear()
    spread = [(await start(team, await plan_of(team, account, stack_name=f"s{number}")))[0] for number in range(20)]
    while not await dispatcher.step():
        pass
    assert sorted(sent(api.deploy_queue)) == sorted(each["id"] for each in spread)


async def test_a_schedule_looks_for_drift_and_not_where_it_still_looks(make_api: ApiFactory) -> None:
    clock = VirtualClock(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))
    api = make_api(clock=clock)
    team = await api.team()
    account = (await team.add_account())["id"]
    plan = await plan_of(team, account, regions=["eu-west-1", "us-east-1"], schedule={"rate_seconds": 60})
    scheduler = Scheduler(api.context)
    clock.now += timedelta(minutes=1)
    await scheduler.step()
    runs = ok(await team.http.get("/v1/runs", params={"plan_id": plan["id"]}))["items"]
    assert {(run["deploy"]["action"], run["deploy"]["region"]) for run in runs} == {
        ("drift", "eu-west-1"),
        ("drift", "us-east-1"),
    }
    await DeployDispatcher(api.context, api.deploy_queue).step()
    for job in jobs(api.deploy_queue):
        assert job["work"]["template_url"] is None  # a drift check takes the stack as it is
    await tell(api, team, runs[0], 9, RunState.SUCCEEDED)
    clock.now += timedelta(minutes=1)
    await scheduler.step()
    again = ok(await team.http.get("/v1/runs", params={"plan_id": plan["id"]}))["items"]
    assert len(again) == 3
    shown = ok(await team.http.get(f"/v1/plans/{plan['id']}"))
    assert shown["last_tick_problem"] == "The check before of 1 of its 2 stacks has not ended: left out."


async def test_canceled_before_its_turn_it_never_goes(api: Api) -> None:
    team = await api.team()
    plan = await plan_of(team, (await team.add_account())["id"])
    first, second, third = [(await start(team, plan))[0] for _ in range(3)]
    dispatcher = DeployDispatcher(api.context, api.deploy_queue)
    await dispatcher.step()
    ok(await team.http.post(f"/v1/runs/{second['id']}/cancel"), 202)
    target = f"/v1/deploy-targets/{first['deploy']['target_id']}/queue"
    waits = {each["run_id"]: each["waits_for"] for each in ok(await team.http.get(target))["runs"]}
    assert waits[first["id"]] is None
    assert waits[second["id"]] == "It is being canceled."
    await Wishes(api.context).step()
    await tell(api, team, second, 1, RunState.CANCELED)
    await tell(api, team, first, 9, RunState.FAILED)
    await dispatcher.step()
    assert sent(api.deploy_queue) == [first["id"], third["id"]]


async def test_a_cancel_that_aws_refused_can_be_asked_for_again(api: Api) -> None:
    team = await api.team()
    run = (await start(team, await plan_of(team, (await team.add_account())["id"])))[0]
    await DeployDispatcher(api.context, api.deploy_queue).step()
    await tell(api, team, run, 3, RunState.APPLYING)
    ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
    await Wishes(api.context).step()
    refused = "A stack that is being created cannot be canceled."
    await tell(api, team, run, 4, RunState.APPLYING, cancel_refused=refused)
    shown = await team.show(run)
    assert (shown["cancel_requested"], shown["deploy"]["cancel_refused"]) == (False, refused)
    ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
    await tell(api, team, run, 5, RunState.APPLYING, cancel_refused=refused)  # told again, not refused again
    assert (await team.show(run))["cancel_requested"] is True
    await Wishes(api.context).step()
    assert len(api.results.cancels) == 2


async def test_what_does_not_fit_the_plan_is_named(api: Api) -> None:
    team = await api.team()
    account = (await team.add_account())["id"]
    audit, deploy = await team.add_plan(account), await plan_of(team, account)
    for plan, body, field in (
        (deploy, {}, "body.action"),
        (deploy, {"action": "apply", "regions": ["us-east-1"]}, "body.regions.0"),
        (deploy, {"action": "explode"}, "body.action"),
        (audit, {"action": "apply"}, "body.action"),
        (audit, {"allow": ["A"]}, "body.allow"),
    ):
        problem(await team.http.post(f"/v1/plans/{plan['id']}/runs", json=body), 422, field)
    for plan in (deploy, audit):
        other = SPEC if plan is audit else {"rule_sets": ["baseline"]}
        problem(await team.http.patch(f"/v1/plans/{plan['id']}", json={"spec": other}), 422, "body.spec")
    (run,) = await start(team, deploy, "drift")
    answer = await team.http.get(f"/v1/runs/{run['id']}/compliance", params={"framework": "cis-aws-5.0"})
    assert problem(answer, 409)["code"] == "not_an_audit"
    key = {"idempotency-key": "k"}
    for body, status in (({"action": "apply"}, 202), ({"action": "apply"}, 202), ({"action": "destroy"}, 422)):
        answer = await team.http.post(f"/v1/plans/{deploy['id']}/runs", json=body, headers=key)
        assert answer.status_code == status, answer.text


async def test_the_policy_of_a_plan_is_what_it_states(api: Api) -> None:
    team = await api.team()
    account = (await team.add_account())["id"]
    plan = await plan_of(team, account, permissions=["s3:CreateBucket", "ec2:*"])
    shown = ok(await team.http.get(f"/v1/plans/{plan['id']}/required-policy"))
    assert {"s3:CreateBucket", "ec2:*", "cloudformation:ExecuteChangeSet"} <= set(shown["actions"])
    preview, changing, drift, _ = (str(policy) for policy in shown["session_policies"])
    assert "s3:CreateBucket" in changing
    assert "s3:CreateBucket" not in preview
    assert "ExecuteChangeSet" not in preview + drift
    grant = ok(
        await team.http.get(f"/v1/cloud-accounts/{account}/grant", params={"level": "exact", "plan_id": plan["id"]})
    )
    assert {"s3:CreateBucket", "ec2:*", "cloudformation:DeleteStack"} <= set(str(grant["policy"]).split("'"))
    ok(await team.http.post(f"/v1/cloud-accounts/{account}/verify"), 202)
    await Onboarding(api.context, api.onboard_queue).step()
    verified = api.onboard_queue.jobs(Pool.ONBOARD)[-1].work.actions  # type: ignore[union-attr]  # a VerifySpec
    assert {"s3:CreateBucket", "cloudformation:CreateChangeSet"} <= set(verified)
    assert "ec2:*" not in verified  # AWS can try single actions only
    many = [f"s3:Put{'X' * 40}{number}" for number in range(100)]
    body = {"spec": SPEC | {"permissions": many}}
    problem(await team.http.patch(f"/v1/plans/{plan['id']}", json=body), 422, "body.spec.permissions")

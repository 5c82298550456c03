"""The api and the results service, each as it is, on deploy runs: turns, approvals, documents, and unknown outcomes.

The deploy workers are played by the test, with the jobs that the api put on their queue.
"""

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID

import httpx

from coreo_api.results import Asker
from coreo_api.runs import stream
from coreo_api.teams.session import Caller
from coreo_api.teams.tokens import hash_of
from coreo_shared.contracts.deploys import Failure, Output, Outputs
from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.terms import Pool
from tests.support.api import VERIFIED, Api, Team, ok, problem, until
from tests.support.deploy_runs import CHECKPOINT, DeployClient, make_events
from tests.support.results import ResultsService

SPEC = {
    "stack_name": "network",
    "regions": ["eu-west-1"],
    "template_url": "https://templates.s3.eu-west-1.amazonaws.com/network.yaml",
    "service_role": "deployers/cloudformation",
    "gates": [{"resource_type": "AWS::RDS::*", "refuse": ["replace", "remove"]}],
}
STACK = "arn:aws:cloudformation:eu-west-1:210987654321:stack/network/0a"


class World:
    """A team with a deploy plan in one account, and the worker that gets the jobs of its runs."""

    def __init__(self, api: Api, service: ResultsService, team: Team, plan: Mapping[str, Any]) -> None:
        self.api, self.service, self.team, self.plan = api, service, team, plan

    @classmethod
    async def make(cls, api: Api, service: ResultsService, **spec: Any) -> "World":
        team = await api.team()
        account = await team.add_account()
        return cls(api, service, team, await cls.plan_of(team, account["id"], **spec))

    @staticmethod
    async def plan_of(team: Team, account_id: str, **spec: Any) -> Any:
        body = {"name": "network", "kind": "deploy", "spec": SPEC | spec, "cloud_account_ids": [account_id]}
        return ok(await team.http.post("/v1/plans", json=body), 201)

    async def start(self, action: str, **body: Any) -> str:
        """The id of a run of the plan's one region."""
        wish = {"action": action} | body
        (run,) = ok(await self.team.http.post(f"/v1/plans/{self.plan['id']}/runs", json=wish), 202)["runs"]
        return str(run["id"])

    def jobs(self, run: str) -> list[Job]:
        """The jobs of a run that are on the deploy queue."""
        return [job for job in self.api.deploy_queue.jobs(Pool.DEPLOY) if str(job.run_id) == run]

    async def worker(self, run: str, job: int = 1) -> DeployClient:
        """Who got the run's job of this number, with the run claimed."""
        await until(lambda: len(self.jobs(run)) >= job)
        sent = self.jobs(run)[job - 1]
        worker = DeployClient(self.service, team_id=sent.team_id, cloud_account_id=sent.target.cloud_account_id)
        worker.run_id, worker.token = sent.run_id, sent.run_token
        answer = await worker.claim()
        assert answer.status_code == 200, answer.text
        worker.fence = answer.json()["fence"]
        return worker

    async def to_approval(self, run: str) -> DeployClient:
        """The run waiting for people, as its worker left it."""
        worker = await self.worker(run)
        assert (await worker.put_document(worker.preview)).status_code == 204
        assert (await worker.park(None)).status_code == 200
        await self.reaches(run, "AWAITING_APPROVAL")
        return worker

    async def to_applying(self, run: str) -> DeployClient:
        """The run at work on the stack, approved by the team's first token."""
        seen = await self.to_approval(run)
        ok(await self.approve(run, seen.preview.hash), 202)
        worker = await self.worker(run, 2)
        worker.preview = seen.preview
        assert (await worker.begin()).status_code == 200
        return worker

    async def approve(self, run: str, preview_hash: str, http: httpx.AsyncClient | None = None) -> httpx.Response:
        headers = {"if-match": f'"{preview_hash}"'}
        return await (http or self.team.http).post(f"/v1/runs/{run}/approve", headers=headers)

    async def reaches(self, run: str, state: str) -> Any:
        """The run, once it is in this state."""

        async def there() -> bool:
            return bool((await self.get(f"runs/{run}"))["state"] == state)

        await until(there)
        return await self.get(f"runs/{run}")

    async def finish(self, run: str, worker: DeployClient, outcome: str = "completed", **changes: Any) -> None:
        answer = await worker.finish(outcome, **changes)
        assert answer.status_code == 200, answer.text
        await self.reaches(run, answer.json()["state"])

    async def queue(self, run: str) -> list[tuple[str, bool, str | None]]:
        """(run, its turn, what it waits for) of the run's stack."""
        target = (await self.get(f"runs/{run}"))["deploy"]["target_id"]
        shown = await self.get(f"deploy-targets/{target}/queue")
        return [(each["run_id"], each["holds_target"], each["waits_for"]) for each in shown["runs"]]

    async def token(self, *scopes: str) -> httpx.AsyncClient:
        """A client with a token of these scopes."""
        made = ok(await self.team.http.post("/v1/tokens", json={"name": "-".join(scopes), "scopes": scopes}), 201)
        return self.api.client(made["token"])

    async def get(self, path: str, **parameters: Any) -> Any:
        """What a path below /v1 answers."""
        return ok(await self.team.http.get(f"/v1/{path}", params=parameters))


async def test_an_apply_from_its_request_to_its_outputs(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        run = await world.start("apply", allow=["Database"])
        worker = await world.worker(run)
        (job,) = world.jobs(run)
        work: Any = job.work
        assert (work.region, work.stack_name, work.action, work.allow) == (
            "eu-west-1",
            "network",
            "apply",
            ["Database"],
        )
        assert work.service_role_arn == "arn:aws:iam::210987654321:role/deployers/cloudformation"
        assert problem(await world.team.http.get(f"/v1/runs/{run}/preview"), 404)["code"] == "no_document"
        assert (await worker.put_document(worker.preview)).status_code == 204
        assert (await worker.park(None, reason="It waits for people.")).status_code == 200
        waiting = await world.reaches(run, "AWAITING_APPROVAL")
        assert waiting["deploy"]["approval"]["hash"] == worker.preview.hash
        assert waiting["deploy"]["holds_target"] is False

        shown = await world.team.http.get(f"/v1/runs/{run}/preview")
        assert shown.headers["etag"] == f'"{worker.preview.hash}"'
        assert [change["logical_id"] for change in ok(shown)["changes"]] == ["SecretBucket"]

        assert problem(await world.team.http.post(f"/v1/runs/{run}/approve"), 428)["code"] == "if_match_missing"
        for bad in ("*", f"W/{shown.headers['etag']}", worker.preview.hash):
            answer = await world.team.http.post(f"/v1/runs/{run}/approve", headers={"if-match": bad})
            problem(answer, 422, "header.if-match")
        assert problem(await world.approve(run, "0" * 64), 412)["code"] == "hash_differs"
        pipeline = await world.token("read", "plan")
        assert problem(await world.approve(run, worker.preview.hash, pipeline), 403)["code"] == "scope_missing"
        assert len(world.jobs(run)) == 1  # nothing of this let it go on
        assert ok(await world.approve(run, worker.preview.hash), 202)["state"] == "QUEUED"

        second = await world.worker(run, 2)
        second.preview = worker.preview
        assert (await second.begin()).status_code == 200
        await second.put_events(0, make_events(3), done=1, total=4)
        assert (await second.park(0.0)).status_code == 200  # it lets go of the worker between two looks
        third = await world.worker(run, 3)
        await third.put_events(1, make_events(2, 3), done=4, total=4)
        outputs = Outputs(stack_arn=STACK, stack_status="CREATE_COMPLETE", outputs=[Output(key="Id", value="vpc-1")])
        await third.put_document(outputs)
        await world.finish(run, third, reason=None)

        ended = await world.get(f"runs/{run}")
        assert (ended["state"], ended["units_done"], ended["deploy"]["documents"]["events"]) == ("SUCCEEDED", 4, 5)
        page = await world.get(f"runs/{run}/stack-events", after=3)
        assert ([event["event_id"] for event in page["events"]], page["total"]) == (["event-3", "event-4"], 5)
        assert (await world.get(f"runs/{run}/outputs"))["outputs"][0]["value"] == "vpc-1"
        assert await world.queue(run) == []


async def test_a_stream_tells_each_stack_event_once_and_goes_on_where_it_broke(
    api: Api, service: ResultsService
) -> None:
    async with api.running():
        world = await World.make(api, service)
        run = await world.start("apply")
        worker = await world.to_applying(run)
        await worker.put_events(0, make_events(3))
        await world.reaches(run, "APPLYING")

        async def has_heard_of_all() -> bool:
            return bool((await world.get(f"runs/{run}"))["deploy"]["documents"].get("events") == 3)

        await until(has_heard_of_all)
        token_hash = hash_of(world.team.token)
        assert token_hash is not None
        caller = Caller(Asker(world.team.id), UUID(int=1), api.context, token_hash, frozenset())

        async def told(after: stream.Position | None, count: int) -> list[tuple[str, str, Any]]:
            found: list[tuple[str, str, Any]] = []
            async with aclosing(stream.events(api.context, caller, UUID(run), after=after)) as events:
                async for text in events:
                    fields = dict(line.split(": ", 1) for line in text.strip().split("\n") if not line.startswith(":"))
                    if fields:
                        found.append((fields["id"], fields["event"], json.loads(fields["data"])))
                    if len(found) >= count:
                        break
            return found

        first = await told(None, 4)
        names = [data["event_id"] for _, kind, data in first if kind == "stack"]
        assert names == ["event-0", "event-1", "event-2"]
        assert first[-1][1] == "run"
        middle = stream.Position.of(first[1][0])  # the connection breaks after the second stack event
        again = await told(middle, 2)
        assert [data["event_id"] for _, kind, data in again if kind == "stack"] == ["event-2"]
        await worker.put_events(1, make_events(1, 3))
        await world.finish(run, worker, reason=None)
        rest = await told(stream.Position.of(again[-1][0]), 99)
        assert [data["event_id"] for _, kind, data in rest if kind == "stack"] == ["event-3"]
        assert rest[-1][2]["state"] == "SUCCEEDED"


async def test_changes_of_a_stack_come_one_after_the_other_over_all_plans(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        (account,) = world.plan["cloud_account_ids"]
        other = World(api, service, world.team, await World.plan_of(world.team, account))
        elsewhere = World(api, service, world.team, await World.plan_of(world.team, account, stack_name="storage"))
        first = await world.start("apply")
        second, third = await other.start("destroy"), await world.start("apply")
        free = await elsewhere.start("apply")
        worker = await world.worker(first)
        await elsewhere.worker(free)
        (head, a, b) = await world.queue(first)
        assert head[:2] == (first, True)
        assert [a[:2], b[:2]] == [(second, False), (third, False)]
        assert first in str(a[2])

        target = (await world.get(f"runs/{first}"))["deploy"]["target_id"]
        path = f"/v1/deploy-targets/{target}/queue/reorder"
        for wrong in ([third], [first, third, second], [third, third]):
            assert problem(await world.team.http.post(path, json={"run_ids": wrong}), 409)["code"] == "queue_changed"
        ok(await world.team.http.post(path, json={"run_ids": [third, second]}))
        assert [each[0] for each in await world.queue(first)] == [first, third, second]

        ok(await world.team.http.post(f"/v1/runs/{first}/cancel"), 202)
        assert not world.jobs(third)  # a worker has it still
        await world.finish(first, worker, "canceled", reason=None)
        await until(lambda: world.jobs(third))
        assert not world.jobs(second)
        ok(await world.team.http.post(f"/v1/runs/{third}/cancel"), 202)  # no worker has taken it
        await world.reaches(third, "CANCELED")
        await until(lambda: world.jobs(second))


async def test_previews_and_drift_checks_pass_by_a_change_that_waits_for_people(
    api: Api, service: ResultsService
) -> None:
    async with api.running():
        world = await World.make(api, service)
        change = await world.start("apply")
        seen = await world.to_approval(change)
        behind = await world.start("apply")
        preview, drift = await world.start("preview"), await world.start("drift")
        looking = await world.worker(preview)
        assert not world.jobs(drift)  # one at a time
        ok(await world.approve(change, seen.preview.hash), 202)
        await world.reaches(change, "QUEUED")
        assert [each[0] for each in await world.queue(change)] == [change, preview, behind, drift]
        assert len(world.jobs(change)) == 1  # it was approved, but somebody still looks at the stack
        await looking.put_document(looking.preview)
        await world.finish(preview, looking, reason=None)
        changing = await world.worker(change, 2)
        changing.preview = seen.preview
        assert (await changing.begin()).status_code == 200
        assert not world.jobs(drift)
        assert not world.jobs(behind)
        await world.finish(change, changing, "rolled_back")
        await until(lambda: world.jobs(behind))


async def test_an_unknown_outcome_locks_the_stack_until_a_person_has_looked(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        run = await world.start("apply")
        worker = await world.to_applying(run)
        preview, following = await world.start("preview"), await world.start("apply")
        assert problem(await world.team.http.get(f"/v1/runs/{run}/outcome"), 409)["code"] == "not_unknown"
        failure = Failure(code="no_trace", message="Nothing was found.", stack_arn=STACK, advice=["Look at Events."])
        assert (await worker.put_document(failure)).status_code == 204
        await world.finish(run, worker, "unknown")

        page = await world.get(f"runs/{run}/outcome")
        assert (page["state"], page["token"], page["stack_arn"]) == ("OUTCOME_UNKNOWN", run, STACK)
        assert page["change_set_arn"] == CHECKPOINT.change_set_arn
        commands = [check["command"] for check in page["checks"]]
        assert any("describe-stack-events" in each and run in each and STACK in each for each in commands)
        assert any("describe-change-set" in each and str(CHECKPOINT.change_set_arn) in each for each in commands)
        assert page["console_url"].startswith("https://eu-west-1.console.aws.amazon.com/cloudformation/")
        assert page["advice"] == ["Look at Events."]
        assert [each[:2] for each in await world.queue(run)] == [(run, True), (preview, False), (following, False)]
        assert problem(await world.team.http.post(f"/v1/runs/{run}/cancel"), 409)["code"] == "outcome_unknown"
        assert not world.jobs(preview)

        jobs = len(world.jobs(run))
        assert ok(await world.team.http.post(f"/v1/runs/{run}/reconcile"), 202)["state"] == "APPLYING"
        looking = await world.worker(run, jobs + 1)
        await world.finish(run, looking, "unknown")
        settle = {"outcome": "ROLLED_BACK", "reason": "The stack is UPDATE_ROLLBACK_COMPLETE."}
        pipeline = await world.token("read", "plan")
        assert problem(await pipeline.post(f"/v1/runs/{run}/settle", json=settle), 403)["code"] == "scope_missing"
        assert not world.jobs(preview)
        assert ok(await world.team.http.post(f"/v1/runs/{run}/settle", json=settle))["state"] == "ROLLED_BACK"
        ended = await world.reaches(run, "ROLLED_BACK")
        assert "UPDATE_ROLLBACK_COMPLETE" in ended["reason"]
        await until(lambda: world.jobs(preview))
        decided = [entry["action"] for entry in (await world.get("decisions", kind="deploy"))["items"]]
        assert decided[:2] == ["SETTLED", "RECONCILED"]


async def test_two_must_approve_and_not_who_asked_for_it(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service, approval={"approvers": 2, "requester_may_approve": False})
        run = await world.start("apply")
        worker = await world.to_approval(run)
        one, two = await world.token("read", "approve"), await world.token("approve")
        answer = await world.approve(run, worker.preview.hash)
        assert problem(answer, 403)["code"] == "requester_may_not_approve"
        for _ in range(2):  # said twice is said once
            assert ok(await world.approve(run, worker.preview.hash, one), 202)["state"] == "AWAITING_APPROVAL"

        async def is_told() -> bool:
            approval = (await world.get(f"runs/{run}"))["deploy"]["approval"]
            return len(approval["approved_by"]) == 1 and approval["needed"] == 2

        await until(is_told)
        assert len(world.jobs(run)) == 1
        assert ok(await world.approve(run, worker.preview.hash, two), 202)["state"] == "QUEUED"
        await until(lambda: len(world.jobs(run)) == 2)


async def test_rejected_is_canceled_with_the_reason_and_who(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        run = await world.start("destroy")
        answer = await world.team.http.post(f"/v1/runs/{run}/reject", json={"reason": "No."})
        assert problem(answer, 409)["code"] in {"not_started", "not_awaiting_approval"}
        await world.to_approval(run)
        ok(await world.team.http.post(f"/v1/runs/{run}/reject", json={"reason": "Not on a Friday."}), 202)
        ended = await world.reaches(run, "CANCELED")
        assert "Not on a Friday." in ended["reason"]
        entry = (await world.get("decisions", kind="deploy"))["items"][0]
        assert (entry["action"], entry["author"]) == ("REJECTED", "first token")


async def test_account_that_is_left_alone_between_preview_and_apply(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        (account,) = world.plan["cloud_account_ids"]
        run, waiting = await world.start("apply"), await world.start("apply")
        worker = await world.to_approval(run)
        arn = {"role_arn": "arn:aws:iam::210987654321:role/Other"}
        changed = ok(await world.team.http.put(f"/v1/cloud-accounts/{account}/role", json=arn))
        refused = problem(await world.approve(run, worker.preview.hash), 409)
        assert refused["code"] == "account_not_connected"
        await world.team.report(changed, VERIFIED)
        ok(await world.team.http.post(f"/v1/cloud-accounts/{account}/disconnect", json={"results": "keep"}))
        for each in (run, waiting):
            ended = await world.reaches(each, "CANCELED")
            assert "disconnected" in ended["reason"]
        assert problem(await world.approve(run, worker.preview.hash), 409)["code"] == "account_not_connected"
        assert len(world.jobs(run)) == 1
        assert not world.jobs(waiting)


async def test_account_in_which_a_stack_is_being_changed_cannot_be_left_alone(
    api: Api, service: ResultsService
) -> None:
    async with api.running():
        world = await World.make(api, service)
        (account,) = world.plan["cloud_account_ids"]
        run = await world.start("apply")
        worker = await world.to_applying(run)
        leave = f"/v1/cloud-accounts/{account}/disconnect"
        assert problem(await world.team.http.post(leave, json={"results": "keep"}), 409)["code"] == "runs_at_work"
        arn = {"role_arn": "arn:aws:iam::210987654321:role/Other"}
        ok(await world.team.http.put(f"/v1/cloud-accounts/{account}/role", json=arn))  # VERIFYING: not proven any more
        assert (await worker.park(0.0)).status_code == 200
        await world.worker(run, 3)  # and yet it is followed to its end

"""The api and the results service, each as it is, on what becomes of findings from run to run."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text

from coreo_cli.receipts import check_receipt
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.results import FinishRun
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.crypto.access_chain import check_chain
from tests.support.api import SIGNING_KEY, Api, ApiFactory, Team, ok, problem, until
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    Tokens,
    backup_settings,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    running,
)

FAIL, PASS = FindingStatus.FAIL, FindingStatus.PASS
FRAMEWORK = "cis-aws-5.0"
RULE = "ec2-security-group-open-ssh"
UNIT = "aws.ec2.security_group@eu-west-1"


def group(number: int, status: FindingStatus, **changes: Any) -> Finding:
    """A finding on a security group."""
    arn = f"arn:aws:ec2:eu-west-1:210987654321:security-group/sg-{number}"
    values = {"rule_id": RULE, "status": status, "resource_type": "aws.ec2.security_group", "severity": Severity.HIGH}
    return make_finding(number, **{**values, "resource_id": f"sg-{number}", "resource_arn": arn, **changes})


class World:
    """A team with a plan of one rule in one account, and the worker that runs it."""

    def __init__(self, api: Api, service: ResultsService, team: Team, plan: Mapping[str, Any]) -> None:
        self.api, self.service, self.team, self.plan = api, service, team, plan

    @classmethod
    async def make(cls, api: Api, service: ResultsService, **spec: Any) -> "World":
        team = await api.team()
        account = await team.add_account()
        plan = await team.add_plan(account["id"], spec={"rules": [RULE], "regions": ["eu-west-1"]} | spec)
        return cls(api, service, team, plan)

    async def run(self, *findings: Finding, unit: str = UNIT, units_total: int = 1) -> str:
        """The id of a run that has found this."""
        (run,) = await self.team.start(self.plan)
        job = await self.job_of(run)
        worker = self.service.run(job.team_id, job.run_id)
        worker.token = job.run_token
        claim = await worker.say("claim", {"worker_id": "w", "rules": job.work.rules})  # type: ignore[union-attr]  # an audit
        fence = claim.json()["fence"]
        await worker.stored(make_chunk(fence, list(findings), unit=unit))
        await worker.say("finish", FinishRun(fence=fence, outcome="completed", units_total=units_total))

        async def has_ended() -> bool:
            return (await self.team.show(run))["ended_at"] is not None

        await until(has_ended)
        return str(run["id"])

    async def job_of(self, run: Mapping[str, Any]) -> Job:
        """The run's job, once it is on the queue."""
        await until(lambda: any(job.run_id == UUID(run["id"]) for job in self.api.queue.jobs()))
        return next(job for job in self.api.queue.jobs() if job.run_id == UUID(run["id"]))

    async def get(self, path: str, **parameters: Any) -> Any:
        """What a path below /v1 answers."""
        return ok(await self.team.http.get(f"/v1/{path}", params=parameters))


async def test_what_is_new_and_what_is_resolved_reaches_the_customer(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        first = await world.run(group(1, FAIL), group(2, FAIL), group(3, PASS))
        second = await world.run(group(1, FAIL), group(2, PASS), group(4, FAIL))
        assert (await world.get(f"runs/{first}/changes"))["counts"]["new"] == 3
        assert await world.get(f"runs/{second}/changes") == {
            "run_id": second,
            "previous_run_id": first,
            "counts": {"new": 1, "unchanged": 1, "changed": 0, "resolved": 1, "not_seen": 0},
        }
        (new,) = (await world.get(f"runs/{second}/findings", change="NEW"))["items"]
        assert (new["resource_id"], new["change"], new["first_run_id"]) == ("sg-4", "NEW", second)
        (same,) = (await world.get(f"runs/{second}/findings", change="UNCHANGED"))["items"]
        assert (same["first_run_id"], same["previous_status"]) == (first, "FAIL")
        (resolved,) = (await world.get(f"runs/{second}/resolved"))["items"]
        assert (resolved["resource_id"], resolved["gone"], resolved["failed_run_id"]) == ("sg-2", False, first)
        bad = await world.team.http.get(f"/v1/runs/{second}/resolved", params={"cursor": "made-up"})
        problem(bad, 422, "query.cursor")


async def test_suppressions_and_severities_show_in_runs_that_are_over(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        http = world.team.http
        run = await world.run(group(1, FAIL), group(2, FAIL), group(3, PASS))
        expires_at = (datetime.now(UTC) + timedelta(days=9)).isoformat()
        account = world.plan["cloud_account_ids"][0]
        wish = {"resource": "*security-group/sg-1", "reason": "a bastion", "expires_at": expires_at}
        made = ok(await http.post("/v1/suppressions", json=wish | {"cloud_account_id": account}), 201)
        assert (made["live"], made["author"], made["cloud_account_id"]) == (True, "first token", account)
        override = {"rule_id": RULE, "severity": "critical", "reason": "no bastions"}
        ok(await http.put("/v1/severity-overrides", json=override))

        expected = {"by_status": {"FAIL": 1, "SUPPRESSED": 1, "PASS": 1}, "failed_by_severity": {"critical": 1}}
        assert await world.get(f"runs/{run}/counts") == expected
        assert (await world.get(f"runs/{run}"))["counts"]["failed_by_severity"] == {"high": 2}
        (item,) = (await world.get(f"runs/{run}/findings", status="SUPPRESSED"))["items"]
        assert (item["resource_id"], item["suppression_id"]) == ("sg-1", made["id"])
        assert (item["suppression_reason"], item["severity"], item["rule_severity"]) == (
            "a bastion",
            "critical",
            "high",
        )
        (rule,) = (await world.get(f"runs/{run}/rules"))["items"]
        assert (rule["severity"], rule["by_status"]) == ("critical", expected["by_status"])

        changed = ok(await http.patch(f"/v1/suppressions/{made['id']}", json={"resource": "sg-*", "expires_at": None}))
        assert (changed["expires_at"], changed["reason"]) == (None, "a bastion")
        assert (await world.get(f"runs/{run}/counts"))["by_status"] == {"SUPPRESSED": 2, "PASS": 1}
        assert (await http.delete(f"/v1/suppressions/{made['id']}")).status_code == 204
        assert (await world.get(f"runs/{run}/counts"))["failed_by_severity"] == {"critical": 2}
        assert [entry["action"] for entry in (await world.get("decisions", kind="suppression"))["items"]] == [
            "REMOVED",
            "CHANGED",
            "ADDED",
        ]
        assert (await world.get("severity-overrides"))["items"][0]["reason"] == "no bastions"


async def test_lists_of_decisions_come_in_pages(api: Api, service: ResultsService) -> None:
    world = await World.make(api, service)
    for number in range(5):
        ok(await world.team.http.post("/v1/suppressions", json={"resource": f"sg-{number}", "reason": "x"}), 201)
    first = await world.get("suppressions", limit=3)
    rest = await world.get("suppressions", limit=3, cursor=first["next_cursor"])
    assert [item["resource"] for item in first["items"] + rest["items"]] == [f"sg-{n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next_cursor"] is None
    past = {"resource": "sg", "reason": "x", "expires_at": "2020-01-01T00:00:00Z"}
    problem(await world.team.http.post("/v1/suppressions", json=past), 422, "body.expires_at")
    problem(await world.team.http.post("/v1/suppressions", json={"tag": "x", "reason": "x"}), 422, "body.tag")
    problem(await world.team.http.post("/v1/suppressions", json={"rule_id": "*", "reason": "x"}), 422, "body.rule_id")


async def test_results_are_deleted_by_name_and_everything_is_in_the_record(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        http = world.team.http
        made = ok(await http.post("/v1/tokens", json={"name": "ann"}), 201)
        ann = api.client(made["token"])
        first, second = await world.run(group(1, FAIL)), await world.run(group(1, FAIL), group(2, PASS))
        ok(await ann.get(f"/v1/runs/{first}/findings", params={"export": True}))
        for path in ("rules", f"compliance?framework={FRAMEWORK}", "resolved"):
            ok(await ann.get(f"/v1/runs/{first}/{path}"))
        ok(await ann.patch("/v1/custody/settings", json={"display_days": 30, "keep_counts": False}))
        ok(await ann.patch(f"/v1/plans/{world.plan['id']}/custody", json={"display_days": 7}))
        assert ok(await ann.delete(f"/v1/runs/{first}/results")) == {"runs": 1}

        today = datetime.now(UTC).date()
        for path in ("findings", "rules", "counts", "changes", "resolved", f"compliance?framework={FRAMEWORK}"):
            gone = problem(await http.get(f"/v1/runs/{first}/{path}"), 410)
            assert gone["code"] == "results_deleted"
            assert gone["detail"] == f"The results of this run were deleted on {today}, as ann asked."

        async def says_so() -> bool:
            run = await world.get(f"runs/{first}")
            return run["results_gone"] is not None and run["counts"]["by_status"] == {}

        await until(says_so)
        assert (await world.get(f"runs/{second}/findings"))["total"] == 2
        assert ok(await ann.delete(f"/v1/plans/{world.plan['id']}/results")) == {"runs": 1}
        pages = [await world.get("custody/access", limit=3)]
        while pages[-1]["next_cursor"] is not None:
            pages.append(await world.get("custody/access", limit=3, cursor=pages[-1]["next_cursor"]))
        record = [item for page in pages for item in page["items"]][::-1]
        assert check_chain(record)[0] == len(record) == 9
        assert [(each["actor"], each["action"], each["object_id"]) for each in record] == [
            ("ann", "EXPORT", first),
            ("ann", "READ_SUMMARY", first),
            ("ann", "READ_FINDINGS", first),
            ("ann", "SETTINGS", str(world.team.id)),
            ("ann", "SETTINGS", world.plan["id"]),
            ("ann", "DELETE", first),
            ("first token", "READ_FINDINGS", second),
            ("ann", "DELETE", world.plan["id"]),
            ("first token", "READ_RECORD", str(world.team.id)),
        ]
        assert {each["actor_id"] for each in record if each["actor"] == "ann"} == {made["id"]}
        mine = await world.get("custody/access", token_id=made["id"], object_id=first)
        assert [each["action"] for each in mine["items"]] == ["DELETE", "READ_FINDINGS", "READ_SUMMARY", "EXPORT"]


async def test_a_run_that_was_started_without_backup_is_so_in_the_ledger(api: Api, service: ResultsService) -> None:
    async with api.running():
        world = await World.make(api, service)
        backups = {}
        for wish in (True, False):
            (run,) = ok(await world.team.http.post(f"/v1/plans/{world.plan['id']}/runs", json={"backup": wish}), 202)[
                "runs"
            ]
            job = await world.job_of(run)
            worker = service.run(job.team_id, job.run_id)
            worker.token = job.run_token
            await worker.claimed()
            async with service.app.state.services.database.transaction(world.team.id) as connection:
                statement = text("SELECT backup FROM runs WHERE run_id = :run")
                backups[wish] = (await connection.execute(statement, {"run": job.run_id})).scalar_one()
        assert backups == {True: True, False: False}


async def test_a_run_is_taken_out_of_all_backups_and_the_receipt_proves_it(
    make_api: ApiFactory, results_database: ServiceDatabase, tmp_path: Path
) -> None:
    tokens = Tokens(api_jwk=SIGNING_KEY)
    settings = make_settings(results_database, tokens, make_root_key(tmp_path), **backup_settings(tmp_path))
    async with running(settings) as app:
        service = ResultsService(app, tokens)
        api = make_api(results_transport=httpx.ASGITransport(app))
        async with api.running():
            world = await World.make(api, service)
            http = world.team.http
            doomed, kept = await world.run(group(1, FAIL)), await world.run(group(2, FAIL))
            await app.state.services.backup_keeper.round()
            made = ok(await http.post("/v1/exclusions", json={"scope": "run", "scope_id": doomed}), 202)

            async def is_done() -> bool:
                return bool((await world.get(f"exclusions/{made['id']}"))["state"] == "DONE")

            await until(is_done)
            for path in (doomed, kept):
                assert (await world.get(f"runs/{path}/findings"))["total"] == 1
            signed = (await world.get(f"exclusions/{made['id']}/receipt"))["receipt"]
            checked = check_receipt(signed, json.dumps(await world.get("custody/keys")))
            assert (checked.receipt.run_ids, checked.receipt.backups_deleted) == ([UUID(doomed)], 1)
            (done, asked) = (await world.get("custody/access", action="EXCLUDE"))["items"]
            assert (asked["object_id"], done["detail"]["receipt"]) == (doomed, True)

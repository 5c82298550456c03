"""Custody of results at the api: who asks, what is checked here, what is passed on, what a run says of its results."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from coreo_api.dispatch.projector import apply
from coreo_api.dispatch.purges import Purges
from coreo_shared.contracts.custody import ResultsGone
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, GoneWhy, RunState
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from coreo_shared.ids import new_id
from tests.support.api import VERIFIER, Api, Team, ok, problem, until

RUN_READS = ("findings", "rules", "counts", "changes", "resolved", "compliance?framework=cis-aws-5.0")


@pytest.fixture
async def team(api: Api) -> Team:
    return await api.team()


async def put(api: Api, *events: Any) -> None:
    async with api.context.system_database.transaction() as connection:
        await apply(connection, events, timedelta(hours=6), api.context.clock())


async def test_the_results_service_is_told_which_token_asks(api: Api, team: Team) -> None:
    made = ok(await team.http.post("/v1/tokens", json={"name": "ann's laptop"}), 201)
    run = await team.started_run()
    ann, asked = api.client(made["token"]), {"team_id": team.id, "actor_id": UUID(made["id"]), "actor": "ann's laptop"}
    plan = f"/v1/plans/{run['plan_id']}"
    calls: list[tuple[str, str, Any]] = [("GET", f"/v1/runs/{run['id']}/{path}", None) for path in RUN_READS]
    calls += [("DELETE", f"/v1/runs/{run['id']}/results", None), ("DELETE", f"{plan}/results", None)]
    calls += [("GET", "/v1/custody/settings", None), ("PATCH", "/v1/custody/settings", {"display_days": 30})]
    calls += [("GET", f"{plan}/custody", None), ("PATCH", f"{plan}/custody", {"backup": False})]
    calls += [("GET", "/v1/custody/access", None), ("GET", "/v1/suppressions", None)]
    wish = {"scope": "run", "scope_id": run["id"]}
    calls += [("POST", "/v1/exclusions", wish), ("GET", "/v1/exclusions", None), ("GET", "/v1/custody/keys", None)]
    calls += [("GET", f"/v1/exclusions/{new_id()}{end}", None) for end in ("", "/receipt")]
    calls += [("GET", "/v1/custody/backups", None), ("POST", "/v1/custody/backups", None)]
    for method, path, body in calls:
        api.results.tokens.clear()
        await ann.request(method, path, json=body)
        (token,) = api.results.tokens
        assert {name: getattr(token, name) for name in asked} == asked, path


async def test_a_purge_is_by_whoever_disconnected_the_account(api: Api, team: Team) -> None:
    account = await team.add_account()
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/disconnect", json={"results": "purge"}))
    await Purges(api.context).step()
    assert api.results.tokens[-1].actor == "first token"
    assert api.results.tokens[-1].actor_id is not None


@pytest.mark.parametrize("code", ["results_expired", "results_deleted", "results_purged"])
async def test_what_is_gone_is_told_as_the_results_service_says_it(api: Api, team: Team, code: str) -> None:
    run = await team.started_run()
    detail = "The results of this run expired on 2026-06-01."
    api.results.refusal = (410, {"code": code, "detail": detail})
    for path in RUN_READS:
        told = problem(await team.http.get(f"/v1/runs/{run['id']}/{path}"), 410)
        assert (told["code"], told["detail"]) == (code, detail), path


async def test_export_is_said_when_asked_for(api: Api, team: Team) -> None:
    run = await team.started_run()
    for path in ("findings", "resolved"):
        await team.http.get(f"/v1/runs/{run['id']}/{path}")
        assert "export" not in api.results.requests[-1].url.params
        await team.http.get(f"/v1/runs/{run['id']}/{path}", params={"export": True})
        assert api.results.requests[-1].url.params["export"] == "true"


async def test_backups_are_shown_and_begun(api: Api, team: Team) -> None:
    shown = ok(await team.http.get("/v1/custody/backups"))
    assert (shown["runs"], shown["due"], shown["failed_at"]) == (3, 1, None)
    assert ok(await team.http.post("/v1/custody/backups"), 202) == shown
    assert api.results.requests[-1].method == "POST"


async def test_settings_are_passed_on_as_far_as_they_were_said(api: Api, team: Team) -> None:
    assert ok(await team.http.get("/v1/custody/settings"))["display_days"] == 90
    ok(await team.http.patch("/v1/custody/settings", json={"display_days": 30}))
    assert json.loads(api.results.requests[-1].content) == {"display_days": 30}
    plan = await team.add_plan()
    path = f"/v1/plans/{plan['id']}/custody"
    for patch in ({"display_days": None}, {"display_days": 7, "backup": False}, {}):
        ok(await team.http.patch(path, json=patch))
        assert json.loads(api.results.requests[-1].content) == patch
    assert ok(await team.http.get(path))["team"]["display_days"] == 30


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"display_days": 0}, "display_days"),
        ({"display_days": 1827}, "display_days"),
        ({"display_days": None}, "display_days"),
        ({"backup_days": 0}, "backup_days"),
        ({"backups": None}, "backups"),
        ({"keep": True}, "keep"),
    ],
)
async def test_bad_settings_are_refused_by_field(api: Api, team: Team, body: dict[str, Any], field: str) -> None:
    problem(await team.http.patch("/v1/custody/settings", json=body), 422, f"body.{field}")
    assert api.results.requests == []


async def test_results_of_a_run_are_deleted_once_it_has_ended(api: Api, team: Team) -> None:
    run = await team.started_run()
    path = f"/v1/runs/{run['id']}/results"
    assert problem(await team.http.delete(path), 409)["code"] == "run_at_work"  # the ledger has not heard of it
    await put(api, api.results.emit(run, team.id, 1, RunState.CANCELED))
    assert ok(await team.http.delete(path)) == {"runs": 0}  # it never had any
    api.results.custody.runs[UUID(run["id"])] = 1
    assert ok(await team.http.delete(path)) == {"runs": 1}
    api.results.refusal = (409, {"code": "run_at_work", "detail": "It has not ended."})
    assert problem(await team.http.delete(path), 409)["code"] == "run_at_work"
    api.results.refusal = None
    api.results.down = True
    problem(await team.http.delete(path), 503)


async def test_a_plan_that_was_removed_has_results_and_settings_still(api: Api, team: Team) -> None:
    plan = await team.add_plan()
    assert (await team.http.delete(f"/v1/plans/{plan['id']}")).status_code == 204
    ok(await team.http.delete(f"/v1/plans/{plan['id']}/results"))
    assert api.results.custody.deleted == [f"plans/{plan['id']}/results"]
    ok(await team.http.patch(f"/v1/plans/{plan['id']}/custody", json={"display_days": 1}))
    for path in ("results", "custody"):
        method = "DELETE" if path == "results" else "GET"
        problem(await team.http.request(method, f"/v1/plans/{new_id()}/{path}"), 404)


async def test_the_record_comes_in_pages_by_number(api: Api, team: Team) -> None:
    ok(await team.http.get("/v1/custody/access", params={"action": "DELETE", "limit": 5, "token_id": str(new_id())}))
    sent = api.results.requests[-1].url.params
    assert (sent["action"], sent["limit"], sent["before"]) == ("DELETE", "5", str(2**63 - 1))
    assert {"actor_id", "object_id"} & set(sent) == {"actor_id"}
    problem(await team.http.get("/v1/custody/access", params={"action": "LOOK"}), 422, "query.action")
    problem(await team.http.get("/v1/custody/access", params={"cursor": "x"}), 422, "query.cursor")


async def test_a_run_says_what_became_of_its_results_and_ended_when_it_ended(api: Api, team: Team) -> None:
    run = await team.started_run()
    counts = Counts(by_status={FindingStatus.PASS: 3})
    ended = api.results.emit(run, team.id, 2, RunState.SUCCEEDED, counts=counts)
    await put(api, ended)
    assert (await team.show(run))["results_gone"] is None
    at = datetime.now(UTC) + timedelta(days=90)
    gone = ResultsGone(at=at, why=GoneWhy.REQUESTED, by="ann")
    later = replace(ended, at=at.isoformat(), results_gone=gone, version=3)
    await put(api, later)
    shown = await team.show(run)
    assert shown["results_gone"] == {"at": shown["results_gone"]["at"], "why": "requested", "by": "ann"}
    assert datetime.fromisoformat(shown["results_gone"]["at"]) == at
    assert datetime.fromisoformat(shown["ended_at"]) == datetime.fromisoformat(ended.at)
    assert shown["counts"]["by_status"] == {"PASS": 3}
    await put(api, replace(later, version=4, counts=Counts()))
    assert (await team.show(run))["counts"]["by_status"] == {}


@pytest.mark.parametrize("backup", [True, False])
async def test_the_wish_for_no_backup_travels_with_the_run(api: Api, team: Team, backup: bool) -> None:  # noqa: FBT001  a case
    account = await team.add_account()
    plan = await team.add_plan(account["id"])
    path, headers = f"/v1/plans/{plan['id']}/runs", {"idempotency-key": "once"}
    (run,) = ok(await team.http.post(path, json={"backup": backup}, headers=headers), 202)["runs"]
    assert (await team.show(run))["backup"] is backup
    async with api.running():
        await until(lambda: api.queue.messages)
    (job,) = api.queue.jobs()
    capability = VERIFIER.verify(job.run_token, RunCapability, typ=RUN_CAPABILITY_TYPE, audience=RESULTS_AUDIENCE)
    assert capability.backup is backup
    again = await team.http.post(path, json={"backup": not backup}, headers=headers)
    problem(again, 422, "header.idempotency-key")


async def test_exclusions_are_passed_on(api: Api, team: Team) -> None:
    run = await team.started_run()
    wish = {"scope": "run", "scope_id": run["id"], "reason": " asked by legal "}
    refused = problem(await team.http.post("/v1/exclusions", json=wish), 409)
    assert refused["code"] == "run_not_begun"  # the ledger has not heard of it
    problem(await team.http.post("/v1/exclusions", json=wish | {"scope_id": str(new_id())}), 404)
    problem(await team.http.post("/v1/exclusions", json=wish | {"scope": "plan"}), 404)
    api.results.custody.runs[UUID(run["id"])] = 1
    made = ok(await team.http.post("/v1/exclusions", json=wish), 202)
    assert json.loads(api.results.requests[-1].content) == wish | {"display": "keep", "reason": "asked by legal"}
    plan = {"scope": "plan", "scope_id": run["plan_id"], "display": "delete"}
    ok(await team.http.post("/v1/exclusions", json=plan), 202)
    assert ok(await team.http.get(f"/v1/exclusions/{made['id']}"))["remaining"] == ["tombstone"]
    pending = problem(await team.http.get(f"/v1/exclusions/{made['id']}/receipt"), 409)
    assert pending["code"] == "exclusion_pending"
    page = ok(await team.http.get("/v1/exclusions", params={"limit": 1}))
    ok(await team.http.get("/v1/exclusions", params={"cursor": page["next_cursor"]}))
    assert api.results.requests[-1].url.params["before"] == page["items"][-1]["id"]
    problem(await team.http.get(f"/v1/exclusions/{new_id()}"), 404)
    assert ok(await team.http.get("/v1/custody/keys"))["keys"][0]["kid"] == "custody"
    for body, field in (
        ({"scope": "team"}, "body.scope"),
        ({"display": "hide"}, "body.display"),
        ({"reason": "x" * 501}, "body.reason"),
        ({"reason": "a\nb"}, "body.reason"),
    ):
        problem(await team.http.post("/v1/exclusions", json=wish | body), 422, field)

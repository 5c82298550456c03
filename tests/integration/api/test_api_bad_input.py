"""What is not right is refused by name, never repeated, and leaves nothing behind."""

import json
from typing import Any

import asyncpg
import pytest

from tests.support.api import OWN_ACCOUNT, VERIFIED, Api, ok, problem
from tests.support.postgres import ServiceDatabase

CANARY = "canary-3f9a"
NOBODY = "01900000-0000-7000-8000-000000000000"
SPEC = {"rule_sets": ["baseline"]}
RULE = "ec2-security-group-open-ssh"


async def stored(database: ServiceDatabase) -> dict[str, str]:
    """All rows of all tables."""
    connection = await asyncpg.connect(database.url("postgres").replace("+asyncpg", ""))
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
        return {
            row["relname"]: str(await connection.fetch(f"SELECT * FROM {row['relname']} ORDER BY 1, 2"))
            for row in tables
            if row["relname"] not in {"alembic_version", "feed_position"}
        }
    finally:
        await connection.close()


def plan(**fields: Any) -> dict[str, Any]:
    return {"name": "nightly", "spec": SPEC} | fields


def account(**fields: Any) -> dict[str, Any]:
    return {"name": "production", "account_id": "210987654321"} | fields


CASES: list[tuple[str, str, Any, list[str]]] = [
    ("POST", "/v1/tokens", {}, ["body.name"]),
    ("POST", "/v1/tokens", {"name": "x", "expires_at": CANARY}, ["body.expires_at"]),
    ("POST", "/v1/tokens", {"name": "x", "expires_at": "2999-01-01T00:00:00"}, ["body.expires_at"]),
    ("POST", "/v1/tokens", {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, ["body.expires_at"]),
    ("POST", "/v1/tokens", {"name": "x", "scopes": [CANARY]}, ["body.scopes.0"]),
    ("POST", "/v1/tokens", {"name": "x", "scopes": []}, ["body.scopes"]),
    ("POST", "/v1/tokens", {"name": "x", CANARY * 20: 1}, ["body.(unknown field)"]),
    ("POST", "/v1/cloud-accounts", account(name=""), ["body.name"]),
    ("POST", "/v1/cloud-accounts", account(name="   "), ["body.name"]),
    ("POST", "/v1/cloud-accounts", account(name=CANARY * 10), ["body.name"]),
    ("POST", "/v1/cloud-accounts", account(name=f"{CANARY}\x00"), ["body.name"]),
    ("POST", "/v1/cloud-accounts", account(name=f"{CANARY}\ud800"), ["body.name"]),
    ("POST", "/v1/cloud-accounts", account(name=[CANARY]), ["body.name"]),
    ("POST", "/v1/cloud-accounts", account(account_id=CANARY), ["body.account_id"]),
    ("POST", "/v1/cloud-accounts", account(account_id=210987654321), ["body.account_id"]),
    ("POST", "/v1/cloud-accounts", account(account_id="210987654321\n"), ["body.account_id"]),
    ("POST", "/v1/cloud-accounts", account(account_id="٢١٠٩٨٧٦٥٤٣٢١"), ["body.account_id"]),
    ("POST", "/v1/cloud-accounts", account(account_id=OWN_ACCOUNT), ["body.account_id"]),
    ("POST", "/v1/cloud-accounts", account(external_id=CANARY), ["body.external_id"]),
    ("POST", "/v1/cloud-accounts", account(external_id=None), ["body.external_id"]),
    ("PATCH", "/v1/cloud-accounts/{account}", {"name": None}, ["body.name"]),
    ("PATCH", "/v1/cloud-accounts/{account}", {"external_id": CANARY}, ["body.external_id"]),
    ("PATCH", "/v1/cloud-accounts/{account}", {"account_id": CANARY}, ["body.account_id"]),
    ("PUT", "/v1/cloud-accounts/{account}/role", {"role_arn": CANARY}, ["body.role_arn"]),
    ("PUT", "/v1/cloud-accounts/{account}/role", {"role_arn": "arn:aws:iam::210987654321:role/R\n"}, ["body.role_arn"]),
    *(
        ("PUT", "/v1/cloud-accounts/{account}/role", {"role_arn": arn}, ["body.role_arn"])
        for arn in (
            f"arn:aws:iam::210987654321:user/{CANARY}",
            f"arn:aws:iam::12345:role/{CANARY}",
            f"arn:aws:iam::٢١٠٩٨٧٦٥٤٣٢١:role/{CANARY}",
            f"arn:aws:sts::210987654321:assumed-role/{CANARY}/session",
            f"arn:aws:iam::210987654321:role/{CANARY}*",
            ["arn:aws:iam::210987654321:role/R"],
        )
    ),
    ("PUT", "/v1/cloud-accounts/{account}/role", {}, ["body.role_arn"]),
    ("POST", "/v1/cloud-accounts/{account}/disconnect", {}, ["body.results"]),
    ("POST", "/v1/cloud-accounts/{account}/disconnect", {"results": CANARY}, ["body.results"]),
    ("POST", "/v1/cloud-accounts/{account}/disconnect", {"results": "keep", "role": CANARY}, ["body.role"]),
    ("POST", "/v1/cloud-accounts/{account}/discover", {"drafts": CANARY}, ["body.drafts"]),
    ("POST", "/v1/cloud-accounts/{account}/discover", {"drafts": 1}, ["body.drafts"]),
    ("GET", f"/v1/cloud-accounts/{{account}}/history?cursor={CANARY}", None, ["query.cursor"]),
    ("GET", "/v1/cloud-accounts/{account}/history?limit=0", None, ["query.limit"]),
    ("GET", f"/v1/cloud-accounts/{{account}}/history/{CANARY}", None, ["path.entry_id"]),
    (
        "PUT",
        "/v1/cloud-accounts/{account}/role",
        {"role_arn": "arn:aws-cn:iam::210987654321:role/R"},
        ["body.role_arn"],
    ),
    ("PUT", "/v1/cloud-accounts/{account}/role", {"role_arn": "arn:aws:iam::210987654322:role/R"}, ["body.role_arn"]),
    ("PUT", "/v1/cloud-accounts/{account}/role", {"role_arn": f"arn:aws:iam::{OWN_ACCOUNT}:role/R"}, ["body.role_arn"]),
    (
        "PUT",
        "/v1/cloud-accounts/{account}/role",
        {"role_arn": "arn:aws:iam::210987654321:role/R", "external_id": CANARY},
        ["body.external_id"],
    ),
    ("POST", "/v1/plans", {"name": "nightly"}, ["body.spec"]),
    ("POST", "/v1/plans", plan(kind=CANARY), ["body.kind"]),
    ("POST", "/v1/plans", plan(spec={}), ["body.spec.rules"]),
    ("POST", "/v1/plans", plan(spec={"rules": [RULE, CANARY]}), ["body.spec.rules.1"]),
    ("POST", "/v1/plans", plan(spec={"rule_sets": [CANARY]}), ["body.spec.rule_sets.0"]),
    ("POST", "/v1/plans", plan(spec={"rules": [f"{CANARY}\x00"]}), ["body.spec.rules.0"]),
    ("POST", "/v1/plans", plan(spec={"rules": CANARY}), ["body.spec.rules"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"regions": []}), ["body.spec.regions"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"regions": ["eu-west-1", CANARY]}), ["body.spec.regions.1"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"regions": ["cn-north-1"]}), ["body.spec.regions.0"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"regions": ["eu-west-1", "all"]}), ["body.spec.regions.1"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"parameters": {CANARY: {}}}), ["body.spec.parameters"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"parameters": {RULE: CANARY}}), [f"body.spec.parameters.{RULE}"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"parameters": {RULE: {CANARY: 1}}}), [f"body.spec.parameters.{RULE}"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"parameters": {"*": CANARY}}), ["body.spec.parameters.*"]),
    ("POST", "/v1/plans", plan(spec=SPEC | {"parameters": {"*": {CANARY: 1}}}), ["body.spec.parameters.*"]),
    (
        "POST",
        "/v1/plans",
        plan(spec={"rules": ["iam-password-policy-length"], "parameters": {"*": {"min_length": CANARY}}}),
        ["body.spec.parameters.*.min_length"],
    ),
    ("POST", "/v1/plans", plan(spec=SPEC | {"suppress": CANARY}), ["body.spec.suppress"]),
    ("POST", "/v1/plans", plan(schedule={"cron": CANARY}), ["body.schedule.cron"]),
    ("POST", "/v1/plans", plan(schedule={"rate_seconds": 59}), ["body.schedule.rate_seconds"]),
    ("POST", "/v1/plans", plan(schedule={"rate_seconds": 60.5}), ["body.schedule.rate_seconds"]),
    ("POST", "/v1/plans", plan(schedule={"cron": "0 0 * * *", "time_zone": CANARY}), ["body.schedule.time_zone"]),
    ("POST", "/v1/plans", plan(schedule={}), ["body.schedule"]),
    ("POST", "/v1/plans", plan(enabled=CANARY), ["body.enabled"]),
    ("POST", "/v1/plans", plan(cloud_account_ids=[CANARY]), ["body.cloud_account_ids.0"]),
    ("POST", "/v1/plans", plan(cloud_account_ids=["{account}", NOBODY]), ["body.cloud_account_ids.1"]),
    ("POST", "/v1/plans", plan(cloud_account_ids=["{account}", "{account}"]), ["body.cloud_account_ids"]),
    ("PATCH", "/v1/plans/{plan}", {"spec": None}, ["body.spec"]),
    ("PATCH", "/v1/plans/{plan}", {"kind": "audit"}, ["body.kind"]),
    ("PATCH", "/v1/plans/{plan}", {"spec": {"rules": [CANARY]}}, ["body.spec.rules.0"]),
    ("PATCH", "/v1/plans/{plan}", {"enabled": None}, ["body.enabled"]),
    ("POST", "/v1/plans/{plan}/runs", {"cloud_account_ids": []}, ["body.cloud_account_ids"]),
    ("POST", "/v1/plans/{plan}/runs", {"cloud_account_ids": [NOBODY]}, ["body.cloud_account_ids.0"]),
    ("POST", "/v1/plans/{plan}/runs", {"priority": CANARY}, ["body.priority"]),
    ("POST", "/v1/templates/check", {"template": "a: b", "parameters": {"A": f"{CANARY}\ud800"}}, ["body.parameters"]),
    ("POST", "/v1/templates/check", {"template": "a: b", "parameters": {f"{CANARY}\ud800": "x"}}, ["body.parameters"]),
    ("POST", "/v1/templates/check", {"template": "a: b", "parameters": {"A": f"{CANARY}\x00"}}, ["body.parameters"]),
    ("GET", f"/v1/deploy-targets?stack_name={CANARY}%00", None, ["query.stack_name"]),
    ("GET", f"/v1/plans/{CANARY}", None, ["path.plan_id"]),
    ("GET", f"/v1/runs?state={CANARY}", None, ["query.state.0"]),
    ("GET", f"/v1/runs?colour={CANARY}", None, ["query.colour"]),
    ("GET", f"/v1/runs?limit={CANARY}", None, ["query.limit"]),
    ("GET", "/v1/runs?limit=0", None, ["query.limit"]),
    ("GET", "/v1/runs?limit=201", None, ["query.limit"]),
    ("GET", f"/v1/runs?cursor={CANARY}", None, ["query.cursor"]),
    ("GET", f"/v1/runs?plan_id={CANARY}", None, ["query.plan_id"]),
    ("GET", f"/v1/runs/{NOBODY}/findings?status={CANARY}", None, ["query.status.0"]),
    ("GET", f"/v1/runs/{NOBODY}/findings?resource={CANARY}&resource=x&statuses={CANARY}", None, ["query.statuses"]),
    ("GET", f"/v1/rules?severity={CANARY}", None, ["query.severity"]),
]


def by_route() -> list[Any]:
    """(method, path, [(body, fields), …]): a database for each case would take long."""
    routes: dict[tuple[str, str], list[tuple[Any, list[str]]]] = {}
    for method, path, body, fields in CASES:
        routes.setdefault((method, path.partition("?")[0]), []).append(((path, body), fields))
    return [pytest.param(method, cases, id=f"{method} {path}") for (method, path), cases in routes.items()]


@pytest.mark.parametrize(("method", "cases"), by_route())
async def test_bad_input_is_named_not_repeated_and_not_stored(
    api: Api, api_database: ServiceDatabase, method: str, cases: list[tuple[tuple[str, Any], list[str]]]
) -> None:
    team = await api.team()
    there = await team.add_account(role=None)
    ids = {"account": there["id"], "plan": (await team.add_plan(there["id"]))["id"]}
    before = await stored(api_database)
    for (path, body), fields in cases:
        content = None if body is None else json.dumps(body).replace("{account}", there["id"])
        headers = {} if content is None else {"content-type": "application/json"}
        answer = await team.http.request(method, path.format(**ids), content=content, headers=headers)
        said = problem(answer, 422, *fields)
        assert said["code"] == "invalid"
        assert CANARY not in answer.text
        assert all(error["message"] for error in said["errors"])
    assert await stored(api_database) == before


async def test_the_same_input_without_its_fault_is_taken(api: Api) -> None:
    """Else the table above would pass on an api that refuses everything."""
    team = await api.team()
    ok(await team.http.post("/v1/cloud-accounts", json=account()), 201)
    ok(await team.http.post("/v1/tokens", json={"name": "x", "expires_at": "2999-01-01T00:00:00+01:00"}), 201)
    schedule = {"cron": "0 0 * * *", "time_zone": "Europe/Berlin", "jitter_seconds": 60, "missed": "skip"}
    spec = {"rules": [RULE], "regions": ["eu-west-1"], "parameters": {RULE: {}}}
    made = ok(await team.http.post("/v1/plans", json=plan(spec=spec, schedule=schedule)), 201)
    assert made["schedule"] == schedule | {"rate_seconds": None}
    assert made["next_run_at"] is not None


NO_JSON = [
    (b'{"name": NaN}', 422),
    (b'{"name": "x", "account_id": Infinity}', 422),
    (b'{"name": "x",', 422),
    (b"\xff\xfe", 422),
    (b"", 422),
    (b"[]", 422),
    (b"null", 422),
    (b"[" * 100_000, 422),
    (b'{"name": ' + b"9" * 10_000 + b"}", 400),
]


async def test_what_is_no_json_is_refused_without_repeating_it(api: Api) -> None:
    team = await api.team()
    headers = {"content-type": "application/json"}
    for content, status in NO_JSON:
        answer = await team.http.post("/v1/cloud-accounts", content=content, headers=headers)
        assert answer.status_code == status, content[:40]
        assert answer.headers["content-type"] == "application/problem+json"
        assert "NaN" not in answer.text
    assert ok(await team.http.get("/v1/cloud-accounts"))["items"] == []


async def test_nan_inside_a_plans_parameters_is_refused(api: Api) -> None:
    team = await api.team()
    content = b'{"name": "x", "spec": {"rule_sets": ["baseline"], "parameters": {"r": {"p": NaN}}}}'
    answer = await team.http.post("/v1/plans", content=content, headers={"content-type": "application/json"})
    problem(answer, 422, "body")


async def test_body_over_256_kib_is_refused_whether_declared_or_streamed(api: Api) -> None:
    team = await api.team()
    body = json.dumps({"name": "x" * 256 * 1024, "account_id": "210987654321"}).encode()

    async def streamed() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"content-type": "application/json"}
    for content in (body, streamed()):
        answer = await team.http.post("/v1/cloud-accounts", content=content, headers=headers)
        assert problem(answer, 413)["code"] == "body_too_large"


async def test_another_teams_role_is_refused_in_one_sentence(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    await owner.add_account(role="Taken")
    mine = await stranger.add_account(role=None)
    path = f"/v1/cloud-accounts/{mine['id']}/role"
    ok(await stranger.http.put(path, json={"role_arn": "arn:aws:iam::210987654321:role/Taken"}))
    shown = await stranger.report(mine, VERIFIED)  # as if its trust policy took the stranger's external id too
    assert (shown["state"], shown["reason"]) == (
        "UNVERIFIED",
        "This role cannot be used. If it is yours, ask Coreo's support.",
    )
    ok(await stranger.http.put(path, json={"role_arn": "arn:aws:iam::210987654321:role/Free"}))
    assert (await stranger.report(mine, VERIFIED))["state"] == "CONNECTED"


async def test_who_merely_names_a_role_keeps_nobody_from_it(api: Api) -> None:
    squatter, owner = await api.team("squatter"), await api.team("owner")
    claimed = await squatter.add_account(role=None)
    arn = {"role_arn": "arn:aws:iam::210987654321:role/Wanted"}
    ok(await squatter.http.put(f"/v1/cloud-accounts/{claimed['id']}/role", json=arn))
    assert (await owner.add_account(role="Wanted"))["state"] == "CONNECTED"


async def test_a_deleted_accounts_role_can_be_used_again(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    first = await owner.add_account(role="Moved")
    assert (await owner.http.delete(f"/v1/cloud-accounts/{first['id']}")).status_code == 204
    problem(await owner.http.get(f"/v1/cloud-accounts/{first['id']}"), 404)
    assert (await stranger.add_account(role="Moved"))["state"] == "CONNECTED"


async def test_what_is_in_use_is_not_deleted_and_the_answer_says_why(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    plan = await team.add_plan(account["id"])
    account_path, plan_path = f"/v1/cloud-accounts/{account['id']}", f"/v1/plans/{plan['id']}"
    assert problem(await team.http.delete(account_path), 409)["code"] == "in_use"
    await team.start(plan)
    assert problem(await team.http.delete(plan_path), 409)["code"] == "runs_at_work"
    ok(await team.http.patch(plan_path, json={"cloud_account_ids": []}))
    assert problem(await team.http.delete(account_path), 409)["code"] == "runs_at_work"


@pytest.mark.parametrize(
    ("refusal", "field"),
    [("query.cursor", "query.cursor"), ("query.region.0", "query.region.0")],
)
async def test_results_own_words_about_a_filter_are_passed_on(api: Api, refusal: str, field: str) -> None:
    team = await api.team()
    run = await team.started_run()
    errors = [{"field": refusal, "message": "not valid"}]
    api.results.refusal = (422, {"code": "invalid", "detail": "Not valid.", "errors": errors})
    answer = await team.http.get(f"/v1/runs/{run['id']}/findings", params={"cursor": CANARY})
    assert CANARY not in str(problem(answer, 422, field))


async def test_results_down_is_503_with_a_time_to_come_back(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    api.results.down = True
    for what in ("findings", "rules", "changes", "resolved"):
        answer = await team.http.get(f"/v1/runs/{run['id']}/{what}")
        assert problem(answer, 503)["code"] == "results_unavailable"
        assert answer.headers["retry-after"] == "5"
    ok(await team.http.get(f"/v1/runs/{run['id']}"))
    read = problem(await team.http.get(f"/v1/runs/{run['id']}/findings"), 503)
    for changing in (
        await team.http.delete(f"/v1/runs/{run['id']}/results"),
        await team.http.patch("/v1/custody/settings", json={"display_days": 7}),
        await team.http.post("/v1/exclusions", json={"scope": "run", "scope_id": run["id"]}),
    ):
        said = problem(changing, 503)
        assert (said["code"], "was not done" in said["detail"]) == ("results_unavailable", True)
        assert said["detail"] != read["detail"]

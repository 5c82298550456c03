"""Templates at the creation of deploy plans: looked at in a process of its own, refused by line, never a hostage."""

import asyncio
import sys
import time
from typing import Any
from uuid import UUID

import psutil
import pytest
from structlog.testing import capture_logs

from coreo_api.plans.linter import Linter, Wish
from coreo_shared.web import Problem
from tests.support.api import Api, ApiFactory, ok, problem, until

TEMPLATE = """\
Parameters:
  Password: {Type: String, NoEcho: true}
  Unused: {Type: String, Default: a}
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties: {DisplayName: !Ref Password}
"""
TEAM = UUID(int=1)
SECRET = "{{resolve:secretsmanager:db:SecretString:password}}"
SPEC = {"stack_name": "topics", "regions": ["eu-west-1"], "template": TEMPLATE, "parameters": {"Password": SECRET}}


def plan(**spec: Any) -> dict[str, Any]:
    return {"name": "topics", "kind": "deploy", "spec": SPEC | spec}


async def test_a_plan_keeps_its_template_and_what_was_said_of_it(api: Api) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/plans", json=plan()), 201)
    assert [(each["rule"], each["line"]) for each in made["lint"]] == [("W2001", 3)]
    assert (made["spec"]["template_bytes"], "template" in made["spec"]) == (len(TEMPLATE), False)
    path = f"/v1/plans/{made['id']}"
    same = ok(await team.http.patch(path, json={"spec": plan()["spec"]}))
    assert same["revision"] == 1
    changed = ok(await team.http.patch(path, json={"spec": plan(template=TEMPLATE.replace("Unused", "Other"))["spec"]}))
    assert changed["revision"] == 2
    assert ok(await team.http.get(f"{path}/template"))["template"] == TEMPLATE.replace("Unused", "Other")
    assert ok(await team.http.get(f"{path}/template", params={"revision": 1}))["template"] == TEMPLATE
    problem(await team.http.get(f"{path}/template", params={"revision": 3}), 404)
    revisions = ok(await team.http.get(f"{path}/revisions"))["items"]
    assert [(each["revision"], each["lint"][0]["rule"]) for each in revisions] == [(2, "W2001"), (1, "W2001")]
    assert revisions[0]["spec"]["template_sha256"] != revisions[1]["spec"]["template_sha256"]

    worse = TEMPLATE.replace("DisplayName", "Nonsense")
    spec = plan(template=worse, parameters={"Password": "hunter2", "Nobody": "x"})["spec"]
    answer = await team.http.patch(path, json={"spec": spec})
    fields = ("body.spec.template", "body.spec.parameters.Nobody", "body.spec.parameters.Password")
    said = problem(answer, 422, *fields)
    assert said["errors"][0]["message"].startswith("line 7, column 18: E3002 ")
    assert "hunter2" not in answer.text
    assert ok(await team.http.get(path))["revision"] == 2
    looked = ok(await team.http.post("/v1/templates/check", json={"template": worse}))
    assert [each["field"] for each in looked["misfits"]] == ["parameters.Password"]
    assert {each["level"] for each in looked["findings"]} == {"error", "warning"}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"template": None}, "body.spec"),
    ({"template_url": "https://templates.s3.amazonaws.com/x"}, "body.spec"),
    ({"template": None, "template_url": "https://example.com/x"}, "body.spec.template_url"),
    ({"template": None, "template_url": "http://templates.s3.amazonaws.com/x"}, "body.spec.template_url"),
    ({"template": None, "template_url": "https://templates.s3.amazonaws.com/"}, "body.spec.template_url"),
    (
        {"template": None, "template_url": "https://templates.s3.amazonaws.com/x?X-Amz-Signature=1"},
        "body.spec.template_url",
    ),
    ({"template": "a\x00b"}, "body.spec.template"),
    ({"stack_name": "1x"}, "body.spec.stack_name"),
    ({"regions": ["all"]}, "body.spec.regions.0"),
    ({"regions": ["eu-west-1", "eu-west-1"]}, "body.spec.regions"),
    ({"regions": []}, "body.spec.regions"),
    ({"parameters": {"not-alphanumeric": "x"}}, "body.spec.parameters"),
    ({"tags": {"aws:x": "y"}}, "body.spec.tags"),
    ({"capabilities": ["CAPABILITY_ROOT"]}, "body.spec.capabilities.0"),
    ({"permissions": ["*"]}, "body.spec.permissions.0"),
    ({"permissions": ["s3:Get"], "service_role": "x"}, "body.spec.permissions"),
    ({"service_role": "arn:aws:iam::210987654321:role/x"}, "body.spec.service_role"),
    ({"monitoring_minutes": 5}, "body.spec.monitoring_minutes"),
    ({"rollback_triggers": [{"arn": "arn:aws:s3:::x"}]}, "body.spec.rollback_triggers.0.arn"),
    ({"gates": [{"resource_type": "AWS::RDS::*", "refuse": ["rename"]}]}, "body.spec.gates.0.refuse.0"),
    ({"gates": [{"resource_type": "rds", "refuse": ["remove"], "x": 1}]}, "body.spec.gates.0.x"),
    ({"approval": {"approvers": 3}}, "body.spec.approval.approvers"),
    ({"rules": ["nobody"]}, "body.spec.rules.0"),
    ({"refuse_severity": "high"}, "body.spec.refuse_severity"),
    ({"rules": ["s3-bucket-versioning"], "rule_parameters": {"x": {}}}, "body.spec.rule_parameters"),
    ({"rule_packs": ["nobody"]}, "body.spec.rule_packs.0"),
    ({"rule_set": ["baseline"]}, "body.spec.rule_set"),
]


async def test_what_is_not_right_beside_the_template_is_named(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any, **__: Any) -> Any:  # the linter has tests of its own, and takes a second for each
        return await _checked("Resources: {T: {Type: AWS::SNS::Topic}}")

    fine = await nothing()

    async def at_once(*_: Any, **__: Any) -> Any:
        return fine

    monkeypatch.setattr(api.context.linter, "check", at_once)
    team = await api.team()
    for change, field in BAD:
        spec = {name: value for name, value in (SPEC | change).items() if value is not None}
        answer = await team.http.post("/v1/plans", json={"name": "x", "kind": "deploy", "spec": spec})
        errors = problem(answer, 422, *[each["field"] for each in answer.json().get("errors", [])])["errors"]
        assert errors[0]["field"] == field, (change, errors)
    ok(await team.http.post("/v1/plans", json=plan()), 201)
    missing = {"name": "x", "kind": "deploy", "spec": {"stack_name": "x"}}
    problem(await team.http.post("/v1/plans", json=missing), 422, "body.spec.regions")


@pytest.mark.parametrize("size", [51_201, 200_000])
async def test_template_that_is_too_large_is_refused_with_the_way_out(api: Api, size: int) -> None:
    large = TEMPLATE + "#" * (size - len(TEMPLATE))
    team = await api.team()
    said = problem(await team.http.post("/v1/plans", json=plan(template=large)), 422, "body.spec.template")
    message = said["errors"][0]["message"]
    assert f"{size:,} bytes" in message
    assert "give template_url" in message


async def _checked(template: str) -> Any:
    return await Linter(sys.executable).check(Wish(template), team_id=TEAM, field="body.template")


async def test_a_plan_is_looked_at_whole_and_nothing_is_stored(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    here = {"cloud_account_ids": [account["id"]]}
    looked = ok(await team.http.post("/v1/plans/check", json=plan() | here))
    assert [each["rule"] for each in looked["template"]["findings"]] == ["W2001"]
    looked = ok(await team.http.post("/v1/plans/check", json=plan(parameters={"Password": "hunter2"})))
    assert [each["field"] for each in looked["template"]["misfits"]] == ["parameters.Password"]
    for wrong, field in (
        (plan(regions=["eu-wset-1"]), "body.spec.regions.0"),
        (plan(gates=[{"resource_type": "*", "refuse": ["replce"]}]), "body.spec.gates.0.refuse.0"),
        (plan(gates=[{"resource_type": "*", "refuse": []}]), "body.spec.gates.0.refuse"),
        (plan(rules=["nosuch"]), "body.spec.rules.0"),
        (plan() | {"schedule": {"cron": "soon"}}, "body.schedule.cron"),
        (plan() | {"cloud_account_ids": [str(team.id)]}, "body.cloud_account_ids.0"),
    ):
        problem(await team.http.post("/v1/plans/check", json=wrong), 422, field)
    empty = problem(await team.http.post("/v1/plans/check", json=plan(regions=[])), 422, "body.spec.regions")
    assert empty["errors"][0]["message"] == "expected at least 1 entry"
    assert ok(await team.http.get("/v1/plans"))["items"] == []


async def test_who_may_not_approve_cannot_decide_that_nobody_needs_to(api: Api) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci", "scopes": ["read", "plan"]}), 201)
    pipeline = api.client(made["token"])
    url = {"template": None, "parameters": None, "template_url": "https://templates.s3.amazonaws.com/x"}
    spec = {name: value for name, value in (SPEC | url).items() if value is not None}
    for approval in ({"auto": True}, {"requester_may_approve": False}, {"approvers": 2}):
        body = {"name": "x", "kind": "deploy", "spec": spec | {"approval": approval}}
        assert problem(await pipeline.post("/v1/plans", json=body), 403)["code"] == "scope_missing"
    body = {"name": "x", "kind": "deploy", "spec": spec | {"approval": {"auto": True}}}
    automatic = ok(await team.http.post("/v1/plans", json=body), 201)
    path = f"/v1/plans/{automatic['id']}"
    tagged = spec | {"approval": {"auto": True}, "tags": {"a": "b"}}
    ok(await pipeline.patch(path, json={"spec": tagged}))  # what was decided stays
    assert problem(await pipeline.patch(path, json={"spec": spec}), 403)["code"] == "scope_missing"


async def test_who_may_not_approve_moves_no_plan_that_asks_nobody(api: Api) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci", "scopes": ["read", "plan"]}), 201)
    pipeline = api.client(made["token"])
    one, two = await team.add_account(role="One"), await team.add_account(role="Two")
    url = "https://templates.s3.amazonaws.com/x"
    spec: dict[str, Any] = {
        "stack_name": "dev",
        "regions": ["eu-west-1"],
        "template_url": url,
        "permissions": ["s3:CreateBucket"],
        "gates": [{"resource_type": "*", "refuse": ["remove"]}],
        "approval": {"auto": True},
    }
    body = {"name": "dev", "kind": "deploy", "spec": spec, "cloud_account_ids": [one["id"]]}
    plan = ok(await team.http.post("/v1/plans", json=body), 201)
    path = f"/v1/plans/{plan['id']}"
    furthers: list[dict[str, Any]] = [
        {"stack_name": "prod"},
        {"regions": ["eu-west-1", "us-east-1"]},
        {"permissions": ["s3:CreateBucket", "iam:*"]},
        {"permissions": [], "service_role": "admin"},
        {"capabilities": ["CAPABILITY_IAM"]},
        {"gates": []},
    ]
    for further in furthers:
        said = problem(await pipeline.patch(path, json={"spec": spec | further}), 403)
        assert said["code"] == "scope_missing", further
        assert "nobody is asked" in said["detail"]
    elsewhere = {"cloud_account_ids": [one["id"], two["id"]]}
    problem(await pipeline.patch(path, json=elsewhere), 403)
    allowing = {"action": "apply", "allow": ["Vpc"]}
    problem(await pipeline.post(f"{path}/runs", json=allowing), 403)
    assert ok(await team.http.get(path))["revision"] == 1
    brought = {"spec": spec | {"template_url": f"{url}y", "tags": {"a": "b"}}, "cloud_account_ids": [one["id"]]}
    assert ok(await pipeline.patch(path, json=brought))["revision"] == 2
    ok(await pipeline.post(f"{path}/runs", json={"action": "apply"}), 202)
    ok(await pipeline.post(f"{path}/runs", json=allowing | {"action": "preview"}), 202)
    ok(await team.http.post(f"{path}/runs", json=allowing), 202)
    ok(await team.http.patch(path, json=elsewhere | {"spec": spec | {"stack_name": "prod"}}))


async def test_scopes_hold_for_every_kind_of_request(api: Api) -> None:
    team = await api.team()

    async def client(*scopes: str) -> Any:
        made = ok(await team.http.post("/v1/tokens", json={"name": "x", "scopes": scopes}), 201)
        assert made["scopes"] == sorted(scopes)
        return api.client(made["token"])

    reader, planner, approver = await client("read"), await client("plan"), await client("approve")
    account = {"name": "production", "account_id": "210987654321"}
    ok(await reader.get("/v1/plans"))
    for refused in (
        await reader.post("/v1/cloud-accounts", json=account),
        await planner.get("/v1/plans"),
        await approver.get("/v1/plans"),
        await approver.post("/v1/cloud-accounts", json=account),
        await planner.post("/v1/tokens", json={"name": "more"}),  # or it could give itself any scope
        await (await client("read", "plan")).delete(f"/v1/tokens/{team.id}"),
    ):
        assert problem(refused, 403)["code"] == "scope_missing"
    ok(await planner.post("/v1/cloud-accounts", json=account), 201)
    tokens = ok(await team.http.get("/v1/tokens"))["items"]
    whole = next(token for token in tokens if len(token["scopes"]) == 3)
    answer = await team.http.delete(f"/v1/tokens/{whole['id']}")  # those that are left could make no other
    assert problem(answer, 409)["code"] == "last_token"


# A million resources, once its loops are unrolled.
_NAMES = ", ".join(f"a{number}" for number in range(100))
HOSTILE = f"""\
Transform: AWS::LanguageExtensions
Resources:
  Fn::ForEach::A:
    - X
    - [{_NAMES}]
    - Fn::ForEach::B:
        - Y
        - [{_NAMES}]
        - Fn::ForEach::C:
            - Z
            - [{_NAMES}]
            - "B${{X}}${{Y}}${{Z}}": {{Type: "AWS::S3::Bucket"}}
"""


async def test_a_template_that_takes_too_long_or_too_much_is_refused_in_time() -> None:
    linter = Linter(sys.executable, seconds=0.05)
    with pytest.raises(Problem) as refused:
        await linter.check(Wish(TEMPLATE), team_id=TEAM, field="body.spec.template")
    assert refused.value.errors[0].field == "body.spec.template"
    started = time.monotonic()
    with pytest.raises(Problem) as refused:
        await Linter(sys.executable, seconds=4).check(Wish(HOSTILE), team_id=TEAM, field="body.template")
    assert time.monotonic() - started < 10
    assert "more time or memory" in refused.value.errors[0].message
    assert not [child for child in _children() if "coreo_lint" in child]


def _children() -> list[str]:
    """Command lines of this process's children."""
    return [
        " ".join(child.cmdline()) for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    ]


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again() -> None:
    linter = Linter(sys.executable, seconds=0.1)
    async with linter._turns, linter._turns:  # two others are at it
        with pytest.raises(Problem) as refused:
            await linter.check(Wish(TEMPLATE), team_id=TEAM, field="body.template")
    assert (refused.value.status, refused.value.code) == (503, "linter_busy")


async def test_who_had_to_wait_is_not_blamed_for_being_late() -> None:
    linter = Linter(sys.executable, seconds=4)

    async def late(wish: Wish) -> Problem:
        with pytest.raises(Problem) as refused:
            await linter.check(wish, team_id=TEAM, field="body.template")
        return refused.value

    async with linter._turns, linter._turns:
        waiting = asyncio.create_task(late(Wish(HOSTILE)))
        await until(lambda: bool(linter._turns._waiters))
        begun = time.monotonic()
        await until(lambda: time.monotonic() - begun > 1.2)  # most of its time is left, but not its share
    assert (await waiting).code == "linter_busy"
    assert (await late(Wish(HOSTILE))).code == "invalid"  # it had all of it


async def test_a_team_has_one_turn_and_leaves_the_other_to_others() -> None:
    linter = Linter(sys.executable, seconds=20)
    at_work = [asyncio.create_task(_refused(linter, TEAM)) for _ in range(4)]
    await until(lambda: linter._turns._value == 1)
    other = await linter.check(Wish(TEMPLATE), team_id=UUID(int=2), field="body.template")
    assert other.resources
    assert linter._turns._value == 1
    for task in at_work:
        task.cancel()
    await asyncio.gather(*at_work, return_exceptions=True)


async def _refused(linter: Linter, team_id: UUID) -> None:
    await linter.check(Wish(HOSTILE), team_id=team_id, field="body.template")


async def test_a_linter_that_is_not_there_is_our_fault(make_api: ApiFactory) -> None:
    api = make_api(lint_python="/bin/false")
    team = await api.team()
    with capture_logs() as logs:
        answer = await team.http.post("/v1/plans", json=plan())
    assert problem(answer, 500)["code"] == "internal_error"
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["request_failed"]
    assert ok(await team.http.get("/v1/plans"))["items"] == []

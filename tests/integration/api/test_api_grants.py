"""GET …/grant: what is asked for, for this account, and nothing left out in silence."""

import json
from typing import Any

import asyncpg
import pytest
import yaml

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from tests.support.api import CUSTOMER_ACCOUNT, Api, ApiFactory, ok, problem
from tests.support.postgres import ServiceDatabase

CANARY = "canary-3f9a"
NOBODY = "01900000-0000-7000-8000-000000000000"
RULE = "ec2-security-group-open-ssh"


def actions_in(policy: dict[str, Any]) -> set[str]:
    return {action for each in policy["Statement"] if each["Resource"] == "*" for action in each["Action"]}


async def test_audit_grant_is_security_audit_for_this_account(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    grant = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/grant"))

    assert (grant["level"], grant["role_name"]) == ("audit", "CoreoAudit")
    assert grant["role_arn"] == f"arn:aws:iam::{CUSTOMER_ACCOUNT}:role/CoreoAudit"
    assert (grant["external_id"], grant["trust_policy"]) == (account["external_id"], account["trust_policy"])
    assert grant["managed_policy_arns"] == ["arn:aws:iam::aws:policy/SecurityAudit"]
    assert grant["policy"] is None
    assert grant["quick_create_url"] is None
    for text in (grant["cloudformation"], grant["terraform"], *grant["commands"][:1]):
        assert account["external_id"] in text
    assert grant["stack_set"]
    assert grant["notes"]


async def test_link_is_there_where_the_template_is_public(make_api: ApiFactory) -> None:
    api = make_api(grant_template_url="https://example.com/coreo-role.yaml")
    team = await api.team()
    account = await team.add_account(role=None)
    grant = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/grant"))

    assert "templateURL=https%3A%2F%2Fexample.com%2Fcoreo-role.yaml&" in grant["quick_create_url"]
    assert f"param_ExternalId={account['external_id']}" in grant["quick_create_url"]


async def test_exact_grant_is_the_union_of_plans_rule_sets_and_rules(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    spec = {"rules": [RULE], "regions": ["eu-west-1"]}
    plan = await team.add_plan(account["id"], spec=spec)
    url = f"/v1/cloud-accounts/{account['id']}/grant"
    catalogue = load_catalogue()
    of_plan = needs_of(catalogue, [RULE]).actions
    of_set = needs_of(catalogue, catalogue.rule_sets["baseline"]).actions | REGION_ACTIONS

    async def actions(**query: str) -> set[str]:
        return actions_in(ok(await team.http.get(url, params={"level": "exact"} | query))["policy"])

    assert await actions(plan_id=plan["id"]) == of_plan
    assert await actions(rule=RULE) == of_plan | REGION_ACTIONS  # no plan says in which regions
    assert await actions(rule_set="baseline", plan_id=plan["id"]) == of_plan | of_set
    required = ok(await team.http.get(f"/v1/plans/{plan['id']}/required-policy"))["actions"]
    assert await actions(plan_id=plan["id"]) == set(required)


async def test_deploy_grant_is_what_the_customer_states(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    query = "level=deploy&action=cloudformation:*&action=s3:PutObject&role_name=Deploy"
    grant = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/grant?{query}"))

    assert actions_in(grant["policy"]) == {"cloudformation:*", "s3:PutObject"}
    assert grant["managed_policy_arns"] == []
    assert grant["role_arn"].endswith(":role/Deploy")
    everything = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/grant?level=deploy&action=*"))
    assert any("allows everything" in note for note in everything["notes"])


async def test_template_is_the_same_as_a_file(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    url = f"/v1/cloud-accounts/{account['id']}/grant"
    query = {"level": "exact", "rule": RULE, "role_name": "Mine"}
    answer = await team.http.get(url + "/template", params=query)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/yaml"
    assert answer.headers["content-disposition"] == 'attachment; filename="coreo-role.yaml"'
    assert answer.text == ok(await team.http.get(url, params=query))["cloudformation"]
    assert yaml.safe_load(answer.text)["Resources"]["CoreoRole"]["Properties"]["RoleName"] == "Mine"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"level": CANARY}, ["query.level"]),
        ({"level": "exact"}, ["query.plan_id"]),
        ({"level": "exact", "plan_id": NOBODY}, ["query.plan_id.0"]),
        ({"level": "exact", "plan_id": CANARY}, ["query.plan_id.0"]),
        ({"level": "exact", "rule": [RULE, CANARY]}, ["query.rule.1"]),
        ({"level": "exact", "rule_set": CANARY}, ["query.rule_set.0"]),
        ({"level": "exact", "rule": RULE, "action": "s3:PutObject"}, ["query.action"]),
        ({"level": "audit", "rule": RULE}, ["query.rule"]),
        ({"plan_id": NOBODY}, ["query.plan_id"]),
        ({"rule_set": "baseline"}, ["query.rule_set"]),
        ({"level": "deploy"}, ["query.action"]),
        ({"level": "deploy", "action": f"{CANARY}"}, ["query.action.0"]),
        ({"level": "deploy", "action": f"{CANARY}:"}, ["query.action.0"]),
        ({"level": "deploy", "action": f"s3:{CANARY}${{x}}"}, ["query.action.0"]),
        ({"level": "deploy", "action": "s3:Put'Object"}, ["query.action.0"]),
        ({"level": "deploy", "action": "s3:PutObject\n"}, ["query.action.0"]),
        ({"role_name": f"{CANARY}/x"}, ["query.role_name"]),
        ({"role_name": "x" * 65}, ["query.role_name"]),
        ({"role_name": f"{CANARY}\n"}, ["query.role_name"]),
        ({"role_name": "röle"}, ["query.role_name"]),
        ({"external_id": CANARY}, ["query.external_id"]),
    ],
)
async def test_bad_query_is_named_and_not_repeated(api: Api, query: dict[str, Any], fields: list[str]) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    for path in ("grant", "grant/template"):
        answer = await team.http.get(f"/v1/cloud-accounts/{account['id']}/{path}", params=query)
        problem(answer, 422, *fields)
        assert CANARY not in answer.text


async def test_another_teams_account_and_plan_are_as_if_they_were_not(api: Api) -> None:
    team, other = await api.team(), await api.team("other")
    account, theirs = await team.add_account(role=None), await other.add_account(role=None)
    their_plan = await other.add_plan(theirs["id"])
    url = f"/v1/cloud-accounts/{account['id']}/grant"

    problem(await team.http.get(f"/v1/cloud-accounts/{theirs['id']}/grant"), 404)
    of_theirs = problem(
        await team.http.get(url, params={"level": "exact", "plan_id": their_plan["id"]}), 422, "query.plan_id.0"
    )
    of_none = problem(await team.http.get(url, params={"level": "exact", "plan_id": NOBODY}), 422, "query.plan_id.0")
    assert of_theirs["errors"] == of_none["errors"]


async def test_plan_whose_rule_is_gone_says_so(api: Api, api_database: ServiceDatabase) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    plan = await team.add_plan(account["id"], spec={"rules": [RULE]})
    spec = json.dumps({"rules": ["gone"], "rule_sets": [], "regions": ["all"], "parameters": {}})
    connection = await asyncpg.connect(api_database.url("postgres").replace("+asyncpg", ""))
    await connection.execute("UPDATE plan_revisions SET spec = $1::text::jsonb", spec)
    await connection.close()
    answer = await team.http.get(f"/v1/cloud-accounts/{account['id']}/grant?level=exact&plan_id={plan['id']}")

    assert problem(answer, 409)["code"] == "plan_outdated"

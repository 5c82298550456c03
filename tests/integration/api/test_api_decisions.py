"""Suppressions and severities at the api: who decided, what is refused here, what is passed on."""

import json
from typing import Any

import pytest

from coreo_shared.ids import new_id
from tests.support.api import Api, Team, ok, problem

RULE = "ec2-security-group-open-ssh"
WISH = {"resource": "sg-*", "reason": "known"}


async def sent(api: Api) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(api.results.requests[-1].content)
    return body


@pytest.fixture
async def team(api: Api) -> Team:
    return await api.team()


async def test_the_author_is_the_name_of_the_token(api: Api, team: Team) -> None:
    token = ok(await team.http.post("/v1/tokens", json={"name": "ann's laptop"}), 201)["token"]
    ann = api.client(token)
    made = ok(await ann.post("/v1/suppressions", json=WISH), 201)
    assert made["author"] == "ann's laptop"
    assert (await sent(api))["author"] == "ann's laptop"
    changed = ok(await team.http.patch(f"/v1/suppressions/{made['id']}", json={"reason": "other"}))
    assert changed["author"] == "ann's laptop"
    assert await sent(api) == {"reason": "other", "author": changed["changed_by"]}
    override = ok(await ann.put("/v1/severity-overrides", json={"rule_id": RULE, "severity": "low", "reason": "x"}))
    assert override["author"] == "ann's laptop"
    assert (await ann.delete(f"/v1/suppressions/{made['id']}")).status_code == 204
    assert api.results.requests[-1].url.params["author"] == "ann's laptop"
    assert (await ann.delete(f"/v1/severity-overrides/{override['id']}")).status_code == 204
    token_sent = api.results.tokens[-1]
    assert (token_sent.scope, token_sent.team_id) == ("team", team.id)


async def test_nobody_decides_in_anothers_name(team: Team) -> None:
    problem(await team.http.post("/v1/suppressions", json=WISH | {"author": "boss"}), 422, "body.author")


async def test_null_takes_away_and_what_is_left_out_stays(api: Api, team: Team) -> None:
    made = ok(await team.http.post("/v1/suppressions", json=WISH | {"region": "eu-west-1"}), 201)
    path = f"/v1/suppressions/{made['id']}"
    ok(await team.http.patch(path, json={"region": None, "expires_at": None}))
    assert {name: value for name, value in (await sent(api)).items() if name != "author"} == {
        "region": None,
        "expires_at": None,
    }
    problem(await team.http.patch(path, json={"reason": None}), 422, "body.reason")


async def test_a_cloud_account_must_be_the_teams(api: Api, team: Team) -> None:
    other = await api.team()
    theirs = (await other.add_account())["id"]
    mine = (await team.add_account(account_id="210987654322"))["id"]
    override = {"rule_id": RULE, "severity": "low", "reason": "x"}
    for account in (theirs, str(new_id())):
        fields = {"cloud_account_id": account}
        field = "body.cloud_account_id"
        problem(await team.http.post("/v1/suppressions", json=WISH | fields), 422, field)
        problem(await team.http.put("/v1/severity-overrides", json=override | fields), 422, field)
    made = ok(await team.http.post("/v1/suppressions", json=WISH | {"cloud_account_id": mine}), 201)
    patch = {"cloud_account_id": theirs}
    problem(await team.http.patch(f"/v1/suppressions/{made['id']}", json=patch), 422, "body.cloud_account_id")
    ok(await team.http.put("/v1/severity-overrides", json=override | {"cloud_account_id": mine}))


async def test_a_severity_is_of_a_rule_that_there_is(api: Api, team: Team) -> None:
    def wish(rule_id: str) -> dict[str, str]:
        return {"rule_id": rule_id, "severity": "low", "reason": "x"}

    for rule_id in ("ec2-security-group-open-shh", "x-nobodys-rule", "x-", "x-a"):
        problem(await team.http.put("/v1/severity-overrides", json=wish(rule_id)), 422, "body.rule_id")
    assert api.results.requests == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"resource": "x"}, "body.reason"),
        ({"resource": "x", "reason": " "}, "body.reason"),
        ({"resource": "x" * 513, "reason": "x"}, "body.resource"),
        ({"resource": "a\u0000b", "reason": "x"}, "body.resource"),
        ({"resource": "\ud800", "reason": "x"}, "body.resource"),
        ({"region": "EU West", "reason": "x"}, "body.region"),
        ({"resource": "x", "reason": "x", "expires_at": "2030-01-01T00:00:00"}, "body.expires_at"),
        ({"resource": "x", "reason": "x", "tags": "a=b"}, "body.tags"),
    ],
)
async def test_bad_suppressions_are_refused_by_field(api: Api, team: Team, body: dict[str, str], field: str) -> None:
    content = json.dumps(body)
    answer = await team.http.post("/v1/suppressions", content=content, headers={"content-type": "application/json"})
    problem(answer, 422, field)
    assert api.results.requests == []


async def test_what_the_results_service_refuses_is_told(api: Api, team: Team) -> None:
    errors = [{"field": "body.tag", "message": "expected key=value"}]
    api.results.refusal = (422, {"code": "invalid", "detail": "expected key=value", "errors": errors})
    problem(await team.http.post("/v1/suppressions", json=WISH), 422, "body.tag")
    api.results.refusal = (409, {"code": "too_many_suppressions", "detail": "Remove some."})
    assert problem(await team.http.post("/v1/suppressions", json=WISH), 409)["code"] == "too_many_suppressions"
    api.results.refusal = None
    api.results.down = True
    for path in ("suppressions", "severity-overrides", "decisions"):
        assert problem(await team.http.get(f"/v1/{path}"), 503)["code"] == "results_unavailable"

"""Rules of a team's own: stored by version, pinned by plans, carried in signed jobs, seen by no other team."""

import asyncio
import json
import time
from typing import Any
from uuid import UUID

import pytest

from coreo_shared.catalogue.packs import catalogue_with
from coreo_shared.contracts.jobs import AuditSpec
from tests.support.api import Api, Team, ok, problem, until

RULE: dict[str, Any] = {
    "id": "bucket-name",
    "title": "Buckets have no temporary names",
    "resource": "aws.s3.bucket",
    "severity": "low",
    "rationale": "Temporary buckets have to be removed after some days.",
    "fail_when": {"Name": {"matches": "^tmp-"}},
    "message": "{Name} has a temporary name",
    "remediation": {"console": "Remove it."},
}
CASE = {"name": "temporary", "expect": "FAIL", "item": {"Name": "tmp-x"}}
NOBODY = "01900000-0000-7000-8000-000000000000"


def source(pack: str = "acme", *rules: dict[str, Any], **more: Any) -> str:
    return json.dumps({"pack": pack, "rules": list(rules or (RULE,)), **more})


async def push(team: Team, text: str | None = None, status: int = 201) -> Any:
    return ok(await team.http.post("/v1/rule-packs", json={"source": text or source()}), status)


async def test_pack_is_stored_in_versions_that_never_change(api: Api) -> None:
    team = await api.team()
    first = await push(team)
    assert (first["name"], first["version"]) == ("acme", 1)
    assert [rule["id"] for rule in first["rules"]] == ["x-acme-bucket-name"]
    assert "s3:ListAllMyBuckets" in first["actions"]
    assert (await push(team))["version"] == 1  # the same text is the same version
    second = await push(team, source(title="Better"))
    assert (second["version"], second["title"]) == (2, "Better")
    assert ok(await team.http.get("/v1/rule-packs/acme"))["version"] == 2
    assert ok(await team.http.get("/v1/rule-packs/acme?version=1"))["digest"] == first["digest"]
    assert ok(await team.http.get("/v1/rule-packs/acme/source?version=1"))["source"] == source()
    versions = ok(await team.http.get("/v1/rule-packs/acme/versions"))["items"]
    assert [each["version"] for each in versions] == [2, 1]
    listed = ok(await team.http.get("/v1/rule-packs"))["items"]
    assert [(each["name"], each["version"]) for each in listed] == [("acme", 2)]
    page = ok(await team.http.get("/v1/rule-packs/acme/versions?limit=1"))
    rest = ok(await team.http.get(f"/v1/rule-packs/acme/versions?cursor={page['next_cursor']}"))
    assert [each["version"] for each in page["items"] + rest["items"]] == [2, 1]


async def test_plan_keeps_the_version_that_it_was_sent_with(api: Api) -> None:
    team = await api.team()
    await push(team)
    account = await team.add_account()
    plan = await team.add_plan(account["id"], spec={"rule_packs": ["acme"]})
    assert plan["spec"]["rule_packs"] == ["acme@1"]
    await push(team, source(title="Better"))
    policy = ok(await team.http.get(f"/v1/plans/{plan['id']}/required-policy"))
    assert "s3:ListAllMyBuckets" in policy["actions"]
    async with api.running():
        await team.start(plan)
        await until(lambda: api.queue.messages)
    (job,) = api.queue.jobs()
    assert isinstance(job.work, AuditSpec)
    assert job.work.rules == ["x-acme-bucket-name"]
    (carried,) = job.work.packs
    assert (carried.name, carried.version) == ("acme", 1)
    assert "x-acme-bucket-name" in catalogue_with((carried.text,)).rules
    changed = ok(await team.http.patch(f"/v1/plans/{plan['id']}", json={"spec": {"rule_packs": ["acme"]}}))
    assert (changed["spec"]["rule_packs"], changed["revision"]) == (["acme@2"], 2)


async def test_pack_goes_with_rule_sets_and_takes_parameters(api: Api) -> None:
    team = await api.team()
    rule = RULE | {
        "parameters": {"beginning": {"type": "string", "default": "^tmp-", "description": "What names may not be"}},
        "fail_when": {"Name": {"matches": "$beginning"}},
    }
    await push(team, source("acme", rule))
    spec = {
        "rule_sets": ["baseline"],
        "rule_packs": ["acme"],
        "parameters": {"x-acme-bucket-name": {"beginning": "^t"}},
    }
    plan = await team.add_plan(spec=spec)
    assert plan["spec"]["parameters"]["x-acme-bucket-name"] == {"beginning": "^t"}
    bad = spec | {"parameters": {"x-acme-bucket-name": {"end": "x"}}}
    answer = await team.http.post("/v1/plans", json={"name": "x", "spec": bad})
    problem(answer, 422, "body.spec.parameters.x-acme-bucket-name")


@pytest.mark.parametrize(
    ("packs", "field"),
    [
        (["other"], "body.spec.rule_packs.0"),
        (["acme@9"], "body.spec.rule_packs.0"),
        (["acme", "acme@1"], "body.spec.rule_packs.1"),
        (["acme@0"], "body.spec.rule_packs.0"),
        (["../x"], "body.spec.rule_packs.0"),
    ],
)
async def test_plan_with_a_pack_that_is_not_there_is_refused(api: Api, packs: list[str], field: str) -> None:
    team = await api.team()
    await push(team)
    problem(await team.http.post("/v1/plans", json={"name": "x", "spec": {"rule_packs": packs}}), 422, field)


async def test_packs_that_no_job_can_carry_are_refused_when_the_plan_is_made(api: Api) -> None:
    team = await api.team()
    # Text that does not compress: 20 packs of it are too much.
    names = [f"pack{number}" for number in range(20)]
    for number, name in enumerate(names):
        noise = "".join(f"{hash((number, index)) & 0xFFFFFFFFFFFFFFFF:016x}" for index in range(480))
        await push(team, source(name, RULE | {"rationale": noise}))
    answer = await team.http.post("/v1/plans", json={"name": "x", "spec": {"rule_packs": names}})
    problem(answer, 422, "body.spec.rule_packs")


async def test_pack_that_is_wrong_is_refused_with_all_that_is_wrong(api: Api) -> None:
    team = await api.team()
    wrong = source("acme", RULE | {"severity": "worst"}, RULE | {"id": "other-rule", "resource": "aws.s3.bukket"})
    answer = problem(await team.http.post("/v1/rule-packs", json={"source": wrong}), 422, "body.source", "body.source")
    assert "rules.1.resource: no such resource type; did you mean aws.s3.bucket?" in json.dumps(answer)
    failing = source(cases={"bucket-name": [CASE | {"expect": "PASS"}]})
    answer = problem(await team.http.post("/v1/rule-packs", json={"source": failing}), 422, "body.source")
    assert "should be PASS, is FAIL" in json.dumps(answer)
    for bad in ("", "\x00", "a\ud800", "x" * 200_000):
        content = json.dumps({"source": bad})
        answer = await team.http.post("/v1/rule-packs", content=content, headers={"content-type": "application/json"})
        problem(answer, 422, "body.source")
    assert ok(await team.http.get("/v1/rule-packs"))["items"] == []


async def test_validating_tells_what_is_right_and_wrong_and_stores_nothing(api: Api) -> None:
    team = await api.team()
    good = source(cases={"bucket-name": [CASE]})
    checked = ok(await team.http.post("/v1/rule-packs/validate", json={"source": good}))
    assert (checked["name"], checked["cases"], checked["problems"]) == ("acme", 1, [])
    assert "s3:ListAllMyBuckets" in checked["actions"]
    checked = ok(await team.http.post("/v1/rule-packs/validate", json={"source": "pack: acme\nrules: [1]"}))
    assert checked["rules"] == []
    assert checked["problems"]
    assert ok(await team.http.get("/v1/rule-packs"))["items"] == []


async def test_dry_run_is_a_run_of_the_packs_rules_alone_in_one_account(api: Api) -> None:
    team = await api.team()
    await push(team)
    account = await team.add_account()
    async with api.running():
        body = {"cloud_account_id": account["id"], "regions": ["eu-west-1"]}
        run = ok(await team.http.post("/v1/rule-packs/acme/dry-run", json=body), 202)
        await until(lambda: api.queue.messages)
    (job,) = api.queue.jobs()
    assert isinstance(job.work, AuditSpec)
    assert (job.run_id, job.work.rules, job.work.regions) == (UUID(run["id"]), ["x-acme-bucket-name"], ["eu-west-1"])
    assert ok(await team.http.get(f"/v1/runs/{run['id']}"))["cloud_account_id"] == account["id"]
    assert ok(await team.http.get("/v1/plans"))["items"] == []


async def test_dry_run_names_the_fields_of_its_own_request(api: Api) -> None:
    team = await api.team()
    await push(team)
    account = await team.add_account()
    url = "/v1/rule-packs/acme/dry-run"
    problem(await team.http.post(url, json={"cloud_account_id": NOBODY}), 422, "body.cloud_account_id")
    bad = {"cloud_account_id": account["id"], "regions": ["eu-west-9"]}
    problem(await team.http.post(url, json=bad), 422, "body.regions.0")
    problem(await team.http.post("/v1/rule-packs/none/dry-run", json=bad), 404)
    assert ok(await team.http.get("/v1/runs"))["items"] == []


async def test_pack_that_a_plan_has_is_not_deleted(api: Api) -> None:
    team = await api.team()
    await push(team)
    plan = await team.add_plan(spec={"rule_packs": ["acme"]})
    answer = problem(await team.http.delete("/v1/rule-packs/acme"), 409)
    assert "nightly" in answer["detail"]
    ok(await team.http.patch(f"/v1/plans/{plan['id']}", json={"spec": {"rule_sets": ["baseline"]}}))
    assert (await team.http.delete("/v1/rule-packs/acme")).status_code == 204
    problem(await team.http.get("/v1/rule-packs/acme"), 404)
    problem(await team.http.delete("/v1/rule-packs/acme"), 404)
    # A version's number is never used again: what was pinned to it must not come to mean something else.
    assert (await push(team))["version"] == 2


async def test_another_teams_pack_is_not_there(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    await push(owner)
    account = await stranger.add_account()
    for path in ("", "/source", "/versions"):
        problem(await stranger.http.get(f"/v1/rule-packs/acme{path}"), 404)
    problem(await stranger.http.delete("/v1/rule-packs/acme"), 404)
    body = {"cloud_account_id": account["id"]}
    problem(await stranger.http.post("/v1/rule-packs/acme/dry-run", json=body), 404)
    refused = await stranger.http.post("/v1/plans", json={"name": "x", "spec": {"rule_packs": ["acme"]}})
    problem(refused, 422, "body.spec.rule_packs.0")
    assert ok(await stranger.http.get("/v1/rule-packs"))["items"] == []
    assert (await push(stranger, source(title="Mine")))["version"] == 1
    assert ok(await owner.http.get("/v1/rule-packs/acme"))["title"] == ""


async def test_a_pack_whose_cases_take_long_keeps_nobody_waiting(api: Api) -> None:
    team = await api.team()
    pattern = '{matches: "(a|b){1,300}%s"}'
    rules = "".join(
        f"""\
  - id: name-{number}
    title: Names
    resource: aws.s3.bucket
    severity: low
    rationale: None.
    fail_when: {{or: [{{Name: {pattern % "X"}}}, {{Name: {pattern % "Y"}}}, {{Name: {pattern % "Z"}}}]}}
    message: "{{Name}}"
    remediation: {{console: None.}}
"""
        for number in "abcd"
    )
    case = "    - {name: c%s, expect: PASS, item: {Name: " + "ab" * 600 + "}}\n"
    cases = "".join(f"  name-{number}:\n" + "".join(case % each for each in range(20)) for number in "abcd")
    source = f"pack: slow\nrules:\n{rules}cases:\n{cases}"
    for path in ("/v1/rule-packs/validate", "/v1/rule-packs"):
        begun = last = time.monotonic()
        longest = 0.0
        asked = asyncio.create_task(team.http.post(path, json={"source": source}))
        while not asked.done():
            await asyncio.sleep(0)  # whoever else is ready goes on, as between two requests
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        ok(await asked, 200 if path.endswith("validate") else 201)
        assert longest < (time.monotonic() - begun) / 3, path

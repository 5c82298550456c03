"""`coreo rule-pack`: what is sent, and what is shown."""

from pathlib import Path
from typing import Any

from tests.support.cli import Cli, ScriptedApi, problem

PACK = """
pack: acme
rules:
  - id: bucket-name
    title: Buckets have no temporary names
    resource: aws.s3.bucket
    severity: low
    rationale: Temporary buckets have to be removed after some days.
    fail_when: {Name: {matches: "^tmp-"}}
    message: "{Name} has a temporary name"
    remediation: {console: Remove it.}
cases:
  bucket-name:
    - {name: temporary, expect: FAIL, item: {Name: tmp-x}}
"""
STORED: dict[str, Any] = {
    "name": "acme",
    "version": 2,
    "title": "What Acme asks",
    "digest": "ab" * 32,
    "rules": [{"id": "x-acme-bucket-name", "severity": "low", "resource": "aws.s3.bucket", "title": "Names"}],
    "actions": ["s3:ListAllMyBuckets"],
    "created_at": "2026-06-01T12:00:00+00:00",
}
ACCOUNT: dict[str, Any] = {
    "id": "0199c3f2-8a1b-7000-8000-000000000001",
    "name": "staging",
    "account_id": "210987654321",
    "state": "CONNECTED",
}


def test_pack_is_pushed_as_it_is_written(coreo: Cli, scripted_api: ScriptedApi, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(PACK)
    scripted_api.on("POST", "/v1/rule-packs", STORED)
    done = coreo("rule-pack", "push", str(file))
    assert done.out == "acme@2: 1 rule.\n"
    assert scripted_api.body("POST", "/v1/rule-packs") == {"source": PACK}
    assert "--rule-pack acme" in done.err
    assert coreo("rule-pack", "push", str(file), "-o", "json").json == STORED


def test_pack_that_is_wrong_is_not_sent(coreo: Cli, scripted_api: ScriptedApi, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    for wrong, said in (
        (PACK.replace("aws.s3.bucket", "aws.s3.bukket"), "did you mean aws.s3.bucket?"),
        (PACK.replace("expect: FAIL", "expect: PASS"), "should be PASS, is FAIL"),
    ):
        file.write_text(wrong)
        done = coreo("rule-pack", "push", str(file))
        assert done.code == 1
        assert said in done.err
    assert scripted_api.requests == []


def test_packs_are_listed_and_shown(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/rule-packs", STORED)
    scripted_api.lists("/v1/rule-packs/acme/versions", STORED, STORED | {"version": 1})
    scripted_api.on("GET", "/v1/rule-packs/acme", STORED)
    scripted_api.on("GET", "/v1/rule-packs/acme/source", STORED | {"source": PACK})
    assert coreo("rule-pack", "list").out.splitlines()[1].split()[:2] == ["acme", "2"]
    assert len(coreo("rule-pack", "versions", "acme", "-o", "json").json) == 2
    shown = coreo("rule-pack", "show", "acme").out
    assert "x-acme-bucket-name" in shown
    assert "s3:ListAllMyBuckets" in shown
    assert coreo("rule-pack", "show", "acme", "--source", "--version", "1").out.strip() == PACK.strip()
    assert dict(scripted_api.requests[-1].url.params) == {"version": "1"}


def test_dry_run_says_how_to_follow_it(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts", ACCOUNT)
    scripted_api.on("POST", "/v1/rule-packs/acme/dry-run", {"id": "run-1", "state": "QUEUED"})
    done = coreo("rule-pack", "dry-run", "acme", "--account", "staging", "--region", "eu-west-1")
    assert "coreo run watch run-1" in done.err
    assert scripted_api.body("POST", "/v1/rule-packs/acme/dry-run") == {
        "cloud_account_id": ACCOUNT["id"],
        "version": None,
        "regions": ["eu-west-1"],
    }


def test_pack_that_a_plan_has_is_said_to_be_in_use(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("DELETE", "/v1/rule-packs/acme", problem(409, "rule_pack_in_use", "Plans have this pack: nightly."))
    done = coreo("rule-pack", "remove", "acme", "--yes")
    assert done.code == 1
    assert "nightly" in done.err
    scripted_api.on("DELETE", "/v1/rule-packs/acme", None)
    assert coreo("rule-pack", "remove", "acme", "--yes").code == 0


def test_plan_is_made_with_packs(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/plans", problem(422, "invalid", "No.", ("body.spec.rule_packs.0", "there is none")))
    done = coreo("plan", "create", "--name", "own", "--rule-pack", "acme@2")
    assert scripted_api.body("POST", "/v1/plans")["spec"]["rule_packs"] == ["acme@2"]
    assert "there is none" in done.err

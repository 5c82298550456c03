"""`coreo plan …` and `coreo rules …`."""

from typing import Any

import pytest

from tests.support.cli import Cli, ScriptedApi, a_plan, an_account, problem

SPEC = {"rule_sets": ["baseline"], "rules": [], "regions": ["all"], "parameters": {}}
CRON = {"cron": "0 3 * * *", "rate_seconds": None, "time_zone": "UTC", "jitter_seconds": 0, "missed": "run_once"}
RULE = {
    "id": "iam-password-policy-length",
    "title": "Passwords have at least 14 characters",
    "resource": "aws.iam.account",
    "severity": "medium",
    "rationale": "Length is what makes a password hard to guess.",
    "remediation": {"console": "Open IAM.", "cli": None, "cloudformation": None},
    "references": ["https://docs.example.com"],
    "controls": {"cis-aws-5.0": ["1.7"]},
    "aliases": [],
    "parameters": {
        "min_length": {
            "type": "integer",
            "default": 14,
            "description": "The shortest",
            "minimum": 6,
            "maximum": 128,
            "choices": None,
        }
    },
    "actions": ["iam:GetAccountPasswordPolicy"],
}


@pytest.fixture
def plan(scripted_api: ScriptedApi) -> dict[str, Any]:
    """A plan that is there and can be changed."""
    plan = a_plan(schedule=CRON)
    scripted_api.lists("/v1/plans", plan)
    scripted_api.lists("/v1/cloud-accounts", an_account())
    scripted_api.on("PATCH", f"/v1/plans/{plan['id']}", plan)
    return plan


def test_all_options_reach_the_api(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.lists("/v1/cloud-accounts", account)
    scripted_api.on("POST", "/v1/plans", a_plan(cloud_account_ids=[account["id"]]))
    done = coreo(
        *("plan", "create", "--name", "nightly", "--account", "production", "--account", "210987654321"),
        *("--rule-set", "baseline", "--rule", "iam-root-mfa", "--region", "eu-west-1", "--region", "eu-north-1"),
        *("--cron", "0 3 * * *", "--time-zone", "Europe/Berlin", "--jitter", "10m", "--missed", "skip"),
        *("--param", "a-rule.number=60", "--param", "a-rule.text=sixty=60", "--param", 'b-rule.list=["x"]'),
        *("--param", 'b-rule.text="60"'),
    )
    assert done.code == 0, done.err
    assert scripted_api.body("POST", "/v1/plans") == {
        "name": "nightly",
        "kind": "audit",
        "cloud_account_ids": [account["id"]],
        "spec": {
            "rule_sets": ["baseline"],
            "rules": ["iam-root-mfa"],
            "regions": ["eu-west-1", "eu-north-1"],
            "parameters": {"a-rule": {"number": 60, "text": "sixty=60"}, "b-rule": {"list": ["x"], "text": "60"}},
        },
        "schedule": {"cron": "0 3 * * *", "time_zone": "Europe/Berlin", "jitter_seconds": 600, "missed": "skip"},
    }
    assert "coreo run start nightly --watch" in done.err


def test_a_plain_plan_covers_all_regions_and_runs_when_asked_to(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/plans", a_plan())
    done = coreo("plan", "create", "--name", "nightly", "--rule-set", "baseline")
    sent = scripted_api.body("POST", "/v1/plans")
    assert (sent["spec"], sent["schedule"], sent["cloud_account_ids"]) == (SPEC, None, [])
    assert "coreo plan update nightly --account ACCOUNT" in done.err
    arguments = ("plan", "create", "--name", "nightly", "--rule-set", "baseline", "-o", "json")
    assert coreo(*arguments).json["name"] == "nightly"


@pytest.mark.parametrize(
    ("every", "seconds"), [("90", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172800), ("1w", 604800)]
)
def test_a_plan_may_run_every_so_often(coreo: Cli, scripted_api: ScriptedApi, every: str, seconds: int) -> None:
    scripted_api.on("POST", "/v1/plans", a_plan())
    coreo("plan", "create", "--name", "n", "--rule-set", "baseline", "--every", every)
    assert scripted_api.body("POST", "/v1/plans")["schedule"] == {"rate_seconds": seconds}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "A plan needs rules"),
        (["--rule", "r", "--cron", "* * * * *", "--every", "1h"], "--cron and --every exclude each other"),
        (["--rule", "r", "--every", "often"], "--every: expected a time span"),
        (["--rule", "r", "--every", "1h", "--jitter", "-5"], "--jitter: expected a time span"),
        (["--rule", "r", "--time-zone", "UTC"], "there is none"),
        (["--rule", "r", "--param", "max=3"], "RULE.PARAMETER=VALUE"),
        (["--rule", "r", "--param", "r.max"], "RULE.PARAMETER=VALUE"),
        (["--rule", "r", "--param", "r.max=1", "--param", "r.max=2"], "is there twice"),
        (["--rule", "r", "--missed", "never"], "--missed"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    coreo: Cli, scripted_api: ScriptedApi, options: list[str], words: str
) -> None:
    done = coreo("plan", "create", "--name", "n", *options)
    assert done.code == 2
    assert words in done.err
    assert scripted_api.requests == []


def test_a_refused_rule_is_named_by_its_option(coreo: Cli, scripted_api: ScriptedApi) -> None:
    refusal = problem(422, "invalid", "No.", ("body.spec.rules.0", "no rule of this name; did you mean iam-root-mfa?"))
    scripted_api.on("POST", "/v1/plans", refusal)
    done = coreo("plan", "create", "--name", "n", "--rule", "iam-root-mf")
    assert done.code == 1
    assert "  --rule (1st): no rule of this name; did you mean iam-root-mfa?\n" in done.err


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--name", "new"], {"name": "new"}),
        (["--disable"], {"enabled": False}),
        (["--enable"], {"enabled": True}),
        (["--rule", "r"], {"spec": SPEC | {"rules": ["r"]}}),
        (["--region", "eu-west-1"], {"spec": SPEC | {"regions": ["eu-west-1"]}}),
        (["--param", "r.p=1"], {"spec": SPEC | {"parameters": {"r": {"p": 1}}}}),
        (["--no-schedule"], {"schedule": None}),
        (
            ["--every", "1h"],
            {"schedule": {"rate_seconds": 3600} | {k: CRON[k] for k in ("time_zone", "jitter_seconds", "missed")}},
        ),
        (["--jitter", "60"], {"schedule": {k: v for k, v in CRON.items() if v is not None} | {"jitter_seconds": 60}}),
    ],
)
def test_an_update_sends_what_was_said_and_keeps_the_rest(
    coreo: Cli, scripted_api: ScriptedApi, plan: dict[str, Any], options: list[str], sent: dict[str, Any]
) -> None:
    assert coreo("plan", "update", "nightly", *options).code == 0
    assert scripted_api.body("PATCH", f"/v1/plans/{plan['id']}") == sent


def test_an_update_replaces_the_accounts(coreo: Cli, scripted_api: ScriptedApi, plan: dict[str, Any]) -> None:
    assert coreo("plan", "update", "nightly", "--account", "production", "-o", "json").json == plan
    (account_id,) = scripted_api.body("PATCH", f"/v1/plans/{plan['id']}")["cloud_account_ids"]
    assert len(account_id) == 36


@pytest.mark.parametrize("options", [[], ["--no-schedule", "--every", "1h"]])
def test_an_update_that_says_nothing_or_too_much_is_refused(
    coreo: Cli, scripted_api: ScriptedApi, options: list[str]
) -> None:
    assert coreo("plan", "update", "nightly", *options).code == 2
    assert scripted_api.requests == []


@pytest.mark.usefixtures("plan")
def test_plans_are_listed_and_shown(coreo: Cli) -> None:
    header, line = coreo("plan", "list").out.splitlines()
    assert header.split() == ["NAME", "KIND", "WHAT", "REGIONS", "ACCOUNTS", "RUNS", "NEXT", "ID"]
    assert "0 3 * * * UTC" in line
    assert "baseline" in coreo("plan", "show", "nightly").out
    assert len(coreo("plan", "list", "-o", "json").json) == 1


def test_a_plan_that_could_not_run_says_why(coreo: Cli, scripted_api: ScriptedApi) -> None:
    plan = a_plan(
        schedule=CRON | {"cron": None, "rate_seconds": 86400, "jitter_seconds": 600},
        enabled=False,
        cloud_account_ids=["gone"],
        last_tick_at="2026-01-31T12:00:00Z",
        last_tick_problem="1 of the 1 cloud accounts have no role yet.",
    )
    scripted_api.lists("/v1/plans", plan)
    scripted_api.lists("/v1/cloud-accounts")
    out = coreo("plan", "show", "nightly").out
    assert "no: it does not run" in out
    assert "every 1 d, up to 10 min later" in out
    assert "1 of the 1 cloud accounts have no role yet." in out
    assert "disabled" in coreo("plan", "list").out


def test_a_plan_is_removed(coreo: Cli, scripted_api: ScriptedApi, plan: dict[str, Any]) -> None:
    path = f"/v1/plans/{plan['id']}"
    scripted_api.on("DELETE", path, problem(409, "runs_at_work", "Runs of this plan have not ended."), None)
    refused = coreo("plan", "remove", "nightly")
    assert refused.code == 1
    assert "coreo run list --active" in refused.err
    assert coreo("plan", "remove", "nightly").out.startswith("Removed the plan 'nightly'")


def test_the_policy_stands_alone_on_standard_output(
    coreo: Cli, scripted_api: ScriptedApi, plan: dict[str, Any]
) -> None:
    required = {
        "actions": ["s3:ListAllMyBuckets"],
        "policy": {"p": 1},
        "session_policies": [{"s": 1}],
        "widened": ["s3:List*"],
    }
    scripted_api.on("GET", f"/v1/plans/{plan['id']}/required-policy", required)
    done = coreo("plan", "policy", "nightly")
    assert done.json == {"p": 1}
    assert "take 1 IAM action." in done.err
    session = coreo("plan", "policy", "nightly", "--session")
    assert session.json == {"s": 1}
    assert "s3:List*" in session.err
    assert coreo("plan", "policy", "nightly", "-o", "json").json == required


def test_rules_are_listed_by_filter_and_by_rule_set(coreo: Cli, scripted_api: ScriptedApi) -> None:
    other = RULE | {"id": "other"}
    scripted_api.lists("/v1/rules", RULE, other)
    scripted_api.lists("/v1/rule-sets", {"id": "baseline", "title": "B", "description": "D.", "rules": ["other"]})
    assert len(coreo("rules", "list").out.splitlines()) == 3
    coreo("rules", "list", "--severity", "HIGH", "--resource", "aws.s3.bucket")
    assert dict(scripted_api.requests[-1].url.params) == {
        "severity": "high",
        "resource": "aws.s3.bucket",
        "limit": "200",
    }
    assert coreo("rules", "list", "--rule-set", "baseline", "-o", "json").json == [other]
    missing = coreo("rules", "list", "--rule-set", "baselin")
    assert missing.code == 1
    assert "Did you mean baseline?" in missing.err


def test_a_rule_is_shown_with_its_parameters_ready_to_copy(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", f"/v1/rules/{RULE['id']}", RULE)
    out = coreo("rules", "show", str(RULE["id"])).out
    assert "--param iam-password-policy-length.min_length=14" in out
    assert "The shortest (integer, at least 6, at most 128)" in out
    assert "https://docs.example.com" in out
    assert coreo("rules", "show", str(RULE["id"]), "-o", "json").json == RULE


def test_an_unknown_rule_brings_up_what_was_meant(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/rules/iam-password-length", problem(404, "not_found", "No."))
    scripted_api.lists("/v1/rules", RULE)
    done = coreo("rules", "show", "iam-password-length")
    assert done.code == 1
    assert "Did you mean iam-password-policy-length?" in done.err


def test_a_rule_cannot_be_a_path(coreo: Cli, scripted_api: ScriptedApi) -> None:
    def refuse(request: Any) -> Any:
        assert request.url.raw_path == b"/v1/rules/..%2Fteam%3Fa"
        return problem(404, "not_found", "No.")(request)

    scripted_api.on("GET", "/v1/rules/../team?a", refuse)
    scripted_api.lists("/v1/rules", RULE)
    assert coreo("rules", "show", "../team?a").code == 1


def test_rule_sets_are_listed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/rule-sets", {"id": "baseline", "title": "B", "description": "D.", "rules": ["a", "b"]})
    assert coreo("rules", "sets").out.splitlines()[1].split() == ["baseline", "2", "B.", "D."]
    assert len(coreo("rules", "sets", "-o", "json").json) == 1

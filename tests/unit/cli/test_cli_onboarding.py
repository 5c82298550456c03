"""`coreo account add`, `set-role`, `verify`, `show`, `history`, external ids, `disconnect`, `discover`."""

from typing import Any

import httpx
import pytest

from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome, VerifyReport
from tests.support.cli import (
    Cli,
    ScriptedApi,
    a_bootstrap_report,
    a_grant,
    a_task,
    a_verify_report,
    an_account,
    over,
    problem,
)

ROLE = "arn:aws:iam::210987654321:role/path/CoreoAudit"
ADD = ("account", "add", "production", "--account-id", "210987654321")


class Scene:
    """A cloud account with a role, and a verification that waits for a worker."""

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.account = an_account(role_arn=ROLE, state="VERIFYING", verifying=True)
        self.path = f"/v1/cloud-accounts/{self.account['id']}"
        self.task = a_task()
        api.lists("/v1/cloud-accounts", self.account)
        api.on("GET", self.path, self.account)
        api.on("PUT", f"{self.path}/role", self.account)
        api.on("POST", f"{self.path}/verify", self.task)
        api.lists(f"{self.path}/history", self.task, a_task("role_set", state=None))

    def ends(self, report: dict[str, Any] | None, *, account: dict[str, Any] | None = None, **fields: Any) -> Any:
        """Scripts the end of the verification; its entry then."""
        ended = over(self.task, report, **fields)
        self.api.on("GET", f"{self.path}/history/{self.task['id']}", ended)
        state = "UNVERIFIED" if report is None else report["verdict"]
        after = self.account | {"state": state, "verifying": False, "reason": ended["reason"]} | (account or {})
        self.api.on("GET", self.path, after)
        return ended


@pytest.fixture
def scene(scripted_api: ScriptedApi) -> Scene:
    return Scene(scripted_api)


def test_a_new_account_shows_the_ways_to_make_its_role(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account(name="production EU")
    scripted_api.on("POST", "/v1/cloud-accounts", account)
    scripted_api.on("GET", f"/v1/cloud-accounts/{account['id']}/grant", a_grant())
    done = coreo("account", "add", "production EU", "--account-id", "2109-8765-4321")
    assert done.code == 0
    assert scripted_api.body("POST", "/v1/cloud-accounts") == {"name": "production EU", "account_id": "210987654321"}
    assert account["external_id"] in done.out
    assert "PENDING: has no role yet" in done.out
    for form in ("commands", "cloudformation", "terraform", "stack-set"):
        assert f"coreo account grant 'production EU' --format {form}" in done.err
    assert "coreo account set-role 'production EU' --role-arn arn:aws:iam::210987654321:role/CoreoAudit" in done.err
    assert "coreo account bootstrap 'production EU' --access-key-id" in done.err
    assert "https://" not in done.err
    assert len(done.err.splitlines()) < 15
    assert coreo("account", "add", "a", "--account-id", "210987654321", "-o", "json").json == account


def test_a_quick_create_link_is_shown_where_there_is_one(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.on("POST", "/v1/cloud-accounts", account)
    link = "https://console.aws.amazon.com/cloudformation/home#/stacks/quickcreate?templateURL=x"
    scripted_api.on("GET", f"/v1/cloud-accounts/{account['id']}/grant", a_grant(quick_create_url=link))
    assert link in coreo(*ADD).err


def test_a_level_that_cannot_be_leaves_the_account_and_says_so(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.on("POST", "/v1/cloud-accounts", account)
    refusal = problem(422, "invalid", "No.", ("query.rule_set.0", "no rule set of this name"))
    scripted_api.on("GET", f"/v1/cloud-accounts/{account['id']}/grant", refusal)
    done = coreo(*ADD, "--rule-set", "basline")
    assert done.code == 1
    assert "--rule-set (1st): no rule set of this name" in done.err
    assert f"The cloud account is there all the same: {account['id']}" in done.err
    assert f"coreo account grant {account['id']}" in done.err


@pytest.mark.parametrize("digits", ["", "12345", "21098765432x", "٢١٠٩٨٧٦٥٤٣٢١", "2109876543210"])
def test_an_account_id_has_twelve_digits(coreo: Cli, scripted_api: ScriptedApi, digits: str) -> None:
    done = coreo("account", "add", "a", "--account-id", digits)
    assert done.code == 2
    assert "--account-id: an AWS account id has 12 digits" in done.err
    assert scripted_api.requests == []


def test_a_refused_role_leaves_the_account_and_says_so(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.on("POST", "/v1/cloud-accounts", account)
    refusal = problem(422, "invalid", "No.", ("body.role_arn", "not a role's ARN"))
    scripted_api.on("PUT", f"/v1/cloud-accounts/{account['id']}/role", refusal)
    done = coreo(*ADD, "--role-arn", "x")
    assert (done.code, done.out) == (1, "")
    assert f"The cloud account was added ({account['id']})" in done.err
    assert "--role-arn: not a role's ARN" in done.err
    assert f"coreo account set-role {account['id']}" in done.err


def test_a_role_that_is_there_has_no_level(coreo: Cli, scripted_api: ScriptedApi) -> None:
    for options in (["--level", "audit"], ["--rule-set", "baseline"], ["--action", "s3:*"]):
        assert coreo(*ADD, "--role-arn", ROLE, *options).code == 2
    assert scripted_api.requests == []


@pytest.mark.parametrize("command", [ADD, ("account", "set-role", "production")])
def test_a_role_may_be_set_without_waiting(coreo: Cli, scene: Scene, command: tuple[str, ...]) -> None:
    command = (*command, "--no-watch")
    scene.api.on("POST", "/v1/cloud-accounts", an_account(id=scene.account["id"]))
    done = coreo(*command, "--role-arn", ROLE)
    assert (done.code, done.out) == (0, f"Coreo tries {ROLE} in 'production'.\n")
    assert "coreo account verify production" in done.err
    assert scene.api.body("PUT", f"{scene.path}/role") == {"role_arn": ROLE}
    assert coreo(*command, "--role-arn", ROLE, "-o", "json").json == scene.account


@pytest.mark.parametrize("command", [ADD, ("account", "set-role", "production")])
def test_told_to_watch_a_role_is_followed_to_its_verdict(coreo: Cli, scene: Scene, command: tuple[str, ...]) -> None:
    scene.api.on("POST", "/v1/cloud-accounts", an_account(id=scene.account["id"]))
    scene.ends(a_verify_report())
    done = coreo(*command, "--role-arn", ROLE, "--watch")
    assert done.code == 0
    assert "✓ no external id" in done.out
    assert done.out.endswith("CONNECTED  production  verified in 3 s\n")
    assert "coreo plan create --name NAME --account production" in done.err
    after = coreo(*command, "--role-arn", ROLE, "--watch", "-o", "json").json
    assert (after["id"], after["state"]) == (scene.account["id"], "CONNECTED")


def test_a_role_given_at_once_is_followed_on_a_terminal_and_not_on_a_pipe(coreo: Cli, scene: Scene) -> None:
    scene.api.on("POST", "/v1/cloud-accounts", an_account(id=scene.account["id"]))
    scene.ends(a_verify_report("INSECURE", "It lets anybody in.", without_external_id="failed"))
    command = (*ADD, "--role-arn", ROLE)
    assert coreo(*command).code == 0
    assert coreo.on_terminal(*command).code == 6
    assert coreo.on_terminal(*command, "--no-watch").code == 0


def test_every_check_is_shown_as_it_ended(coreo: Cli, scene: Scene) -> None:
    ended = scene.ends(
        a_verify_report(
            "INSECURE",
            "The role lets in who brings no external id.",
            without_external_id="failed",
            wrong_external_id="unknown",
        )
    )
    done = coreo("account", "verify", "production")
    lines = done.out.splitlines()
    marks = [line[0] for line in lines[1:6]]
    assert marks == ["✓", "✓", "✗", "?", "✓"]
    assert all(f"What AWS said about {check['name']}." in done.out for check in ended["report"]["checks"])
    assert lines[-2:] == [
        "INSECURE  production  verified in 3 s",
        "  The role lets in who brings no external id.",
    ]
    assert "coreo account show production --trust-policy > trust-policy.json" in done.err
    assert "aws iam update-assume-role-policy --role-name CoreoAudit --policy-document file://" in done.err
    assert coreo("account", "verify", "production", "-o", "json").json == ended


def test_a_reason_that_a_check_gives_already_is_not_repeated(coreo: Cli, scene: Scene) -> None:
    report = a_verify_report("INSECURE", "What AWS said about wrong_external_id.", wrong_external_id="failed")
    scene.ends(report)
    assert coreo("account", "verify", "production").out.count("What AWS said about wrong_external_id.") == 1


@pytest.mark.parametrize(
    ("verdict", "code"), [("CONNECTED", 0), ("UNVERIFIED", 3), ("INSECURE", 6), ("UNREACHABLE", 7), ("TOMORROWS", 4)]
)
def test_the_exit_code_is_the_verdict(coreo: Cli, scene: Scene, verdict: str, code: int) -> None:
    scene.ends(a_verify_report(verdict))
    assert coreo("account", "verify", "production", "--watch").code == code


def test_a_verification_that_nobody_did_is_no_verdict(coreo: Cli, scene: Scene) -> None:
    scene.ends(None, state="EXPIRED", reason="No worker took it in time.")
    done = coreo("account", "verify", "production")
    assert done.code == 4
    assert done.out == "EXPIRED  production  the verification was not done\n  No worker took it in time.\n"
    assert "coreo account verify production" in done.err


def test_an_unverified_account_is_tried_again_by_itself(coreo: Cli, scene: Scene) -> None:
    scene.ends(a_verify_report("UNVERIFIED", "Slow down."), account={"next_verification_at": "2999-01-01T00:00:00Z"})
    assert "Coreo tries again by itself in " in coreo("account", "verify", "production").err


def test_permissions_that_the_plans_need_are_named(coreo: Cli, scene: Scene) -> None:
    missing = [f"s3:Get{number}" for number in range(12)]
    scene.ends(a_verify_report(permissions="failed"), account={"missing_actions": missing})
    done = coreo("account", "verify", "production")
    assert done.code == 0
    assert "The plans also need 12 IAM actions: s3:Get0, " in done.out
    assert "s3:Get9 and 2 more" in done.out
    assert "coreo account policy production > policy.json" in done.err


@pytest.mark.parametrize("code", ["task_under_way", "account_without_role"])
def test_a_verification_that_cannot_begin_says_why(coreo: Cli, scene: Scene, code: str) -> None:
    scene.api.on("POST", f"{scene.path}/verify", problem(409, code, "A task (bootstrap) is under way."))
    done = coreo("account", "verify", "production")
    assert (done.code, done.out) == (1, "")
    assert "coreo account " in done.err


def test_a_verification_is_begun_without_waiting_when_told_so(coreo: Cli, scene: Scene) -> None:
    done = coreo("account", "verify", "production", "--no-watch")
    assert (done.code, done.out) == (0, "Coreo verifies 'production'.\n")
    assert coreo("account", "verify", "production", "--no-watch", "-o", "json").json == scene.task


def test_the_details_are_the_contracts(coreo: Cli, scene: Scene) -> None:
    """Each check there is has words of its own."""
    checks = [Check(name=name, outcome=CheckOutcome.PASSED, detail="x") for name in CheckName]
    report = VerifyReport(verdict="CONNECTED", reason=None, checks=checks)
    shown = [{"name": str(each.name), "outcome": str(each.outcome), "detail": each.detail} for each in report.checks]
    scene.ends(a_verify_report() | {"checks": shown})
    out = coreo("account", "verify", "production").out
    assert not [name for name in CheckName if "_" in name and name in out]


def test_the_mark_is_a_word_where_the_terminal_has_no_such_character(
    coreo: Cli, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.cli import Terminal  # noqa: PLC0415  the class itself is changed

    monkeypatch.setattr(Terminal, "encoding", "latin-1", raising=False)
    scene.ends(a_verify_report("INSECURE", without_external_id="failed"))
    out = coreo.on_terminal("account", "verify", "production").out
    assert "ok right external id" in out
    assert "FAILED no external id" in out


def test_a_connected_account_shows_its_last_verification(coreo: Cli, scripted_api: ScriptedApi) -> None:
    last = a_verify_report() | {"id": "x", "ended_at": "2026-01-31T12:00:00Z"}
    account = an_account(
        role_arn=ROLE,
        state="CONNECTED",
        last_verification=last,
        next_verification_at="2999-01-01T00:00:00Z",
        missing_actions=["s3:GetBucketAcl"],
    )
    scripted_api.lists("/v1/cloud-accounts", account)
    done = coreo("account", "show", "production")
    for words in ("CONNECTED", "next verification", "✓ wrong external id", "1 IAM action: s3:GetBucketAcl"):
        assert words in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"state": "INSECURE", "reason": "It lets anybody in."}, "aws iam update-assume-role-policy"),
        ({"state": "UNREACHABLE", "reason": "It lets nobody in."}, "coreo account verify production"),
        ({"state": "UNVERIFIED", "reason": "AWS is slow."}, "coreo account verify production"),
        ({"state": "EXPIRED", "reason": "Post the keys again."}, "coreo account bootstrap production"),
        ({"state": "VERIFYING", "verifying": True}, "coreo account verify production   (stays until the verdict)"),
        ({"state": "DISCONNECTED", "role_arn": None}, "coreo account set-role production --role-arn arn:"),
        ({"state": "CONNECTED", "next_external_id": "f" * 32}, "coreo account confirm-external-id production"),
    ],
)
def test_every_state_says_what_to_do(
    coreo: Cli, scripted_api: ScriptedApi, fields: dict[str, Any], command: str
) -> None:
    account = an_account(**{"role_arn": ROLE} | fields)
    scripted_api.on("GET", f"/v1/cloud-accounts/{account['id']}/grant", a_grant())
    scripted_api.lists("/v1/cloud-accounts", account)
    done = coreo("account", "show", "production")
    assert str(fields.get("reason", "")) in done.out
    assert str(fields["state"]) in done.out
    assert command in done.err


def test_an_account_whose_role_is_being_made_needs_nothing(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts", an_account(state="BOOTSTRAPPING", verifying=True))
    done = coreo("account", "show", "production")
    assert "a worker is making its role" in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("command", "method", "path", "code", "said"),
    [
        ("rotate-external-id", "POST", "rotate", "rotation_under_way", "coreo account confirm-external-id ACCOUNT"),
        ("confirm-external-id", "POST", "confirm", "no_rotation", "coreo account rotate-external-id ACCOUNT"),
    ],
)
def test_a_rotation_out_of_order_says_what_to_do(
    coreo: Cli, scene: Scene, command: str, method: str, path: str, code: str, said: str
) -> None:
    scene.api.on(method, f"{scene.path}/external-id/{path}", problem(409, code, "DELETE or POST …"))
    done = coreo("account", command, "production")
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "DELETE" not in done.err


def test_the_history_says_who_did_what_and_how_it_ended(coreo: Cli, scene: Scene) -> None:
    entries = [
        over(a_task(by="schedule"), a_verify_report("UNREACHABLE", "The role is gone.")),
        a_task("bootstrap", by="ci", state="EXPIRED", reason="No worker took it."),
        over(a_task("bootstrap"), a_bootstrap_report(problem="wrong_key", detail="AWS knows no such key.")),
        a_task("renamed", state=None),
        a_task("something_of_tomorrow"),
    ]
    scene.api.lists(f"{scene.path}/history", *entries)
    header, verified, expired, failed, renamed, unknown = coreo("account", "history", "production").out.splitlines()
    assert header.split() == ["WHEN", "WHAT", "BY", "RESULT", "WHY"]
    assert "verification" in verified
    assert "schedule" in verified
    assert "UNREACHABLE" in verified
    assert "The role is gone." in verified
    assert "role from keys" in expired
    assert "EXPIRED" in expired
    assert failed.split()[-6:] == ["FAILED", "AWS", "knows", "no", "such", "key."]
    assert "first token" in renamed
    assert "something_of_tomorrow" in unknown
    done = coreo("account", "history", "production", "--limit", "5", "-o", "json")
    assert done.json == entries
    assert "--all" in done.err


def test_a_rotation_shows_the_next_id_and_how_to_confirm_it(coreo: Cli, scene: Scene) -> None:
    rotating = scene.account | {"next_external_id": "f" * 32}
    scene.api.on("POST", f"{scene.path}/external-id/rotate", rotating)
    done = coreo("account", "rotate-external-id", "production")
    assert f"next external id     {'f' * 32}" in done.out
    assert "--trust-policy > trust-policy.json" in done.err
    assert "coreo account confirm-external-id production" in done.err
    assert coreo("account", "rotate-external-id", "production", "-o", "json").json == rotating


def test_a_rotation_is_canceled(coreo: Cli, scene: Scene) -> None:
    scene.api.on("DELETE", f"{scene.path}/external-id/next", None)
    done = coreo("account", "rotate-external-id", "production", "--cancel")
    assert done.code == 0
    assert "keeps its external id" in done.out
    assert len(scene.api.sent("DELETE", f"{scene.path}/external-id/next")) == 1


def test_a_next_id_is_confirmed_by_a_verification(coreo: Cli, scene: Scene) -> None:
    scene.task["kind"] = "confirm"
    scene.api.on("POST", f"{scene.path}/external-id/confirm", scene.task)
    scene.ends(a_verify_report())
    done = coreo("account", "confirm-external-id", "production")
    assert done.out.endswith("verified in 3 s\n")
    assert "let the role accept the new external id alone:" in done.err
    assert "coreo plan create" not in done.err
    scene.ends(a_verify_report("UNREACHABLE", "The role refuses the next id."))
    refused = coreo("account", "confirm-external-id", "production")
    assert refused.code == 7
    assert "let the role accept both external ids" in refused.err
    assert "coreo account confirm-external-id production" in refused.err
    assert coreo("account", "confirm-external-id", "production", "--no-watch", "-o", "json").json == scene.task


@pytest.fixture
def disconnected(scene: Scene) -> str:
    path = f"{scene.path}/disconnect"
    commands = ["aws iam delete-role --role-name CoreoAudit"]
    after = scene.account | {"state": "DISCONNECTED", "role_arn": None}
    scene.api.on("POST", path, {"cloud_account": after, "commands": commands})
    return path


def test_disconnecting_keeps_results_when_told_so(coreo: Cli, scene: Scene, disconnected: str) -> None:
    done = coreo("account", "disconnect", "production", "--results", "keep")
    assert done.out == "Disconnected 'production'. Its results stay.\n"
    assert "aws iam delete-role --role-name CoreoAudit" in done.err
    assert scene.api.body("POST", disconnected) == {"results": "keep"}


def test_what_becomes_of_the_results_must_be_said(coreo: Cli, scene: Scene, disconnected: str) -> None:
    assert coreo("account", "disconnect", "production").code == 2
    assert scene.api.sent("POST", disconnected) == []


@pytest.mark.parametrize(("keys", "is_purged"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_purging_asks_first(coreo: Cli, scene: Scene, disconnected: str, keys: str, *, is_purged: bool) -> None:
    done = coreo.on_terminal("account", "disconnect", "production", "--results", "purge", keys=keys)
    assert done.code == (0 if is_purged else 1)
    assert bool(scene.api.sent("POST", disconnected)) is is_purged


def test_purging_without_a_terminal_needs_a_yes(coreo: Cli, scene: Scene, disconnected: str) -> None:
    refused = coreo("account", "disconnect", "production", "--results", "purge")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert scene.api.sent("POST", disconnected) == []
    done = coreo("account", "disconnect", "production", "--results", "purge", "--yes", "-o", "json")
    assert done.json["cloud_account"]["state"] == "DISCONNECTED"
    assert scene.api.body("POST", disconnected) == {"results": "purge"}


ORGANIZATION = {
    "kind": "discover",
    "organization_id": "o-abc",
    "management_account_id": "210987654321",
    "problem": None,
    "accounts": [
        {"account_id": "210987654321", "name": "main", "status": "ACTIVE", "joined_at": None},
        {"account_id": "310987654321", "name": "web \x1b[31m", "status": "ACTIVE", "joined_at": None},
        {"account_id": "410987654321", "name": "old", "status": "SUSPENDED", "joined_at": None},
    ],
}


@pytest.fixture
def discovery(scene: Scene) -> dict[str, Any]:
    task = a_task("discover")
    ended = over(task, ORGANIZATION)
    scene.api.on("POST", f"{scene.path}/discover", task)
    scene.api.on("GET", f"{scene.path}/history/{task['id']}", ended)
    return ended


def test_an_organization_is_listed_beside_what_is_in_coreo(coreo: Cli, scene: Scene, discovery: dict[str, Any]) -> None:
    done = coreo("account", "discover", "production")
    heading, header, main, web, old = done.out.splitlines()
    assert heading == "Organization o-abc, managed by 210987654321"
    assert header.split() == ["AWS", "ACCOUNT", "NAME", "STATUS", "IN", "COREO", "STATE"]
    assert "production" in main
    assert "web \\x1b[31m" in web
    assert "SUSPENDED" in old
    assert "coreo account discover production --drafts   (adds 1 account)" in done.err
    assert scene.api.body("POST", f"{scene.path}/discover") == {"drafts": False}
    assert coreo("account", "discover", "production", "-o", "json").json == discovery


def test_accounts_that_left_the_organization_are_named(coreo: Cli, scene: Scene) -> None:
    moved = [{"cloud_account_id": "x", "account_id": "510987654321", "name": "gone \x1b[31m"}]
    task = a_task("discover", ended_at="2026-01-31T12:00:03Z", report=ORGANIZATION | {"moved_away": moved})
    scene.api.on("POST", f"{scene.path}/discover", task)
    done = coreo("account", "discover", "production")
    assert done.code == 0
    assert "No longer in the organization: gone \\x1b[31m (510987654321)." in done.err


@pytest.mark.usefixtures("discovery")
def test_drafts_say_how_they_get_their_role(coreo: Cli, scene: Scene) -> None:
    draft = an_account(name="web", account_id="310987654321")
    closed = an_account(name="old", account_id="410987654321")
    scene.api.lists("/v1/cloud-accounts", scene.account, draft, closed)
    done = coreo("account", "discover", "production", "--drafts")
    assert scene.api.body("POST", f"{scene.path}/discover") == {"drafts": True}
    assert "1 account of the organization still needs a role." in done.err
    assert "coreo account grant web --format stack-set" in done.err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"report": ORGANIZATION | {"problem": "AWS denied organizations:ListAccounts."}}, "AWS denied"),
        ({"report": None, "state": "FAILED", "reason": "The worker broke."}, "The worker broke."),
        ({"report": None, "state": "EXPIRED"}, "ended as EXPIRED"),
    ],
)
def test_an_organization_that_cannot_be_read_says_what_is_needed(
    coreo: Cli, scene: Scene, fields: dict[str, Any], said: str
) -> None:
    task = a_task("discover", ended_at="2026-01-31T12:00:03Z", **fields)
    scene.api.on("POST", f"{scene.path}/discover", task)
    done = coreo("account", "discover", "production")
    assert (done.code, done.out) == (4, "")
    assert said in done.err
    assert "organizations:ListAccounts" in done.err


def test_a_start_on_an_account_that_is_not_connected_says_why_and_what_to_do(coreo: Cli, scene: Scene) -> None:
    plan = an_account(name="nightly")
    scene.api.lists("/v1/plans", plan)
    errors = [(f"cloud_accounts.{scene.account['id']}", "production is INSECURE")]
    refusal = problem(409, "account_not_connected", "Send POST /v1/….", *errors)
    scene.api.on("POST", f"/v1/plans/{plan['id']}/runs", refusal)
    done = coreo("run", "start", "nightly")
    assert done.code == 1
    assert "CONNECTED" in done.err
    assert f"  production is INSECURE: coreo account show {scene.account['id']}\n" in done.err
    assert "coreo account verify ACCOUNT" in done.err
    assert "POST" not in done.err


def test_nothing_follows_a_task_that_the_api_has_not_begun(coreo: Cli, scene: Scene) -> None:
    scene.api.lists(f"{scene.path}/history", a_task("role_set", state=None))
    done = coreo("account", "set-role", "production", "--role-arn", ROLE, "--watch")
    assert done.code == 1
    assert "coreo account verify production" in done.err


def test_ctrl_c_ends_the_watching_only(coreo: Cli, scene: Scene) -> None:
    def pressed(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    scene.api.on("GET", f"{scene.path}/history/{scene.task['id']}", pressed)
    for done in (coreo("account", "verify", "production"), coreo.on_terminal("account", "verify", "production")):
        assert (done.code, done.out) == (130, "")
        assert f"the work goes on. See how it ends: coreo account show {scene.account['id']}" in done.err

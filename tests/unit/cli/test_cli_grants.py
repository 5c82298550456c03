"""`coreo account grant` and `policy`: which grant is asked for, and what is written where."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli, ScriptedApi, a_grant, a_plan, an_account, problem

GRANT = ("account", "grant", "production")
EXACT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:ListAllMyBuckets"], "Resource": "*"}],
}


class Scene:
    """A cloud account without a role, its grant, and two plans, of which one is the account's."""

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.account = an_account()
        self.plan = a_plan(cloud_account_ids=[self.account["id"]])
        self.other = a_plan(name="other")
        self.path = f"/v1/cloud-accounts/{self.account['id']}/grant"
        api.lists("/v1/cloud-accounts", self.account)
        api.lists("/v1/plans", self.plan, self.other)
        api.on("GET", self.path, a_grant())

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The query of the last request for a grant."""
        return self.api.sent("GET", self.path)[-1].url.params.multi_items()


@pytest.fixture
def scene(scripted_api: ScriptedApi) -> Scene:
    return Scene(scripted_api)


def test_each_format_is_written_as_it_is(coreo: Cli, scene: Scene) -> None:
    grant = a_grant(policy=EXACT)
    scene.api.on("GET", scene.path, grant)
    written = {form: coreo(*GRANT, "--format", form).out for form in ("cloudformation", "terraform", "commands")}
    assert written == {
        "cloudformation": grant["cloudformation"],
        "terraform": grant["terraform"],
        "commands": "aws iam create-role --role-name CoreoAudit\naws iam attach-role-policy\n",
    }
    assert coreo(*GRANT, "--format", "stack-set").out.splitlines() == grant["stack_set"]
    assert coreo(*GRANT, "--format", "policy").json == EXACT
    assert coreo(*GRANT, "--format", "trust").json == grant["trust_policy"]
    assert coreo(*GRANT, "-o", "json").json == grant


def test_a_template_goes_to_a_file_when_told_so(coreo: Cli, scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "coreo-role.yaml"
    done = coreo(*GRANT, "--format", "cloudformation", "--output-file", str(file))
    assert (done.code, done.out) == (0, "")
    assert file.read_text() == a_grant()["cloudformation"]
    assert f"Wrote {file}." in done.err
    assert "coreo account set-role production --role-arn arn:aws:iam::210987654321:role/CoreoAudit" in done.err


def test_a_file_that_cannot_be_written_is_said(coreo: Cli, scene: Scene, tmp_path: Path) -> None:
    done = coreo(*GRANT, "--format", "trust", "--output-file", str(tmp_path / "no" / "file"))
    assert done.code == 1
    assert "cannot be written: No such file or directory" in done.err
    assert coreo(*GRANT, "--output-file", str(tmp_path / "x")).code == 2


def test_without_a_format_the_ways_are_shown(coreo: Cli, scene: Scene) -> None:
    done = coreo(*GRANT, "--rule-set", "baseline", "--role-name", "Mine")
    assert "arn:aws:iam::aws:policy/SecurityAudit" in done.out
    assert "Note: SecurityAudit cannot read a few things." in done.err
    again = "coreo account grant production --level exact --rule-set baseline --role-name Mine --format terraform"
    assert again in done.err


def test_a_command_to_copy_asks_for_the_same_grant(coreo: Cli, scene: Scene) -> None:
    options = ("--action", "s3:*", "--action", "ec2:RunInstances", "--role-name", "a+b")
    done = coreo(*GRANT, *options)
    first = scene.asked
    (line,) = [line for line in done.err.splitlines() if "--format commands" in line]
    assert coreo(*shlex.split(line.partition("(")[0])[1:]).code == 0
    assert scene.asked == first


def test_a_stack_set_comes_with_the_template_that_it_needs(coreo: Cli, scene: Scene) -> None:
    done = coreo(*GRANT, "--format", "stack-set")
    assert "--format cloudformation --output-file coreo-role.yaml   (before those commands)" in done.err


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], [("level", "audit")]),
        (["--level", "audit", "--role-name", "Mine"], [("level", "audit"), ("role_name", "Mine")]),
        (["--rule-set", "a", "--rule-set", "b"], [("level", "exact"), ("rule_set", "a"), ("rule_set", "b")]),
        (["--rule", "r"], [("level", "exact"), ("rule", "r")]),
        (["--action", "s3:*"], [("level", "deploy"), ("action", "s3:*")]),
    ],
)
def test_the_level_follows_from_the_options(
    coreo: Cli, scene: Scene, options: list[str], asked: list[tuple[str, str]]
) -> None:
    assert coreo(*GRANT, *options).code == 0
    assert scene.asked == asked


def test_plans_are_named_as_people_name_them(coreo: Cli, scene: Scene) -> None:
    coreo(*GRANT, "--plan", "other")
    assert scene.asked == [("level", "exact"), ("plan_id", scene.other["id"])]


def test_exactly_without_a_choice_means_the_accounts_plans(coreo: Cli, scene: Scene) -> None:
    coreo(*GRANT, "--level", "exact")
    assert scene.asked == [("level", "exact"), ("plan_id", scene.plan["id"])]
    scene.api.lists("/v1/plans", scene.other)
    done = coreo(*GRANT, "--level", "exact")
    assert done.code == 1
    assert "--rule-set baseline" in done.err


@pytest.mark.parametrize(
    "options",
    [
        ["--level", "deploy"],
        ["--level", "audit", "--rule-set", "baseline"],
        ["--level", "audit", "--action", "s3:*"],
        ["--level", "exact", "--action", "s3:*"],
        ["--action", "s3:*", "--plan", "nightly"],
    ],
)
def test_options_that_contradict_each_other_are_refused(coreo: Cli, scene: Scene, options: list[str]) -> None:
    assert coreo(*GRANT, *options).code == 2
    assert scene.api.requests == []


def test_the_policy_of_a_plan_is_json_alone(coreo: Cli, scene: Scene) -> None:
    scene.api.on("GET", scene.path, a_grant(level="exact", policy=EXACT, managed_policy_arns=[]))
    done = coreo("account", "policy", "production", "--plan", "nightly")
    assert (done.json, done.err) == (EXACT, "")
    assert scene.asked == [("level", "exact"), ("plan_id", scene.plan["id"])]
    assert coreo("account", "policy", "production").json == EXACT


def test_a_level_with_amazons_own_policy_has_none_to_write(coreo: Cli, scene: Scene) -> None:
    done = coreo(*GRANT, "--format", "policy")
    assert (done.code, done.out) == (1, "")
    assert "arn:aws:iam::aws:policy/SecurityAudit" in done.err


def test_a_refused_grant_names_the_option(coreo: Cli, scene: Scene) -> None:
    errors = [("query.rule.0", "no rule of this name"), ("query.role_name", "not a role's name")]
    scene.api.on("GET", scene.path, problem(422, "invalid", "No.", *errors))
    done = coreo(*GRANT, "--rule", "x", "--role-name", "/")
    assert done.code == 1
    assert "--rule (1st): no rule of this name" in done.err
    assert "--role-name: not a role's name" in done.err


def test_a_text_acts_on_no_terminal_and_is_unchanged_in_a_pipe(coreo: Cli, scene: Scene) -> None:
    template: dict[str, Any] = {"cloudformation": "Description: \x1b[31mred\n"}
    scene.api.on("GET", scene.path, a_grant(**template))
    assert coreo(*GRANT, "--format", "cloudformation").out == template["cloudformation"]
    shown = coreo.on_terminal(*GRANT, "--format", "cloudformation").out
    assert shown == "Description: \\x1b[31mred\n"


def test_an_account_that_has_a_role_needs_no_set_role(coreo: Cli, scene: Scene) -> None:
    scene.api.lists("/v1/cloud-accounts", scene.account | {"role_arn": "arn:aws:iam::210987654321:role/CoreoAudit"})
    assert coreo(*GRANT, "--format", "trust").err == ""
    assert json.loads(coreo(*GRANT, "--format", "trust").out)

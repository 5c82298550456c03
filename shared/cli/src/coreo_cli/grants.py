"""What a role for Coreo shall allow, and ready-to-use texts that make one."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coreo_cli.account_words import word
from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.output import next_steps
from coreo_cli.resolve import PLAN, resolve
from coreo_cli.session import query
from coreo_cli.text import Json, as_json, plain

if TYPE_CHECKING:
    from coreo_cli.client import Client


class Level(StrEnum):
    """How much a role for Coreo allows."""

    AUDIT = "audit"
    DEPLOY = "deploy"
    EXACT = "exact"


class Format(StrEnum):
    """Texts that make a role, or parts of it."""

    CLOUDFORMATION = "cloudformation"
    TERRAFORM = "terraform"
    COMMANDS = "commands"
    STACK_SET = "stack-set"
    POLICY = "policy"
    TRUST = "trust"


@dataclass(frozen=True)
class Choice:
    """Plans, rule sets and rules; an `exact` policy is the least that they need."""

    plans: Sequence[str]
    rule_sets: Sequence[str]
    rules: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was chosen."""
        return not (self.plans or self.rule_sets or self.rules)

    def resolved(self, client: "Client", account: Json | None) -> "Choice":
        """With ids of plans; without any choice all plans of the account. Raises CliError."""
        if not self.is_empty:
            return Choice([resolve(client, PLAN, each)["id"] for each in self.plans], self.rule_sets, self.rules)
        plans = list(client.items(PLAN.path)) if account else []
        ids = [plan["id"] for plan in plans if account and account["id"] in plan["cloud_account_ids"]]
        if not ids:
            raise CliError(
                "An exact policy is that of plans, rule sets or rules, and none was named.",
                next_step="Add --plan PLAN, --rule-set baseline or --rule ID.",
            )
        return Choice(ids, (), ())


@dataclass(frozen=True)
class GrantWish:
    """What the options say about the role to be made."""

    level: Level
    choice: Choice
    actions: Sequence[str]
    role_name: str | None

    @classmethod
    def of(
        cls, level: Level | None, choice: Choice, actions: Sequence[str] | None = None, role_name: str | None = None
    ) -> "GrantWish":
        """Takes the level from the other options where it is not said. Raises UsageMistakeError."""
        if level is None:
            level = Level.DEPLOY if actions else Level.AUDIT if choice.is_empty else Level.EXACT
        if level is not Level.EXACT and not choice.is_empty:
            raise UsageMistakeError("--plan, --rule-set and --rule are about --level exact.")
        if level is not Level.DEPLOY and actions:
            raise UsageMistakeError("--action is about --level deploy.")
        if level is Level.DEPLOY and not actions:
            raise UsageMistakeError(
                "--level deploy needs to know what the role shall allow.",
                next_step="Add --action, such as --action 'cloudformation:*' --action 's3:PutObject'.",
            )
        return cls(level, choice, actions or (), role_name)

    def resolved(self, client: "Client", account: Json | None = None) -> "GrantWish":
        """With ids of plans. Raises CliError."""
        if self.level is not Level.EXACT:
            return self
        return GrantWish(self.level, self.choice.resolved(client, account), self.actions, self.role_name)

    def fetched(self, client: "Client", account: Json) -> Json:
        """The api's grant for this wish, which is resolved."""
        return client.get(
            f"/v1/cloud-accounts/{account['id']}/grant",
            query(
                level=str(self.level),
                plan_id=self.choice.plans,
                rule_set=self.choice.rule_sets,
                rule=self.choice.rules,
                action=self.actions,
                role_name=self.role_name,
            ),
        )

    def command(self, account: Json) -> str:
        """The command that asks for the same grant again, without --format."""
        pairs = [("--level", str(self.level))] if self.level is not Level.AUDIT else []
        pairs += [("--plan", each) for each in self.choice.plans]
        pairs += [("--rule-set", each) for each in self.choice.rule_sets]
        pairs += [("--rule", each) for each in self.choice.rules]
        pairs += [("--action", each) for each in self.actions]
        pairs += [("--role-name", self.role_name)] if self.role_name else []
        options = "".join(f" {option} {shlex.quote(plain(value))}" for option, value in pairs)
        return f"coreo account grant {word(account)}{options}"


def _policy(grant: Json) -> str:
    if grant["policy"] is None:
        raise CliError(
            "A role of this level has AWS's own policy and none to be written: "
            f"{', '.join(plain(arn) for arn in grant['managed_policy_arns'])}.",
            next_step="Name plans or rules for an exact one: --plan PLAN or --rule-set baseline.",
        )
    return as_json(grant["policy"])


_TEXTS: Final[dict[Format, Callable[[Json], str]]] = {
    Format.CLOUDFORMATION: lambda grant: str(grant["cloudformation"]),
    Format.TERRAFORM: lambda grant: str(grant["terraform"]),
    Format.COMMANDS: lambda grant: "\n".join(grant["commands"]),
    Format.STACK_SET: lambda grant: "\n".join(grant["stack_set"]),
    Format.POLICY: _policy,
    Format.TRUST: lambda grant: as_json(grant["trust_policy"]),
}


def text_of(grant: Json, form: Format) -> str:
    """One of the grant's texts. Raises CliError when it has none such."""
    return _TEXTS[form](grant)


def explain(account: Json, grant: Json, wish: GrantWish) -> None:
    """The ways to make the role, as commands to copy."""
    name, make = word(account), f"{wish.command(account)} --format"
    link = grant["quick_create_url"]
    next_steps(
        [
            f"make the role {plain(grant['role_name'])} in the AWS account {account['account_id']}, one of these ways:",
            *([f"  {plain(link)}   (CloudFormation, in a browser)"] if link else []),
            f"  {make} commands   (AWS CLI)",
            f"  {make} cloudformation --output-file coreo-role.yaml",
            f"  {make} terraform --output-file coreo-role.tf",
            f"  {make} stack-set   (from an organization's management account)",
            "then tell Coreo:",
            f"  {set_role_command(name, grant)}",
            "Or let Coreo make it with access keys, which it keeps nowhere:",
            f"  coreo account bootstrap {name} --access-key-id AKIA…",
        ]
    )


def set_role_command(name: str, grant: Json) -> str:
    """How to tell Coreo that the role is there."""
    return f"coreo account set-role {name} --role-arn {plain(grant['role_arn'])}"

"""The role that Coreo is to be given. All texts that make one are made from a `Grant`, and so make the same role."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from coreo_shared.rules.policy import MAX_MANAGED_POLICY, PolicyTooLargeError, required_policy, size_of, split_policy

ROLE_NAME = r"^[A-Za-z0-9_+=,.@-]{1,64}$"  # IAM API reference, CreateRole
MAX_INLINE = 10_240  # characters of all inline policies of a role, without white space (IAM user guide, quotas)
MAX_ATTACHED = 10  # managed policies attached to a role, unless AWS has raised the account's quota
SESSION_SECONDS = 3_600  # a worker's role assumes the customer's: chained sessions last an hour at most
DESCRIPTION = "Lets Coreo in when it brings the external id made for this account."


class Level(StrEnum):
    """How much the role allows."""

    AUDIT = "audit"  # SecurityAudit, AWS's own policy
    DEPLOY = "deploy"  # the actions that the customer states
    EXACT = "exact"  # the actions that the chosen plans, rule sets and rules take


class GrantTooLargeError(ValueError):
    """More actions than a role's policies can hold."""


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A policy document and what it is called in IAM."""

    name: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in the customer's account. `actions` are what its own policy allows; none where only AWS's policies are
    attached. There are two external ids while one is replaced by the other."""

    level: Level
    partition: str
    account_id: str
    role_name: str
    external_ids: tuple[str, ...]
    trust_policy: dict[str, Any]
    managed_policy_arns: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    @property
    def role_arn(self) -> str:
        """The role's ARN, once it is made."""
        return role_arn(self.partition, self.account_id, self.role_name)

    @property
    def policy(self) -> dict[str, Any] | None:
        """All that the role's own policies allow, as one document."""
        return own_policy(self.actions, self.role_arn) if self.actions else None

    @property
    def inline_policies(self) -> tuple[NamedPolicy, ...]:
        """The policies to be put into the role itself."""
        policy = self.policy
        if policy is None or size_of(policy) > MAX_INLINE:
            return ()
        return (NamedPolicy(self.role_name, policy),)

    @property
    def attached_policies(self) -> tuple[NamedPolicy, ...]:
        """The policies to be made and attached, as they are too long for the role. Raises GrantTooLargeError."""
        policy = self.policy
        if policy is None or self.inline_policies:
            return ()
        try:
            parts = split_policy(policy, MAX_MANAGED_POLICY)
        except PolicyTooLargeError as error:
            raise GrantTooLargeError(str(error)) from None
        if len(parts) + len(self.managed_policy_arns) > MAX_ATTACHED:
            raise GrantTooLargeError("more actions than the policies of a role can hold: put wildcards for some")
        return tuple(NamedPolicy(f"{self.role_name}-{number}", part) for number, part in enumerate(parts, start=1))


def role_arn(partition: str, account_id: str, name: str) -> str:
    """The ARN of a role without path."""
    return f"arn:{partition}:iam::{account_id}:role/{name}"


def policy_arn(partition: str, account_id: str, name: str) -> str:
    """The ARN of a policy without path; those of AWS itself are in the account `aws`."""
    return f"arn:{partition}:iam::{account_id}:policy/{name}"


def security_audit(partition: str) -> str:
    """AWS's own policy for audits: it reads configuration, not what is stored."""
    return policy_arn(partition, "aws", "SecurityAudit")


def own_policy(actions: Iterable[str], arn: str) -> dict[str, Any]:
    """These actions, and the question which of them this role is allowed: verifications ask it."""
    policy = required_policy(actions)
    about_itself = {
        "Sid": "CoreoVerifies",
        "Effect": "Allow",
        "Action": ["iam:SimulatePrincipalPolicy"],
        "Resource": arn,
    }
    return {**policy, "Statement": [*policy["Statement"], about_itself]}

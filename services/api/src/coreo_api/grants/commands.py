"""A grant as commands of the AWS CLI, for a POSIX shell."""

import shlex

from coreo_api.grants.grant import DESCRIPTION, SESSION_SECONDS, Grant, policy_arn
from coreo_shared.rules.policy import compact


def line(command: str, *options: tuple[str, str]) -> str:
    """A command line; every value is quoted as the shell needs it."""
    return " ".join([command, *(_option(name, value) for name, value in options)])


def _option(name: str, value: str) -> str:
    # A value that looks like an option has to stick to its own.
    return f"{name}={shlex.quote(value)}" if value.startswith("-") else f"{name} {shlex.quote(value)}"


def role_commands(grant: Grant) -> list[str]:
    """Makes the role and its policies, and shows its ARN. Raises GrantTooLargeError."""
    role = ("--role-name", grant.role_name)
    lines = [
        line(
            "aws iam create-role",
            role,
            ("--description", DESCRIPTION),
            ("--max-session-duration", str(SESSION_SECONDS)),
            ("--assume-role-policy-document", compact(grant.trust_policy)),
        )
    ]
    for policy in grant.inline_policies:
        document = ("--policy-document", compact(policy.document))
        lines.append(line("aws iam put-role-policy", role, ("--policy-name", policy.name), document))
    for policy in grant.attached_policies:
        document = ("--policy-document", compact(policy.document))
        lines.append(line("aws iam create-policy", ("--policy-name", policy.name), document))
    made = [policy_arn(grant.partition, grant.account_id, policy.name) for policy in grant.attached_policies]
    lines += [
        line("aws iam attach-role-policy", role, ("--policy-arn", arn)) for arn in (*grant.managed_policy_arns, *made)
    ]
    return [*lines, line("aws iam get-role", role, ("--query", "Role.Arn"), ("--output", "text"))]

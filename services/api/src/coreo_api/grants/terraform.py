"""A grant as Terraform configuration, for the provider hashicorp/aws."""

import json
import re
from collections.abc import Iterator
from typing import Any

from coreo_api.grants.grant import DESCRIPTION, SESSION_SECONDS, Grant

_TEMPLATE = re.compile(r"([$%])(?=\{)")


def configuration(grant: Grant) -> str:
    """Resources that make the role. Raises GrantTooLargeError."""
    return "\n".join(_blocks(grant))


def _blocks(grant: Grant) -> Iterator[str]:
    yield _block(
        'resource "aws_iam_role" "coreo"',
        ("name", _text(grant.role_name)),
        ("description", _text(DESCRIPTION)),
        ("max_session_duration", str(SESSION_SECONDS)),
        ("assume_role_policy", _document(grant.trust_policy)),
    )
    for policy in grant.inline_policies:
        yield _block(
            'resource "aws_iam_role_policy" "coreo"',
            ("name", _text(policy.name)),
            ("role", "aws_iam_role.coreo.name"),
            ("policy", _document(policy.document)),
        )
    arns = [_text(arn) for arn in grant.managed_policy_arns]
    for number, policy in enumerate(grant.attached_policies, start=1):
        yield _block(
            f'resource "aws_iam_policy" "coreo_{number}"',
            ("name", _text(policy.name)),
            ("policy", _document(policy.document)),
        )
        arns.append(f"aws_iam_policy.coreo_{number}.arn")
    for number, arn in enumerate(arns, start=1):
        yield _block(
            f'resource "aws_iam_role_policy_attachment" "coreo_{number}"',
            ("role", "aws_iam_role.coreo.name"),
            ("policy_arn", arn),
        )
    yield _block('output "coreo_role_arn"', ("value", "aws_iam_role.coreo.arn"))


def _block(head: str, *arguments: tuple[str, str]) -> str:
    width = max(len(name) for name, _ in arguments)
    return "\n".join([f"{head} {{", *(f"  {name:{width}} = {value}" for name, value in arguments), "}", ""])


def _text(value: str) -> str:
    """A quoted string (Terraform language, "Strings and Templates"): JSON's escapes are its own."""
    return escaped(json.dumps(value))


def _document(document: dict[str, Any]) -> str:
    """A policy as a heredoc, in which backslashes stand for themselves."""
    return f"<<-JSON\n{escaped(json.dumps(document, indent=2))}\n  JSON"


def escaped(text: str) -> str:
    """The text with no template in it: `${` and `%{` would begin one."""
    return _TEMPLATE.sub(r"\1\1", text)

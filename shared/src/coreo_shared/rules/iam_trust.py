"""Whom resource and trust policies let in from outside: other accounts, and whoever an identity provider knows.

Everybody at all is `iam_policy.is_public`. Sources: IAM user guide, "The confused deputy problem", "Available keys for
AWS OIDC federation"; GitHub, GitLab, HashiCorp, Buildkite and Amazon EKS on the subjects in their tokens.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from coreo_shared.rules.iam_policy import EQUALITIES, Statement, closed_by_deny, pattern_covers

_ORGANIZATION: Final = frozenset({"aws:principalorgid", "aws:principalorgpaths"})
_ACCOUNT: Final = re.compile(r"\d{12}")
_WEB_IDENTITY: Final = "sts:assumerolewithwebidentity"
_PROVIDER: Final = ":oidc-provider/"
# Providers that sign tokens for anybody, or for all of a cluster: the audience says nothing of who it is.
_SHARED: Final = ("token.actions.githubusercontent.com", "gitlab.com", "app.terraform.io", "agent.buildkite.com")
_CLUSTER: Final = re.compile(r"oidc\.eks\..*")
_OWNED: Final = re.compile(r"[a-z_]+:[^*?:/]+[:/]")  # repo:OWNER/…, organization:OWNER:…
_IN_NAMESPACE: Final = re.compile(r"system:serviceaccount:[^*?:]+:")


def other_accounts(
    statements: Iterable[Statement], own: str, trusted: Collection[str], actions: Collection[str], *, external_id: bool
) -> list[str]:
    """The accounts, neither `own` nor `trusted`, that are let in by their number or a name of theirs.

    `actions` (in whatever case) are those that matter; all do where there are none. A condition on the organization
    guards, with `external_id` also one on an external id or on MFA.
    """
    statements = tuple(statements)
    wanted = [action.lower() for action in actions]
    found = {
        account
        for statement in statements
        if statement.allow and not statement.not_principal and not _is_guarded(statement, external_id=external_id)
        if not wanted or any(_allows(statement, action) for action in wanted)
        if not closed_by_deny(statement, statements)
        for kind, name in statement.principals or ()
        if kind == "AWS" and (account := _account_of(name)) is not None
    }
    return sorted(found - {own} - set(trusted))


def _allows(statement: Statement, action: str) -> bool:
    return statement.not_action is not any(pattern_covers(pattern, action) for pattern in statement.actions)


def _account_of(principal: str) -> str | None:
    """The account of an ARN or a bare number; None of `*`, and of the id of somebody who was deleted."""
    fields = principal.split(":")
    account = fields[4] if len(fields) > 5 else principal
    return account if _ACCOUNT.fullmatch(account) else None


def _is_guarded(statement: Statement, *, external_id: bool) -> bool:
    for operator, key, values in statement.conditions:
        if key in _ORGANIZATION and operator.removeprefix("foranyvalue:") in EQUALITIES and _are_fixed(values):
            return True
        if external_id and key == "sts:externalid" and operator in EQUALITIES and _are_fixed(values):
            return True
        if external_id and key == "aws:multifactorauthpresent" and operator == "bool":
            return {value.lower() for value in values} == {"true"}
    return False


def _are_fixed(values: Iterable[str]) -> bool:
    return all(value.strip("*?") != "" and not value.startswith(("*", "?", "$")) for value in values)


def web_identities_of_anybody(statements: Iterable[Statement]) -> list[str]:
    """The identity providers whose every user, job or workload gets in: no condition says which."""
    found = {
        provider
        for statement in statements
        if statement.allow and not statement.not_principal and _allows(statement, _WEB_IDENTITY)
        for kind, name in statement.principals or ()
        if kind == "Federated" and ":saml-provider/" not in name
        for provider in [name.partition(_PROVIDER)[2] or name]
        if not any(_says_who(provider, *condition) for condition in statement.conditions)
    }
    return sorted(found)


def _says_who(provider: str, operator: str, key: str, values: tuple[str, ...]) -> bool:
    source, _, claim = key.rpartition(":")
    if source != provider.lower() or operator not in EQUALITIES or not values:
        return False
    if provider in _SHARED:
        return claim != "aud" and all(_begins_with_owner(claim, value) for value in values)
    if _CLUSTER.fullmatch(provider):
        return claim == "sub" and all(_IN_NAMESPACE.match(value) for value in values)
    return _are_fixed(values)


def _begins_with_owner(claim: str, value: str) -> bool:
    if claim == "sub":
        return _OWNED.match(value) is not None
    return _are_fixed([value])

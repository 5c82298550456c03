"""Makes grants for cloud accounts."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api.accounts import service as accounts
from coreo_api.accounts.trust import trust_policy
from coreo_api.context import Context
from coreo_api.grants import cloudformation, commands, terraform
from coreo_api.grants.actions import Choice, Fields, actions_of
from coreo_api.grants.grant import Grant, GrantTooLargeError, Level, security_audit
from coreo_api.grants.schemas import GrantQuery, GrantView
from coreo_api.settings import ApiSettings
from coreo_api.teams.session import Session
from coreo_shared.web.problems import invalid

_FIELDS = Fields(plans="query.plan_id", rule_sets="query.rule_set", rules="query.rule")


async def grant_for(session: Session, context: Context, account_id: UUID, query: GrantQuery) -> Grant:
    """The role that is asked for. Raises Problem."""
    account = await accounts.find(session, account_id)
    _check(query)
    actions = await _actions(session, context, query)
    grant = make_grant(context.settings, account, query.level, query.role_name, actions)
    try:
        _ = grant.attached_policies
    except GrantTooLargeError as error:
        raise invalid("query.action" if query.level is Level.DEPLOY else "query.level", str(error)) from None
    return grant


def make_grant(
    settings: ApiSettings, account: Row[Any], level: Level, role_name: str, actions: frozenset[str]
) -> Grant:
    """A role in the cloud account; without actions, AWS's policy for audits is attached."""
    return Grant(
        level=level,
        partition=settings.partition,
        account_id=account.account_id,
        role_name=role_name,
        external_ids=external_ids(account),
        trust_policy=trust_policy(settings, *external_ids(account)),
        managed_policy_arns=() if actions else (security_audit(settings.partition),),
        actions=tuple(sorted(actions)),
    )


def external_ids(account: Row[Any]) -> tuple[str, ...]:
    """The account's external id and, while it is being replaced, the next one: trust policies take both."""
    return tuple(each for each in (account.external_id, account.next_external_id) if each is not None)


def _check(query: GrantQuery) -> None:
    """Refuses what the level has no use for: it would be left out in silence."""
    of_exact = {"query.plan_id": query.plan_id, "query.rule_set": query.rule_set, "query.rule": query.rule}
    for field, given in of_exact.items():
        if given and query.level is not Level.EXACT:
            raise invalid(field, "goes with level=exact")
    if query.action and query.level is not Level.DEPLOY:
        raise invalid("query.action", "goes with level=deploy")
    if query.level is Level.DEPLOY and not query.action:
        raise invalid("query.action", "say what the role shall allow, such as action=cloudformation:*")


async def _actions(session: Session, context: Context, query: GrantQuery) -> frozenset[str]:
    if query.level is Level.DEPLOY:
        return frozenset(query.action)
    if query.level is Level.AUDIT:
        return frozenset()
    return await actions_of(session, context, Choice(query.plan_id, query.rule_set, query.rule), _FIELDS)


def view(settings: ApiSettings, grant: Grant) -> GrantView:
    """The grant as it is answered."""
    url = settings.grant_template_url
    return GrantView(
        level=grant.level,
        role_name=grant.role_name,
        role_arn=grant.role_arn,
        external_id=grant.external_ids[0],
        trust_policy=grant.trust_policy,
        managed_policy_arns=list(grant.managed_policy_arns),
        policy=grant.policy,
        cloudformation=cloudformation.template(grant),
        quick_create_url=None if url is None else cloudformation.quick_create_url(grant, url),
        terraform=terraform.configuration(grant),
        commands=commands.role_commands(grant),
        stack_set=cloudformation.stack_set(grant),
        notes=list(_notes(grant)),
    )


def _notes(grant: Grant) -> Iterator[str]:
    yield (
        "The external id is what keeps others from having Coreo use this role. Leave the trust policy as it is: Coreo "
        "tries the role without it and with a wrong one, and refuses to work with a role that lets it in then."
    )
    if grant.level is Level.AUDIT:
        yield "SecurityAudit is AWS's own policy: it reads configuration, and AWS adds to it as services come."
    else:
        yield (
            "iam:SimulatePrincipalPolicy, on this role alone, lets Coreo ask AWS which of the actions it has, and so "
            "name the missing ones before a run meets them."
        )
    if grant.level is Level.EXACT:
        yield "The policy is of the plans and rules as they are now; ask again when they have changed."
    if "*" in grant.actions:
        yield "The action * allows everything in the account."
    if len(grant.external_ids) > 1:
        yield "The external id is being replaced: the trust policy takes the old and the new one until that is done."
    if grant.attached_policies:
        yield "The policy is too long to stand in the role: it is in policies of its own, attached to the role."
    yield (
        "With the stack set, save the template as coreo-role.yaml, make the set once, and add each account with its "
        "own external id. Stack sets leave out the management account: use the template itself there. From a "
        "delegated administrator account, add --call-as DELEGATED_ADMIN to both commands."
    )

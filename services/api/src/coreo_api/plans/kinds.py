"""What differs between audit and deploy plans: their specs, how those are checked, shown and resolved into jobs."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.context import Context
from coreo_api.packs import service as packs
from coreo_api.plans import deploy_specs, specs
from coreo_api.plans.deploy_schemas import Approval, DeploySpec, DeploySpecView
from coreo_api.plans.linter import Checked, Wish, refuse
from coreo_api.plans.schemas import AuditSpec
from coreo_api.teams import scopes
from coreo_api.teams.scopes import Scope
from coreo_api.teams.session import Session
from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.packs import PackError, catalogue_with
from coreo_shared.contracts import deploys, jobs
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.contracts.terms import Pool
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.web.problems import invalid

Spec = AuditSpec | DeploySpec
AUDIT, DEPLOY = Pool.AUDIT.value, Pool.DEPLOY.value  # a plan's kind is the pool that runs it

_WITHIN = {"template", "template_url", "parameters", "tags"}  # what a pipeline brings; all else says where and how far
_NOBODY_IS_ASKED = (
    ", and nobody is asked before this plan's changes are made: only template, template_url, parameters and tags of "
    "it change without that scope"
)


def kind_of(spec: Spec) -> str:
    """The kind of a plan that has this spec."""
    return DEPLOY if isinstance(spec, DeploySpec) else AUDIT


def stored(kind: str, spec: Mapping[str, Any]) -> Spec:
    """A spec as it is in the database."""
    return DeploySpec.model_validate(spec) if kind == DEPLOY else AuditSpec.model_validate(spec)


def spec_view(kind: str, spec: Mapping[str, Any]) -> AuditSpec | DeploySpecView:
    """A spec as it is answered: a template is long, and has an address of its own."""
    found = stored(kind, spec)
    if isinstance(found, AuditSpec):
        return found
    text = None if found.template is None else found.template.encode()
    return DeploySpecView(
        **found.model_dump(exclude={"template"}),
        template_sha256=None if text is None else hashlib.sha256(text).hexdigest(),
        template_bytes=None if text is None else len(text),
    )


async def lint(context: Context, team_id: UUID, spec: Spec) -> Checked | None:
    """What the linter says of the spec's template, if any. Takes seconds, so no transaction is open meanwhile."""
    if not isinstance(spec, DeploySpec) or spec.template is None:
        return None
    wish = Wish(spec.template, spec.regions, spec.parameters, spec.capabilities)
    return await context.linter.check(wish, team_id=team_id, field="body.spec.template")


async def looked_at(context: Context, team_id: UUID, spec: Spec) -> Checked | None:
    """As `lint`, of a template that shall be used. Raises Problem that names every error."""
    checked = await lint(context, team_id, spec)
    if checked is not None:
        refuse(checked, "body.spec")
    return checked


async def check(session: Session, context: Context, spec: Spec) -> Spec:
    """The spec with its packs pinned to their versions. Raises Problem."""
    partition = context.settings.partition
    if isinstance(spec, DeploySpec):
        deploy = await packs.pin(session, spec)
        loaded = await packs.load(session.connection, session.team_id, deploy)
        deploy_specs.check(context.catalogue, partition, deploy, loaded)
        return deploy
    audit = await packs.pin(session, spec)
    loaded = await packs.load(session.connection, session.team_id, audit)
    specs.check(context.catalogue, partition, audit, loaded)
    return audit


def check_approval(session: Session, before: Spec | None, after: Spec) -> None:
    """Who may not approve must not decide that nobody needs to, nor for what. Raises Problem."""
    if not isinstance(after, DeploySpec):
        return
    had = before.approval if isinstance(before, DeploySpec) else Approval()
    if after.approval != had:
        scopes.check(session.scopes, {Scope.APPROVE})
    if isinstance(before, DeploySpec) and before.approval.auto and _bounds(before) != _bounds(after):
        scopes.check(session.scopes, {Scope.APPROVE}, why=_NOBODY_IS_ASKED)


def check_accounts(session: Session, before: Spec, had: Sequence[UUID], account_ids: Sequence[UUID]) -> None:
    """As `check_approval`, of the cloud accounts that a plan goes to. Raises Problem."""
    if isinstance(before, DeploySpec) and before.approval.auto and set(had) != set(account_ids):
        scopes.check(session.scopes, {Scope.APPROVE}, why=_NOBODY_IS_ASKED)


def _bounds(spec: DeploySpec) -> dict[str, Any]:
    """Where a plan goes and how far. Of packs the names alone: a spec without versions takes in newer ones."""
    return spec.model_dump(exclude=_WITHIN) | {"rule_packs": [each.partition("@")[0] for each in spec.rule_packs]}


def check_kind(kind: str, spec: Spec) -> None:
    """A plan stays what it is. Raises Problem."""
    if kind_of(spec) != kind:
        raise invalid("body.spec", f"This is a plan of kind {kind}, and the spec is of kind {kind_of(spec)}.")


async def resolved(connection: AsyncConnection, catalogue: Catalogue, team_id: UUID, spec: Any) -> jobs.AuditSpec:
    """What a run of an audit revision's spec (as stored) does now. Raises UnknownNameError."""
    found = AuditSpec.model_validate(spec)
    return specs.resolve(catalogue, found, await _usable_packs(connection, team_id, found))


async def resolved_deploy(
    connection: AsyncConnection,
    catalogue: Catalogue,
    team_id: UUID,
    spec: DeploySpec,
    action: DeployAction,
    allow: Sequence[str],
) -> deploys.DeploySpec:
    """What a run of a deploy spec does now, wherever. Raises UnknownNameError."""
    return deploy_specs.resolve(catalogue, spec, await _usable_packs(connection, team_id, spec), action, allow)


async def actions_of(
    connection: AsyncConnection, catalogue: Catalogue, partition: str, team_id: UUID, plan: Row[Any]
) -> frozenset[str]:
    """The IAM actions that a plan (its kind and spec) takes. Raises UnknownNameError."""
    if plan.kind == DEPLOY:
        return deploy_specs.actions_of(DeploySpec.model_validate(plan.spec), partition)
    return specs.actions_of(catalogue, await resolved(connection, catalogue, team_id, plan.spec))


async def _usable_packs(connection: AsyncConnection, team_id: UUID, spec: Spec) -> list[RulePack]:
    loaded = await packs.load(connection, team_id, spec)
    for position, pack in enumerate(loaded):
        try:
            catalogue_with((pack.text,))
        except PackError:
            raise UnknownNameError("rule_pack", position) from None
    return loaded

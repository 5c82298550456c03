"""What can be done with plans."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row

from coreo_api import signals
from coreo_api.context import Context
from coreo_api.plans import deploy_specs, kinds, repository, specs
from coreo_api.plans.deploy_schemas import DeploySpec, LintFinding
from coreo_api.plans.kinds import DEPLOY, Spec
from coreo_api.plans.linter import Checked
from coreo_api.plans.schedule import Schedule, next_tick
from coreo_api.plans.schemas import (
    ChangePlan,
    CreateAuditPlan,
    CreateDeployPlan,
    PlanView,
    RequiredPolicy,
    RevisionView,
    TemplateText,
)
from coreo_api.runs import repository as runs
from coreo_api.runs.problems import runs_at_work
from coreo_api.teams.session import Session
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.ids import new_id
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.rules.policy import required_policy, session_policies
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import not_found


def view(row: Row[Any]) -> PlanView:
    """The plan as it is answered."""
    return PlanView(
        id=row.id,
        name=row.name,
        kind=row.kind,
        revision=row.revision,
        spec=kinds.spec_view(row.kind, row.spec),
        lint=_lint_view(row.lint),
        cloud_account_ids=row.cloud_account_ids,
        schedule=schedule_of(row),
        enabled=row.enabled,
        next_run_at=row.next_tick_at,
        last_tick_at=row.last_tick_at,
        last_tick_problem=row.last_tick_problem,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def revision_view(row: Row[Any]) -> RevisionView:
    """A revision as it is answered."""
    return RevisionView(
        revision=row.revision,
        spec=kinds.spec_view(row.kind, row.spec),
        lint=_lint_view(row.lint),
        created_at=row.created_at,
    )


def _lint_view(lint: Any) -> list[LintFinding] | None:
    return None if lint is None else [LintFinding.model_validate(each) for each in lint]


def schedule_of(row: Row[Any]) -> Schedule | None:
    """The schedule of a plan's row."""
    return None if row.schedule is None else Schedule.model_validate(row.schedule)


async def create(
    session: Session, context: Context, wish: CreateAuditPlan | CreateDeployPlan, lint: Checked | None = None
) -> Row[Any]:
    """A plan. `lint`: what `kinds.looked_at` said of its spec. Raises Problem."""
    kinds.check_approval(session, None, wish.spec)
    pinned = await kinds.check(session, context, wish.spec)
    plan_id = new_id()
    values = {
        "name": wish.name,
        "kind": wish.kind,
        "schedule": _json(wish.schedule),
        "enabled": wish.enabled,
        "next_tick_at": _next(wish.schedule, plan_id, session.now) if wish.enabled else None,
    }
    revision = repository.Revision(1, pinned.model_dump_json(), _lint_json(lint))
    await repository.insert(
        session.connection, session.team_id, plan_id, values=values, first=revision, now=session.now
    )
    await _set_accounts(session, plan_id, wish.cloud_account_ids)
    await signals.announce(session.connection, signals.SCHEDULE)
    return await find(session, plan_id)


async def check(session: Session, context: Context, wish: CreateAuditPlan | CreateDeployPlan) -> None:
    """Raises Problem for what `create` does not take of any token. The template is the linter's."""
    await kinds.check(session, context, wish.spec)
    await _check_accounts(session, wish.cloud_account_ids)


async def find(session: Session, plan_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The team's plan. Raises Problem."""
    row = await repository.find(session.connection, session.team_id, plan_id, lock=lock)
    if row is None:
        raise not_found("plan")
    return row


async def change(
    session: Session, context: Context, plan_id: UUID, wish: ChangePlan, lint: Checked | None = None
) -> Row[Any]:
    """The plan after the change. `lint`: what `kinds.looked_at` said of its spec. Raises Problem."""
    row = await find(session, plan_id, lock=True)
    if wish.cloud_account_ids is not None:
        before = kinds.stored(row.kind, row.spec)
        kinds.check_accounts(session, before, row.cloud_account_ids, wish.cloud_account_ids)
    revision = await _revise(session, context, row, wish.spec, lint)
    schedule = wish.schedule if "schedule" in wish.model_fields_set else schedule_of(row)
    enabled = row.enabled if wish.enabled is None else wish.enabled
    values = {
        "name": wish.name or row.name,
        "revision": revision,
        "schedule": _json(schedule),
        "enabled": enabled,
        "next_tick_at": row.next_tick_at,
    }
    if (schedule, enabled) != (schedule_of(row), row.enabled):
        # Ticks from before the change, or while it was off, are not made up for.
        values["next_tick_at"] = _next(schedule, plan_id, session.now) if enabled else None
    await repository.update(session.connection, session.team_id, plan_id, values=values, now=session.now)
    if wish.cloud_account_ids is not None:
        await _set_accounts(session, plan_id, wish.cloud_account_ids)
    await signals.announce(session.connection, signals.SCHEDULE)
    return await find(session, plan_id)


async def _revise(session: Session, context: Context, row: Row[Any], spec: Spec | None, lint: Checked | None) -> int:
    """The plan's revision, which is a new one when the spec is another."""
    present = int(row.revision)
    if spec is None:
        return present
    kinds.check_kind(row.kind, spec)
    before = kinds.stored(row.kind, row.spec)
    kinds.check_approval(session, before, spec)
    spec = await kinds.check(session, context, spec)
    if spec == before:
        return present
    revision = repository.Revision(present + 1, spec.model_dump_json(), _lint_json(lint))
    await repository.insert_revision(session.connection, session.team_id, row.id, revision, now=session.now)
    return present + 1


def _lint_json(lint: Checked | None) -> str | None:
    return None if lint is None else encode_json(lint.findings).decode()


async def template(session: Session, plan_id: UUID, revision: int | None) -> TemplateText:
    """A deploy plan's template. Raises Problem."""
    row = await find(session, plan_id)
    if row.kind != DEPLOY:
        raise Problem(409, "not_a_deploy_plan", "Deploy plans alone have a template; this is an audit plan.")
    chosen: Row[Any] | None = row
    if revision is not None and revision != row.revision:
        chosen = await repository.find_revision(session.connection, session.team_id, plan_id, revision)
    if chosen is None:
        raise not_found("revision")
    spec = DeploySpec.model_validate(chosen.spec)
    return TemplateText(revision=chosen.revision, template=spec.template, template_url=spec.template_url)


async def _set_accounts(session: Session, plan_id: UUID, account_ids: Sequence[UUID]) -> None:
    await _check_accounts(session, account_ids)
    await repository.set_accounts(session.connection, session.team_id, plan_id, account_ids)


async def _check_accounts(session: Session, account_ids: Sequence[UUID]) -> None:
    known = await repository.lock_accounts(session.connection, session.team_id, account_ids)
    field = "body.cloud_account_ids"
    errors = [
        FieldError(f"{field}.{index}", "there is no such cloud account")
        for index, account_id in enumerate(account_ids)
        if account_id not in known
    ]
    if len(set(account_ids)) != len(account_ids):
        errors.append(FieldError(field, "the same cloud account is there twice"))
    if errors:
        named = ", ".join(error.field for error in errors)
        raise Problem(422, "invalid", f"Not valid: {named}.", errors=tuple(errors))


async def delete(session: Session, plan_id: UUID) -> None:
    """Takes the plan away, unless a run of it is at work. Raises Problem."""
    await find(session, plan_id, lock=True)
    if await runs.count_active(session.connection, session.team_id, plan_id=plan_id):
        raise runs_at_work("plan")
    await repository.delete(session.connection, session.team_id, plan_id, session.now)


async def required(session: Session, context: Context, plan_id: UUID) -> RequiredPolicy:
    """What the plan's rules take of AWS. Raises Problem."""
    row = await find(session, plan_id)
    if row.kind == DEPLOY:
        return _required_of_deploys(DeploySpec.model_validate(row.spec), context.settings.partition)
    try:
        audit = await kinds.resolved(session.connection, context.catalogue, session.team_id, row.spec)
    except UnknownNameError as error:
        raise outdated(error) from None
    by_service = specs.actions_by_service(context.catalogue, audit)
    actions = frozenset[str]().union(*by_service.values())
    sessions = session_policies(by_service)
    return RequiredPolicy(
        actions=sorted(actions),
        policy=required_policy(actions),
        session_policies=[msgspec.json.decode(each.document) for each in sessions],
        widened=[pattern for each in sessions for pattern in each.widened],
    )


def _required_of_deploys(spec: DeploySpec, partition: str) -> RequiredPolicy:
    actions = deploy_specs.actions_of(spec, partition)
    policies = deploy_specs.policies_of(spec, partition)
    return RequiredPolicy(
        actions=sorted(actions),
        policy=required_policy(actions),
        session_policies=[msgspec.json.decode(policies[action]) for action in DeployAction],
        widened=[],
    )


def outdated(error: UnknownNameError) -> Problem:
    """The answer when a rule of the plan is no longer in the catalogue."""
    detail = f"The catalogue has changed since this plan was made: {error.field} of its spec is gone. Send a new spec."
    return Problem(409, "plan_outdated", detail)


def _next(schedule: Schedule | None, plan_id: UUID, now: datetime) -> datetime | None:
    return None if schedule is None else next_tick(schedule, plan_id, now)


def _json(schedule: Schedule | None) -> str | None:
    return None if schedule is None else schedule.model_dump_json()

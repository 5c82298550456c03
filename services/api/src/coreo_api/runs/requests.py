"""How runs come to be: by a request or by a plan's schedule, each in the caller's transaction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.accounts.states import AccountState
from coreo_api.context import Context
from coreo_api.deploys import targets
from coreo_api.plans import deploy_specs, kinds
from coreo_api.plans import service as plans
from coreo_api.plans.deploy_schemas import DeploySpec
from coreo_api.runs import repository
from coreo_api.runs.repository import Group, NewRun
from coreo_api.runs.schemas import StartRun
from coreo_api.teams import scopes
from coreo_api.teams.scopes import Scope
from coreo_api.teams.session import Session
from coreo_shared.catalogue import Catalogue
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.ids import new_id
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import invalid

MAX_RUNS = 500  # of a request: cloud accounts times regions
_CHANGES = frozenset({DeployAction.APPLY, DeployAction.DESTROY})
_IN_QUEUE = timedelta(days=7)  # how long a deploy waits for its turn


@dataclass(frozen=True)
class Trigger:
    """Why runs start, and with what wishes.

    `tick_at` for a schedule; `key` is the Idempotency-Key, `request_hash` what it was sent with.
    """

    kind: str
    tick_at: datetime | None = None
    key: str | None = None
    request_hash: bytes | None = None
    backup: bool = True
    token_id: UUID | None = None


@dataclass(frozen=True)
class Place:
    """Where a deploy run works."""

    cloud_account_id: UUID
    account_id: str
    region: str


@dataclass(frozen=True)
class Deploy:
    """What deploy runs shall do, and where."""

    action: DeployAction
    places: Sequence[Place]
    allow: Sequence[str] = ()


@dataclass(frozen=True)
class Starter:
    """Starts runs. `ttl`: how long one may wait for a worker."""

    catalogue: Catalogue
    ttl: timedelta

    async def start(
        self,
        connection: AsyncConnection,
        team_id: UUID,
        plan: Row[Any],
        account_ids: Sequence[UUID],
        trigger: Trigger,
        now: datetime,
    ) -> UUID | None:
        """Stores a run of the (locked) audit plan for each account, and its job; the group's id.

        None when the tick, or the idempotency key, already has its runs. Raises UnknownNameError.
        """
        audit = await kinds.resolved(connection, self.catalogue, team_id, plan.spec)
        group = _group(team_id, plan, trigger, encode_json(audit), now)
        runs = [NewRun(new_id(), account_id) for account_id in account_ids]
        return await _store(connection, group, runs, now + self.ttl)

    async def start_deploy(
        self, connection: AsyncConnection, team_id: UUID, plan: Row[Any], wish: Deploy, trigger: Trigger, now: datetime
    ) -> UUID | None:
        """As `start`, for a deploy plan: a run for each place, in the queue of its stack."""
        spec = DeploySpec.model_validate(plan.spec)
        work = await kinds.resolved_deploy(connection, self.catalogue, team_id, spec, wish.action, wish.allow)
        group = _group(team_id, plan, trigger, encode_json(work), now)
        terms = encode_json(deploy_specs.terms_of(spec)).decode()
        group = replace(group, action=str(wish.action), terms=terms)
        places = [(place.account_id, place.region) for place in wish.places]
        known = await targets.ensure(connection, team_id, places, spec.stack_name, now)
        runs = [
            NewRun(
                id=new_id(),
                cloud_account_id=place.cloud_account_id,
                pool=kinds.DEPLOY,
                action=str(wish.action),
                region=place.region,
                target_id=known[place.account_id, place.region],
            )
            for place in wish.places
        ]
        return await _store(connection, group, runs, now + _IN_QUEUE)


def _group(team_id: UUID, plan: Row[Any], trigger: Trigger, spec: bytes, now: datetime) -> Group:
    return Group(
        id=new_id(),
        team_id=team_id,
        plan_id=plan.id,
        plan_revision=plan.revision,
        trigger=trigger.kind,
        tick_at=trigger.tick_at,
        idempotency_key=trigger.key,
        request_hash=trigger.request_hash,
        spec=spec.decode(),
        created_at=now,
        backup=trigger.backup,
        token_id=trigger.token_id,
    )


async def _store(
    connection: AsyncConnection, group: Group, runs: Sequence[NewRun], expires_at: datetime
) -> UUID | None:
    if not await repository.insert_group(connection, group):
        return None
    await repository.insert_runs(connection, group, runs, expires_at)
    await signals.announce(connection, signals.OUTBOX)
    return group.id


async def request_runs(session: Session, context: Context, plan_id: UUID, wish: StartRun, key: str | None) -> UUID:
    """Starts the plan because somebody asks; the group's id. Raises Problem.

    With an idempotency key that was used for the same request before, that request's group.
    """
    plan = await plans.find(session, plan_id, lock=True)
    request_hash = _hash_of(plan_id, wish)
    if key is not None and (known := await repository.find_group_by_key(session.connection, session.team_id, key)):
        return _same_request(known, request_hash)
    _check_wish(plan.kind, wish)
    if not plan.enabled:
        raise Problem(409, "plan_disabled", "This plan is not enabled. Enable it with PATCH, then start it.")
    found = await repository.targets_of(session.connection, session.team_id, plan_id)
    chosen = _choose(found, wish.cloud_account_ids)
    request = None if key is None else request_hash
    trigger = Trigger("manual", key=key, request_hash=request, backup=wish.backup, token_id=session.token_id)
    starter = Starter(context.catalogue, timedelta(seconds=context.settings.job_ttl_seconds))
    try:
        if plan.kind == kinds.DEPLOY:
            spec = DeploySpec.model_validate(plan.spec)
            _check_allow(session, spec, wish)
            deploy = _deploy(spec, wish, chosen)
            group_id = await starter.start_deploy(
                session.connection, session.team_id, plan, deploy, trigger, session.now
            )
        else:
            ids = [row.id for row in chosen]
            group_id = await starter.start(session.connection, session.team_id, plan, ids, trigger, session.now)
    except UnknownNameError as error:
        raise plans.outdated(error) from None
    if group_id is None:  # another request with this key came in between, for another plan
        raise _key_reused()
    return group_id


def _check_wish(kind: str, wish: StartRun) -> None:
    if kind == kinds.DEPLOY:
        if wish.action is None:
            words = ", ".join(DeployAction)
            raise invalid("body.action", f"This is a deploy plan: say what to do, one of {words}.")
        return
    for name in ("action", "regions", "allow"):
        if getattr(wish, name):
            raise invalid(f"body.{name}", "This is an audit plan, and that is for deploy plans.")


def _check_allow(session: Session, spec: DeploySpec, wish: StartRun) -> None:
    """Where somebody approves, they see what is allowed; where nobody does, it takes who could. Raises Problem."""
    if wish.allow and spec.approval.auto and wish.action in _CHANGES:
        why = ", and nobody is asked before this plan's changes are made: `allow` takes that scope here"
        scopes.check(session.scopes, {Scope.APPROVE}, why=why)


def _deploy(spec: DeploySpec, wish: StartRun, chosen: Sequence[Row[Any]]) -> Deploy:
    """What is wished, of the plan's regions. Raises Problem."""
    errors = tuple(
        FieldError(f"body.regions.{index}", "not a region of this plan")
        for index, region in enumerate(wish.regions or ())
        if region not in spec.regions
    )
    if errors:
        raise Problem(422, "invalid", "Not valid: body.regions.", errors=errors)
    assert wish.action is not None  # noqa: S101  checked before
    regions = [region for region in spec.regions if wish.regions is None or region in wish.regions]
    places: dict[tuple[str, str], Place] = {}
    for row in chosen:  # two cloud accounts may be two ways into one AWS account: the stack is the same
        for region in regions:
            places.setdefault((row.account_id, region), Place(row.id, row.account_id, region))
    if len(places) > MAX_RUNS:
        detail = f"These are {len(places)} runs, and {MAX_RUNS} are the most at once: choose cloud accounts or regions."
        raise Problem(422, "invalid", detail, errors=(FieldError("body.cloud_account_ids", detail),))
    return Deploy(wish.action, tuple(places.values()), wish.allow)


def _choose(targets: Sequence[Row[Any]], account_ids: Sequence[UUID] | None) -> list[Row[Any]]:
    known = {target.id for target in targets}
    errors = tuple(
        FieldError(f"body.cloud_account_ids.{index}", "not a cloud account of this plan")
        for index, account_id in enumerate(account_ids or ())
        if account_id not in known
    )
    if errors:
        raise Problem(422, "invalid", "Not valid: body.cloud_account_ids.", errors=errors)
    chosen = [target for target in targets if account_ids is None or target.id in account_ids]
    if not chosen:
        raise Problem(409, "no_targets", "This plan has no cloud accounts. Add some with PATCH, then start it.")
    waiting = tuple(
        FieldError(f"cloud_accounts.{target.id}", f"{target.name} is {target.state}")
        for target in chosen
        if target.state != AccountState.CONNECTED
    )
    if waiting:
        detail = (
            f"{len(waiting)} of the {len(chosen)} cloud accounts are not CONNECTED: runs start only where the role is "
            "proven to work and to be safe. GET /v1/cloud-accounts/{id} says what to do; POST "
            "/v1/cloud-accounts/{id}/verify tries the role again."
        )
        raise Problem(409, "account_not_connected", detail, errors=waiting)
    return chosen


def _same_request(known: Row[Any], request_hash: bytes) -> UUID:
    if bytes(known.request_hash) != request_hash:
        raise _key_reused()
    group_id: UUID = known.id
    return group_id


def _key_reused() -> Problem:
    return invalid("header.idempotency-key", "This Idempotency-Key was used for another request; use a fresh one.")


def _hash_of(plan_id: UUID, wish: StartRun) -> bytes:
    """Equal for requests that ask for the same. Those of audits are as they were before there were deploys."""
    chosen = "all"
    if wish.cloud_account_ids is not None:
        chosen = ",".join(sorted({str(each) for each in wish.cloud_account_ids}))
    asked = f"{plan_id} {chosen}"
    if wish.action is not None:
        regions = "all" if wish.regions is None else ",".join(sorted(set(wish.regions)))
        asked += f" {wish.action} {regions} {','.join(sorted(set(wish.allow)))}"
    if not wish.backup:
        asked += " without backup"
    return hashlib.sha256(asked.encode()).digest()

"""How runs come to be: by a request or by a plan's schedule, each in the caller's transaction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.accounts.states import AccountState
from coreo_api.context import Context
from coreo_api.plans import service as plans
from coreo_api.runs import repository
from coreo_api.runs.repository import Group
from coreo_api.runs.schemas import StartRun
from coreo_api.teams.session import Session
from coreo_shared.catalogue import Catalogue
from coreo_shared.contracts.base import encode_json
from coreo_shared.ids import new_id
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import invalid


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
        """Stores a run of the (locked) plan for each account, and its job; the group's id.

        None when the tick, or the idempotency key, already has its runs. Raises UnknownNameError.
        """
        audit = await plans.resolved(connection, self.catalogue, team_id, plan.spec)
        group = Group(
            id=new_id(),
            team_id=team_id,
            plan_id=plan.id,
            plan_revision=plan.revision,
            trigger=trigger.kind,
            tick_at=trigger.tick_at,
            idempotency_key=trigger.key,
            request_hash=trigger.request_hash,
            spec=encode_json(audit).decode(),
            created_at=now,
            backup=trigger.backup,
        )
        if not await repository.insert_group(connection, group):
            return None
        runs = [(new_id(), account_id) for account_id in account_ids]
        await repository.insert_runs(connection, group, runs, now + self.ttl)
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
    if not plan.enabled:
        raise Problem(409, "plan_disabled", "This plan is not enabled. Enable it with PATCH, then start it.")
    targets = await repository.targets_of(session.connection, session.team_id, plan_id)
    chosen = _choose(targets, wish.cloud_account_ids)
    request = None if key is None else request_hash
    trigger = Trigger("manual", key=key, request_hash=request, backup=wish.backup)
    starter = Starter(context.catalogue, timedelta(seconds=context.settings.job_ttl_seconds))
    try:
        group_id = await starter.start(session.connection, session.team_id, plan, chosen, trigger, session.now)
    except UnknownNameError as error:
        raise plans.outdated(error) from None
    if group_id is None:  # another request with this key came in between, for another plan
        raise _key_reused()
    return group_id


def _choose(targets: Sequence[Row[Any]], account_ids: Sequence[UUID] | None) -> list[UUID]:
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
    return [target.id for target in chosen]


def _same_request(known: Row[Any], request_hash: bytes) -> UUID:
    if bytes(known.request_hash) != request_hash:
        raise _key_reused()
    group_id: UUID = known.id
    return group_id


def _key_reused() -> Problem:
    return invalid("header.idempotency-key", "This Idempotency-Key was used for another request; use a fresh one.")


def _hash_of(plan_id: UUID, wish: StartRun) -> bytes:
    chosen = "all"
    if wish.cloud_account_ids is not None:
        chosen = ",".join(sorted({str(each) for each in wish.cloud_account_ids}))
    without = "" if wish.backup else " without backup"
    return hashlib.sha256(f"{plan_id} {chosen}{without}".encode()).digest()

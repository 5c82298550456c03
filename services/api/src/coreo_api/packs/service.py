"""What can be done with rule packs, and how plans come by theirs."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.context import Context
from coreo_api.packs import repository
from coreo_api.packs.schemas import CheckedPack, PackView
from coreo_api.plans.deploy_schemas import DeploySpec
from coreo_api.plans.schemas import AuditSpec
from coreo_api.rules.schemas import RuleSummary
from coreo_api.teams.session import Session
from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.packs import Pack, PackError, read_pack, squeeze, with_packs
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.ids import new_id
from coreo_shared.rules.needs import needs_of
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import not_found

Spec = TypeVar("Spec", AuditSpec, DeploySpec)
MAX_PACKS = 50  # of a team
_SOURCE = "body.source"
_worker = ThreadPoolExecutor(1, "rule-packs")  # a pack's cases may take seconds, in which others are to be served
_REFERENCE = re.compile(r"([a-z][a-z0-9]{1,29})(?:@([1-9][0-9]{0,8}))?")


async def check(catalogue: Catalogue, source: str) -> CheckedPack:
    """What a pack is and what is wrong with it, without an error."""
    return await asyncio.get_running_loop().run_in_executor(_worker, _checked, catalogue, source)


def _checked(catalogue: Catalogue, source: str) -> CheckedPack:
    try:
        pack = read_pack(source, catalogue)
    except PackError as error:
        problems = [str(problem) for problem in error.problems]
        return CheckedPack(name=None, title="", rules=[], cases=0, actions=[], problems=problems)
    return CheckedPack(
        name=pack.name,
        title=pack.title,
        rules=_summaries(pack),
        cases=sum(map(len, pack.cases.values())),
        actions=_actions(catalogue, pack),
        problems=pack.failing_cases(),
    )


async def push(session: Session, context: Context, source: str) -> PackView:
    """A new version of the pack that the source names; the present one if it is the same text. Raises Problem."""
    pack = await asyncio.get_running_loop().run_in_executor(_worker, _read, context.catalogue, source)
    await repository.lock(session.connection, session.team_id)
    present = await repository.find(session.connection, session.team_id, pack.name)
    if present is not None and present.digest == pack.digest:
        return _view(context.catalogue, present)
    if present is None and await repository.count(session.connection, session.team_id) >= MAX_PACKS:
        raise Problem(409, "too_many_rule_packs", f"A team has {MAX_PACKS} rule packs at most. Delete one first.")
    version = await repository.last_version(session.connection, session.team_id, pack.name) + 1
    values = {
        "team": session.team_id,
        "id": new_id(),
        "name": pack.name,
        "version": version,
        "title": pack.title,
        "source": source,
        "digest": pack.digest,
        "token": session.token_id,
        "now": session.now,
    }
    await repository.insert(session.connection, values)
    return await show(session, context, pack.name, version)


async def find(session: Session, name: str, version: int | None = None) -> Row[Any]:
    """A version, or the newest. Raises Problem."""
    row = await repository.find(session.connection, session.team_id, name, version)
    if row is None:
        raise not_found("rule pack")
    return row


async def show(session: Session, context: Context, name: str, version: int | None = None) -> PackView:
    """A version, or the newest, with its rules. Raises Problem."""
    return _view(context.catalogue, await find(session, name, version))


async def delete(session: Session, name: str) -> None:
    """All versions of a pack that no plan has. Runs at work keep theirs. Raises Problem."""
    await repository.lock(session.connection, session.team_id)
    plans = await repository.plans_with(session.connection, session.team_id, name)
    if plans:
        detail = f"Plans have this pack: {', '.join(plans[:5])}{' …' if len(plans) > 5 else ''}. Send them a new spec."
        raise Problem(409, "rule_pack_in_use", detail)
    if not await repository.delete(session.connection, session.team_id, name, session.now):
        raise not_found("rule pack")


async def pin(session: Session, spec: Spec) -> Spec:
    """The spec with the exact version of each pack: a revision never changes. Raises Problem that names the fields."""
    pinned: list[str] = []
    errors: list[FieldError] = []
    for index, reference in enumerate(spec.rule_packs):
        field = f"body.spec.rule_packs.{index}"
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            errors.append(FieldError(field, "write NAME, or NAME@VERSION"))
            continue
        version = None if match[2] is None else int(match[2])
        row = await repository.find(session.connection, session.team_id, match[1], version)
        if row is None:
            errors.append(FieldError(field, "there is no such rule pack, or no such version of it"))
        elif any(each.startswith(f"{row.name}@") for each in pinned):
            errors.append(FieldError(field, "the same rule pack is there twice"))
        else:
            pinned.append(f"{row.name}@{row.version}")
    if errors:
        named = ", ".join(error.field for error in errors)
        raise Problem(422, "invalid", f"Not valid: {named}.", errors=tuple(errors))
    return spec.model_copy(update={"rule_packs": tuple(pinned)})


async def load(connection: AsyncConnection, team_id: UUID, spec: AuditSpec | DeploySpec) -> list[RulePack]:
    """The packs of a spec that was pinned, as they travel in jobs."""
    found: list[RulePack] = []
    for reference in spec.rule_packs:
        name, _, version = reference.partition("@")
        row = await repository.find(connection, team_id, name, int(version), pinned=True)
        if row is None:
            raise LookupError(f"rule pack {reference} of team {team_id} is not there")
        found.append(RulePack(name=row.name, version=row.version, text=squeeze(row.source)))
    return found


def _read(catalogue: Catalogue, source: str) -> Pack:
    """Raises Problem with all that is wrong."""
    try:
        pack = read_pack(source, catalogue)
    except PackError as error:
        problems: Sequence[str] = [str(problem) for problem in error.problems]
    else:
        problems = pack.failing_cases()[:20]
        if not problems:
            return pack
    errors = tuple(FieldError(_SOURCE, problem) for problem in problems)
    raise Problem(422, "invalid", f"Not valid: {_SOURCE}.", errors=errors)


def _view(catalogue: Catalogue, row: Row[Any]) -> PackView:
    pack = read_pack(row.source, catalogue)
    return PackView(
        name=row.name,
        version=row.version,
        title=row.title,
        digest=row.digest,
        rules=_summaries(pack),
        actions=_actions(catalogue, pack),
        created_at=row.created_at,
    )


def _summaries(pack: Pack) -> list[RuleSummary]:
    return [RuleSummary.model_validate(rule) for rule in pack.rules.values()]


def _actions(catalogue: Catalogue, pack: Pack) -> list[str]:
    return sorted(needs_of(with_packs(catalogue, [pack]), pack.rules).actions)

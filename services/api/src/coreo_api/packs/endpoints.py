"""Routes on rule packs."""

from typing import Annotated

from fastapi import APIRouter, Query

from coreo_api.context import InContext
from coreo_api.packs import dry_runs, repository, service
from coreo_api.packs.schemas import (
    CheckedPack,
    DryRun,
    PackName,
    PackQuery,
    PackSource,
    PackSummary,
    PackText,
    PackView,
)
from coreo_api.pages import Page, PageQuery, page_of
from coreo_api.runs.schemas import RunView
from coreo_api.teams.session import TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/rule-packs", tags=["rule packs"], route_class=StrictRoute)


@router.post("", status_code=201)
async def push_pack(session: TeamSession, context: InContext, body: PackSource) -> PackView:
    """Store a pack, as a new version of the one of its name if there is one. The same text again changes nothing."""
    return await service.push(session, context, body.source)


@router.post("/validate")
async def validate_pack(session: TeamSession, context: InContext, body: PackSource) -> CheckedPack:  # noqa: ARG001  who asks must be known
    """Check a pack and run its cases, and store nothing."""
    return await service.check(context.catalogue, body.source)


@router.get("")
async def list_packs(session: TeamSession, query: Annotated[PageQuery, Query()]) -> Page[PackSummary]:
    """The team's packs, each in its newest version, newest first."""
    rows = await repository.list_page(session.connection, session.team_id, query.before, query.limit + 1)
    return page_of(rows, query.limit, PackSummary.model_validate)


@router.get("/{pack_name}")
async def show_pack(
    session: TeamSession, context: InContext, pack_name: PackName, query: Annotated[PackQuery, Query()]
) -> PackView:
    """A pack and its rules."""
    return await service.show(session, context, pack_name, query.version)


@router.get("/{pack_name}/source")
async def show_source(session: TeamSession, pack_name: PackName, query: Annotated[PackQuery, Query()]) -> PackText:
    """A pack as it was written."""
    return PackText.model_validate(await service.find(session, pack_name, query.version))


@router.get("/{pack_name}/versions")
async def list_versions(
    session: TeamSession, pack_name: PackName, query: Annotated[PageQuery, Query()]
) -> Page[PackSummary]:
    """All versions of a pack, newest first."""
    await service.find(session, pack_name)
    rows = await repository.list_versions(session.connection, session.team_id, pack_name, query.before, query.limit + 1)
    return page_of(rows, query.limit, PackSummary.model_validate)


@router.delete("/{pack_name}", status_code=204)
async def delete_pack(session: TeamSession, pack_name: PackName) -> None:
    """Delete a pack that no plan has. Past runs, and their findings, stay."""
    await service.delete(session, pack_name)


@router.post("/{pack_name}/dry-run", status_code=202)
async def dry_run(session: TeamSession, context: InContext, pack_name: PackName, body: DryRun) -> RunView:
    """Try a pack on one cloud account: a run of its rules alone, which is of no plan that stays."""
    return await dry_runs.start(session, context, pack_name, body)

"""Routes on the custody of results: settings, deletion, and the access record."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.custody import service
from coreo_api.custody.schemas import (
    AccessEntryView,
    AccessQuery,
    BackupsView,
    ChangeCustody,
    ChangePlanCustody,
    CustodyView,
    DeletedView,
    PlanCustodyView,
)
from coreo_api.findings.passing import passed_on
from coreo_api.pages import Page, cursor_of
from coreo_api.teams.session import TeamCaller
from coreo_shared.contracts import custody
from coreo_shared.contracts.base import encode_json
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1", tags=["custody"], route_class=StrictRoute)
_SETTINGS = "/internal/v1/custody/settings"
_BACKUPS = "/internal/v1/backups"
_LAST_ENTRY = 2**63 - 1


@router.get("/custody/settings", response_model=CustodyView)
async def show_settings(caller: TeamCaller, context: InContext) -> Response:
    """How long the team's results are kept, and whether they are backed up."""
    with passed_on("settings"):
        return _json(await context.results.ask(caller.asker, "GET", _SETTINGS, custody.CustodySettings))


@router.patch("/custody/settings", response_model=CustodyView)
async def change_settings(caller: TeamCaller, context: InContext, body: ChangeCustody) -> Response:
    """Change the team's settings. Results that a shorter time has made too old are deleted within minutes."""
    patch = body.model_dump(exclude_unset=True)
    with passed_on("settings"):
        return _json(await context.results.ask(caller.asker, "PATCH", _SETTINGS, custody.CustodySettings, body=patch))


@router.get("/plans/{plan_id}/custody", response_model=PlanCustodyView)
async def show_plan_custody(caller: TeamCaller, context: InContext, plan_id: UUID) -> Response:
    """How long the plan's results are kept, and whether they are backed up; also of a plan that was deleted."""
    await service.check_plan(caller, plan_id)
    path = f"/internal/v1/plans/{plan_id}/custody"
    with passed_on("plan"):
        return _json(await context.results.ask(caller.asker, "GET", path, custody.PlanCustody))


@router.patch("/plans/{plan_id}/custody", response_model=PlanCustodyView)
async def change_plan_custody(
    caller: TeamCaller, context: InContext, plan_id: UUID, body: ChangePlanCustody
) -> Response:
    """Change the plan's settings. Results that a shorter time has made too old are deleted within minutes."""
    await service.check_plan(caller, plan_id)
    path = f"/internal/v1/plans/{plan_id}/custody"
    patch = body.model_dump(exclude_unset=True)
    with passed_on("plan"):
        return _json(await context.results.ask(caller.asker, "PATCH", path, custody.PlanCustody, body=patch))


@router.get("/custody/backups", response_model=BackupsView)
async def show_backups(caller: TeamCaller, context: InContext) -> Response:
    """How many runs are in the team's backups, and whether they are up to date."""
    with passed_on("backups"):
        return _json(await context.results.ask(caller.asker, "GET", _BACKUPS, custody.BackupState))


@router.post("/custody/backups", status_code=202, response_model=BackupsView)
async def back_up(caller: TeamCaller, context: InContext) -> Response:
    """Back up now what has ended, which happens by itself within minutes. Ask again until nothing is due."""
    with passed_on("backups"):
        state = await context.results.ask(caller.asker, "POST", _BACKUPS, custody.BackupState)
    return Response(encode_json(state), 202, media_type="application/json")


@router.delete("/runs/{run_id}/results", response_model=DeletedView)
async def delete_run_results(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """Delete the results of a run that has ended, for good. From the answer on nobody can read them."""
    return _json(await service.delete_run(caller, context, run_id))


@router.delete("/plans/{plan_id}/results", response_model=DeletedView)
async def delete_plan_results(caller: TeamCaller, context: InContext, plan_id: UUID) -> Response:
    """Delete the results of all the plan's runs, none of which may be at work, and what is known of its findings."""
    return _json(await service.delete_plan(caller, context, plan_id))


@router.get("/custody/access", response_model=Page[AccessEntryView])
async def list_access(caller: TeamCaller, context: InContext, query: Annotated[AccessQuery, Query()]) -> Response:
    """Who read, exported or deleted results, or changed these settings; newest first. Nobody can change this record.

    Several reads of a run by the same token within ten minutes are one entry.
    """
    parameters = [("limit", str(query.limit)), ("before", str(min(query.before.int, _LAST_ENTRY)))]
    wanted = {"action": query.action, "object_id": query.object_id, "actor_id": query.token_id}
    parameters += [(name, str(value)) for name, value in wanted.items() if value is not None]
    with passed_on("entry"):
        page = await context.results.ask(
            caller.asker, "GET", "/internal/v1/access", custody.AccessPage, parameters=parameters
        )
    next_cursor = None if page.next_before is None else cursor_of(UUID(int=page.next_before))
    return _json({"items": page.items, "next_cursor": next_cursor})


def _json(answer: object) -> Response:
    return Response(encode_json(answer), media_type="application/json")

"""Routes on suppressions, severity overrides and the log of decisions, which the results service keeps."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.findings.passing import passed_on
from coreo_api.pages import Page, PageQuery, cursor_of
from coreo_api.results import Parameters
from coreo_api.suppressions.schemas import (
    ChangeSuppression,
    CreateSuppression,
    DecisionQuery,
    DecisionView,
    OverrideView,
    SetSeverity,
    SuppressionView,
)
from coreo_api.suppressions.service import author_of, check_rule
from coreo_api.teams.session import TeamCaller
from coreo_shared.contracts import decisions
from coreo_shared.contracts.base import encode_json
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1", tags=["decisions"], route_class=StrictRoute)
_SUPPRESSIONS = "/internal/v1/suppressions"
_OVERRIDES = "/internal/v1/severity-overrides"


@router.post("/suppressions", status_code=201, response_model=SuppressionView)
async def create_suppression(caller: TeamCaller, context: InContext, body: CreateSuppression) -> Response:
    """Show failed findings as SUPPRESSED, in all runs, from now on: no run has to be started for it."""
    author = await author_of(caller, cloud_account_id=body.cloud_account_id)
    new = {**body.model_dump(), "author": author}
    with passed_on("suppression"):
        made = await context.results.ask(caller.asker, "POST", _SUPPRESSIONS, decisions.Suppression, body=new)
    return _json(made, 201)


@router.get("/suppressions", response_model=Page[SuppressionView])
async def list_suppressions(caller: TeamCaller, context: InContext, query: Annotated[PageQuery, Query()]) -> Response:
    """The team's suppressions, newest first, with those that have expired."""
    with passed_on("suppression"):
        page = await context.results.ask(
            caller.asker, "GET", _SUPPRESSIONS, decisions.SuppressionPage, parameters=_page_parameters(query)
        )
    return _page(page)


@router.get("/suppressions/{suppression_id}", response_model=SuppressionView)
async def show_suppression(caller: TeamCaller, context: InContext, suppression_id: UUID) -> Response:
    """One suppression."""
    path = f"{_SUPPRESSIONS}/{suppression_id}"
    with passed_on("suppression"):
        return _json(await context.results.ask(caller.asker, "GET", path, decisions.Suppression))


@router.patch("/suppressions/{suppression_id}", response_model=SuppressionView)
async def change_suppression(
    caller: TeamCaller, context: InContext, suppression_id: UUID, body: ChangeSuppression
) -> Response:
    """Change a suppression. It shows at once, in all runs."""
    author = await author_of(caller, cloud_account_id=body.cloud_account_id)
    patch = {**body.given(), "author": author}
    path = f"{_SUPPRESSIONS}/{suppression_id}"
    with passed_on("suppression"):
        return _json(await context.results.ask(caller.asker, "PATCH", path, decisions.Suppression, body=patch))


@router.delete("/suppressions/{suppression_id}", status_code=204)
async def remove_suppression(caller: TeamCaller, context: InContext, suppression_id: UUID) -> None:
    """Remove a suppression. What it fitted shows as FAIL again; the log keeps that it was there."""
    author = await author_of(caller)
    path = f"{_SUPPRESSIONS}/{suppression_id}"
    with passed_on("suppression"):
        await context.results.tell(caller.asker, "DELETE", path, parameters=[("author", author)])


@router.put("/severity-overrides", response_model=OverrideView)
async def set_severity(caller: TeamCaller, context: InContext, body: SetSeverity) -> Response:
    """Give a rule a severity of the team's own: order, filters and counts of all runs follow it at once."""
    await check_rule(caller, context, body.rule_id)
    author = await author_of(caller, cloud_account_id=body.cloud_account_id)
    wish = {**body.model_dump(), "author": author}
    with passed_on("severity override"):
        return _json(await context.results.ask(caller.asker, "PUT", _OVERRIDES, decisions.SeverityOverride, body=wish))


@router.get("/severity-overrides", response_model=Page[OverrideView])
async def list_overrides(caller: TeamCaller, context: InContext, query: Annotated[PageQuery, Query()]) -> Response:
    """The severities that the team gave rules, newest first."""
    with passed_on("severity override"):
        page = await context.results.ask(
            caller.asker, "GET", _OVERRIDES, decisions.OverridePage, parameters=_page_parameters(query)
        )
    return _page(page)


@router.get("/severity-overrides/{override_id}", response_model=OverrideView)
async def show_override(caller: TeamCaller, context: InContext, override_id: UUID) -> Response:
    """One of them."""
    path = f"{_OVERRIDES}/{override_id}"
    with passed_on("severity override"):
        return _json(await context.results.ask(caller.asker, "GET", path, decisions.SeverityOverride))


@router.delete("/severity-overrides/{override_id}", status_code=204)
async def remove_override(caller: TeamCaller, context: InContext, override_id: UUID) -> None:
    """The rule has its own severity again."""
    author = await author_of(caller)
    path = f"{_OVERRIDES}/{override_id}"
    with passed_on("severity override"):
        await context.results.tell(caller.asker, "DELETE", path, parameters=[("author", author)])


@router.get("/decisions", response_model=Page[DecisionView])
async def list_decisions(caller: TeamCaller, context: InContext, query: Annotated[DecisionQuery, Query()]) -> Response:
    """Who suppressed, answered or overrode what, newest first. Nobody can change this log."""
    parameters = [*_page_parameters(query), *([] if query.kind is None else [("kind", str(query.kind))])]
    with passed_on("decision"):
        path = "/internal/v1/decisions"
        page = await context.results.ask(caller.asker, "GET", path, decisions.DecisionPage, parameters=parameters)
    return _page(page)


def _page_parameters(query: PageQuery) -> Parameters:
    return [("limit", str(query.limit)), ("before", str(query.before))]


def _page(page: decisions.SuppressionPage | decisions.OverridePage | decisions.DecisionPage) -> Response:
    next_cursor = None if page.next_before is None else cursor_of(page.next_before)
    return _json({"items": page.items, "next_cursor": next_cursor})


def _json(answer: object, status: int = 200) -> Response:
    return Response(encode_json(answer), status, media_type="application/json")

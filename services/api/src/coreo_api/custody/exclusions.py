"""Routes on exclusions from backups that were made already, and their receipts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.custody import service
from coreo_api.custody.exclusion_schemas import CustodyKeysView, Exclude, ExclusionView, ReceiptView
from coreo_api.findings.passing import passed_on
from coreo_api.pages import Page, PageQuery, cursor_of
from coreo_api.teams.session import TeamCaller
from coreo_shared.contracts import exclusions
from coreo_shared.contracts.base import encode_json
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1", tags=["custody"], route_class=StrictRoute)
_PATH = "/internal/v1/exclusions"


@router.post("/exclusions", status_code=202, response_model=ExclusionView)
async def exclude(caller: TeamCaller, context: InContext, body: Exclude) -> Response:
    """Take a run, or all runs of a plan or in a cloud account, out of all backups, so that nobody can undo it.

    It is pending until a receipt is signed; how far it is, `GET` says. Said again while it is pending it is the same
    one. Runs of such a plan or account that begin later are not backed up either.
    """
    return _json(await service.exclude(caller, context, body), 202)


@router.get("/exclusions", response_model=Page[ExclusionView])
async def list_exclusions(caller: TeamCaller, context: InContext, query: Annotated[PageQuery, Query()]) -> Response:
    """The team's exclusions, newest first."""
    parameters = [("limit", str(query.limit)), ("before", str(query.before))]
    with passed_on("exclusion"):
        page = await context.results.ask(caller.asker, "GET", _PATH, exclusions.ExclusionPage, parameters=parameters)
    next_cursor = None if page.next_before is None else cursor_of(page.next_before)
    return _json({"items": page.items, "next_cursor": next_cursor})


@router.get("/exclusions/{exclusion_id}", response_model=ExclusionView)
async def show_exclusion(caller: TeamCaller, context: InContext, exclusion_id: UUID) -> Response:
    """How far an exclusion is, and what remains."""
    with passed_on("exclusion"):
        return _json(await context.results.ask(caller.asker, "GET", f"{_PATH}/{exclusion_id}", exclusions.Exclusion))


@router.get("/exclusions/{exclusion_id}/receipt", response_model=ReceiptView)
async def show_receipt(caller: TeamCaller, context: InContext, exclusion_id: UUID) -> Response:
    """The signed receipt, once all steps are through: a compact JWS, to be checked offline with the keys below."""
    path = f"{_PATH}/{exclusion_id}/receipt"
    with passed_on("exclusion"):
        return _json(await context.results.ask(caller.asker, "GET", path, exclusions.SignedReceipt))


@router.get("/custody/keys", response_model=CustodyKeysView)
async def list_custody_keys(caller: TeamCaller, context: InContext) -> Response:
    """Public keys of who signs receipts, as a JWK set (RFC 7517), the present one first."""
    with passed_on("keys"):
        return _json(
            await context.results.ask(caller.asker, "GET", "/internal/v1/custody/keys", exclusions.CustodyKeys)
        )


def _json(answer: object, status: int = 200) -> Response:
    return Response(encode_json(answer), status, media_type="application/json")

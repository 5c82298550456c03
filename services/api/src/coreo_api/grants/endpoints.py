"""Routes on grants: they change nothing."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.grants import cloudformation, service
from coreo_api.grants.schemas import GrantQuery, GrantView
from coreo_api.teams.session import TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/cloud-accounts/{account_id}/grant", tags=["cloud accounts"], route_class=StrictRoute)


@router.get("")
async def show_grant(
    session: TeamSession, context: InContext, account_id: UUID, query: Annotated[GrantQuery, Query()]
) -> GrantView:
    """Ready-to-use texts that make a role for Coreo: CloudFormation, Terraform, commands, a stack set."""
    return service.view(context.settings, await service.grant_for(session, context, account_id, query))


@router.get("/template", response_class=Response, responses={200: {"content": {"application/yaml": {}}}})
async def download_template(
    session: TeamSession, context: InContext, account_id: UUID, query: Annotated[GrantQuery, Query()]
) -> Response:
    """The CloudFormation template as a file."""
    grant = await service.grant_for(session, context, account_id, query)
    return Response(
        cloudformation.template(grant),
        media_type="application/yaml",
        headers={"Content-Disposition": f'attachment; filename="{cloudformation.FILE_NAME}"'},
    )

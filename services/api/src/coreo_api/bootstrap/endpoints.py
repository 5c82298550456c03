"""The route that takes a customer's key."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from coreo_api.accounts.views import history_view
from coreo_api.bootstrap import advice, service
from coreo_api.bootstrap.body import posted_keys
from coreo_api.bootstrap.schemas import BootstrapView, PostKeys
from coreo_api.context import InContext
from coreo_api.teams.session import TeamCaller
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/cloud-accounts", tags=["cloud accounts"], route_class=StrictRoute)
# FastAPI must not read the body: what it reads becomes strings, and what it refuses it repeats.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{PostKeys.__name__}"}}},
    }
}


@router.post("/{account_id}/bootstrap", status_code=202, openapi_extra=_BODY)
async def bootstrap_account(
    caller: TeamCaller, context: InContext, account_id: UUID, request: Request
) -> BootstrapView:
    """Have the role made with an access key of the account. The key is used within this request and kept nowhere."""
    async with posted_keys(request) as keys:
        is_temporary = keys.session_token is not None
        started = await service.start(context, request.app.state.onboard_queue, caller, account_id, keys)
    return BootstrapView(
        history=history_view(started.entry),
        role_arn=started.role_arn,
        advice=list(advice.sentences(is_temporary=is_temporary)),
        commands=advice.commands(keys.wish, is_temporary=is_temporary),
    )

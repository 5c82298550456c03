"""Bodies of the routes on teams and tokens."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field

from coreo_api.schemas import Body, Name, View
from coreo_api.teams.scopes import ALL, Scope


class TeamView(View):
    """The caller's team."""

    id: UUID
    name: str
    created_at: datetime


class CreateToken(Body):
    """A token to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "ci", "expires_at": "2027-01-01T00:00:00Z", "scopes": ["read", "plan"]}]
        }
    )

    name: Name
    expires_at: Annotated[
        AwareDatetime | None, Field(description="RFC 3339 with a zone, in the future; null or left out: never.")
    ] = None
    scopes: Annotated[
        tuple[Scope, ...],
        Field(
            description="read: see everything of the team. plan: change plans, start runs, and all else that is not "
            "the next. approve: approve, reject and settle deploys, and say which plans need no approval. Tokens are "
            "made and revoked by tokens that have all three. Left out: all.",
        ),
    ] = ALL


class TokenView(View):
    """A token; the token itself is not stored and cannot be shown again."""

    id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None


class NewTokenView(TokenView):
    """A token just made."""

    token: Annotated[str, Field(description="The token. It is shown this once.")]

"""Query parameters of the routes on decisions."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

_LAST = UUID(int=(1 << 128) - 1)


class PageQuery(BaseModel):
    """Which part of a list: what is older than the id `before`."""

    model_config = ConfigDict(extra="forbid")

    before: UUID = _LAST
    limit: int = Field(default=100, ge=1, le=1_000)


class AuthorQuery(BaseModel):
    """Who removes something."""

    model_config = ConfigDict(extra="forbid")

    author: str = Field(min_length=1, max_length=100)

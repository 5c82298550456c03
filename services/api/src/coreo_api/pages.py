"""Cursor pagination: lists are ordered by id, which is by time, newest first; a cursor names the last one seen."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row

from coreo_api.schemas import Body
from coreo_shared.web.problems import Problem, invalid

MAX_PAGE = 200
Item = TypeVar("Item")
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description=f"How many at most, 1 to {MAX_PAGE}.")]
Cursor = Annotated[str | None, Field(max_length=1_000, description="`next_cursor` of the page before.")]


class PageQuery(Body):
    """Which part of a list."""

    limit: Limit = 50
    cursor: Cursor = None

    @property
    def before(self) -> UUID:
        """List what is older than this id. Raises Problem for a cursor that we did not make."""
        return LAST if self.cursor is None else _read(self.cursor)


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: Sequence[Item]
    next_cursor: Annotated[str | None, Field(description="Null on the last page.")] = None


def page_of(
    rows: Sequence[Row[Any]],
    limit: int,
    view: Callable[[Row[Any]], Item],
    key: Callable[[Row[Any]], UUID] = lambda row: row.id,
) -> Page[Item]:
    """The page of rows that were asked for with a limit one higher than the page's, in the order of `key`."""
    shown = rows[:limit]
    next_cursor = cursor_of(key(shown[-1])) if len(rows) > limit else None
    return Page(items=[view(row) for row in shown], next_cursor=next_cursor)


LAST = UUID(int=(1 << 128) - 1)


def cursor_of(last: UUID) -> str:
    """The cursor that goes on after `last`."""
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _bad_cursor() -> Problem:
    """The answer to a cursor that we did not make."""
    return invalid("query.cursor", "Not a cursor of this list: send `next_cursor` as it was answered.")


def _read(cursor: str) -> UUID:
    try:
        last = UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise _bad_cursor() from None
    if cursor_of(last) != cursor:  # the decoder is lenient
        raise _bad_cursor()
    return last

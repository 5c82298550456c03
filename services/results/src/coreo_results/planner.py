"""How PostgreSQL joins where it cannot know how many rows there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SWITCH = text(
    "SELECT set_config('enable_nestloop', :others, true), set_config('enable_mergejoin', :others, true)"
)  # for the transaction


@asynccontextmanager
async def joining_by_hash(connection: AsyncConnection) -> AsyncIterator[None]:
    """Statements inside join by hash, which takes seconds at worst.

    Of a table that was filled a moment ago, or an array's elements, the planner takes there to be a few; joining a
    hundred thousand of them one by one, or by the first column alone, takes minutes.
    """
    await connection.execute(_SWITCH, {"others": "off"})
    yield
    await connection.execute(_SWITCH, {"others": "on"})

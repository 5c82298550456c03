"""What was done to cloud accounts, and by whom. Some entries are tasks: runs of the onboard pool under their id."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.ids import new_id

BY_SCHEDULE = "schedule"
_COLUMNS = "id, cloud_account_id, kind, by_name, at, spec, state, report, reason, ended_at"


@dataclass(frozen=True)
class By:
    """Who did it: a token of the team, whose name is kept as it was, or Coreo itself."""

    token_id: UUID | None = None
    name: str = BY_SCHEDULE


async def by_token(connection: AsyncConnection, team_id: UUID, token_id: UUID) -> By:
    """The caller."""
    statement = text("SELECT name FROM tokens WHERE team_id = :team AND id = :id")
    name = (await connection.execute(statement, {"team": team_id, "id": token_id})).scalar_one()
    return By(token_id, name)


async def add(  # noqa: PLR0913  a row's columns
    connection: AsyncConnection,
    team_id: UUID,
    account_id: UUID,
    kind: str,
    by: By,
    now: datetime,
    *,
    spec: Mapping[str, Any] | None = None,
    expires_at: datetime | None = None,
    sent: bool = False,
) -> UUID:
    """Notes something done; with `expires_at` a task, which waits to be sent unless it was `sent`."""
    entry_id = new_id()
    statement = text(
        "INSERT INTO account_history (team_id, id, cloud_account_id, kind, token_id, by_name, at, spec, state,"
        " expires_at, due_at, sent_at) VALUES (:team, :id, :account, :kind, :token, :name, :now, CAST(:spec AS jsonb),"
        " :state, :expires, :due, :sent)"
    )
    values = {"team": team_id, "id": entry_id, "account": account_id, "kind": kind, "token": by.token_id}
    values |= {"name": by.name, "now": now, "spec": json.dumps(spec or {}), "expires": expires_at}
    is_task = expires_at is not None
    values |= {"state": "QUEUED" if is_task else None, "due": now if is_task else None}
    await connection.execute(statement, values | {"sent": now if sent else None})
    return entry_id


async def find(connection: AsyncConnection, team_id: UUID, account_id: UUID, entry_id: UUID) -> Row[Any] | None:
    """One entry."""
    statement = text(
        f"SELECT {_COLUMNS} FROM account_history"  # noqa: S608  constants
        " WHERE team_id = :team AND cloud_account_id = :account AND id = :id"
    )
    values = {"team": team_id, "account": account_id, "id": entry_id}
    return (await connection.execute(statement, values)).first()


async def list_page(
    connection: AsyncConnection, team_id: UUID, account_id: UUID, before: UUID, limit: int
) -> Sequence[Row[Any]]:
    """Entries, newest first."""
    statement = text(
        f"SELECT {_COLUMNS} FROM account_history"  # noqa: S608  constants
        " WHERE team_id = :team AND cloud_account_id = :account AND id < :before ORDER BY id DESC LIMIT :limit"
    )
    values = {"team": team_id, "account": account_id, "before": before, "limit": limit}
    return (await connection.execute(statement, values)).all()


async def open_task(connection: AsyncConnection, team_id: UUID, account_id: UUID) -> Row[Any] | None:
    """The task under way in the account; there is one at most."""
    statement = text(
        f"SELECT {_COLUMNS} FROM account_history WHERE team_id = :team AND cloud_account_id = :account"  # noqa: S608
        " AND state IS NOT NULL AND ended_at IS NULL AND kind <> 'purge'"
    )
    return (await connection.execute(statement, {"team": team_id, "account": account_id})).first()


async def end(
    connection: AsyncConnection, team_id: UUID, entry_id: UUID, *, state: str, reason: str | None, now: datetime
) -> Row[Any] | None:
    """A task that is over without a report; None when it was over before."""
    statement = text(
        "UPDATE account_history SET state = :state, reason = :reason, ended_at = :now"  # noqa: S608  constants
        f" WHERE team_id = :team AND id = :id AND ended_at IS NULL RETURNING team_id, token_id, {_COLUMNS}"
    )
    values = {"team": team_id, "id": entry_id, "state": state, "reason": reason, "now": now}
    return (await connection.execute(statement, values)).first()

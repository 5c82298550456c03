"""What a discovery means for a team's cloud accounts: drafts of those it lacks, and word of those that have left."""

import json
import unicodedata
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts import history, repository
from coreo_api.accounts.external_ids import new_external_id
from coreo_api.accounts.history import By
from coreo_api.accounts.states import AccountState
from coreo_shared.contracts.onboarding import DiscoverReport

_ACTIVE = "ACTIVE"
_LONGEST_NAME = 100


async def make(
    connection: AsyncConnection, team_id: UUID, report: DiscoverReport, by: By, now: datetime, *, leave_out: str
) -> None:
    """A cloud account for each active account that the team has none for; `leave_out` is Coreo's own.

    Accounts that are suspended, or are there already, stay as they are.
    """
    statement = text("SELECT account_id FROM cloud_accounts WHERE team_id = :team AND deleted_at IS NULL")
    known = {*(await connection.execute(statement, {"team": team_id})).scalars(), leave_out}
    for found in report.accounts:
        if found.status != _ACTIVE or found.account_id in known:
            continue
        row = await repository.insert(
            connection,
            team_id,
            name=_name(found.name) or found.account_id,
            account_id=found.account_id,
            external_id=new_external_id(),
            state=AccountState.PENDING,
            now=now,
        )
        spec = {"organization_id": report.organization_id}
        await history.add(connection, team_id, row.id, "created", by, now, spec=spec)


async def note_moved_away(connection: AsyncConnection, task: Row[Any], report: DiscoverReport) -> None:
    """Adds to the discovery's report which of the team's cloud accounts the organization had, and has no more.

    It had those that were made as its drafts, and those that the discovery before listed. They stay as they are: their
    roles prove themselves as ever.
    """
    statement = text(
        "WITH before AS (SELECT report FROM account_history WHERE team_id = :team AND kind = 'discover' AND id < :task"
        " AND report->>'organization_id' = :organization ORDER BY id DESC LIMIT 1)"
        " SELECT c.id, c.account_id, c.name FROM cloud_accounts c WHERE c.team_id = :team AND c.deleted_at IS NULL"
        " AND c.account_id <> ALL(CAST(:listed AS text[]))"
        " AND (EXISTS (SELECT FROM account_history h WHERE h.team_id = c.team_id AND h.cloud_account_id = c.id"
        " AND h.kind = 'created' AND h.spec->>'organization_id' = :organization)"
        " OR c.account_id IN (SELECT each->>'account_id' FROM before, jsonb_array_elements(report->'accounts') each))"
        " ORDER BY c.id"
    )
    values: dict[str, Any] = {"team": task.team_id, "task": task.id, "organization": report.organization_id}
    values |= {"listed": [found.account_id for found in report.accounts]}
    rows = (await connection.execute(statement, values)).all()
    moved = [{"cloud_account_id": str(row.id), "account_id": row.account_id, "name": row.name} for row in rows]
    note = text(
        "UPDATE account_history SET report = report || CAST(:moved AS jsonb) WHERE team_id = :team AND id = :task"
    )
    values = {"moved": json.dumps({"moved_away": moved}), "team": task.team_id, "task": task.id}
    await connection.execute(note, values)


def _name(name: str) -> str:
    """AWS's name as ours may be."""
    shown = "".join(character for character in name if unicodedata.category(character) not in {"Cc", "Cs"})
    return shown.strip()[:_LONGEST_NAME].strip()

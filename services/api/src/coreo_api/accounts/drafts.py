"""Drafts of cloud accounts: one for each active account of an organization that the team has none for yet."""

import unicodedata
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts import history, repository
from coreo_api.accounts.external_ids import new_external_id
from coreo_api.accounts.history import By
from coreo_api.accounts.states import AccountState
from coreo_shared.contracts.onboarding import DiscoverReport

_ACTIVE = "ACTIVE"
_LONGEST_NAME = 100


async def make(connection: AsyncConnection, manager: Row[Any], report: DiscoverReport, by: By, now: datetime) -> None:
    """Adds what is missing; accounts that are suspended, or are there already, stay as they are."""
    statement = text("SELECT account_id FROM cloud_accounts WHERE team_id = :team AND deleted_at IS NULL")
    known = set((await connection.execute(statement, {"team": manager.team_id})).scalars())
    for found in report.accounts:
        if found.status != _ACTIVE or found.account_id in known:
            continue
        row = await repository.insert(
            connection,
            manager.team_id,
            name=_name(found.name) or found.account_id,
            account_id=found.account_id,
            external_id=new_external_id(),
            state=AccountState.PENDING,
            now=now,
        )
        await history.add(
            connection, manager.team_id, row.id, "created", by, now, spec={"organization": report.organization_id}
        )


def _name(name: str) -> str:
    """AWS's name as ours may be."""
    shown = "".join(character for character in name if unicodedata.category(character) not in {"Cc", "Cs"})
    return shown.strip()[:_LONGEST_NAME].strip()

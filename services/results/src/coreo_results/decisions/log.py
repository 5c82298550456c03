"""Who decided what, and when. Entries are added with the decision itself, in its transaction, and never change."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.decisions.sealing import Opener, SealedText, seal_text
from coreo_results.keys.material import SecretKey
from coreo_results.keys.service import Keys
from coreo_shared.contracts.base import Message
from coreo_shared.contracts.decisions import Decision, DecisionAction, DecisionKind, DecisionPage
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_ADD = text(
    "INSERT INTO decisions (team_id, decision_id, kind, action, key_version, sealed)"
    " VALUES (:team, :id, :kind, :action, :key_version, :sealed)"
)
_PAGE = text("""
    SELECT decision_id, at, kind, action, key_version, sealed FROM decisions
    WHERE team_id = :team AND decision_id < :before AND (CAST(:kind AS text) IS NULL OR kind = CAST(:kind AS text))
    ORDER BY decision_id DESC LIMIT :limit
""")


class _Text(Message, frozen=True, kw_only=True):
    subject: str
    author: str
    details: dict[str, str | None]


class NewDecision(Message, frozen=True, kw_only=True):
    """An entry to be."""

    kind: DecisionKind
    action: DecisionAction
    subject: str
    author: str
    details: dict[str, str | None]


async def note(connection: AsyncConnection, team_id: UUID, key: SecretKey, decision: NewDecision) -> None:
    """Adds an entry to the team's log."""
    decision_id = new_id()
    written = _Text(subject=decision.subject, author=decision.author, details=decision.details)
    sealed = seal_text(key, written, "log", team_id, decision_id)
    values = {"team": team_id, "id": decision_id, "kind": decision.kind, "action": decision.action}
    await connection.execute(_ADD, {**values, "key_version": sealed.key_version, "sealed": sealed.sealed})
    _log.info(
        "decision", team_id=str(team_id), decision_id=str(decision_id), kind=decision.kind, action=decision.action
    )


class DecisionLog:
    """The log as its team reads it."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def page(self, team_id: UUID, kind: DecisionKind | None, before: UUID, limit: int) -> DecisionPage:
        """Entries older than `before`, newest first. Raises KeyUnavailableError, DamagedError."""
        values = {"team": team_id, "before": before, "kind": kind, "limit": limit + 1}
        async with self._database.transaction(team_id) as connection:
            rows = (await connection.execute(_PAGE, values)).all()
        opener = await Opener.for_versions(self._keys, team_id, {row.key_version for row in rows[:limit]})
        items = []
        for row in rows[:limit]:
            sealed = SealedText(row.key_version, row.sealed)
            said = opener.open(sealed, _Text, "log", team_id, row.decision_id)
            items.append(
                Decision(
                    id=row.decision_id,
                    at=row.at,
                    kind=DecisionKind(row.kind),
                    action=DecisionAction(row.action),
                    subject=said.subject,
                    author=said.author,
                    details=said.details,
                )
            )
        return DecisionPage(items=items, next_before=items[-1].id if len(rows) > limit else None)

"""Severity overrides as their team sets and removes them."""

from uuid import UUID

from msgspec import UNSET

from coreo_results.chunks.validation import check_rules
from coreo_results.decisions.log import NewDecision, note
from coreo_results.decisions.sealing import Opener, decision_key, seal_text
from coreo_results.keys.service import Keys
from coreo_results.overrides.repository import OverrideRepository, StoredOverride
from coreo_results.suppressions.validation import check_words
from coreo_shared.contracts.base import Message
from coreo_shared.contracts.decisions import (
    MAX_OVERRIDES,
    DecisionAction,
    DecisionKind,
    OverridePage,
    SetSeverity,
    SeverityOverride,
)
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found


class _Text(Message, frozen=True, kw_only=True):
    reason: str
    author: str


class Overrides:
    """The team's severity overrides on the request path."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def set(self, team_id: UUID, wish: SetSeverity) -> SeverityOverride:
        """The rule's override, new or changed. Raises 409 and 422 Problems, KeyUnavailableError."""
        check_rules("body.rule_id", [wish.rule_id])
        check_words(wish.reason, wish.author)
        key = await decision_key(self._keys, team_id)
        text = _Text(reason=wish.reason, author=wish.author)
        async with self._database.transaction(team_id) as connection:
            repository = OverrideRepository(connection, team_id)
            count = await repository.lock_count()
            known = await repository.id_of(wish.rule_id, wish.cloud_account_id)
            if known is None and count >= MAX_OVERRIDES:
                raise Problem(409, "too_many_overrides", f"A team has {MAX_OVERRIDES} severity overrides at most.")
            override_id = known or new_id()
            sealed = seal_text(key, text, "override", team_id, override_id)
            stored = await repository.set(override_id, wish.rule_id, wish.cloud_account_id, wish.severity, sealed)
            action = DecisionAction.ADDED if known is None else DecisionAction.CHANGED
            made = _view(stored, text)
            await note(connection, team_id, key, _decision(action, made, wish.author))
        return made

    async def find(self, team_id: UUID, override_id: UUID) -> SeverityOverride:
        """The override. Raises a 404 Problem, KeyUnavailableError, DamagedError."""
        async with self._database.transaction(team_id) as connection:
            stored = await OverrideRepository(connection, team_id).find(override_id)
        if stored is None:
            raise not_found("severity override")
        return (await self._views(team_id, [stored]))[0]

    async def page(self, team_id: UUID, before: UUID, limit: int) -> OverridePage:
        """Those older than `before`, newest first. Raises KeyUnavailableError, DamagedError."""
        async with self._database.transaction(team_id) as connection:
            rows = await OverrideRepository(connection, team_id).page(before, limit + 1)
        items = await self._views(team_id, list(rows[:limit]))
        return OverridePage(items=items, next_before=items[-1].id if len(rows) > limit else None)

    async def remove(self, team_id: UUID, override_id: UUID, author: str) -> None:
        """Raises 404 and 422 Problems, KeyUnavailableError, DamagedError."""
        check_words(UNSET, author)
        was = await self.find(team_id, override_id)
        key = await decision_key(self._keys, team_id)
        async with self._database.transaction(team_id) as connection:
            if not await OverrideRepository(connection, team_id).remove(override_id):
                raise not_found("severity override")
            await note(connection, team_id, key, _decision(DecisionAction.REMOVED, was, author))

    async def _views(self, team_id: UUID, rows: list[StoredOverride]) -> list[SeverityOverride]:
        opener = await Opener.for_versions(self._keys, team_id, {row.text.key_version for row in rows})
        return [_view(row, opener.open(row.text, _Text, "override", team_id, row.id)) for row in rows]


def _view(stored: StoredOverride, text: _Text) -> SeverityOverride:
    return SeverityOverride(
        id=stored.id,
        rule_id=stored.rule_id,
        severity=stored.severity,
        cloud_account_id=stored.cloud_account_id,
        reason=text.reason,
        author=text.author,
        updated_at=stored.updated_at,
    )


def _decision(action: DecisionAction, override: SeverityOverride, author: str) -> NewDecision:
    account = override.cloud_account_id
    details: dict[str, str | None] = {
        "rule_id": override.rule_id,
        "severity": override.severity,
        "cloud_account_id": None if account is None else str(account),
        "reason": override.reason,
    }
    return NewDecision(
        kind=DecisionKind.SEVERITY, action=action, subject=str(override.id), author=author, details=details
    )

"""Suppressions as their team makes, changes and removes them."""

from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from coreo_results.decisions.log import NewDecision, note
from coreo_results.decisions.sealing import Opener, decision_key, seal_text
from coreo_results.keys.service import Keys
from coreo_results.suppressions.repository import StoredSuppression, SuppressionRepository
from coreo_results.suppressions.validation import check_expiry, check_matchers, check_narrow, check_words
from coreo_shared.contracts.base import Message
from coreo_shared.contracts.decisions import (
    MAX_SUPPRESSIONS,
    DecisionAction,
    DecisionKind,
    NewSuppression,
    Suppression,
    SuppressionPage,
    SuppressionPatch,
)
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found

T = TypeVar("T")
_PATTERNS = ("rule_id", "resource", "tag", "region")


class SuppressionText(Message, frozen=True, kw_only=True):
    """What is encrypted of a suppression."""

    rule_id: str | None
    resource: str | None
    tag: str | None
    region: str | None
    reason: str
    author: str
    changed_by: str | None = None


class Suppressions:
    """The team's suppressions on the request path."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def add(self, team_id: UUID, new: NewSuppression) -> Suppression:
        """A new suppression. Raises 409 and 422 Problems, KeyUnavailableError."""
        check_matchers(new.rule_id, new.resource, new.tag, new.region)
        check_narrow(new.rule_id, new.resource, new.tag)
        check_words(new.reason, new.author)
        check_expiry(new.expires_at)
        key = await decision_key(self._keys, team_id)
        text = SuppressionText(
            rule_id=new.rule_id,
            resource=new.resource,
            tag=new.tag,
            region=new.region,
            reason=new.reason,
            author=new.author,
        )
        suppression_id = new_id()
        sealed = seal_text(key, text, "suppression", team_id, suppression_id)
        async with self._database.transaction(team_id) as connection:
            repository = SuppressionRepository(connection, team_id)
            if await repository.lock_count() >= MAX_SUPPRESSIONS:
                detail = f"A team has {MAX_SUPPRESSIONS} suppressions at most. Remove those that have expired."
                raise Problem(409, "too_many_suppressions", detail)
            stored = await repository.add(suppression_id, new.cloud_account_id, new.expires_at, sealed)
            made = view(stored, text)
            await note(connection, team_id, key, _decision(DecisionAction.ADDED, made, new.author))
        return made

    async def find(self, team_id: UUID, suppression_id: UUID) -> Suppression:
        """The suppression. Raises a 404 Problem, KeyUnavailableError, DamagedError."""
        async with self._database.transaction(team_id) as connection:
            stored = await SuppressionRepository(connection, team_id).find(suppression_id)
        if stored is None:
            raise not_found("suppression")
        (text,) = await self.open(team_id, [stored])
        return view(stored, text)

    async def page(self, team_id: UUID, before: UUID, limit: int) -> SuppressionPage:
        """Those older than `before`, newest first. Raises KeyUnavailableError, DamagedError."""
        async with self._database.transaction(team_id) as connection:
            rows = await SuppressionRepository(connection, team_id).page(before, limit + 1)
        shown = rows[:limit]
        texts = await self.open(team_id, shown)
        items = [view(stored, text) for stored, text in zip(shown, texts, strict=True)]
        return SuppressionPage(items=items, next_before=shown[-1].id if len(rows) > limit else None)

    async def change(self, team_id: UUID, suppression_id: UUID, patch: SuppressionPatch) -> Suppression:
        """The suppression, changed. Raises 404 and 422 Problems, KeyUnavailableError, DamagedError."""
        check_matchers(patch.rule_id, patch.resource, patch.tag, patch.region)
        check_words(patch.reason, patch.author)
        check_expiry(patch.expires_at)
        await self.find(team_id, suppression_id)  # so that its key is at hand: nothing is awaited with rows locked
        key = await decision_key(self._keys, team_id)
        async with self._database.transaction(team_id) as connection:
            repository = SuppressionRepository(connection, team_id)
            before = await repository.find(suppression_id, lock=True)
            if before is None:
                raise not_found("suppression")
            (text,) = await self.open(team_id, [before])
            changed, is_other = _changed(before, text, patch)
            check_narrow(changed.rule_id, changed.resource, changed.tag)
            after = replace(
                before,
                version=before.version + is_other,
                cloud_account_id=_kept(before.cloud_account_id, patch.cloud_account_id),
                expires_at=_kept(before.expires_at, patch.expires_at),
                text=seal_text(key, changed, "suppression", team_id, suppression_id),
            )
            if is_other:
                await repository.forget_hits(suppression_id)
            made = view(await repository.save(after), changed)
            await note(connection, team_id, key, _decision(DecisionAction.CHANGED, made, patch.author))
        return made

    async def remove(self, team_id: UUID, suppression_id: UUID, author: str) -> None:
        """Raises 404 and 422 Problems, KeyUnavailableError, DamagedError."""
        check_words(UNSET, author)
        was = await self.find(team_id, suppression_id)
        key = await decision_key(self._keys, team_id)
        async with self._database.transaction(team_id) as connection:
            repository = SuppressionRepository(connection, team_id)
            if await repository.find(suppression_id, lock=True) is None:
                raise not_found("suppression")
            await repository.remove(suppression_id)
            await note(connection, team_id, key, _decision(DecisionAction.REMOVED, was, author))

    async def open(self, team_id: UUID, rows: list[StoredSuppression]) -> list[SuppressionText]:
        """What is encrypted of these. Raises KeyUnavailableError, DamagedError."""
        opener = await Opener.for_versions(self._keys, team_id, {row.text.key_version for row in rows})
        return [opener.open(row.text, SuppressionText, "suppression", team_id, row.id) for row in rows]


def _kept(before: T, given: T | UnsetType) -> T:
    return before if given is UNSET else given


def _changed(before: StoredSuppression, text: SuppressionText, patch: SuppressionPatch) -> tuple[SuppressionText, bool]:
    """The text after the patch, and whether it may fit other findings."""
    given = {name: getattr(patch, name) for name in (*_PATTERNS, "reason") if getattr(patch, name) is not UNSET}
    after = msgspec.structs.replace(text, **given, changed_by=patch.author)
    is_other = any(getattr(after, name) != getattr(text, name) for name in _PATTERNS)
    return after, is_other or patch.cloud_account_id not in {UNSET, before.cloud_account_id}


def view(stored: StoredSuppression, text: SuppressionText) -> Suppression:
    """The suppression as it is answered."""
    return Suppression(
        id=stored.id,
        rule_id=text.rule_id,
        resource=text.resource,
        tag=text.tag,
        region=text.region,
        cloud_account_id=stored.cloud_account_id,
        reason=text.reason,
        author=text.author,
        changed_by=text.changed_by,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        expires_at=stored.expires_at,
        live=stored.live,
    )


def _decision(action: DecisionAction, suppression: Suppression, author: str) -> NewDecision:
    account, expiry = suppression.cloud_account_id, suppression.expires_at
    details = {name: getattr(suppression, name) for name in (*_PATTERNS, "reason")}
    details["cloud_account_id"] = None if account is None else str(account)
    details["expires_at"] = None if expiry is None else expiry.isoformat()
    return NewDecision(
        kind=DecisionKind.SUPPRESSION, action=action, subject=str(suppression.id), author=author, details=details
    )

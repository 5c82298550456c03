"""What people decide about findings: suppressions, severities of their own, and the log of who did what.

`author` is the name of the token that asked; the api says it, as the results service knows no tokens of customers.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.terms import Severity

Time = Annotated[datetime, Meta(tz=True)]

MAX_SUPPRESSIONS = 1_000  # of a team
MAX_OVERRIDES = 1_000
MAX_REASON = 1_000  # characters
MAX_PATTERN = 512
MAX_LIFETIME_DAYS = 731


class NewSuppression(Message, frozen=True, kw_only=True):
    """FAIL findings that fit all that is given here are shown as SUPPRESSED.

    `rule_id` and `resource` may hold `*` for any text; `resource` is held against id and ARN; `tag` is `key=value`, and
    fits findings whose evidence has Tags alone. One of the three must be given.
    """

    rule_id: str | None = None
    resource: str | None = None
    tag: str | None = None
    region: str | None = None
    cloud_account_id: UUID | None = None
    reason: str
    expires_at: Time | None = None
    author: str


class SuppressionPatch(Message, frozen=True, kw_only=True):
    """A suppression's change: what is not there stays as it is."""

    rule_id: str | UnsetType | None = UNSET
    resource: str | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET
    region: str | UnsetType | None = UNSET
    cloud_account_id: UUID | UnsetType | None = UNSET
    reason: str | UnsetType = UNSET
    expires_at: Time | UnsetType | None = UNSET
    author: str


class Suppression(Message, frozen=True, kw_only=True):
    """A suppression as it stands. `live`: it has not expired."""

    id: UUID
    rule_id: str | None
    resource: str | None
    tag: str | None
    region: str | None
    cloud_account_id: UUID | None
    reason: str
    author: str  # who made it
    changed_by: str | None  # who changed it last
    created_at: Time
    updated_at: Time
    expires_at: Time | None
    live: bool


class SuppressionPage(Message, frozen=True, kw_only=True):
    """Suppressions, newest first. `next_before`: list what is older than this id next; None on the last page."""

    items: list[Suppression]
    next_before: UUID | None


class SetSeverity(Message, frozen=True, kw_only=True):
    """Findings of the rule have this severity, in one cloud account or in all. Set again, it replaces."""

    rule_id: str
    severity: Severity
    cloud_account_id: UUID | None = None
    reason: str
    author: str


class SeverityOverride(Message, frozen=True, kw_only=True):
    """A severity that a team gave a rule. One for a cloud account goes before one for all."""

    id: UUID
    rule_id: str
    severity: Severity
    cloud_account_id: UUID | None
    reason: str
    author: str
    updated_at: Time


class OverridePage(Message, frozen=True, kw_only=True):
    """Overrides, newest first."""

    items: list[SeverityOverride]
    next_before: UUID | None


class DecisionKind(StrEnum):
    """What was decided on."""

    SUPPRESSION = "suppression"
    SEVERITY = "severity"
    ANSWER = "answer"
    DEPLOY = "deploy"  # what was done about a deploy run


class DecisionAction(StrEnum):
    """What was done."""

    ADDED = "ADDED"
    CHANGED = "CHANGED"
    REMOVED = "REMOVED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    RECONCILED = "RECONCILED"  # somebody had a worker look what became of it
    SETTLED = "SETTLED"  # somebody said what became of it


class Decision(Message, frozen=True, kw_only=True):
    """An entry of the log.

    `subject` is the id of the suppression, override or run, or a control as `framework/control`.
    """

    id: UUID
    at: Time
    kind: DecisionKind
    action: DecisionAction
    subject: str
    author: str
    details: dict[str, str | None]  # as it is from then on; for REMOVED, as it was


class DecisionPage(Message, frozen=True, kw_only=True):
    """Entries of the log, newest first."""

    items: list[Decision]
    next_before: UUID | None

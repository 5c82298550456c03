"""What became of findings since the run before: of the same plan in the same cloud account."""

from enum import StrEnum
from uuid import UUID

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity


class Change(StrEnum):
    """A finding beside what was last known of it."""

    NEW = "NEW"  # nothing was known of it, or its resource was gone
    UNCHANGED = "UNCHANGED"  # the same status
    CHANGED = "CHANGED"  # another status; FAIL that becomes PASS is RESOLVED
    RESOLVED = "RESOLVED"  # it failed when it was judged last, and passes now


class ListedFinding(Finding, frozen=True, kw_only=True):
    """A finding with what the results service knows beside it.

    `change` is null while the run has not ended, and for runs of before changes were kept; `previous_status` is null
    for what is new.
    """

    change: Change | None = None
    previous_status: FindingStatus | None = None
    first_seen: str | None = None  # RFC 3339, UTC
    first_run_id: UUID | None = None
    suppression_id: UUID | None = None  # of a finding that is shown as SUPPRESSED
    suppression_reason: str | None = None
    rule_severity: Severity | None = None  # the rule's own, where the team gave it another


class ChangeCounts(Message, frozen=True, kw_only=True):
    """Findings of a run by change. `resolved` counts those that pass now and those whose resource is gone.

    `not_seen`: known findings that this run says nothing of, as their resources could not be listed or their rules or
    regions were no part of it. They are neither resolved nor lost.
    """

    new: int = 0
    unchanged: int = 0
    changed: int = 0
    resolved: int = 0
    not_seen: int = 0


class RunChanges(Message, frozen=True, kw_only=True):
    """A run beside the one before. `counts` is null while the run has not ended."""

    run_id: UUID
    previous_run_id: UUID | None
    counts: ChangeCounts | None


class ResolvedFinding(Finding, frozen=True, kw_only=True):
    """A finding that failed, as it was when it did so last, in `failed_run_id`."""

    gone: bool  # its resource is; else it passes now
    first_seen: str
    first_run_id: UUID
    failed_run_id: UUID


class ResolvedPage(Message, frozen=True, kw_only=True):
    """Findings that a run resolved, most severe first."""

    findings: list[ResolvedFinding]
    total: int
    next_cursor: str | None


class ListedPage(Message, frozen=True, kw_only=True):
    """A `contracts.results.FindingPage` that was asked for in full."""

    findings: list[ListedFinding]
    total: int
    next_cursor: str | None

"""What can be asked about a run's findings, and the answers."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from coreo_api.pages import Cursor
from coreo_api.schemas import Body, View
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus, Severity

_Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")]

_Limit = Annotated[int, Field(ge=1, le=1_000, description="How many at most, 1 to 1,000.")]

_Export = Annotated[bool, Field(description="Say so when you take findings away: the access record then does too.")]


class FindingQuery(Body):
    """Which findings to list. Values of one filter, given several times, are alternatives; filters narrow."""

    status: Annotated[tuple[FindingStatus, ...], Field(max_length=10)] = ()
    severity: Annotated[tuple[Severity, ...], Field(max_length=10)] = ()
    rule_id: Annotated[tuple[_Name, ...], Field(max_length=100)] = ()
    region: Annotated[tuple[_Name, ...], Field(max_length=100)] = ()
    resource: Annotated[
        str | None, Field(min_length=1, max_length=2_048, description="A resource's id or ARN, whole.")
    ] = None
    change: Annotated[
        tuple[Change, ...], Field(max_length=10, description="Beside what was known before; of a run that has ended.")
    ] = ()
    cursor: Cursor = None
    limit: _Limit = 50
    export: _Export = False

    def parameters(self) -> list[tuple[str, str]]:
        """As the results service takes them."""
        lists = ("status", "severity", "rule_id", "region", "change")
        parameters = [(name, str(value)) for name in lists for value in getattr(self, name)]
        singles = {"resource": self.resource, "cursor": self.cursor, "limit": self.limit, "full": "true"}
        parameters += [(name, str(value)) for name, value in singles.items() if value is not None]
        return parameters + _told(export=self.export)


class ResolvedQuery(Body):
    """Which part of the list of what a run resolved."""

    cursor: Cursor = None
    limit: _Limit = 50
    export: _Export = False

    def parameters(self) -> list[tuple[str, str]]:
        """As the results service takes them."""
        cursor = [] if self.cursor is None else [("cursor", self.cursor)]
        return [*cursor, ("limit", str(self.limit)), *_told(export=self.export)]


def _told(*, export: bool) -> list[tuple[str, str]]:
    return [("export", "true")] if export else []


class _Finding(View):
    fingerprint: Annotated[str, Field(description="The same over runs: follows from account, rule and resource.")]
    rule_id: str
    status: FindingStatus
    severity: Severity
    resource_type: str
    resource_id: str
    resource_arn: str | None
    region: Annotated[str, Field(description='"global" where the resource has none.')]
    message: str
    evidence: Annotated[dict[str, Any], Field(description="What the verdict rests on.")]
    reason: Annotated[str | None, Field(description="For NOT_EVALUATED: why.")]
    missing_actions: Annotated[list[str], Field(description="For NOT_EVALUATED: IAM actions that would help.")]


class FindingView(_Finding):
    """What one rule says of one resource."""

    change: Annotated[
        Change | None,
        Field(
            description="NEW; UNCHANGED; CHANGED: another status than before; RESOLVED: it failed before. Null until "
            "the run has ended."
        ),
    ]
    previous_status: FindingStatus | None
    first_seen: Annotated[
        datetime | None, Field(description="When a run of this plan in this account saw it for the first time.")
    ]
    first_run_id: UUID | None
    suppression_id: Annotated[UUID | None, Field(description="Of a failed finding that is shown as SUPPRESSED.")]
    suppression_reason: str | None
    rule_severity: Annotated[Severity | None, Field(description="The rule's own, where the team gave it another.")]


class FindingPageView(View):
    """A part of a run's findings, most severe first."""

    items: list[FindingView]
    total: Annotated[int, Field(description="How many there are in all pages.")]
    next_cursor: str | None


class ResolvedView(_Finding):
    """A finding that failed, as it was when it did so last."""

    gone: Annotated[bool, Field(description="Whether its resource is gone; else it passes now.")]
    first_seen: datetime
    first_run_id: UUID
    failed_run_id: Annotated[UUID, Field(description="The last run in which it failed.")]


class ResolvedPageView(View):
    """A part of what a run resolved, most severe first."""

    items: list[ResolvedView]
    total: Annotated[int, Field(description="How many there are in all pages.")]
    next_cursor: str | None


class ChangeCountsView(View):
    """How many findings of a run are new, and so on."""

    new: int
    unchanged: int
    changed: Annotated[int, Field(description="Another status than before, but not resolved.")]
    resolved: Annotated[int, Field(description="Failed before; pass now, or their resource is gone.")]
    not_seen: Annotated[
        int,
        Field(
            description="Known before, and this run says nothing of them: their resources could not be listed, or "
            "their rule or region is no longer in the plan. Neither resolved nor lost."
        ),
    ]


class RunChangesView(View):
    """A run beside the one before."""

    run_id: UUID
    previous_run_id: Annotated[UUID | None, Field(description="Null for a plan's first run in an account.")]
    counts: Annotated[ChangeCountsView | None, Field(description="Null until the run has ended.")]


class RuleCountsView(View):
    """How one rule came out in a run."""

    rule_id: str
    severity: Severity
    by_status: dict[FindingStatus, int]


class RuleCountsPage(View):
    """All rules of a run."""

    items: list[RuleCountsView]
    next_cursor: None = None

"""What can be asked about a run's findings, and the answers."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from coreo_api.pages import Cursor
from coreo_api.schemas import Body, View
from coreo_shared.contracts.terms import FindingStatus, Severity

_Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")]


class FindingQuery(Body):
    """Which findings to list. Values of one filter, given several times, are alternatives; filters narrow."""

    status: Annotated[tuple[FindingStatus, ...], Field(max_length=10)] = ()
    severity: Annotated[tuple[Severity, ...], Field(max_length=10)] = ()
    rule_id: Annotated[tuple[_Name, ...], Field(max_length=100)] = ()
    region: Annotated[tuple[_Name, ...], Field(max_length=100)] = ()
    resource: Annotated[
        str | None, Field(min_length=1, max_length=2_048, description="A resource's id or ARN, whole.")
    ] = None
    cursor: Cursor = None
    limit: Annotated[int, Field(ge=1, le=1_000, description="How many at most, 1 to 1,000.")] = 50

    def parameters(self) -> list[tuple[str, str]]:
        """As the results service takes them."""
        lists = ("status", "severity", "rule_id", "region")
        parameters = [(name, str(value)) for name in lists for value in getattr(self, name)]
        singles = {"resource": self.resource, "cursor": self.cursor, "limit": self.limit}
        return parameters + [(name, str(value)) for name, value in singles.items() if value is not None]


class FindingView(View):
    """What one rule says of one resource."""

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


class FindingPageView(View):
    """A part of a run's findings, most severe first."""

    items: list[FindingView]
    total: Annotated[int, Field(description="How many there are in all pages.")]
    next_cursor: str | None


class RuleCountsView(View):
    """How one rule came out in a run."""

    rule_id: str
    severity: Severity
    by_status: dict[FindingStatus, int]


class RuleCountsPage(View):
    """All rules of a run."""

    items: list[RuleCountsView]
    next_cursor: None = None

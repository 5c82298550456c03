"""Bodies of the routes on frameworks and on people's answers."""

from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints

from coreo_api.pages import PageQuery
from coreo_api.schemas import Body, View
from coreo_shared.catalogue.compliance import ControlStatus

FrameworkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{1,60}$")]
ControlName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,60}$")]


def _prose(value: str) -> str:
    """Text of people: lines are welcome, what PostgreSQL cannot store is not."""
    if any((character < " " and character not in "\n\t") or "\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain control characters or broken Unicode")
    return value


def _https(value: str) -> str:
    try:
        parts = urlsplit(value)
        fits = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
    except ValueError:
        fits = False
    if not fits or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be an https address without a user name")
    return value


class FrameworkView(View):
    """A framework that runs can be held against."""

    id: str
    title: str
    publisher: str
    controls: Annotated[int, Field(description="How many controls there are here.")]
    manual: Annotated[int, Field(description="How many of them a person has to answer.")]
    partial: Annotated[bool, Field(description="The framework has controls that are not here.")]


class ComplianceQuery(Body):
    """Which framework."""

    framework: FrameworkName


class RuleCountsOfControl(View):
    """What a rule that bears on a control found; null where it was not in the run."""

    passed: int
    failed: int
    not_evaluated: int
    suppressed: int


class AnswerOfControl(View):
    """What a person said of a control."""

    met: bool
    text: str
    evidence_url: str | None
    expires_at: datetime | None
    expired: bool
    by_name: str
    answered_at: datetime


class ControlView(View):
    """A control, and what is known of it."""

    id: str
    title: str
    section: str
    level: int | None
    assessment: Literal["automated", "manual"]
    status: ControlStatus
    rules: dict[str, RuleCountsOfControl | None]
    answer: AnswerOfControl | None


class ComplianceView(View):
    """How a run stands against a framework."""

    framework: str
    title: str
    run_id: UUID
    cloud_account_id: UUID
    complete: Annotated[bool, Field(description="Everything that the run was to read was read.")]
    pass_rate: Annotated[
        float | None,
        Field(description="Of the controls known to pass or fail, the share that passes; null if none is."),
    ]
    by_status: dict[ControlStatus, int]
    controls: list[ControlView]


class AnswerControl(Body):
    """A person's answer to a control that no rule can judge."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "met": True,
                    "text": "Contacts were looked at in the yearly review.",
                    "evidence_url": "https://wiki.example.com/reviews/2026",
                    "expires_at": None,
                }
            ]
        }
    )

    met: Annotated[bool, Field(description="Whether what the control asks for holds.")]
    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000),
        AfterValidator(_prose),
        Field(description="Why; 1 to 4,000 characters."),
    ]
    evidence_url: Annotated[
        Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_https)] | None,
        Field(description="Where it can be seen; https."),
    ] = None
    expires_at: Annotated[
        AwareDatetime | None, Field(description="From when on it has to be answered anew; within two years.")
    ] = None


class AnswerView(View):
    """An answer."""

    framework: str
    control: str
    met: bool
    text: str
    evidence_url: str | None
    expires_at: datetime | None
    by_name: Annotated[str, Field(description="The token that answered, by the name that it had.")]
    answered_at: datetime
    replaced_at: Annotated[datetime | None, Field(description="When a newer one took its place, or it was withdrawn.")]


class AnswerQuery(PageQuery):
    """Which answers to list."""

    framework: FrameworkName | None = None
    replaced: Annotated[bool, Field(description="Those too that newer ones took the place of.")] = False

"""Bodies of the routes on rule packs."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from coreo_api.plans.schemas import AuditSpec
from coreo_api.rules.schemas import RuleSummary
from coreo_api.schemas import Body, View

MAX_SOURCE = 128 * 1024
PackName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,29}$")]


def _storable(value: str) -> str:
    """Refuses what PostgreSQL cannot store."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain NUL or broken Unicode")
    return value


class PackSource(Body):
    """A rule pack as its team wrote it."""

    source: Annotated[
        str,
        AfterValidator(_storable),
        Field(min_length=1, max_length=MAX_SOURCE, description="The pack: YAML, as docs/rules.md describes it."),
    ]


class PackQuery(Body):
    """Which version."""

    version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="The newest one unless said.")] = None


class DryRun(Body):
    """What to try a pack on."""

    cloud_account_id: UUID
    regions: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)] = AuditSpec().regions
    version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="The newest one unless said.")] = None


class CheckedPack(View):
    """A pack that was only looked at. It can be stored if there are no problems."""

    name: str | None
    title: str
    rules: list[RuleSummary]
    cases: Annotated[int, Field(description="Example cases that were run.")]
    actions: Annotated[list[str], Field(description="The IAM actions that its rules take.")]
    problems: Annotated[list[str], Field(description="What is wrong: line, field, problem; and cases that fail.")]


class PackView(View):
    """A version of a pack."""

    name: str
    version: int
    title: str
    digest: Annotated[str, Field(description="SHA-256 of the source, in hex.")]
    rules: list[RuleSummary]
    actions: Annotated[list[str], Field(description="The IAM actions that its rules take.")]
    created_at: datetime


class PackSummary(View):
    """A version of a pack in a list."""

    name: str
    version: int
    title: str
    digest: str
    created_at: datetime


class PackText(PackSummary):
    """A version of a pack with its text."""

    source: str

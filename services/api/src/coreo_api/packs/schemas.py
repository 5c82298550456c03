"""Bodies of the routes on rule packs."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from coreo_api.plans.schemas import AuditSpec
from coreo_api.rules.schemas import RuleSummary
from coreo_api.schemas import Body, View

MAX_SOURCE = 128 * 1024
PackName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,29}$")]


_EXAMPLE = """\
pack: acme
rules:
  - id: bucket-temporary-name
    title: Buckets have no temporary names
    resource: aws.s3.bucket
    severity: low
    rationale: Temporary buckets have to be removed after some days.
    fail_when:
      Name: {matches: "^tmp-"}
    message: "{Name} has a temporary name"
    remediation: {console: Empty the bucket and delete it.}
"""


def _storable(value: str) -> str:
    """Refuses what PostgreSQL cannot store."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain NUL or broken Unicode")
    return value


class PackSource(Body):
    """A rule pack as its team wrote it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"source": _EXAMPLE}]})

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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"cloud_account_id": "0199c3f2-8a1b-7000-8000-000000000001", "regions": ["eu-west-1"]}]
        }
    )

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

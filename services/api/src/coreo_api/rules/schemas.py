"""The catalogue as it is answered."""

from typing import Annotated, Any

from pydantic import Field

from coreo_api.schemas import Body, View
from coreo_shared.contracts.terms import Severity


class RuleQuery(Body):
    """Which rules to list."""

    resource: Annotated[str | None, Field(max_length=200, description="A resource type, such as aws.s3.bucket.")] = None
    severity: Severity | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 200
    cursor: Annotated[str | None, Field(max_length=200, description="`next_cursor` of the page before.")] = None


class RuleSummary(View):
    """A rule in a list."""

    id: str
    title: Annotated[str, Field(description="What should hold.")]
    resource: str
    severity: Severity


class ParameterView(View):
    """A value of a rule that a plan may set."""

    type: str
    default: Any
    description: str
    minimum: float | None
    maximum: float | None
    choices: list[str] | None


class RemediationView(View):
    """How to put it right."""

    console: str
    cli: str | None
    cloudformation: str | None


class RuleView(RuleSummary):
    """A rule."""

    rationale: str
    remediation: RemediationView
    references: list[str]
    controls: Annotated[dict[str, list[str]], Field(description="Framework -> its controls that ask for this.")]
    aliases: list[str]
    parameters: dict[str, ParameterView]
    actions: Annotated[list[str], Field(description="The IAM actions it takes.")]


class RuleSetView(View):
    """A named choice of rules."""

    id: str
    title: str
    description: str
    rules: list[str]

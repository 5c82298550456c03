"""Bodies of the routes on suppressions, severity overrides and the log of decisions."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints

from coreo_api.pages import PageQuery
from coreo_api.schemas import Body, NotNull, View, plain_text
from coreo_shared.contracts.decisions import MAX_PATTERN, MAX_REASON, DecisionAction, DecisionKind
from coreo_shared.contracts.terms import Severity

_Text = AfterValidator(plain_text)
_RulePattern = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    _Text,
    Field(description="A rule's id, in which `*` stands for any text.", examples=["s3-*"]),
]
_Resource = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_PATTERN),
    _Text,
    Field(description="A resource's id or ARN, in which `*` stands for any text.", examples=["arn:aws:s3:::logs-*"]),
]
_Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_PATTERN),
    _Text,
    Field(description="`key=value`; fits findings whose evidence has Tags, and no others.", examples=["env=dev"]),
]
_Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$"), Field(examples=["eu-west-1"])]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON),
    _Text,
    Field(description="Why; for whoever reads it in a year."),
]
Expiry = Annotated[AwareDatetime, Field(description="In the future, at most two years away. Null: it does not expire.")]
_Account = Annotated[UUID, Field(description="One cloud account; null: all of the team's.")]


class CreateSuppression(Body):
    """Failed findings to show as SUPPRESSED: those that fit all that is given. Rule, resource or tag is needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"rule_id": "s3-*", "resource": "arn:aws:s3:::website-*", "reason": "Public websites, by decision 14."}
            ]
        }
    )

    rule_id: _RulePattern | None = None
    resource: _Resource | None = None
    tag: _Tag | None = None
    region: _Region | None = None
    cloud_account_id: _Account | None = None
    reason: Reason
    expires_at: Expiry | None = None


class ChangeSuppression(Body):
    """What to change; what is left out stays, and null takes away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Until the move is done."}]})

    rule_id: _RulePattern | None = None
    resource: _Resource | None = None
    tag: _Tag | None = None
    region: _Region | None = None
    cloud_account_id: _Account | None = None
    reason: Annotated[Reason | None, NotNull] = None
    expires_at: Expiry | None = None

    def given(self) -> dict[str, Any]:
        """What is to change."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class SuppressionView(View):
    """A suppression."""

    id: UUID
    rule_id: str | None
    resource: str | None
    tag: str | None
    region: str | None
    cloud_account_id: UUID | None
    reason: str
    author: Annotated[str, Field(description="The name of the token that made it.")]
    changed_by: Annotated[str | None, Field(description="The name of the token that changed it last.")]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    live: Annotated[bool, Field(description="False once it has expired: then it fits nothing.")]


class SetSeverity(Body):
    """A severity that a rule is to have for the team. Set again, it replaces."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"rule_id": "ec2-security-group-open-ssh", "severity": "critical", "reason": "We have no bastions."}
            ]
        }
    )

    rule_id: Annotated[str, StringConstraints(min_length=1, max_length=128), _Text]
    severity: Severity
    cloud_account_id: _Account | None = None
    reason: Reason


class OverrideView(View):
    """A severity that a team gave a rule. One for a cloud account goes before one for all."""

    id: UUID
    rule_id: str
    severity: Severity
    cloud_account_id: UUID | None
    reason: str
    author: str
    updated_at: datetime


class DecisionQuery(PageQuery):
    """Which entries of the log."""

    kind: DecisionKind | None = None


class DecisionView(View):
    """Who decided what."""

    id: UUID
    at: datetime
    kind: DecisionKind
    action: DecisionAction
    subject: Annotated[
        str, Field(description="The id of the suppression or override, or a control as `framework/control`.")
    ]
    author: Annotated[str, Field(description="The name of the token.")]
    details: Annotated[dict[str, str | None], Field(description="As it is from then on; for REMOVED, as it was.")]

"""Bodies of the routes on plans."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue, StringConstraints

from coreo_api.plans.schedule import Schedule
from coreo_api.schemas import Body, Name, NotNull, View

MAX_RULES = 1_000
MAX_ACCOUNTS = 500
_CatalogueName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_EXAMPLE_SPEC: dict[str, JsonValue] = {
    "rule_sets": ["baseline"],
    "rules": ["ec2-instance-tags", "s3-bucket-tags"],
    "regions": ["all"],
    "parameters": {"*": {"required_tags": ["Owner"]}, "iam-password-policy-length": {"min_length": 16}},
}


class AuditSpec(Body):
    """What an audit plan looks for, and where."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_SPEC]})

    rule_sets: Annotated[tuple[_CatalogueName, ...], Field(max_length=50, description="Ids of GET /v1/rule-sets.")] = ()
    rules: Annotated[tuple[_CatalogueName, ...], Field(max_length=MAX_RULES, description="Ids of GET /v1/rules.")] = ()
    rule_packs: Annotated[
        tuple[_CatalogueName, ...],
        Field(max_length=20, description="Own packs, NAME or NAME@VERSION; the newest version is pinned when sent."),
    ] = ()
    regions: Annotated[
        tuple[_CatalogueName, ...],
        Field(min_length=1, max_length=100, description='Region names, or ["all"]: every region the account enabled.'),
    ] = ("all",)
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Values for rules' parameters: rule id -> parameter name -> value; * for every rule that has it.",
    )


AccountIds = Annotated[
    tuple[UUID, ...],
    Field(max_length=MAX_ACCOUNTS, description="The cloud accounts to audit; each gets a run of its own."),
]


class CreatePlan(Body):
    """A plan to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly",
                    "kind": "audit",
                    "spec": _EXAMPLE_SPEC,
                    "cloud_account_ids": [],
                    "schedule": {"cron": "0 3 * * *", "time_zone": "Europe/Berlin", "jitter_seconds": 600},
                }
            ]
        }
    )

    name: Name
    kind: Literal["audit"] = "audit"
    spec: AuditSpec
    cloud_account_ids: AccountIds = ()
    schedule: Annotated[Schedule | None, Field(description="Null or left out: runs only when asked to.")] = None
    enabled: Annotated[bool, Field(description="A plan that is not enabled does not run.")] = True


class ChangePlan(Body):
    """What shall change; what is left out stays. A new spec becomes a new revision."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly EU", "enabled": False}]})

    name: Annotated[Name | None, NotNull] = None
    spec: Annotated[AuditSpec | None, NotNull] = None
    cloud_account_ids: Annotated[AccountIds | None, NotNull] = None
    schedule: Annotated[Schedule | None, Field(description="Null takes the schedule away.")] = None
    enabled: Annotated[bool | None, NotNull] = None


class PlanView(View):
    """A plan."""

    id: UUID
    name: str
    kind: Literal["audit"]
    revision: Annotated[int, Field(description="Grows by one with each new spec.")]
    spec: AuditSpec
    cloud_account_ids: list[UUID]
    schedule: Schedule | None
    enabled: bool
    next_run_at: Annotated[datetime | None, Field(description="When the schedule starts it next.")]
    last_tick_at: Annotated[datetime | None, Field(description="When the schedule last came up.")]
    last_tick_problem: Annotated[str | None, Field(description="Why it then started no run, or not all.")]
    created_at: datetime
    updated_at: datetime


class RevisionView(View):
    """A plan's spec as it was at some time; never changes."""

    revision: int
    spec: AuditSpec
    created_at: datetime


class RequiredPolicy(View):
    """What a plan's rules take of AWS: no more."""

    actions: Annotated[list[str], Field(description="The IAM actions.")]
    policy: Annotated[dict[str, Any], Field(description="An IAM policy with these actions, for the role.")]
    session_policies: Annotated[
        list[dict[str, Any]],
        Field(
            description="What a run's session is cut down to, whatever else the role allows. Where one policy cannot "
            "hold it all, there are several sessions, each for some services."
        ),
    ]
    widened: Annotated[
        list[str],
        Field(description="Wildcards in the session policies that stand for several actions, for want of room."),
    ]

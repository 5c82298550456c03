"""Bodies of the routes on plans."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Discriminator, Field, JsonValue, StringConstraints, Tag

from coreo_api.plans.deploy_schemas import EXAMPLE_SPEC, CheckedTemplate, DeploySpec, DeploySpecView, LintFinding
from coreo_api.plans.schedule import Schedule
from coreo_api.schemas import Body, Name, NotNull, View
from coreo_shared.web.problems import KIND

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
    Field(max_length=MAX_ACCOUNTS, description="The cloud accounts to work in; each gets runs of its own."),
]


class _CreatePlan(Body):
    """What all plans have."""

    name: Name
    cloud_account_ids: AccountIds = ()
    schedule: Annotated[
        Schedule | None,
        Field(description="Null or left out: runs only when asked to. Of a deploy plan: when to look for drift."),
    ] = None
    enabled: Annotated[bool, Field(description="A plan that is not enabled does not run.")] = True


class CreateAuditPlan(_CreatePlan):
    """An audit plan to be made."""

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

    kind: Literal["audit"] = "audit"
    spec: AuditSpec


class CreateDeployPlan(_CreatePlan):
    """A deploy plan to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "storage", "kind": "deploy", "spec": EXAMPLE_SPEC, "cloud_account_ids": []}]
        }
    )

    kind: Literal["deploy"]
    spec: DeploySpec


def _kind_of_plan(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return f"{KIND}deploy" if kind == "deploy" else f"{KIND}audit"


_OF_DEPLOYS = frozenset({"stack_name", "template", "template_url", "capabilities", "gates", "approval"})


def _kind_of_spec(value: Any) -> str:
    names = value if isinstance(value, dict) else type(value).model_fields
    return f"{KIND}deploy" if _OF_DEPLOYS.intersection(names) else f"{KIND}audit"


# An error is told for the kind that was meant, and its path does not name the kind (coreo_shared.web.problems).
CreatePlan = Annotated[
    Annotated[CreateAuditPlan, Tag(f"{KIND}audit")] | Annotated[CreateDeployPlan, Tag(f"{KIND}deploy")],
    Discriminator(_kind_of_plan),
]
AnySpec = Annotated[
    Annotated[AuditSpec, Tag(f"{KIND}audit")] | Annotated[DeploySpec, Tag(f"{KIND}deploy")],
    Discriminator(_kind_of_spec),
]


class ChangePlan(Body):
    """What shall change; what is left out stays. A new spec becomes a new revision."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly EU", "enabled": False}]})

    name: Annotated[Name | None, NotNull] = None
    spec: Annotated[AnySpec | None, NotNull] = None
    cloud_account_ids: Annotated[AccountIds | None, NotNull] = None
    schedule: Annotated[Schedule | None, Field(description="Null takes the schedule away.")] = None
    enabled: Annotated[bool | None, NotNull] = None


class PlanView(View):
    """A plan."""

    id: UUID
    name: str
    kind: Literal["audit", "deploy"]
    revision: Annotated[int, Field(description="Grows by one with each new spec.")]
    spec: AuditSpec | DeploySpecView
    lint: Annotated[
        list[LintFinding] | None,
        Field(
            description="What was said of a deploy plan's template; null where it was not looked at, as it is in S3."
        ),
    ] = None
    cloud_account_ids: list[UUID]
    schedule: Schedule | None
    enabled: bool
    next_run_at: Annotated[datetime | None, Field(description="When the schedule starts it next.")]
    last_tick_at: Annotated[datetime | None, Field(description="When the schedule last came up.")]
    last_tick_problem: Annotated[str | None, Field(description="Why it then started no run, or not all.")]
    created_at: datetime
    updated_at: datetime


class CheckedPlan(View):
    """A plan that could be made, unless its template has errors or misfits."""

    template: Annotated[
        CheckedTemplate | None,
        Field(description="Null where there is none to look at: of an audit plan, or in S3."),
    ]


class RevisionView(View):
    """A plan's spec as it was at some time; never changes."""

    revision: int
    spec: AuditSpec | DeploySpecView
    lint: list[LintFinding] | None = None
    created_at: datetime


class TemplateText(View):
    """A deploy plan's template, as it was sent."""

    revision: int
    template: Annotated[str | None, Field(description="Null where it is in S3, at template_url.")]
    template_url: str | None


class TemplateQuery(Body):
    """Which revision of the template."""

    revision: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="Left out: the newest.")] = None


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

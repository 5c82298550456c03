"""The spec of a deploy plan, as it is sent, and what is said of its template."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator

from coreo_api.schemas import Body, View, plain_text
from coreo_shared.contracts.terms import Severity

MAX_PARAMETERS = 200  # CloudFormation's quota
_MAX_TEMPLATE = 51_200
_Text = Annotated[str, AfterValidator(plain_text)]
_CatalogueName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Names = tuple[_CatalogueName, ...]
_IamAction = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{2,63}:[A-Za-z0-9*?]{1,128}$")]
_ResourceType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{2,64}(::[A-Za-z0-9]{1,64}){0,3}(::\*)?$|^\*$")]
_LogicalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,255}$")]
_Capability = Literal["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_EXAMPLE_TEMPLATE = "Resources:\n  Bucket:\n    Type: AWS::S3::Bucket\n"
EXAMPLE_SPEC: dict[str, JsonValue] = {
    "stack_name": "storage",
    "regions": ["eu-west-1"],
    "template": _EXAMPLE_TEMPLATE,
    "tags": {"team": "platform"},
    "permissions": ["s3:CreateBucket", "s3:DeleteBucket", "s3:PutBucketTagging"],
    "gates": [{"resource_type": "AWS::S3::Bucket", "refuse": ["replace", "remove"]}],
}


class RollbackTrigger(Body):
    """An alarm that rolls the stack back when it goes off while the stack changes."""

    arn: Annotated[str, StringConstraints(pattern=r"^arn:[a-z-]+:cloudwatch:[a-z0-9-]+:[0-9]{12}:alarm:[ -~]{1,255}$")]
    type: Literal["AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"] = "AWS::CloudWatch::Alarm"


class Gate(Body):
    """A change that is refused, unless a run names the resource in its `allow`."""

    resource_type: Annotated[_ResourceType, Field(description="AWS::RDS::DBInstance, AWS::RDS::* or *.")]
    refuse: Annotated[tuple[Literal["replace", "remove"], ...], Field(min_length=1, max_length=2)]


class Approval(Body):
    """Who has to agree before anything changes."""

    auto: Annotated[
        bool,
        Field(
            description="Nobody: what a preview shows is applied at once. Without the scope `approve`, of such a plan "
            "only template, template_url, parameters and tags can be changed."
        ),
    ] = False
    approvers: Annotated[int, Field(ge=1, le=2, description="How many different tokens must approve.")] = 1
    expires_seconds: Annotated[
        int, Field(ge=60, le=7 * 86_400, description="A preview that nobody approved by then expires.")
    ] = 86_400
    requester_may_approve: Annotated[
        bool, Field(description="Whether the token that started the run may be one of the approvers.")
    ] = True


class DeploySpec(Body):
    """Which CloudFormation stack, where, and how it may be changed."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SPEC]})

    stack_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$")]
    regions: Annotated[
        tuple[_CatalogueName, ...], Field(min_length=1, max_length=30, description="The stack is in each of them.")
    ]
    template: Annotated[
        str | None,
        Field(
            description=f"YAML or JSON, {_MAX_TEMPLATE:,} bytes at most.",
            json_schema_extra={"maxLength": _MAX_TEMPLATE},
        ),
    ] = None
    template_url: Annotated[
        str | None,
        StringConstraints(pattern=r"^https://[!-~]+$", max_length=1_024),
        Field(description="Instead of `template`: an object in S3 that the cloud account's role can read."),
    ] = None
    parameters: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=4_096)]],
        Field(
            max_length=MAX_PARAMETERS,
            default_factory=dict,
            description="The template's parameters. A secret (NoEcho) is a reference: {{resolve:secretsmanager:NAME}} "
            "or {{resolve:ssm-secure:NAME}}.",
        ),
    ]
    capabilities: Annotated[tuple[_Capability, ...], Field(max_length=3)] = ()
    tags: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=256)]], Field(max_length=50, default_factory=dict)
    ]
    service_role: Annotated[
        str | None,
        StringConstraints(pattern=r"^[\w+=,.@-]+(/[\w+=,.@-]+)*$", max_length=512),
        Field(
            description="Name (with its path, if it has one) of a role in each account with which CloudFormation works."
        ),
    ] = None
    permissions: Annotated[
        tuple[_IamAction, ...],
        Field(
            max_length=200,
            description="Without a service role: the IAM actions that the template's resources take, such as "
            "s3:CreateBucket. The run's session may do these and what it needs of CloudFormation, whatever else the "
            "role allows.",
        ),
    ] = ()
    termination_protection: Annotated[bool | None, Field(description="Null: left as it is.")] = None
    rollback_triggers: Annotated[tuple[RollbackTrigger, ...], Field(max_length=5)] = ()
    monitoring_minutes: Annotated[int, Field(ge=0, le=180, description="How long the triggers are watched after.")] = 0
    timeout_minutes: Annotated[
        int | None, Field(ge=1, le=2_880, description="A change that takes longer is canceled, where AWS lets it.")
    ] = None
    gates: Annotated[tuple[Gate, ...], Field(max_length=50)] = ()
    approval: Approval = Approval()
    rule_sets: Annotated[
        _Names, Field(max_length=50, description="Audit rules to judge the template by: rule sets.")
    ] = ()
    rules: Annotated[_Names, Field(max_length=1_000, description="Audit rules to judge the template by.")] = ()
    rule_packs: Annotated[_Names, Field(max_length=20, description="Own packs, NAME or NAME@VERSION.")] = ()
    rule_parameters: dict[str, Any] = Field(default_factory=dict, description="Rule id -> parameter name -> value.")
    refuse_severity: Annotated[
        Severity | None, Field(description="A template that fails a rule of this severity or worse is not applied.")
    ] = None

    @field_validator("parameters", "tags")
    @classmethod
    def _plain(cls, value: dict[str, str], info: Any) -> dict[str, str]:
        """Refuses what cannot be stored, and keys that CloudFormation refuses. Nothing of it is repeated."""
        for position, (name, text) in enumerate(value.items()):
            longest = 255 if info.field_name == "parameters" else 128
            if not 0 < len(name) <= longest or (info.field_name == "parameters" and not name.isalnum()):
                raise ValueError(f"the name of entry {position} is not one that CloudFormation takes")
            if info.field_name == "tags" and name.lower().startswith("aws:"):
                raise ValueError(f"the name of entry {position} begins with aws:, which is AWS's own")
            plain_text(name)
            _storable(text)
        return value

    @field_validator("template")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value is None:
            return None
        size = len(_storable(value).encode("utf-8", "surrogatepass"))
        if size > _MAX_TEMPLATE:
            raise ValueError(
                f"has {size:,} bytes, and CloudFormation takes {_MAX_TEMPLATE:,} by value: put it into S3 and give "
                "template_url"
            )
        return value

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        if (self.template is None) == (self.template_url is None):
            raise ValueError("give template or template_url, and not both")
        return self


class DeploySpecView(View):
    """A deploy plan's spec. Its template is at /v1/plans/{id}/template."""

    stack_name: str
    regions: list[str]
    template_sha256: Annotated[str | None, Field(description="Of the template's text; null where it is in S3.")]
    template_bytes: int | None
    template_url: str | None
    parameters: dict[str, str]
    capabilities: list[str]
    tags: dict[str, str]
    service_role: str | None
    permissions: list[str]
    termination_protection: bool | None
    rollback_triggers: list[RollbackTrigger]
    monitoring_minutes: int
    timeout_minutes: int | None
    gates: list[Gate]
    approval: Approval
    rule_sets: list[str]
    rules: list[str]
    rule_packs: list[str]
    rule_parameters: dict[str, Any]
    refuse_severity: Severity | None


class LintFinding(View):
    """Something about the template."""

    rule: Annotated[str, Field(description="Of cfn-lint, such as W2001.")]
    level: Literal["error", "warning", "info"]
    line: int
    column: int
    message: str


class CheckTemplate(Body):
    """A template to be looked at, with what a plan would say beside it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"template": _EXAMPLE_TEMPLATE, "regions": ["eu-west-1"], "parameters": {}}]}
    )

    template: Annotated[str, Field(max_length=2 * _MAX_TEMPLATE)]
    regions: Annotated[tuple[_CatalogueName, ...], Field(max_length=30)] = ()
    parameters: Annotated[dict[str, str], Field(max_length=MAX_PARAMETERS, default_factory=dict)]
    capabilities: Annotated[tuple[_Capability, ...], Field(max_length=3)] = ()

    @field_validator("parameters")
    @classmethod
    def _sendable(cls, value: dict[str, str]) -> dict[str, str]:
        """Refuses what cannot be sent to the linter."""
        for entry in value.items():
            for text in entry:
                _storable(text)
        return value


class Misfit(View):
    """What the plan says does not fit the template."""

    field: str
    message: str


class TemplateParameter(View):
    """A parameter that the template declares."""

    name: str
    type: str
    no_echo: bool
    has_default: bool
    line: int


class TemplateResource(View):
    """A resource that the template declares."""

    logical_id: str
    type: str
    line: int


class CheckedTemplate(View):
    """What a template declares, and what is wrong with it."""

    findings: list[LintFinding]
    misfits: list[Misfit]
    parameters: list[TemplateParameter]
    resources: list[TemplateResource]
    capabilities: Annotated[list[str], Field(description="What the template needs of `capabilities`.")]
    left_out: Annotated[int, Field(description="How many findings were too many to be told.")]


def _storable(text: str) -> str:
    """Refuses what PostgreSQL cannot store; lines and tabs are right in templates and values."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain broken Unicode") from None
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text

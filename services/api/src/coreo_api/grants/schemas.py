"""Queries and answers of the routes on grants."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from coreo_api.grants.grant import ROLE_NAME, Level
from coreo_api.schemas import Body, View

MAX_ACTIONS = 200
MAX_CHOSEN = 100
RoleName = Annotated[
    str,
    StringConstraints(pattern=ROLE_NAME),
    Field(description="The name of the role to be made: 1 to 64 letters, digits or any of _+=,.@-"),
]


def _action(value: str) -> str:
    if value == "*":
        return value
    service, colon, name = value.partition(":")
    if not (colon and name and service.replace("-", "").isalnum() and service.islower()):
        raise ValueError("expected an IAM action such as s3:PutObject or cloudformation:*")
    return value


Action = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:*?-]{1,128}$"), AfterValidator(_action)]
CatalogueName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class GrantQuery(Body):
    """How much the role shall allow, and its name."""

    level: Annotated[
        Level,
        Field(
            description="audit: AWS's SecurityAudit policy. exact: the least that the given plans, rule sets and rules "
            "need. deploy: the given actions."
        ),
    ] = Level.AUDIT
    plan_id: Annotated[tuple[UUID, ...], Field(max_length=MAX_CHOSEN, description="For exact.")] = ()
    rule_set: Annotated[tuple[CatalogueName, ...], Field(max_length=MAX_CHOSEN, description="For exact.")] = ()
    rule: Annotated[tuple[CatalogueName, ...], Field(max_length=MAX_CHOSEN, description="For exact.")] = ()
    action: Annotated[tuple[Action, ...], Field(max_length=MAX_ACTIONS, description="For deploy.")] = ()
    role_name: RoleName = "CoreoAudit"


class GrantView(View):
    """A role for Coreo in this account, and texts that make it: any one of them does."""

    level: Level
    role_name: str
    role_arn: Annotated[str, Field(description="Its ARN, once made: send it to PUT …/role.")]
    external_id: str
    trust_policy: dict[str, Any]
    managed_policy_arns: Annotated[list[str], Field(description="AWS's own policies that are attached to it.")]
    policy: Annotated[dict[str, Any] | None, Field(description="All that it allows besides, as one policy.")]
    cloudformation: Annotated[str, Field(description="A template, YAML.")]
    quick_create_url: Annotated[
        str | None, Field(description="A page of the AWS console that makes it, all filled in.")
    ]
    terraform: str
    commands: Annotated[list[str], Field(description="Lines for a POSIX shell with the AWS CLI.")]
    stack_set: Annotated[
        list[str],
        Field(description="The same for an account of an organization, beside the template in coreo-role.yaml."),
    ]
    notes: Annotated[list[str], Field(description="What to know before using them.")]

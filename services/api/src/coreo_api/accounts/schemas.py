"""Bodies of the routes on cloud accounts."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from coreo_api.accounts.arns import MAX_ARN
from coreo_api.schemas import Body, Name, NotNull, View


class AccountState(StrEnum):
    """How far the way into the account is known to work."""

    PENDING = "PENDING"  # no role yet
    UNVERIFIED = "UNVERIFIED"  # a role that nobody has tried


def _refuse_external_id(_value: Any) -> None:
    raise ValueError("Coreo makes the external id, so that nobody can use another's; leave it out and use the answer's")


RefusedExternalId = Annotated[SkipJsonSchema[None], BeforeValidator(_refuse_external_id)]


class CreateAccount(Body):
    """An AWS account that Coreo shall get a role in."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "production", "account_id": "210987654321"}]},
    )

    name: Name
    account_id: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9]{12}$"),
        Field(description="The AWS account's 12 digits.", examples=["210987654321"]),
    ]
    external_id: RefusedExternalId = None


class ChangeAccount(Body):
    """What can be changed: the name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "production EU"}]})

    name: Annotated[Name | None, NotNull] = None
    external_id: RefusedExternalId = None


class SetRole(Body):
    """The role that Coreo shall assume."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"role_arn": "arn:aws:iam::210987654321:role/CoreoAudit"}]},
    )

    role_arn: Annotated[
        str,
        StringConstraints(max_length=MAX_ARN),
        Field(description="In the account of this cloud account, in the partition where Coreo works."),
    ]
    external_id: RefusedExternalId = None


class AccountView(View):
    """A cloud account."""

    id: UUID
    name: str
    account_id: str
    external_id: Annotated[str, Field(description="Made by Coreo for this cloud account alone; never changes.")]
    state: AccountState
    role_arn: str | None
    coreo_account_id: Annotated[str, Field(description="The AWS account that Coreo's workers come from.")]
    trust_policy: Annotated[dict[str, Any], Field(description="For the role: lets Coreo in, with the external id.")]
    created_at: datetime
    updated_at: datetime

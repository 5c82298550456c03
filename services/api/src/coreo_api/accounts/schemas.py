"""Bodies of the routes on cloud accounts."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from coreo_api.accounts.arns import MAX_ARN
from coreo_api.accounts.states import AccountState
from coreo_api.schemas import Body, Name, NotNull, View
from coreo_shared.contracts.onboarding import CheckName, CheckOutcome
from coreo_shared.contracts.terms import RunState


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


class Disconnect(Body):
    """Leave the account alone."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": "keep"}]})

    results: Annotated[
        Literal["keep", "purge"], Field(description="purge destroys all findings of its runs, for good.")
    ]


class Discover(Body):
    """List the organization that this account manages."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"drafts": True}]})

    drafts: Annotated[
        bool, Field(strict=True, description="Add each active account that the team has no cloud account for yet.")
    ] = False


class CheckView(View):
    """One part of a verification."""

    name: CheckName
    outcome: CheckOutcome
    detail: str


class VerificationView(View):
    """The newest verification that has ended."""

    id: UUID
    verdict: str
    reason: str | None
    checks: list[CheckView]
    missing_actions: list[str]
    ended_at: datetime


class HistoryView(View):
    """Something that was done to a cloud account."""

    id: UUID
    kind: Annotated[
        str,
        Field(
            description="created, renamed, role_set, verify, bootstrap, discover, rotate, confirm (of a rotation), "
            "rotate_canceled, disconnect or purge."
        ),
    ]
    by: Annotated[str, Field(description="The token's name at the time, or `schedule`.")]
    at: datetime
    state: Annotated[RunState | None, Field(description="Of what takes a while; null otherwise.")]
    verdict: str | None
    reason: str | None
    report: Annotated[
        dict[str, Any] | None,
        Field(
            description="What the worker reported. That of a discovery also has `moved_away`: cloud accounts of yours "
            "that the organization had before, and has no more."
        ),
    ]
    ended_at: datetime | None


class DisconnectView(View):
    """What is left to do in the AWS account."""

    cloud_account: "AccountView"
    commands: Annotated[list[str], Field(description="AWS CLI lines that remove the role; they are yours to run.")]


class AccountView(View):
    """A cloud account."""

    id: UUID
    name: str
    account_id: str
    external_id: Annotated[str, Field(description="Made by Coreo for this cloud account alone.")]
    next_external_id: Annotated[str | None, Field(description="While the external id is being replaced.")]
    state: AccountState
    reason: Annotated[str | None, Field(description="Why it is not CONNECTED, and what to do.")]
    role_arn: str | None
    missing_actions: Annotated[list[str], Field(description="IAM actions that plans need and the role lacks.")]
    verifying: Annotated[bool, Field(description="Whether something is under way in the account.")]
    last_verification: VerificationView | None
    next_verification_at: datetime | None
    coreo_account_id: Annotated[str, Field(description="The AWS account that Coreo's workers come from.")]
    trust_policy: Annotated[dict[str, Any], Field(description="For the role: lets Coreo in, with the external id.")]
    created_at: datetime
    updated_at: datetime

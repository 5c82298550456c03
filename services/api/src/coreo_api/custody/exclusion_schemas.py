"""Bodies of the routes on exclusions from backups."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints

from coreo_api.schemas import Body, View, plain_text
from coreo_shared.contracts.exclusions import MAX_REASON, Display, ExclusionState, ExclusionStep
from coreo_shared.contracts.terms import ObjectKind

_EXAMPLE: dict[str, JsonValue] = {
    "scope": "run",
    "scope_id": "0199c3f2-8a1b-7000-8000-000000000001",
    "reason": "contains test data of X",
}


class Exclude(Body):
    """What shall be in no backup any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    scope: Literal["run", "plan", "cloud_account"]
    scope_id: Annotated[UUID, Field(description="Of the run, plan or cloud account.")]
    display: Annotated[
        Display, Field(description="`keep`: what can be read still can be; `delete`: it is deleted as well.")
    ] = Display.KEEP
    reason: Annotated[
        Annotated[
            str,
            StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON),
            AfterValidator(plain_text),
        ]
        | None,
        Field(description="It is written, in clear, into the log of the backups and the receipt."),
    ] = None


class StepView(View):
    """A step that is through."""

    step: ExclusionStep
    at: datetime


class ExclusionView(View):
    """An exclusion as it stands."""

    id: UUID
    scope: ObjectKind
    scope_id: UUID
    display: Display
    reason: str | None
    requested_at: datetime
    requested_by: Annotated[str, Field(description="The name of the token that asked.")]
    state: Annotated[ExclusionState, Field(description="`DONE` once there is a receipt.")]
    runs: Annotated[int, Field(description="How many runs; fixed when it was asked for.")]
    done: list[StepView]
    remaining: Annotated[list[ExclusionStep], Field(description="What is still to be done, in this order.")]
    problem: Annotated[str | None, Field(description="Why the last try did not get further.")]


class ReceiptView(View):
    """A signed receipt."""

    receipt: Annotated[str, Field(description="A compact JWS (RFC 7515), signed with Ed25519.")]


class CustodyKeysView(View):
    """A JWK set."""

    keys: list[dict[str, str]]

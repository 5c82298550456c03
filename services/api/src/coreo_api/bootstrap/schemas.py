"""What is posted and answered. The body is described here for the documentation; `body.py` reads it."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from coreo_api.accounts.schemas import HistoryView
from coreo_api.bootstrap.body import ROLE, KeysLevel
from coreo_api.grants.schemas import RoleName
from coreo_api.schemas import Body, View


class PostKeys(Body):
    """An access key of the account, for one request. It is neither stored nor passed on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
                    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                }
            ]
        }
    )

    access_key_id: str
    secret_access_key: str
    session_token: Annotated[str | None, Field(description="Of a temporary key.")] = None
    account_id: Annotated[str | None, Field(description="If given, it must be the cloud account's.")] = None
    role_name: RoleName = ROLE
    level: Annotated[
        KeysLevel,
        Field(
            description="full: everything but iam:CreateUser. audit: AWS's SecurityAudit policy. exact: the least that "
            "the given plans, rule sets and rules need."
        ),
    ] = KeysLevel.FULL
    plan_ids: Annotated[tuple[UUID, ...], Field(description="For exact.")] = ()
    rule_sets: Annotated[tuple[str, ...], Field(description="For exact.")] = ()
    rules: Annotated[tuple[str, ...], Field(description="For exact.")] = ()


class BootstrapView(View):
    """The role is being made: `history` says how that goes. Its verification follows by itself."""

    history: HistoryView
    role_arn: str
    advice: Annotated[list[str], Field(description="What to do with the key now, in sentences.")]
    commands: Annotated[list[str], Field(description="The same as AWS CLI lines; they are yours to run.")]

"""Settings of the api, from the environment. Secrets are in types that do not print."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from coreo_shared.crypto.jose import Signer
from coreo_shared.settings import DatabaseUrl, KeySet, ServiceSettings, SigningKey, Url, signer_of

AccountId = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]


class MigrationSettings(ServiceSettings):
    """For `coreo-api migrate`."""

    migration_database_url: DatabaseUrl  # of the role that owns the tables


class DatabaseSettings(ServiceSettings):
    """For `coreo-api create-team`."""

    database_url: DatabaseUrl  # postgresql+asyncpg://coreo_api:password@host:port/coreo_api


class ApiSettings(DatabaseSettings):
    """For `coreo-api serve`."""

    system_database_url: DatabaseUrl  # the same database as the role coreo_api_system, for background tasks
    results_url: Url
    signing_jwk: SigningKey  # signs jobs, run capabilities, service tokens
    queue_url_audit: Url
    queue_url_deploy: Url
    queue_url_onboard: Url
    onboard_fleet_jwks: KeySet  # public keys of the onboard pool: whose sealing keys are used for bootstraps
    aws_account_id: AccountId  # Coreo's own: customers trust it, and it is never a target
    partition: Literal["aws", "aws-us-gov", "aws-cn"] = "aws"
    audit_worker_role_arn: str | None = None  # named in trust policies in place of the whole of our account
    deploy_worker_role_arn: str | None = None  # likewise
    # Likewise: it proves that a role is safe.
    onboard_worker_role_arn: Annotated[str | None, Field(validate_default=True)] = None
    verify_interval_seconds: Annotated[int, Field(ge=60)] = 6 * 3600  # between two proofs of an account's role
    grant_template_url: Url | None = None  # a public copy of infra/customer/coreo-role.yaml, for quick-create links
    iam_endpoint_url: Url | None = None  # another IAM than AWS's, for requests signed with customers' keys
    lint_python: str | None = None  # the interpreter of the environment that has coreo-lint; None: this one
    aws_region: Annotated[str | None, Field(validation_alias="AWS_REGION")] = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    console: bool = True  # whether the web console is served, at /console/
    job_ttl_seconds: Annotated[int, Field(ge=60)] = 6 * 3600  # a run that no worker has taken by then is expired
    team_max_active_runs: Annotated[int, Field(ge=1)] = 50  # handed to workers and not ended; others wait their turn

    @field_validator("onboard_worker_role_arn")
    @classmethod
    def _name_all_worker_roles(cls, value: str | None, others: ValidationInfo) -> str | None:
        """A role that trusts some of them alone could not be proven, or not be used."""
        named = [value, *(others.data.get(f"{pool}_worker_role_arn") for pool in ("audit", "deploy"))]
        if None in named and any(named):
            raise ValueError("goes with COREO_AUDIT_WORKER_ROLE_ARN and COREO_DEPLOY_WORKER_ROLE_ARN: set all or none")
        return value

    def signer(self) -> Signer:
        """Signs with the api's key."""
        return signer_of(self.signing_jwk)

"""Bootstraps as the api asks for them: requests signed by the SDK's own signer, sealed for a worker's key."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials

from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.jobs import Job, TargetAccount
from coreo_shared.contracts.onboarding import (
    BOOTSTRAP_SECONDS,
    BootstrapRequests,
    BootstrapSpec,
    SealContext,
    SealingKey,
    SignedRequest,
)
from coreo_shared.crypto.sealing import seal
from coreo_shared.ids import new_id
from tests.support.worker import EXTERNAL_ID, Jobs

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

IAM = "https://iam.amazonaws.com"
ROLE = "CloudCoreoAssumedRole"
ACCOUNT = "123456789012"
FULL: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:CreateUser", "Resource": "*"},
    ],
}
TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam::111111111111:root"]},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
        }
    ],
}
SECURITY_AUDIT = "arn:aws:iam::aws:policy/SecurityAudit"
MEMBERS = {  # names of BootstrapRequests' fields -> operation
    "get_user": "GetUser",
    "get_policy": "GetPolicy",
    "get_policy_version": "GetPolicyVersion",
    "create_policy": "CreatePolicy",
    "get_role": "GetRole",
    "create_role": "CreateRole",
    "attach_role_policy": "AttachRolePolicy",
}


@dataclass
class Signing:
    """Signs with a customer's key, for IAM at `url`."""

    key: Credentials
    url: str = IAM
    account_id: str = ACCOUNT
    policy: Mapping[str, Any] | None = field(default_factory=lambda: FULL)
    at: float = field(default_factory=time.time)

    @property
    def expires_at(self) -> int:
        """Five minutes after the signature."""
        return int(self.at) + BOOTSTRAP_SECONDS

    def request(self, operation: str, *, service: str = "iam", **parameters: str) -> SignedRequest:
        """One request; `at` only moves `expires_at`, the signature is of now."""
        version = "2011-06-15" if service == "sts" else "2010-05-08"
        url = self.url.replace("//iam.", "//sts.") if service == "sts" else self.url
        body = urlencode({"Action": operation, "Version": version, **parameters})
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        headers["host"] = url.partition("//")[2]
        unsigned = AWSRequest("POST", f"{url}/", data=body, headers=headers)
        key = SdkCredentials(self.key.access_key_id, self.key.secret_access_key, self.key.session_token)
        SigV4Auth(key, service, "us-east-1").add_auth(unsigned)
        signed = {name.lower(): str(value) for name, value in unsigned.headers.items()}
        return SignedRequest(method="POST", url=f"{url}/", headers=signed, body=body)

    def requests(self, **changes: Any) -> BootstrapRequests:
        """All of them; `changes` are fields of BootstrapRequests."""
        arn = f"arn:aws:iam::{self.account_id}:policy/{ROLE}" if self.policy else SECURITY_AUDIT
        own = {
            "get_policy": self.request("GetPolicy", PolicyArn=arn),
            "get_policy_version": self.request("GetPolicyVersion", PolicyArn=arn, VersionId="v1"),
            "create_policy": self.request("CreatePolicy", PolicyName=ROLE, PolicyDocument=json.dumps(self.policy)),
        }
        identity = self.request("GetCallerIdentity", service="sts") if self.key.session_token else None
        values: dict[str, Any] = {
            "account_id": self.account_id,
            "role_arn": f"arn:aws:iam::{self.account_id}:role/{ROLE}",
            "policy_arn": arn,
            "trust_policy": TRUST,
            "policy": self.policy,
            "get_user": self.request("GetUser"),
            "get_caller_identity": identity,
            **(own if self.policy else dict.fromkeys(own)),
            "get_role": self.request("GetRole", RoleName=ROLE),
            "create_role": self.request(
                "CreateRole", RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST), MaxSessionDuration="3600"
            ),
            "attach_role_policy": self.request("AttachRolePolicy", RoleName=ROLE, PolicyArn=arn),
            "expires_at": self.expires_at,
        }
        return BootstrapRequests(**{**values, **changes})


def context_of(job: Job) -> SealContext:
    """What a job's seals are bound to."""
    return SealContext(
        team_id=job.team_id,
        run_id=job.run_id,
        cloud_account_id=job.target.cloud_account_id,
        account_id=job.target.account_id,
        expires_at=job.exp,
    )


def bootstrap_job(jobs: Jobs, requests: BootstrapRequests, *keys: SealingKey, **changes: Any) -> Job:
    """A job whose requests are sealed for these keys."""
    target = TargetAccount(
        cloud_account_id=UUID(int=7),
        account_id=requests.account_id,
        partition="aws",
        role_arn=requests.role_arn,
        external_id=EXTERNAL_ID,
    )
    values: dict[str, Any] = {"run_id": new_id(), "team_id": new_id(), "target": target, "exp": requests.expires_at}
    values |= changes
    context = context_of(jobs.onboard(BootstrapSpec(sealed={}), **values))
    sealed = {key.jti: seal(encode_msgpack(requests), key.public_key, context) for key in keys}
    return jobs.onboard(BootstrapSpec(sealed=sealed), **values)


def make_user(aws: Simulator, account_id: str, *statements: Mapping[str, Any], name: str = "customer") -> Credentials:
    """Keys of a user who may do this."""
    iam: IAMClient = aws.root_client("iam", account_id)
    iam.create_user(UserName=name)
    if statements:
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


ADMINISTRATOR: dict[str, Any] = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@dataclass
class MadeRole:
    """What there is in a customer's account."""

    trust_policy: Any
    policy_arns: list[str]
    policy: Any


def role_in(aws: Simulator, account_id: str) -> MadeRole | None:
    """The role, if it is there."""
    iam: IAMClient = aws.root_client("iam", account_id)
    if ROLE not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
        return None
    role = iam.get_role(RoleName=ROLE)["Role"]
    arns = [each["PolicyArn"] for each in iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]]
    own = [arn for arn in arns if f":{account_id}:" in arn]
    policy = iam.get_policy_version(PolicyArn=own[0], VersionId="v1")["PolicyVersion"]["Document"] if own else None
    return MadeRole(role["AssumeRolePolicyDocument"], arns, policy)

"""The requests to IAM that make the role, signed: what a worker sends in the customer's name, and no more."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from coreo_api.bootstrap.body import PostedKeys
from coreo_api.bootstrap.signing import Scope, Signer
from coreo_api.grants.grant import DESCRIPTION, SESSION_SECONDS, policy_arn, role_arn, security_audit
from coreo_shared.contracts.onboarding import BOOTSTRAP_SECONDS, BootstrapRequests, SignedRequest
from coreo_shared.rules.policy import compact

# Where IAM is, and in which region its signatures are (AWS general reference, "IAM endpoints and quotas").
ENDPOINTS = {
    "aws": ("https://iam.amazonaws.com", "us-east-1"),
    "aws-us-gov": ("https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
    "aws-cn": ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
}
# STS in the same region. IAM does not tell a session of a role whose it is; STS tells anybody.
STS_ENDPOINTS = {
    "aws": "https://sts.us-east-1.amazonaws.com",
    "aws-us-gov": "https://sts.us-gov-west-1.amazonaws.com",
    "aws-cn": "https://sts.cn-north-1.amazonaws.com.cn",
}
EVERYTHING: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:CreateUser", "Resource": "*"},
    ],
}
_VERSION = "2010-05-08"
_STS_VERSION = "2011-06-15"
_FIRST_VERSION = "v1"
_FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class RoleWish:
    """The role to be made. `policy` is None where SecurityAudit is attached."""

    partition: str
    account_id: str
    name: str
    trust_policy: dict[str, Any]
    policy: dict[str, Any] | None

    @property
    def arn(self) -> str:
        """The role's ARN."""
        return role_arn(self.partition, self.account_id, self.name)

    @property
    def policy_arn(self) -> str:
        """The ARN of the policy that is attached: AWS's, or the role's own, which has the role's name."""
        if self.policy is None:
            return security_audit(self.partition)
        return policy_arn(self.partition, self.account_id, self.name)


def _identity_request(keys: PostedKeys, url: str, scope: Scope) -> SignedRequest | None:
    """Asks STS whose key it is; None for a user's, of which IAM tells."""
    if keys.session_token is None:
        return None
    body = urlencode({"Action": "GetCallerIdentity", "Version": _STS_VERSION})
    with Signer(keys.wish.access_key_id, keys.secret, keys.session_token.data.decode("ascii"), scope) as signer:
        return SignedRequest(method="POST", url=f"{url}/", headers=signer.headers(url, _FORM, body.encode()), body=body)


def signed_requests(wish: RoleWish, keys: PostedKeys, *, endpoint_url: str | None, now: datetime) -> BootstrapRequests:
    """All requests, signed now. `endpoint_url` leads to another IAM than AWS's own. Wipes the keys."""
    url, region = ENDPOINTS[wish.partition]
    url = endpoint_url or url
    identity = _identity_request(keys, endpoint_url or STS_ENDPOINTS[wish.partition], Scope(region, "sts", now))
    token = None if keys.session_token is None else keys.session_token.data.decode("ascii")
    with Signer(keys.wish.access_key_id, keys.secret, token, Scope(region, "iam", now)) as signer:
        keys.wipe()

        def signed(action: str, **parameters: str) -> SignedRequest:
            body = urlencode({"Action": action, "Version": _VERSION, **parameters})
            headers = signer.headers(url, _FORM, body.encode())
            return SignedRequest(method="POST", url=f"{url}/", headers=headers, body=body)

        own = wish.policy is not None
        arn = wish.policy_arn
        return BootstrapRequests(
            account_id=wish.account_id,
            role_arn=wish.arn,
            policy_arn=arn,
            trust_policy=wish.trust_policy,
            policy=wish.policy,
            get_user=signed("GetUser"),
            get_caller_identity=identity,
            get_policy=signed("GetPolicy", PolicyArn=arn) if own else None,
            get_policy_version=signed("GetPolicyVersion", PolicyArn=arn, VersionId=_FIRST_VERSION) if own else None,
            create_policy=signed(
                "CreatePolicy", PolicyName=wish.name, PolicyDocument=compact(wish.policy), Description=DESCRIPTION
            )
            if wish.policy is not None
            else None,
            get_role=signed("GetRole", RoleName=wish.name),
            create_role=signed(
                "CreateRole",
                RoleName=wish.name,
                AssumeRolePolicyDocument=compact(wish.trust_policy),
                Description=DESCRIPTION,
                MaxSessionDuration=str(SESSION_SECONDS),
            ),
            attach_role_policy=signed("AttachRolePolicy", RoleName=wish.name, PolicyArn=arn),
            expires_at=int(now.timestamp()) + BOOTSTRAP_SECONDS,
        )

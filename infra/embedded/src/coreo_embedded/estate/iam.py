"""Users, policies, roles and account settings of the estate."""

import json
from typing import TYPE_CHECKING, Any

from coreo_embedded.estate.planted import Account

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

HOME = "us-east-1"
GLOBAL = "global"
SECURITY_AUDIT = "arn:aws:iam::aws:policy/SecurityAudit"
_ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
_CONSOLE_RULE = "iam-user-console-mfa"


def plant_iam(account: Account, role_name: str, trust_policy: dict[str, Any]) -> str:
    """Makes the IAM part, and the role that Coreo assumes; returns its ARN."""
    iam: IAMClient = account.client("iam", HOME)
    _settings(account, iam)
    _users(account, iam)
    _policies(account, iam)
    _roles(account, iam)
    role = iam.create_role(RoleName=role_name, AssumeRolePolicyDocument=json.dumps(trust_policy))["Role"]
    iam.attach_role_policy(RoleName=role_name, PolicyArn=SECURITY_AUDIT)
    account.plant("aws.iam.role", role_name, GLOBAL)
    return role["Arn"]


def allow(action: str, resource: str = "*") -> str:
    """A policy document that allows one thing."""
    return _document({"Effect": "Allow", "Action": action, "Resource": resource})


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _settings(account: Account, iam: "IAMClient") -> None:
    iam.update_account_password_policy(MinimumPasswordLength=8, RequireNumbers=True)
    account.plant(
        "aws.iam.account",
        account.id,
        GLOBAL,
        # iam-root-mfa passes: the simulator takes alice's device for the root user's.
        fails={"iam-password-policy-length", "iam-password-policy-reuse", "iam-password-policy-complexity"},
    )


def _users(account: Account, iam: "IAMClient") -> None:
    iam.create_user(UserName="alice")
    iam.create_login_profile(UserName="alice", Password="Correct-horse-9-battery")
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName="alice")["VirtualMFADevice"]["SerialNumber"]
    iam.enable_mfa_device(
        UserName="alice", SerialNumber=device, AuthenticationCode1="123456", AuthenticationCode2="234567"
    )
    account.plant("aws.iam.user", "alice", GLOBAL)

    iam.create_user(UserName="bob")
    iam.create_login_profile(UserName="bob", Password="Correct-horse-9-battery")
    iam.attach_user_policy(UserName="bob", PolicyArn=_ADMINISTRATOR)
    fails = {_CONSOLE_RULE, "iam-user-direct-policies", "iam-user-admin"}
    account.plant("aws.iam.user", "bob", GLOBAL, fails=fails)

    iam.create_user(UserName="deploy-bot")
    iam.create_access_key(UserName="deploy-bot")
    iam.create_access_key(UserName="deploy-bot")
    account.plant("aws.iam.user", "deploy-bot", GLOBAL, fails={"iam-user-two-active-keys"}, spared={_CONSOLE_RULE})

    iam.create_user(UserName="legacy-sync")
    old = iam.create_access_key(UserName="legacy-sync")["AccessKey"]["AccessKeyId"]
    iam.update_access_key(UserName="legacy-sync", AccessKeyId=old, Status="Inactive")
    iam.create_access_key(UserName="legacy-sync")
    iam.put_user_policy(UserName="legacy-sync", PolicyName="everything", PolicyDocument=allow("*"))
    fails = {"iam-user-direct-policies", "iam-user-admin"}
    account.plant("aws.iam.user", "legacy-sync", GLOBAL, fails=fails, spared={_CONSOLE_RULE})


def _policies(account: Account, iam: "IAMClient") -> None:
    iam.create_policy(PolicyName="break-glass", PolicyDocument=allow("*"))
    account.plant("aws.iam.policy", "break-glass", GLOBAL, fails={"iam-policy-admin", "iam-policy-whole-service"})
    iam.create_policy(PolicyName="all-of-s3", PolicyDocument=allow("s3:*"))
    account.plant("aws.iam.policy", "all-of-s3", GLOBAL, fails={"iam-policy-whole-service"})
    reports = allow("s3:GetObject", f"arn:aws:s3:::reports-{account.id}/*")
    iam.create_policy(PolicyName="read-reports", PolicyDocument=reports)
    account.plant("aws.iam.policy", "read-reports", GLOBAL)


def _roles(account: Account, iam: "IAMClient") -> None:
    def trusting(principal: Any, condition: dict[str, Any] | None = None) -> str:
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        return _document(statement | ({"Condition": condition} if condition else {}))

    iam.create_role(RoleName="web-server", AssumeRolePolicyDocument=trusting({"Service": "ec2.amazonaws.com"}))
    iam.create_instance_profile(InstanceProfileName="web-server")
    iam.add_role_to_instance_profile(InstanceProfileName="web-server", RoleName="web-server")
    account.plant("aws.iam.role", "web-server", GLOBAL)

    iam.create_role(RoleName="partner-upload", AssumeRolePolicyDocument=trusting({"AWS": "*"}))
    account.plant("aws.iam.role", "partner-upload", GLOBAL, fails={"iam-role-trusts-everyone"})

    own_people = {"StringEquals": {"aws:PrincipalOrgID": "o-abcde12345"}}
    iam.create_role(RoleName="own-people", AssumeRolePolicyDocument=trusting("*", own_people))
    account.plant("aws.iam.role", "own-people", GLOBAL)

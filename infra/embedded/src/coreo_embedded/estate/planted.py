"""What was planted in a simulated account, and what an audit must say of it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus

# The rules that the estate has something for: their facts can all be read in the simulator.
PLANTED = frozenset(
    {
        "cloudtrail-bucket-access-logging",
        "cloudtrail-cloudwatch-logs",
        "cloudtrail-kms-encryption",
        "cloudtrail-log-validation",
        "cloudtrail-missing",
        "cloudtrail-not-logging",
        "ebs-volume-unencrypted",
        "ec2-instance-detailed-monitoring",
        "ec2-instance-imdsv1",
        "ec2-instance-metadata-hop-limit",
        "ec2-instance-profile",
        "ec2-instance-public-ip",
        "ec2-security-group-default-open",
        "ec2-security-group-open-all-ports",
        "ec2-security-group-open-database",
        "ec2-security-group-open-high-risk-ports",
        "ec2-security-group-open-rdp",
        "ec2-security-group-open-ssh",
        "ec2-security-group-open-unauthorized-port",
        "iam-password-policy-complexity",
        "iam-password-policy-length",
        "iam-password-policy-missing",
        "iam-password-policy-reuse",
        "iam-policy-admin",
        "iam-policy-whole-service",
        "iam-role-trusts-everyone",
        "iam-root-access-key",
        "iam-root-mfa",
        "iam-user-admin",
        "iam-user-console-mfa",
        "iam-user-direct-policies",
        "iam-user-key-rotation",
        "iam-user-key-unused",
        "iam-user-two-active-keys",
        "rds-instance-backups",
        "rds-instance-deletion-protection",
        "rds-instance-iam-authentication",
        "rds-instance-minor-upgrades",
        "rds-instance-multi-az",
        "rds-instance-public",
        "rds-instance-unencrypted",
        "s3-bucket-access-logging",
        "s3-bucket-acl-enabled",
        "s3-bucket-acl-public",
        "s3-bucket-kms-encryption",
        "s3-bucket-lifecycle",
        "s3-bucket-mfa-delete",
        "s3-bucket-plain-http",
        "s3-bucket-policy-public",
        "s3-bucket-public-access-block",
        "s3-bucket-unencrypted",
        "s3-bucket-versioning",
        "vpc-flow-logs-off",
    }
)


class RootClients(Protocol):
    """What makes clients of an account's root user; `Simulator` does."""

    def root_client(self, service: str, account_id: str, region: str = ...) -> Any:
        """A boto3 client."""


@dataclass(frozen=True, order=True)
class Expected:
    """A finding that an audit of the estate must give."""

    rule_id: str
    status: FindingStatus
    resource_id: str
    region: str


class Account:
    """A simulated account that takes resources and remembers what is wrong with each."""

    def __init__(self, clients: RootClients, account_id: str) -> None:
        self._clients = clients
        self.id = account_id
        self.expected: list[Expected] = []
        self._rules: dict[str, list[str]] = {}
        for rule in load_catalogue().rules.values():
            if rule.id in PLANTED:
                self._rules.setdefault(rule.resource, []).append(rule.id)

    def client(self, service: str, region: str) -> Any:
        """A boto3 client of the account's root user."""
        return self._clients.root_client(service, self.id, region)

    def plant(
        self,
        resource_type: str,
        resource_id: str,
        region: str,
        *,
        fails: Collection[str] = (),
        spared: Collection[str] = (),
    ) -> None:
        """Remembers a resource: it fails the rules `fails`, those in `spared` do not apply, it passes all others."""
        rules = self._rules[resource_type]
        if not {*fails, *spared} <= {*rules}:
            raise ValueError(f"{resource_type} has no rule {sorted({*fails, *spared} - {*rules})}")
        for rule_id in rules:
            if rule_id not in spared:
                status = FindingStatus.FAIL if rule_id in fails else FindingStatus.PASS
                self.expected.append(Expected(rule_id, status, resource_id, region))

"""What was planted in a simulated account, and what an audit must say of it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus

# The simulator has no GetEbsEncryptionByDefault.
NOT_SIMULATED = frozenset({"ebs-encryption-by-default"})


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
            if rule.id not in NOT_SIMULATED:
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

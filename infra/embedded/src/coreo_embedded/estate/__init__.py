"""A customer's account in the simulated AWS: good and bad resources, and what an audit must say of each.

`expected` is complete: an audit of every region with `Estate.rules` gives these findings and no others.
"""

from dataclasses import dataclass
from typing import Any

from coreo_embedded.estate.iam import plant_iam
from coreo_embedded.estate.network import plant_network
from coreo_embedded.estate.planted import PLANTED, Account, Expected, RootClients
from coreo_embedded.estate.storage import plant_storage

__all__ = ["PLANTED", "Estate", "Expected", "RootClients", "seed"]


@dataclass(frozen=True)
class Estate:
    """A planted account. `role_arn` is the role for Coreo, `canary` a name that must nowhere lie in clear."""

    account_id: str
    role_arn: str
    canary: str
    expected: tuple[Expected, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules whose facts can all be read in the simulated account."""
        return tuple(sorted({finding.rule_id for finding in self.expected}))

    def expected_of(self, rules: set[str]) -> frozenset[Expected]:
        """What an audit with just these rules must find."""
        return frozenset(finding for finding in self.expected if finding.rule_id in rules)


def seed(clients: RootClients, account_id: str, trust_policy: dict[str, Any], role_name: str) -> Estate:
    """Plants the estate in an untouched account (12 digits); Coreo's role gets AWS's SecurityAudit policy."""
    account = Account(clients, account_id)
    role_arn = plant_iam(account, role_name, trust_policy)
    canary = plant_storage(account)
    plant_network(account)
    return Estate(account_id, role_arn, canary, tuple(sorted(account.expected)))

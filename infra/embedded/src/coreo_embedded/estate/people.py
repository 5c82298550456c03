"""Other customers of the simulated AWS: one who has keys and no role yet, and one with an organization."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coreo_embedded.estate.planted import Account, Expected, RootClients
from coreo_embedded.estate.storage import plant_storage
from coreo_embedded.simulator import Credentials

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

_ADMINISTRATOR = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@dataclass(frozen=True)
class KeyEstate:
    """An account with buckets, trails and databases, and the keys of a user who may do everything in it.

    `expected` is complete for rules on these types of resource alone.
    """

    account_id: str
    administrator: Credentials
    expected: tuple[Expected, ...]

    def expected_of(self, rules: set[str]) -> frozenset[Expected]:
        """What an audit with just these rules must find."""
        return frozenset(finding for finding in self.expected if finding.rule_id in rules)


def seed_with_keys(clients: RootClients, account_id: str) -> KeyEstate:
    """Plants an untouched account (12 digits) that has no role for Coreo."""
    account = Account(clients, account_id)
    plant_storage(account)
    return KeyEstate(account_id, make_user(clients, account_id, "setup"), tuple(sorted(account.expected)))


def make_user(
    clients: RootClients, account_id: str, name: str, policy: Mapping[str, Any] = _ADMINISTRATOR
) -> Credentials:
    """A user of the account with this policy (everything, if none is given), and the access key it has."""
    iam: IAMClient = clients.root_client("iam", account_id)
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def seed_organization(clients: RootClients, account_id: str, names: Sequence[str]) -> dict[str, str]:
    """Gives the account (12 digits) an organization with member accounts of these names; the members' ids by name."""
    organizations = clients.root_client("organizations", account_id)
    members: dict[str, str] = {}
    for name in names:
        made = organizations.create_account(Email=f"{name}@example.com", AccountName=name)
        members[name] = made["CreateAccountStatus"]["AccountId"]
    return members

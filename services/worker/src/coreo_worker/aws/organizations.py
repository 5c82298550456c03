"""The accounts of an organization, as its managing account or a delegated administrator can list them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from coreo_shared.contracts.onboarding import DiscoveredAccount
from coreo_worker.aws.clients import ClientFactory, ClientSettings, SessionCredentials
from coreo_worker.aws.errors import SDK_ERRORS, TemporaryError, code_of

DESCRIBE_ACTION: Final = "organizations:DescribeOrganization"
LIST_ACTION: Final = "organizations:ListAccounts"
_RETRY_SECONDS: Final = 10.0
_SETTINGS = ClientSettings(max_attempts=5, read_timeout=15)
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException"})


class NoOrganizationError(Exception):
    """The account belongs to no organization."""


class MayNotListError(Exception):
    """AWS refused the call that needs `action`. `management_account_id` where that much was told."""

    def __init__(self, action: str, management_account_id: str | None = None) -> None:
        super().__init__(action)
        self.action = action
        self.management_account_id = management_account_id


@dataclass(frozen=True)
class Organization:
    """An organization with all its accounts."""

    id: str
    management_account_id: str
    accounts: tuple[DiscoveredAccount, ...]


class Organizations(Protocol):
    """AWS Organizations, asked with a session of the customer's role."""

    async def read(self, credentials: SessionCredentials) -> Organization:
        """The session's organization. Raises NoOrganizationError, MayNotListError, TemporaryError."""


class SdkOrganizations:
    """By the SDK. `region`: any of the partition that the account is in."""

    def __init__(self, region: str) -> None:
        self._region = region

    async def read(self, credentials: SessionCredentials) -> Organization:
        """As the port says."""
        async with ClientFactory(credentials, settings=_SETTINGS) as clients:
            client = await clients.client("organizations", self._region)
            try:
                organization = (await client.describe_organization())["Organization"]
            except SDK_ERRORS as error:
                raise _reaction(code_of(error), MayNotListError(DESCRIBE_ACTION)) from None
            manager = str(organization["MasterAccountId"])
            try:
                accounts = await _accounts(client)
            except SDK_ERRORS as error:
                raise _reaction(code_of(error), MayNotListError(LIST_ACTION, manager)) from None
        return Organization(str(organization["Id"]), manager, accounts)


async def _accounts(client: Any) -> tuple[DiscoveredAccount, ...]:
    """All pages; a page may be empty and still have a next one (Organizations API reference, ListAccounts)."""
    found: dict[str, DiscoveredAccount] = {}
    page: dict[str, str] = {}
    while True:
        answer = await client.list_accounts(**page)
        found |= {account["Id"]: _discovered(account) for account in answer["Accounts"]}
        if not answer.get("NextToken"):
            return tuple(found[account_id] for account_id in sorted(found))
        page = {"NextToken": answer["NextToken"]}


def _discovered(account: Mapping[str, Any]) -> DiscoveredAccount:
    """`State` takes the place of `Status`, which AWS gives up in September 2026."""
    joined = account.get("JoinedTimestamp")
    return DiscoveredAccount(
        account_id=account["Id"],
        name=account["Name"],
        status=account.get("State") or account["Status"],
        joined_at=None if joined is None else joined.isoformat(),
    )


def _reaction(code: str, denial: MayNotListError) -> Exception:
    if code == "AWSOrganizationsNotInUseException":
        return NoOrganizationError()
    if code in _DENIED:
        return denial
    return TemporaryError(f"AWS Organizations answered {code} when Coreo asked for the accounts.", delay=_RETRY_SECONDS)

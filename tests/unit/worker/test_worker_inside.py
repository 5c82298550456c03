"""What a session learns of itself, from the answers that IAM, STS and Organizations can give; no sockets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from coreo_shared.contracts.onboarding import DiscoveredAccount
from coreo_worker.aws.errors import TemporaryError
from coreo_worker.aws.inside import SdkInside, Simulated
from coreo_worker.aws.organizations import MayNotListError, NoOrganizationError, SdkOrganizations
from coreo_worker.aws.sts import Refusal
from tests.support.worker import ACCOUNT, make_credentials

ROLE = f"arn:aws:iam::{ACCOUNT}:role/CoreoAudit"
MANAGER = "222222222222"
ORGANIZATION = {"Organization": {"Id": "o-1", "MasterAccountId": MANAGER}}
JOINED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def problem(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "names identities"}}, "Operation")


UNREACHED = EndpointConnectionError(endpoint_url="https://iam.example")


@dataclass
class Client:
    """An SDK client whose calls take the next of `answers`; `calls` are (operation, parameters)."""

    answers: list[dict[str, Any] | Exception]
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        async def call(**parameters: Any) -> dict[str, Any]:
            self.calls.append((operation, parameters))
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    fake = Client([])

    class Clients:
        def __init__(self, credentials: object, *, settings: object) -> None:
            assert credentials
            assert settings

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

        async def client(self, service: str, region: str) -> Client:
            assert service in ("iam", "sts", "organizations")
            assert region == "eu-west-1"
            return fake

    monkeypatch.setattr("coreo_worker.aws.inside.ClientFactory", Clients)
    monkeypatch.setattr("coreo_worker.aws.organizations.ClientFactory", Clients)
    yield fake
    assert fake.answers == []  # each test says all that is asked


def evaluated(action: str, decision: str = "allowed", **more: Any) -> dict[str, Any]:
    return {"EvalActionName": action, "EvalDecision": decision, **more}


async def simulate(*actions: str) -> Simulated | Refusal:
    return await SdkInside("eu-west-1").simulate(make_credentials(), ROLE, actions)


async def test_all_pages_of_a_simulation_are_read(client: Client) -> None:
    client.answers = [
        {"EvaluationResults": [evaluated("s3:A")], "IsTruncated": True, "Marker": "m"},
        {"EvaluationResults": [evaluated("s3:B", "implicitDeny")], "IsTruncated": False},
    ]
    assert await simulate("s3:A", "s3:B") == Simulated(denied=("s3:B",))
    asked = {"PolicySourceArn": ROLE, "ActionNames": ("s3:A", "s3:B")}
    assert [parameters for _, parameters in client.calls] == [asked, {**asked, "Marker": "m"}]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (evaluated("s3:A"), Simulated()),
        (evaluated("s3:A", "implicitDeny"), Simulated(denied=("s3:A",))),
        (evaluated("s3:A", "explicitDeny"), Simulated(denied=("s3:A",))),
        (evaluated("s3:A", "new in AWS"), Simulated(denied=("s3:A",))),
        (evaluated("s3:A", MissingContextValues=[]), Simulated()),
        (evaluated("s3:A", MissingContextValues=["aws:RequestedRegion"]), Simulated(conditional=("s3:A",))),
        (evaluated("s3:A", "implicitDeny", MissingContextValues=["aws:SourceIp"]), Simulated(conditional=("s3:A",))),
        (evaluated("s3:A", OrganizationsDecisionDetail={"AllowedByOrganizations": True}), Simulated()),
        (
            evaluated("s3:A", OrganizationsDecisionDetail={"AllowedByOrganizations": False}),
            Simulated(denied=("s3:A",)),
        ),
        (evaluated("s3:Other"), Simulated(conditional=("s3:A",))),
    ],
)
async def test_an_action_is_allowed_only_where_iam_says_so(
    client: Client, result: dict[str, Any], expected: Simulated
) -> None:
    client.answers = [{"EvaluationResults": [result]}]
    assert await simulate("s3:A") == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (problem("AccessDenied"), "AccessDenied"),
        (problem("Throttling"), "Throttling"),
        (UNREACHED, "EndpointConnectionError"),
    ],
)
async def test_a_simulation_that_does_not_happen_says_why(client: Client, error: Exception, code: str) -> None:
    client.answers = [{"EvaluationResults": [evaluated("s3:A")], "IsTruncated": True, "Marker": "m"}, error]
    assert await simulate("s3:A") == Refusal(code)


async def test_the_account_is_as_aws_says_or_unknown(client: Client) -> None:
    client.answers = [{"Account": ACCOUNT}, problem("ExpiredToken")]
    inside = SdkInside("eu-west-1")
    assert await inside.account(make_credentials()) == ACCOUNT
    assert await inside.account(make_credentials()) == Refusal("ExpiredToken")


def account(account_id: str, **more: Any) -> dict[str, Any]:
    return {"Id": account_id, "Name": f"name of {account_id}", **more}


async def test_an_organization_is_read_over_all_pages_empty_ones_too(client: Client) -> None:
    client.answers = [
        ORGANIZATION,
        {"Accounts": [account(MANAGER, Status="ACTIVE", JoinedTimestamp=JOINED)], "NextToken": "1"},
        {"Accounts": [], "NextToken": "2"},
        {"Accounts": [account("111111111111", Status="SUSPENDED")]},
    ]
    found = await SdkOrganizations("eu-west-1").read(make_credentials())
    assert (found.id, found.management_account_id) == ("o-1", MANAGER)
    assert found.accounts == (
        DiscoveredAccount(account_id="111111111111", name="name of 111111111111", status="SUSPENDED"),
        DiscoveredAccount(
            account_id=MANAGER, name=f"name of {MANAGER}", status="ACTIVE", joined_at="2026-01-02T03:04:05+00:00"
        ),
    )
    assert [parameters for _, parameters in client.calls] == [{}, {}, {"NextToken": "1"}, {"NextToken": "2"}]


async def test_the_state_of_an_account_comes_before_its_status(client: Client) -> None:
    both = account("111111111111", Status="SUSPENDED", State="CLOSED")
    client.answers = [ORGANIZATION, {"Accounts": [both, account("111111111112", State="PENDING_ACTIVATION")]}]
    found = await SdkOrganizations("eu-west-1").read(make_credentials())
    assert [each.status for each in found.accounts] == ["CLOSED", "PENDING_ACTIVATION"]


@pytest.mark.parametrize("before", [[], [ORGANIZATION]])
async def test_an_account_without_an_organization_is_told_from_trouble(
    client: Client, before: list[dict[str, Any] | Exception]
) -> None:
    client.answers = [*before, problem("AWSOrganizationsNotInUseException")]
    with pytest.raises(NoOrganizationError):
        await SdkOrganizations("eu-west-1").read(make_credentials())


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
async def test_a_refusal_names_the_action_and_who_manages(client: Client, code: str) -> None:
    client.answers = [problem(code), ORGANIZATION, problem(code)]
    for action, manager in [
        ("organizations:DescribeOrganization", None),
        ("organizations:ListAccounts", MANAGER),
    ]:
        with pytest.raises(MayNotListError) as refused:
            await SdkOrganizations("eu-west-1").read(make_credentials())
        assert (refused.value.action, refused.value.management_account_id) == (action, manager)


@pytest.mark.parametrize("error", [problem("TooManyRequestsException"), problem("ServiceException"), UNREACHED])
async def test_trouble_with_organizations_is_temporary(client: Client, error: Exception) -> None:
    client.answers = [ORGANIZATION, {"Accounts": [account(MANAGER, Status="ACTIVE")], "NextToken": "1"}, error]
    with pytest.raises(TemporaryError) as failed:
        await SdkOrganizations("eu-west-1").read(make_credentials())
    assert "names identities" not in f"{failed.value}"

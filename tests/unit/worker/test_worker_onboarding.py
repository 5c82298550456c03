"""Verification and discovery over their ports in memory, through a worker: jobs in, reports in the ledger."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from coreo_shared.contracts.onboarding import (
    CheckName,
    CheckOutcome,
    DiscoveredAccount,
    DiscoverReport,
    DiscoverSpec,
    Report,
    VerifyReport,
    VerifySpec,
)
from coreo_shared.contracts.terms import RunState
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.aws.inside import Simulated
from coreo_worker.aws.organizations import MayNotListError, NoOrganizationError, Organization
from coreo_worker.aws.sts import Refusal
from coreo_worker.runner.discovery import DiscoverTools, Discovery
from coreo_worker.runner.verification import Verification, VerifyTools
from tests.support.onboard import OnboardWorld
from tests.support.worker import ACCOUNT, EXTERNAL_ID, FakeRoles, MemoryRun, make_credentials

DENIED, THROTTLED = Refusal("AccessDenied"), Refusal("Throttling")


@dataclass
class FakeTrust:
    """A role's trust policy: what each kind of try gets, in turn; the last answer stays. None lets in."""

    right: list[Refusal | None] = field(default_factory=lambda: [None])
    none: list[Refusal | None] = field(default_factory=lambda: [DENIED])
    wrong: list[Refusal | None] = field(default_factory=lambda: [DENIED])
    tried: list[str | None] = field(default_factory=list)

    async def try_role(
        self, role_arn: str, run_id: UUID, *, external_id: str | None, policy: str
    ) -> SessionCredentials | Refusal:
        assert role_arn == f"arn:aws:iam::{ACCOUNT}:role/CoreoAudit"
        assert run_id
        assert policy
        self.tried.append(external_id)
        answers = self.none if external_id is None else self.right if external_id == EXTERNAL_ID else self.wrong
        return (answers.pop(0) if len(answers) > 1 else answers[0]) or make_credentials()


@dataclass
class FakeInside:
    """What a session would learn."""

    account_id: str | Refusal = ACCOUNT
    simulated: Simulated | Refusal = field(default_factory=Simulated)
    asked: list[list[str]] = field(default_factory=list)

    async def account(self, credentials: SessionCredentials) -> str | Refusal:
        assert credentials
        return self.account_id

    async def simulate(self, credentials: SessionCredentials, role_arn: str, actions: Any) -> Simulated | Refusal:
        assert credentials
        assert role_arn
        self.asked.append(list(actions))
        return self.simulated


async def verify(
    trust: FakeTrust, inside: FakeInside | None = None, *, actions: tuple[str, ...] = (), settle_seconds: float = 0
) -> VerifyReport:
    """The report in the ledger."""
    tools = VerifyTools(trust, inside or FakeInside(), settle_seconds)
    world = OnboardWorld({VerifySpec: partial(Verification, tools)})
    run_id = world.send(world.jobs.onboard(VerifySpec(actions=list(actions))))
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.claims) == (RunState.SUCCEEDED, 1)
    assert isinstance(run.report, VerifyReport)
    return run.report


@pytest.fixture
def _quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreo_worker.runner.verification._FIRST_PAUSE_SECONDS", 0.01)


async def test_a_safe_role_is_connected() -> None:
    inside = FakeInside()
    report = await verify(FakeTrust(), inside, actions=("s3:B", "s3:A", "s3:B"))
    assert (report.verdict, report.reason, report.missing_actions) == ("CONNECTED", None, [])
    assert [(check.name, check.outcome) for check in report.checks] == [
        (name, CheckOutcome.PASSED) for name in CheckName
    ]
    assert inside.asked == [["s3:A", "s3:B"]]


@pytest.mark.parametrize(
    ("right", "none", "wrong", "verdict"),
    [
        (None, DENIED, DENIED, "CONNECTED"),
        (None, None, DENIED, "INSECURE"),
        (None, DENIED, None, "INSECURE"),
        (DENIED, None, DENIED, "INSECURE"),
        (DENIED, DENIED, None, "INSECURE"),
        (THROTTLED, None, DENIED, "INSECURE"),
        (THROTTLED, DENIED, None, "INSECURE"),
        (None, THROTTLED, None, "INSECURE"),
        (None, THROTTLED, DENIED, "UNVERIFIED"),
        (None, DENIED, THROTTLED, "UNVERIFIED"),
        (THROTTLED, DENIED, DENIED, "UNVERIFIED"),
        (DENIED, DENIED, DENIED, "UNREACHABLE"),
        (DENIED, THROTTLED, THROTTLED, "UNREACHABLE"),
    ],
)
async def test_every_part_is_tried_and_counts(
    right: Refusal | None, none: Refusal | None, wrong: Refusal | None, verdict: str
) -> None:
    trust = FakeTrust([right], [none], [wrong])
    report = await verify(trust)
    assert report.verdict == verdict
    assert (len(trust.tried), trust.tried[:2]) == (3, [EXTERNAL_ID, None])
    assert trust.tried[2] not in (EXTERNAL_ID, None)


async def test_nothing_is_asked_of_another_account() -> None:
    inside = FakeInside(account_id="999999999999")
    report = await verify(FakeTrust(), inside, actions=("s3:A",))
    assert (report.verdict, inside.asked) == ("UNREACHABLE", [])


async def test_an_account_that_does_not_answer_is_unverified() -> None:
    inside = FakeInside(account_id=THROTTLED)
    report = await verify(FakeTrust(), inside, actions=("s3:A",))
    assert (report.verdict, inside.asked) == ("UNVERIFIED", [])


async def test_missing_actions_are_reported_and_keep_nobody_out() -> None:
    report = await verify(FakeTrust(), FakeInside(simulated=Simulated(denied=("s3:A",))), actions=("s3:A", "s3:B"))
    assert (report.verdict, report.missing_actions) == ("CONNECTED", ["s3:A"])


@pytest.mark.usefixtures("_quick_pauses")
async def test_a_role_that_settles_in_time_is_let_be() -> None:
    trust = FakeTrust(right=[DENIED, DENIED, None])
    report = await verify(trust, settle_seconds=5)
    assert report.verdict == "CONNECTED"
    assert trust.tried.count(EXTERNAL_ID) == 3
    assert trust.tried.count(None) == 3  # one denial may be that of a part of AWS that does not know the role yet


@pytest.mark.usefixtures("_quick_pauses")
@pytest.mark.parametrize("part", ["none", "wrong"])
@pytest.mark.parametrize("denials", [1, 2])
async def test_a_settling_role_that_is_open_is_found_out(part: str, denials: int) -> None:
    opening = [*[DENIED] * denials, None]
    trust = FakeTrust([DENIED, None], *((opening, [DENIED]) if part == "none" else ([DENIED], opening)))
    assert (await verify(trust, settle_seconds=5)).verdict == "INSECURE"


@pytest.mark.usefixtures("_quick_pauses")
async def test_a_role_that_never_settles_is_unreachable_when_its_time_is_over() -> None:
    trust = FakeTrust(right=[DENIED])
    report = await verify(trust, settle_seconds=0.2)
    assert report.verdict == "UNREACHABLE"
    assert trust.tried.count(EXTERNAL_ID) > 2


@pytest.mark.usefixtures("_quick_pauses")
async def test_only_a_denial_is_waited_out() -> None:
    trust = FakeTrust(right=[THROTTLED])
    assert (await verify(trust, settle_seconds=5)).verdict == "UNVERIFIED"
    assert trust.tried.count(EXTERNAL_ID) == 1


async def test_neither_the_external_id_nor_a_wrong_one_is_logged_or_reported() -> None:
    trust = FakeTrust()
    with capture_logs() as events:
        report = await verify(trust, actions=("s3:A",))
    assert "role_verified" in [event["event"] for event in events]
    assert not [sent for sent in trust.tried if sent and sent in f"{events} {report}"]


@dataclass
class FakeOrganizations:
    """What AWS Organizations says."""

    answer: Organization | Exception

    async def read(self, credentials: SessionCredentials) -> Organization:
        assert credentials
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


MANAGER = "222222222222"
MEMBER = DiscoveredAccount(account_id="111111111111", name="test", status="SUSPENDED")


def discovering(answer: Organization | Exception, roles: FakeRoles | None = None) -> tuple[OnboardWorld, UUID]:
    tools = DiscoverTools(roles or FakeRoles(), FakeOrganizations(answer))
    world = OnboardWorld({DiscoverSpec: partial(Discovery, tools)})
    return world, world.send(world.jobs.onboard(DiscoverSpec()))


async def discovered(answer: Organization | Exception, roles: FakeRoles | None = None) -> MemoryRun:
    world, run_id = discovering(answer, roles)
    async with world.worker():
        return await world.ended(run_id)


async def test_an_organizations_accounts_are_reported() -> None:
    roles = FakeRoles()
    run = await discovered(Organization("o-1", MANAGER, (MEMBER,)), roles)
    expected: Report = DiscoverReport(organization_id="o-1", management_account_id=MANAGER, accounts=[MEMBER])
    assert (run.state, run.report) == (RunState.SUCCEEDED, expected)
    (policy,) = roles.policies
    assert '"Action":["organizations:DescribeOrganization","organizations:ListAccounts"]' in policy.document


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoOrganizationError(), "belongs to no organization"),
        (MayNotListError("organizations:DescribeOrganization"), "Allow it organizations:DescribeOrganization."),
        (MayNotListError("organizations:ListAccounts", ACCOUNT), "Allow it organizations:ListAccounts."),
        (MayNotListError("organizations:ListAccounts", MANAGER), f"only the managing account ({MANAGER})"),
    ],
)
async def test_why_there_is_no_list_is_in_the_report(error: Exception, words: str) -> None:
    run = await discovered(error)
    assert run.state is RunState.SUCCEEDED
    assert isinstance(run.report, DiscoverReport)
    assert words in (run.report.problem or "")
    assert run.report.accounts == []


async def test_a_discovery_without_a_way_in_fails() -> None:
    run = await discovered(Organization("o-1", MANAGER, ()), FakeRoles(answers=[PermanentError("Mend the role.")]))
    assert (run.state, run.reason) == (RunState.FAILED, "Mend the role.")


async def test_trouble_gives_a_discovery_back() -> None:
    world, run_id = discovering(TemporaryError("AWS is busy.", delay=1))
    async with world.worker():
        run = await world.released(run_id)
    assert (run.state, run.reason) == (RunState.QUEUED, "AWS is busy.")

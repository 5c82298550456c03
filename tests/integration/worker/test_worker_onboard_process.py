"""An onboard worker's process with its own role: it verifies a customer's role, and gives no secret away."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.jobs import TargetAccount
from coreo_shared.contracts.onboarding import DiscoverReport, DiscoverSpec, VerifyReport, VerifySpec
from coreo_shared.contracts.terms import Pool
from coreo_shared.ids import new_id
from tests.support.ledger import Ledger, open_ledger
from tests.support.worker import EXTERNAL_ID, until
from tests.support.worker_process import WorkerSite, worker_site

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with open_ledger() as server:
        yield server


@pytest.fixture
def site(aws: Simulator, new_account: Callable[[], str], tmp_path: Path) -> Iterator[WorkerSite]:
    with worker_site(aws, new_account(), tmp_path, "onboard") as made:
        yield made


def make_role(site: WorkerSite, account: str, condition: dict[str, Any] | None) -> TargetAccount:
    """A role that trusts the onboard worker and may do everything."""
    iam: IAMClient = site.aws.root_client("iam", account)
    principal = {"AWS": site.deployment.role_arns["worker-onboard"]}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    statement |= {"Condition": condition} if condition else {}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=trust)["Role"]
    iam.attach_role_policy(RoleName="CoreoAudit", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    return TargetAccount(
        cloud_account_id=new_id(), account_id=account, partition="aws", role_arn=role["Arn"], external_id=EXTERNAL_ID
    )


async def test_it_verifies_roles_and_lists_an_organization_and_logs_no_secret(
    site: WorkerSite, ledger: Ledger, new_account: Callable[[], str]
) -> None:
    right = {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}
    manager = make_role(site, new_account(), right)
    organizations = site.aws.root_client("organizations", manager.account_id)
    organizations.create_account(Email="a@example.com", AccountName="member")
    verify = VerifySpec(actions=["s3:ListAllMyBuckets"])
    jobs = {
        "safe": site.jobs.onboard(verify, target=make_role(site, new_account(), right)),
        "open": site.jobs.onboard(verify, target=make_role(site, new_account(), None)),
        "manager": site.jobs.onboard(DiscoverSpec(), target=manager),
    }
    before = len(site.aws.requests)
    for job in jobs.values():
        site.send(site.jobs.sign(job))
    process = site.start(results_url=ledger.url, trust_settle_seconds="0")
    await until(lambda: len(ledger.finished) == len(jobs), seconds=40)
    assert site.end(process) == 0

    reports = {name: ledger.finished[str(job.run_id)].report for name, job in jobs.items()}
    assert isinstance(reports["safe"], VerifyReport)
    assert isinstance(reports["open"], VerifyReport)
    assert (reports["safe"].verdict, reports["open"].verdict) == ("CONNECTED", "INSECURE")
    assert isinstance(reports["manager"], DiscoverReport)
    assert reports["manager"].management_account_id == manager.account_id
    assert "member" in {account.name for account in reports["manager"].accounts}
    sent = {call.parameters.get("ExternalId", EXTERNAL_ID) for call in site.calls(before)}
    assert len(sent) == 3  # the right one, and a wrong one for each verification
    tokens = {job.run_token for job in jobs.values()} | {site.jobs.tokens.fleet_jwks[Pool.ONBOARD]["d"]}
    written = (site.directory / "worker.log").read_text()
    assert not [secret for secret in sent | tokens if secret in written]
    assert "role_verified" in site.events()


async def test_nobody_enters_an_account_before_the_ledger_has_said_yes(
    site: WorkerSite, new_account: Callable[[], str]
) -> None:
    right = {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}
    target = make_role(site, new_account(), right)
    site.send(site.jobs.sign(site.jobs.onboard(VerifySpec(actions=[]), target=target)))
    before = len(site.aws.requests)
    process = site.start(visibility_seconds="2", grace_seconds="0.2")
    await until(lambda: sum(call.operation == "ChangeMessageVisibility" for call in site.calls(before)) >= 2)
    assert site.end(process) == 0
    assert {call.operation for call in site.calls(before)} == {"ReceiveMessage", "ChangeMessageVisibility"}

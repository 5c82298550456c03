"""The engine against the simulated customer account, through its role: exact findings, least calls, refusals."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from coreo_embedded.deploy import Deployment
from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from coreo_shared.rules.policy import session_policy
from coreo_worker.audit.engine import AuditRequest
from coreo_worker.aws.clients import ClientSettings, SessionCredentials
from tests.support.aws import role_credentials
from tests.support.engine import NotingClients, RememberingSink, audit

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

ACCOUNT = "222222222222"
ROLE = "CoreoAudit"
EXTERNAL_ID = "3f1b0a1c9d5e4c7a"


@pytest.fixture(scope="module")
def estate(aws: Simulator, deployment: Deployment) -> Estate:
    """The planted account, its role trusting Coreo's audit worker with the external id."""
    trust = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": deployment.role_arns["worker-audit"]},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
        },
    }
    return seed(aws, ACCOUNT, trust, ROLE)


@pytest.fixture
def worker(aws: Simulator, deployment: Deployment) -> Credentials:
    """The identity of Coreo's audit worker."""
    return role_credentials(aws, deployment, "worker-audit")


def assume(aws: Simulator, worker: Credentials, estate: Estate, rules: tuple[str, ...]) -> SessionCredentials:
    """A session of the customer's role that may do just what the rules need."""
    actions = needs_of(load_catalogue(), rules).actions | REGION_ACTIONS
    sts: STSClient = aws.client("sts", worker)
    keys = sts.assume_role(
        RoleArn=estate.role_arn,
        RoleSessionName="coreo-test",
        ExternalId=EXTERNAL_ID,
        Policy=session_policy(actions).document,
    )["Credentials"]
    expiry = keys["Expiration"].timestamp()
    return SessionCredentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], expiry)


async def run(
    aws: Simulator, credentials: SessionCredentials, rules: tuple[str, ...], **fields: Any
) -> tuple[RememberingSink, NotingClients]:
    asked = AuditRequest(
        account_id=ACCOUNT,
        partition="aws",
        rules=rules,
        regions=fields.pop("regions", ("all",)),
        parameters={},
        units_done=fields.pop("done", frozenset()),
    )
    settings = ClientSettings(max_attempts=2)
    async with NotingClients(credentials, endpoint_url=aws.endpoint_url, settings=settings) as clients:
        return await audit(asked, clients), clients


def found(sink: RememberingSink) -> Counter[Expected]:
    return Counter(Expected(f.rule_id, f.status, f.resource_id, f.region) for f in sink.findings)


def assert_same(sink: RememberingSink, expected: Iterable[Expected]) -> None:
    """Each expected finding once, and no other."""
    given, wanted = found(sink), Counter(expected)
    assert (sorted((given - wanted).elements()), sorted((wanted - given).elements())) == ([], [])


async def test_an_audit_gives_exactly_what_was_planted(aws: Simulator, estate: Estate, worker: Credentials) -> None:
    credentials = assume(aws, worker, estate, estate.rules)
    before = len(aws.requests)
    sink, clients = await run(aws, credentials, estate.rules)
    requests = len(aws.requests) - before

    assert_same(sink, estate.expected)
    assert len(sink.finished) == sink.units_total
    repeated = [call for call, times in Counter(clients.calls).items() if times > 1]
    assert repeated == []
    assert requests == len(clients.calls)
    assert any(estate.canary in finding.resource_id for finding in sink.findings)

"""The exact policy of a plan, as the role's only one: enough for the whole run, and nothing in it is too much."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from coreo_embedded.deploy import Deployment
from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from coreo_shared.rules.policy import required_policy
from coreo_worker.audit.engine import AuditRequest
from coreo_worker.aws.clients import ClientSettings, SessionCredentials
from tests.support.aws import role_credentials
from tests.support.engine import NotingClients, audit

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient

ACCOUNT = "222222220007"  # no other test uses it
ROLE = "CoreoExact"
USED = ("ap-southeast-2", "eu-west-1", "us-east-1")  # where the estate has more than AWS's defaults
RULE_SET = "baseline"
# What the simulated account gives no occasion for: it keeps no prefix lists in security groups, says with each bucket
# where it is, and has no access key that was ever used.
IDLE = {
    "ec2:DescribeManagedPrefixLists",
    "ec2:GetManagedPrefixListEntries",
    "iam:GetAccessKeyLastUsed",
    "s3:GetBucketLocation",
}
_WHOLE: Counter[Expected] = Counter()  # what a run with all actions finds, once it was made
_CATALOGUE = load_catalogue()
ACTIONS = needs_of(_CATALOGUE, _CATALOGUE.rule_sets[RULE_SET]).actions | REGION_ACTIONS


@pytest.fixture(scope="module")
def estate(aws: Simulator, deployment: Deployment) -> Estate:
    """The planted account, whose role for Coreo has no policy yet."""
    trust = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": deployment.role_arns["worker-audit"]},
            "Action": "sts:AssumeRole",
        },
    }
    planted = seed(aws, ACCOUNT, trust, ROLE)
    iam: IAMClient = aws.root_client("iam", ACCOUNT)
    iam.detach_role_policy(RoleName=ROLE, PolicyArn="arn:aws:iam::aws:policy/SecurityAudit")
    return planted


@pytest.fixture
def allow(aws: Simulator, estate: Estate) -> Iterator["IAMClient"]:
    """IAM of the account; the role has no policy after the test."""
    iam: IAMClient = aws.root_client("iam", ACCOUNT)
    yield iam
    iam.delete_role_policy(RoleName=ROLE, PolicyName="exact")


async def run(
    aws: Simulator, deployment: Deployment, iam: "IAMClient", estate: Estate, actions: frozenset[str], *regions: str
) -> list[Finding]:
    """An audit without a session policy: the role's own policy is all that it has."""
    document = json.dumps(required_policy(actions))
    iam.put_role_policy(RoleName=ROLE, PolicyName="exact", PolicyDocument=document)
    worker: Credentials = role_credentials(aws, deployment, "worker-audit")
    sts: STSClient = aws.client("sts", worker)
    keys = sts.assume_role(RoleArn=estate.role_arn, RoleSessionName="coreo-exact")["Credentials"]
    session = SessionCredentials(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], keys["Expiration"].timestamp()
    )
    rules = tuple(sorted(set(_CATALOGUE.rule_sets[RULE_SET]) & set(estate.rules)))
    request = AuditRequest(ACCOUNT, "aws", rules, regions, {}, frozenset())
    settings = ClientSettings(max_attempts=1)
    async with NotingClients(session, endpoint_url=aws.endpoint_url, settings=settings) as clients:
        return (await audit(request, clients)).findings


def keyed(findings: list[Finding]) -> Counter[Expected]:
    return Counter(Expected(f.rule_id, f.status, f.resource_id, f.region) for f in findings)


async def test_the_exact_policy_is_enough_for_the_whole_run(
    aws: Simulator, deployment: Deployment, allow: "IAMClient", estate: Estate
) -> None:
    findings = await run(aws, deployment, allow, estate, ACTIONS, *USED)
    wanted = {f for f in estate.expected_of(set(_CATALOGUE.rule_sets[RULE_SET])) if f.region in {*USED, "global"}}
    assert keyed(findings) == Counter(wanted)


@pytest.mark.parametrize("action", sorted(ACTIONS - REGION_ACTIONS - IDLE))
async def test_an_action_left_out_leaves_out_the_findings_that_need_it_and_no_others(
    aws: Simulator, deployment: Deployment, allow: "IAMClient", estate: Estate, action: str
) -> None:
    findings = await run(aws, deployment, allow, estate, ACTIONS - {action}, "eu-west-1")
    unread = [finding for finding in findings if finding.status is FindingStatus.NOT_EVALUATED]
    assert unread, "nothing needs it"
    assert {missing for finding in unread for missing in finding.missing_actions} == {action}
    for finding in unread:
        assert action in needs_of(_CATALOGUE, [finding.rule_id]).actions
    others = Counter({key: count for key, count in keyed(findings).items() if key.status != "NOT_EVALUATED"})
    if not _WHOLE:
        _WHOLE.update(keyed(await run(aws, deployment, allow, estate, ACTIONS, "eu-west-1")))
    assert others <= _WHOLE
    assert {finding.rule_id for finding in _WHOLE - others} <= {finding.rule_id for finding in unread}

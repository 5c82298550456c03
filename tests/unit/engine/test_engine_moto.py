"""The resource types of the estate, read by the engine from moto in process: all calls are right and parse.

The actions that a plan declares and the calls that its run makes are compared both ways; the names of the actions come
from tests.support.moto_clients, not from the catalogue.
"""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from coreo_embedded.estate import PLANTED
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.needs import needs_of
from coreo_worker.audit.engine import AuditRequest
from tests.support.engine import audit
from tests.support.moto_aws import ACCOUNT, REGION, MotoClients, moto

pytestmark = pytest.mark.xdist_group("engine-moto")  # the account is made once
RULES = sorted(PLANTED | {"ebs-encryption-by-default"})


@pytest.fixture(scope="module")
def account() -> Iterator[None]:
    """One resource of each type, in moto."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        with moto():
            _storage()
            _network()
            _iam()
            yield


def _storage() -> None:
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket="bucket-of-the-trail", CreateBucketConfiguration={"LocationConstraint": REGION})
    trails = boto3.client("cloudtrail", region_name=REGION)
    trails.create_trail(Name="trail", S3BucketName="bucket-of-the-trail", IsMultiRegionTrail=True)
    boto3.client("rds", region_name=REGION).create_db_instance(
        DBInstanceIdentifier="db",
        DBInstanceClass="db.t3.medium",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        MasterUserPassword="Correct-horse-9",
    )


def _network() -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    entries: Any = [{"Cidr": "0.0.0.0/0"}]
    made = ec2.create_managed_prefix_list(PrefixListName="l", MaxEntries=1, AddressFamily="IPv4", Entries=entries)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="by-list", Description="d", VpcId=vpc)["GroupId"]
    prefix_lists: Any = [{"PrefixListId": made["PrefixList"]["PrefixListId"]}]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "PrefixListIds": prefix_lists}],
    )
    image = ec2.register_image(Name="image", RootDeviceName="/dev/sda1")["ImageId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    ec2.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogDestinationType="s3",
        LogDestination="arn:aws:s3:::logs",
    )


def _iam() -> None:
    iam = boto3.client("iam")
    iam.create_user(UserName="user")
    iam.create_login_profile(UserName="user", Password="Correct-horse-9")
    iam.create_access_key(UserName="user")
    iam.attach_user_policy(UserName="user", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    iam.create_policy(PolicyName="all", PolicyDocument=json.dumps(document))
    trust = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}}
    iam.create_role(RoleName="open", AssumeRolePolicyDocument=json.dumps(trust))


def asking(*rules: str) -> AuditRequest:
    return AuditRequest(ACCOUNT, "aws", rules, (REGION,), {}, frozenset())


@pytest.mark.usefixtures("account")
async def test_every_rule_of_the_estate_can_be_judged() -> None:
    catalogue = load_catalogue()
    sink = await audit(asking(*RULES), MotoClients())
    undecided = [(f.rule_id, f.reason) for f in sink.findings if f.status == FindingStatus.NOT_EVALUATED]
    assert undecided == []
    # Not every rule applies to something here, but some rule of each type does.
    judged = {catalogue.rules[finding.rule_id].resource for finding in sink.findings}
    assert judged == {catalogue.rules[rule].resource for rule in RULES}


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("rule", RULES)
async def test_the_actions_declared_are_the_calls_made(rule: str) -> None:
    clients = MotoClients()
    await audit(asking(rule), clients)
    assert clients.actions == needs_of(load_catalogue(), [rule]).actions
    assert len(set(clients.calls)) == len(clients.calls)


@pytest.mark.usefixtures("account")
async def test_an_address_list_of_the_account_opens_a_group() -> None:
    findings = (await audit(asking("ec2-security-group-open-ssh"), MotoClients())).findings
    [by_list] = [finding for finding in findings if finding.evidence["GroupName"] == "by-list"]
    assert by_list.status == FindingStatus.FAIL

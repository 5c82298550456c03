"""Every resource type of the catalogue, read from an AWS that answers by botocore's own shapes.

The IAM actions that a plan declares and the calls that its run makes are compared both ways, one type at a time.
The names of the actions come from the tables below, not from the catalogue.
"""

import asyncio
from collections import Counter

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.needs import needs_of
from coreo_worker.audit.engine import AuditRequest
from tests.support.engine import ACCOUNT, PlainAws, audit
from tests.support.shaped_aws import operations, shaped_answers

CATALOGUE = load_catalogue()
# Service authorization reference: the services, and the operations, that IAM names otherwise than the SDK does.
PREFIXES = {
    "accessanalyzer": "access-analyzer",
    "docdb": "rds",
    "efs": "elasticfilesystem",
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "emr": "elasticmapreduce",
    "neptune": "rds",
    "opensearch": "es",
    "s3control": "s3",
    "stepfunctions": "states",
}
ACTIONS = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3control:GetPublicAccessBlock": "s3:GetAccountPublicAccessBlock",
    "dms:DescribeReplicationInstances": "dms:DescribeReplicationInstances",
}
WHOLE_SERVICES = {"apigateway": "apigateway:GET", "apigatewayv2": "apigateway:GET"}
# AWS is asked to write the report only when there is none.
ONLY_WHEN_MISSING = {"iam:GenerateCredentialReport"}


def action_of(service: str, operation: str) -> str:
    api = operations(service)[operation].name
    if service in WHOLE_SERVICES:
        return WHOLE_SERVICES[service]
    return ACTIONS.get(f"{service}:{api}", f"{PREFIXES.get(service, service)}:{api}")


@pytest.mark.parametrize("name", sorted(CATALOGUE.resource_types))
async def test_actions_declared_are_the_calls_made(name: str) -> None:
    rules = [rule.id for rule in CATALOGUE.rules.values() if rule.resource == name]
    if not rules:  # read for other types' rules alone
        rules = [rule.id for rule in CATALOGUE.rules.values() if name in needs_of(CATALOGUE, [rule.id]).types]
    needs = needs_of(CATALOGUE, rules)
    aws = PlainAws(shaped_answers(CATALOGUE, needs.types))

    async with asyncio.timeout(30):  # a listing that never ends is a token that was not left out
        await audit(AuditRequest(ACCOUNT, "aws", tuple(rules), ("eu-west-1",), {}, frozenset()), aws)

    called = {action_of(call.service, call.operation) for call in aws.calls}
    assert called == needs.actions - ONLY_WHEN_MISSING
    assert len(set(aws.calls)) == len(aws.calls)


async def test_no_call_is_made_twice_by_all_rules_together() -> None:
    aws = PlainAws(shaped_answers(CATALOGUE, CATALOGUE.resource_types))
    regions = ("eu-west-1", "us-east-1")

    await audit(AuditRequest(ACCOUNT, "aws", tuple(CATALOGUE.rules), regions, {}, frozenset()), aws)

    assert [call for call, times in Counter(aws.calls).items() if times > 1] == []
    called = {action_of(call.service, call.operation) for call in aws.calls}
    assert called == needs_of(CATALOGUE, CATALOGUE.rules).actions - ONLY_WHEN_MISSING

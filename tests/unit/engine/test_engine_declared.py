"""Every resource type of the catalogue, read from an AWS that answers by botocore's own shapes.

The IAM actions that a plan declares and the calls that its run makes are compared both ways, one type at a time.
The names of the actions come from the tables below, not from the catalogue.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.needs import needs_of
from coreo_worker.audit.engine import AuditRequest
from tests.support.engine import ACCOUNT, Answer, PlainAws, audit

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
# What makes every enrichment worth a call, where the first value of an enumeration would not.
VALUES: dict[str, Any] = {
    "KeyManager": "CUSTOMER",
    "KeySpec": "SYMMETRIC_DEFAULT",
    "Origin": "AWS_KMS",
    "KeyState": "Enabled",
    "OwnerId": ACCOUNT,
    "Engine": "postgres",
}
# There is one page of everything; and a bucket whose region must be asked for.
LEFT_OUT = re.compile(r"(?i).*token.*|.*marker.*|IsTruncated|HasMore.*|LastEvaluated.*|position|BucketRegion")
# AWS is asked to write the report only when there is none.
ONLY_WHEN_MISSING = {"iam:GenerateCredentialReport"}


@cache
def operations(service: str) -> dict[str, OperationModel]:
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}


def example(shape: Shape | None, seen: tuple[str, ...] = ()) -> Any:
    """A value of the shape: one element in each list, every member filled in as far as it does not repeat itself."""
    if isinstance(shape, StructureShape):
        if shape.name in seen:
            return {}
        members = {name: of for name, of in shape.members.items() if not LEFT_OUT.fullmatch(name)}
        return {name: VALUES.get(name, example(of, (*seen, shape.name))) for name, of in members.items()}
    if isinstance(shape, ListShape):
        return [example(shape.member, seen)]
    if isinstance(shape, MapShape):
        return {"key": example(shape.value, seen)}
    if isinstance(shape, StringShape):
        return shape.enum[0] if shape.enum else f"a-{shape.name}"
    name = shape.type_name if shape is not None else "structure"
    plain = {"boolean": False, "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "blob": b"user,arn\nalice,a\n"}
    return plain.get(name, 1)


def answers(service: str) -> dict[str, Answer]:
    def answer_of(model: OperationModel) -> Answer:
        def answer(_region: str, _params: Mapping[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = example(model.output_shape) if model.output_shape else {}
            return found

        return answer

    return {f"{service}.{name}": answer_of(model) for name, model in operations(service).items()}


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
    services = {CATALOGUE.resource_types[each].service for each in needs.types}
    aws = PlainAws({operation: answer for service in services for operation, answer in answers(service).items()})

    async with asyncio.timeout(30):  # a listing that never ends is a token that was not left out
        await audit(AuditRequest(ACCOUNT, "aws", tuple(rules), ("eu-west-1",), {}, frozenset()), aws)

    called = {action_of(call.service, call.operation) for call in aws.calls}
    assert called == needs.actions - ONLY_WHEN_MISSING
    assert len(set(aws.calls)) == len(aws.calls)

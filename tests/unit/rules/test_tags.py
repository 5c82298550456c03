"""Tags that a rule's calls bring along are in its evidence, where suppressions look for them."""

from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.tags import tags_in
from coreo_shared.rules.values import Relations

KEYS = [{"Key": "env", "Value": "dev"}]
SMALL = [{"key": "env", "value": "dev"}]


@pytest.mark.parametrize(
    ("rule", "item"),
    [
        ("ec2-instance-imdsv1", {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": KEYS}),
        ("rds-instance-unencrypted", {"DBInstanceIdentifier": "db", "Engine": "mysql", "TagList": KEYS}),
        ("apigateway-tracing", {"stageName": "prod", "Parent": {"id": "a"}, "tags": {"env": "dev"}}),
        ("eks-secrets-unencrypted", {"name": "c", "Cluster": {"name": "c", "tags": {"env": "dev"}}}),
        ("ecs-service-public-ip", {"serviceArn": "s", "Parent": {}, "Service": [{"tags": SMALL}]}),
    ],
)
def test_tags_are_found_in_the_evidence_of_a_verdict(rule: str, item: dict[str, Any]) -> None:
    verdict = compile_rule(load_catalogue().rules[rule], {}).evaluate(item, Relations())
    assert verdict is not None
    assert tags_in(verdict.evidence) == {"env": "dev"}

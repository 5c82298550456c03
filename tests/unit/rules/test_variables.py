"""A plan's values for every rule that has the parameter."""

from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.values import Relations
from coreo_shared.rules.variables import shared_errors, spread

RULES = [load_catalogue().rules[name] for name in ("ec2-instance-tags", "s3-bucket-tags", "iam-root-mfa")]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        (
            {"*": {"required_tags": ["Team"]}},
            {"ec2-instance-tags": {"required_tags": ["Team"]}, "s3-bucket-tags": {"required_tags": ["Team"]}},
        ),
        (
            {"*": {"required_tags": ["Team"]}, "s3-bucket-tags": {"required_tags": ["Owner"]}},
            {"ec2-instance-tags": {"required_tags": ["Team"]}, "s3-bucket-tags": {"required_tags": ["Owner"]}},
        ),
        # What is wrong stays, and is said by whoever binds it.
        (
            {"*": {"required_tags": ["Team"]}, "s3-bucket-tags": 3},
            {"ec2-instance-tags": {"required_tags": ["Team"]}, "s3-bucket-tags": 3},
        ),
        ({"*": 3}, {}),
    ],
)
def test_a_shared_value_goes_to_the_rules_that_have_it(given: dict[str, Any], found: dict[str, Any]) -> None:
    assert spread(given, RULES) == found


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"*": []}, "parameters.*", "must be an object"),
        ({"*": {"required_tag": []}}, "parameters.*", "did you mean required_tags?"),
        ({"*": {"required_tags": "Team"}}, "parameters.*.required_tags", "must be a list of at most 500, for ec2-"),
    ],
)
def test_what_is_wrong_with_it_is_named(given: dict[str, Any], field: str, problem: str) -> None:
    [error] = shared_errors(given, RULES)
    assert error.field == field
    assert problem in error.problem


def test_it_changes_the_verdict() -> None:
    item = {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": [{"Key": "Owner", "Value": "web"}]}
    for wanted, status in ((["Owner"], FindingStatus.PASS), (["Owner", "CostCentre"], FindingStatus.FAIL)):
        compiled = compile_rule(RULES[0], spread({"*": {"required_tags": wanted}}, RULES))
        verdict = compiled.evaluate(item, Relations())
        assert verdict is not None
        assert verdict.status is status

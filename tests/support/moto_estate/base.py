"""A good and a bad resource of many kinds, in moto, and what the rules must say of each.

Each plant makes resources in an empty account and says what is expected: a rule, which of them fail it, which pass.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3

from tests.support.moto_aws import REGION

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@dataclass(frozen=True)
class Expected:
    """What a rule says of resources, by their ids."""

    rule: str
    fails: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()


Plant = Callable[[], Iterator[Expected]]
PLANTS: list[Plant] = []


def plant(function: Plant) -> Plant:
    """Notes a function that makes resources."""
    PLANTS.append(function)
    return function


def client(service: str, region: str = REGION) -> Any:
    """A client of moto."""
    return boto3.client(service, region_name=region)  # type: ignore[call-overload]  # any service


def said(rule: str, fails: str = "", passes: str = "") -> Expected:
    """Expected of resources whose ids have no space, and are parted by one."""
    return Expected(rule, tuple(fails.split()), tuple(passes.split()))


def both(bad: str, good: str, *rules: str) -> Iterator[Expected]:
    """All of these rules fail the one and pass the other."""
    for rule in rules:
        yield Expected(rule, (bad,), (good,))


def public(action: str, resource: str) -> str:
    """A policy that lets everybody do it."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def a_subnet(position: int = 0) -> str:
    """One of the default VPC's."""
    found: str = client("ec2").describe_subnets()["Subnets"][position]["SubnetId"]
    return found


def role(name: str) -> str:
    """A role's ARN; made where it is not there."""
    iam = client("iam")
    try:
        found: str = iam.get_role(RoleName=name)["Role"]["Arn"]
    except iam.exceptions.NoSuchEntityException:
        found = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    return found


def function(name: str, **more: Any) -> str:
    """A new Lambda function's ARN."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("main.py", "def handler(event, context): pass")
    settings = {"Runtime": "python3.13", "Role": role("lambda"), "Handler": "main.handler"} | more
    made: str = client("lambda").create_function(FunctionName=name, Code={"ZipFile": code.getvalue()}, **settings)[
        "FunctionArn"
    ]
    return made

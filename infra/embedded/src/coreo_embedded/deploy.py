"""Builds Coreo's own AWS account in the simulator from the templates that production uses."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import WaiterError

from coreo_embedded.simulator import REGION, Credentials, Simulator

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_iam import IAMClient

TEMPLATES = Path(__file__).parents[3] / "cloudformation"
COREO_ACCOUNT = "111111111111"
PREFIX = "coreo"
_LAUNCHER = "coreo-embedded-launcher"

Service = Literal["api", "results", "worker-audit", "worker-deploy", "worker-onboard"]
Pool = Literal["audit", "deploy", "onboard"]


class DeployError(RuntimeError):
    """A stack failed; the message has the resources that did and why."""


@dataclass(frozen=True)
class Deployment:
    """What the templates made, and the user that stands for ECS: it may assume the services' roles, nothing else."""

    account_id: str
    region: str
    queue_urls: Mapping[Pool, str]
    queue_arns: Mapping[Pool, str]
    dead_letter_urls: Mapping[Pool, str]
    role_arns: Mapping[Service, str]
    key_arn: str
    launcher: Credentials = field(repr=False)


def deploy(simulator: Simulator, *, account_id: str = COREO_ACCOUNT, region: str = REGION) -> Deployment:
    """Deploys queues, roles and key into an account of the simulator. Raises DeployError.

    Two conditions of production are off, because the simulator cannot judge them: TLS to the queues, and the external
    id in the workers' own policies.
    """
    launcher_arn, launcher = _make_launcher(simulator.root_client("iam", account_id), account_id)
    cloudformation: CloudFormationClient = simulator.root_client("cloudformation", account_id, region)
    queues = create_stack(cloudformation, "queues", {"RequireTls": "false"})
    arns = {name: queues[name] for name in ("AuditQueueArn", "DeployQueueArn", "OnboardQueueArn")}
    roles = create_stack(
        cloudformation, "roles", arns | {"LauncherPrincipal": launcher_arn, "RequireExternalId": "false"}
    )
    keys = create_stack(cloudformation, "keys", {"ResultsRoleArn": roles["ResultsRoleArn"]})
    return Deployment(
        account_id=account_id,
        region=region,
        queue_urls={pool: queues[f"{pool.title()}QueueUrl"] for pool in ("audit", "deploy", "onboard")},
        queue_arns={pool: queues[f"{pool.title()}QueueArn"] for pool in ("audit", "deploy", "onboard")},
        dead_letter_urls={pool: queues[f"{pool.title()}DeadLettersUrl"] for pool in ("audit", "deploy")},
        role_arns={
            "api": roles["ApiRoleArn"],
            "results": roles["ResultsRoleArn"],
            "worker-audit": roles["AuditWorkerRoleArn"],
            "worker-deploy": roles["DeployWorkerRoleArn"],
            "worker-onboard": roles["OnboardWorkerRoleArn"],
        },
        key_arn=keys["ResultsKeyArn"],
        launcher=launcher,
    )


def create_stack(
    cloudformation: "CloudFormationClient", template: str, parameters: Mapping[str, str]
) -> dict[str, str]:
    """Creates the stack `coreo-<template>` from infra/cloudformation and returns its outputs. Raises DeployError."""
    stack = f"{PREFIX}-{template}"
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=(TEMPLATES / f"{template}.yaml").read_text(),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in ({"Prefix": PREFIX} | dict(parameters)).items()
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    try:
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    except WaiterError as error:
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            for event in events
            if event.get("ResourceStatus", "").endswith("FAILED")
        ]
        raise DeployError(f"The stack {stack} failed. {'; '.join(failed)}") from error
    outputs = cloudformation.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def _make_launcher(iam: "IAMClient", account_id: str) -> tuple[str, Credentials]:
    """The user whom `LauncherPrincipal` names, as ECS does not exist here."""
    user = iam.create_user(UserName=_LAUNCHER)["User"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Resource": f"arn:aws:iam::{account_id}:role/{PREFIX}-*",
            }
        ],
    }
    iam.put_user_policy(UserName=_LAUNCHER, PolicyName="be-ecs", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=_LAUNCHER)["AccessKey"]
    return user["Arn"], Credentials(key["AccessKeyId"], key["SecretAccessKey"])

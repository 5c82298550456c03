"""Reads what the CloudFormation templates allow, one fact a line, so that a test can hold the whole list.

Facts cover who may do what in AWS (roles, policies of keys, queues and buckets), the queues and buckets, and who may
connect to whom. Anything of these kinds in any template gives a fact: nothing can be added beside the list.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

TEMPLATES = Path(__file__).parents[2] / "infra" / "cloudformation"
CUSTOMER_TEMPLATE = TEMPLATES.parent / "customer" / "coreo-role.yaml"
Templates = dict[str, dict[str, Any]]

_QUEUE_DEFAULTS = ("QueueName", "VisibilityTimeout", "ReceiveMessageWaitTimeSeconds", "RedriveAllowPolicy")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short intrinsic functions, given as their long form."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]  # the third and last kind of node
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def load_templates() -> Templates:
    """All templates by file name."""
    return {
        path.name: yaml.load(path.read_text(), _Loader)  # noqa: S506  a SafeLoader with tags that build plain data
        for path in sorted(TEMPLATES.glob("*.yaml"))
    }


def facts(templates: Templates) -> list[str]:
    """Sorted facts of all templates."""
    return sorted(
        fact
        for template in templates.values()
        for name, resource in template["Resources"].items()
        for fact in _resource_facts(name, resource["Type"], resource.get("Properties", {}))
    )


def _resource_facts(name: str, kind: str, properties: dict[str, Any]) -> Iterator[str]:
    match kind:
        case "AWS::IAM::Role":
            yield from _role_facts(name, properties)
        case "AWS::SQS::Queue":
            yield _queue_fact(name, properties)
        case "AWS::SQS::QueuePolicy":
            queues = ", ".join(map(_text, properties["Queues"]))
            yield from (f"queues {queues}: {s}" for s in _statements(properties["PolicyDocument"]))
        case "AWS::KMS::Key":
            yield from (f"key {name}: {statement}" for statement in _statements(properties["KeyPolicy"]))
        case "AWS::S3::Bucket" | "AWS::S3::BucketPolicy":
            yield from _bucket_facts(name, properties)
        case "AWS::EC2::SecurityGroup":
            yield from _group_facts(name, properties)
        case "AWS::EC2::SecurityGroupIngress":
            yield f"group {_text(properties['GroupId'])}: in {_rule(properties, 'Source')}"
        case "AWS::EC2::SecurityGroupEgress":
            yield f"group {_text(properties['GroupId'])}: out {_rule(properties, 'Destination')}"
        case "AWS::ECS::TaskDefinition":
            yield from _task_facts(properties)
        case "AWS::ECS::Service":
            address = properties["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"]
            balanced = "behind a load balancer" if "LoadBalancers" in properties else "behind no load balancer"
            yield f"service {_text(properties['ServiceName'])}: public address {address}, {balanced}"
        case _ if (
            kind.startswith(("AWS::IAM::", "AWS::SQS::", "AWS::KMS::", "AWS::S3::")) and kind != "AWS::KMS::Alias"
        ):
            yield f"{kind} {name}"


def _role_facts(name: str, properties: dict[str, Any]) -> Iterator[str]:
    label = f"role {_text(properties.get('RoleName', name))}"
    for statement in _statements(properties["AssumeRolePolicyDocument"]):
        yield f"{label} trust: {statement}"
    for policy in properties.get("Policies", []):
        yield from (f"{label}: {statement}" for statement in _statements(policy["PolicyDocument"]))
    for managed in properties.get("ManagedPolicyArns", []):
        yield f"{label}: managed {_text(managed)}"


def _queue_fact(name: str, properties: dict[str, Any]) -> str:
    rest = {key: _text(value) for key, value in properties.items() if key not in _QUEUE_DEFAULTS}
    return f"queue {name}: " + ", ".join(f"{key} {rest[key]}" for key in sorted(rest))


def _bucket_facts(name: str, properties: dict[str, Any]) -> Iterator[str]:
    """Of a bucket or of its policy."""
    if "PolicyDocument" in properties:
        bucket = _text(properties["Bucket"])
        yield from (f"bucket {bucket}: {statement}" for statement in _statements(properties["PolicyDocument"]))
    else:
        rest = {key: _text(value) for key, value in properties.items() if key != "BucketName"}
        yield f"bucket {name}: " + ", ".join(f"{key} {rest[key]}" for key in sorted(rest))


def _task_facts(properties: dict[str, Any]) -> Iterator[str]:
    for container in properties["ContainerDefinitions"]:
        ports = [str(port["ContainerPort"]) for port in container.get("PortMappings", [])]
        yield f"task {_text(properties['Family'])}: listens on {', '.join(ports) or 'nothing'}"


def _group_facts(name: str, properties: dict[str, Any]) -> Iterator[str]:
    for rule in properties.get("SecurityGroupIngress", []):
        yield f"group {name}: in {_rule(rule, 'Source')}"
    if "SecurityGroupEgress" not in properties:
        yield f"group {name}: out everything to everywhere"  # what AWS adds by itself
    for rule in properties.get("SecurityGroupEgress", []):
        yield f"group {name}: out {_rule(rule, 'Destination')}"


def _rule(rule: dict[str, Any], side: str) -> str:
    peers = ("CidrIp", "CidrIpv6", f"{side}SecurityGroupId", f"{side}PrefixListId", f"{side}SecurityGroupName")
    peer = next(rule[key] for key in peers if key in rule)
    ports = f"{rule.get('FromPort', 'all')}-{rule.get('ToPort', 'all')}"
    return f"{rule['IpProtocol']} {ports} {_text(peer)}"


def _statements(document: dict[str, Any]) -> Iterator[str]:
    """One line per statement and action: effect, principal, action, resource, condition."""
    for item in document["Statement"]:
        match item:
            case {"Fn::If": [str(condition), dict(statement), {"Ref": "AWS::NoValue"}]}:
                suffix = f" [if {condition}]"
            case _:
                statement, suffix = item, ""
        known = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
        assert set(statement) <= known, f"unread keys: {set(statement) - known}"
        parts = [statement["Effect"]]
        parts += [_text(statement["Principal"])] if "Principal" in statement else []
        tail = [_text(statement["Resource"])] if "Resource" in statement else []
        tail += ["when " + _text(statement["Condition"])] if "Condition" in statement else []
        for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
            yield " ".join([*parts, action, *tail]) + suffix


def _text(value: Any) -> str:
    """A value with its intrinsic functions in words."""
    match value:
        case {"Ref": str(name)} | {"Fn::Sub": str(name)} | {"Fn::GetAtt": str(name)}:
            return name
        case {"Fn::If": [condition, then, {"Ref": "AWS::NoValue"}]}:
            return f"[if {condition}: {_text(then)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
        case list():
            return ", ".join(map(_text, value))
        case str():
            return value
    return json.dumps(value)

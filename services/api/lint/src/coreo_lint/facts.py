"""What a template declares, whatever cfn-lint thinks of it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from coreo_lint.linting import line_of
from coreo_lint.protocol import Parameter, Resource

# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html (Capabilities)
_NAMES: Final = {
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
}
_IAM: Final = frozenset(_NAMES) | {"AWS::IAM::AccessKey", "AWS::IAM::Policy", "AWS::IAM::UserToGroupAddition"}


def parameters_of(template: Mapping[str, Any]) -> list[Parameter]:
    """The parameters, in the template's order."""
    return [
        Parameter(
            name=str(name),
            type=str(declared.get("Type", "String")),
            no_echo=str(declared.get("NoEcho", "")).lower() == "true",
            has_default="Default" in declared,
            line=line_of(name),
        )
        for name, declared in _mappings(template, "Parameters")
    ]


def resources_of(template: Mapping[str, Any]) -> list[Resource]:
    """The resources, in the template's order."""
    return [
        Resource(str(name), str(declared.get("Type", "")), line_of(name))
        for name, declared in _mappings(template, "Resources")
    ]


def capabilities_of(template: Mapping[str, Any]) -> list[str]:
    """What must be acknowledged, as far as the template itself shows; nested stacks may need more."""
    needed = set()
    for _, declared in _mappings(template, "Resources"):
        kind, properties = declared.get("Type"), declared.get("Properties")
        if kind in _IAM:
            named = isinstance(properties, dict) and _NAMES.get(kind, "") in properties
            needed.add("CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM")
    if "CAPABILITY_NAMED_IAM" in needed:  # it covers the other one
        needed.discard("CAPABILITY_IAM")
    if _has_macro(template):
        needed.add("CAPABILITY_AUTO_EXPAND")
    return sorted(needed)


def _has_macro(template: Mapping[str, Any]) -> bool:
    """Whether something rewrites the template: a Transform of its own, or one somewhere inside."""
    waiting: list[Any] = [template]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "Fn::Transform" in node:
                return True
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return bool(template.get("Transform"))


def _mappings(template: Mapping[str, Any], section: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    for name, declared in (template.get(section) or {}).items():
        if isinstance(declared, dict):
            yield name, declared

"""IAM role ARNs, parsed strictly (IAM user guide, "IAM identifiers"): what passes goes into AssumeRole as it is."""

import re
from dataclasses import dataclass

MAX_ARN = 2_048  # STS API reference, AssumeRole
_ACCOUNT = re.compile(r"[0-9]{12}")
_PATH = re.compile(r"/(?:[!-.0-~]+/)*")  # segments of visible ASCII without slashes
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_MAX_PATH = 512
_EXPECTED = "expected arn:{partition}:iam::<12 digits>:role/<name>"


class RoleArnError(ValueError):
    """Not the ARN of a role that can be used; the text says why and never repeats it."""


@dataclass(frozen=True, slots=True)
class RoleArn:
    """arn:{partition}:iam::{account_id}:role{path}{name}; the path begins and ends with a slash."""

    partition: str
    account_id: str
    path: str
    name: str


def parse_role_arn(text: str, *, partition: str) -> RoleArn:
    """The parts of a role's ARN in this partition. Raises RoleArnError."""
    expected = _EXPECTED.format(partition=partition)
    if len(text) > MAX_ARN:
        raise RoleArnError(f"longer than {MAX_ARN} characters")
    if not text.isascii() or any(character.isspace() for character in text):
        raise RoleArnError(f"must have no spaces, line ends or characters beyond ASCII; {expected}")
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise RoleArnError(f"not an ARN; {expected}")
    if parts[1] != partition:
        raise RoleArnError(f"not in the partition {partition}, where this Coreo works; {expected}")
    if parts[2] != "iam" or parts[3]:
        raise RoleArnError(_service_problem(parts[2], parts[5], expected))
    if not _ACCOUNT.fullmatch(parts[4]):
        raise RoleArnError(f"the account must be 12 digits; {expected}")
    return _with_role(parts[1], parts[4], parts[5], expected)


def _service_problem(service: str, resource: str, expected: str) -> str:
    if service == "sts" and resource.startswith("assumed-role/"):
        return f"this is a session of a role; send the role itself, {expected}"
    if service == "iam":
        return f"IAM is global: the fourth part must be empty; {expected}"
    return f"not an IAM ARN; {expected}"


def _with_role(partition: str, account_id: str, resource: str, expected: str) -> RoleArn:
    if not resource.startswith("role/"):
        raise RoleArnError(f"not a role: a user, group, policy or root cannot be assumed; {expected}")
    path, _, name = resource.removeprefix("role").rpartition("/")
    if not _PATH.fullmatch(path + "/") or len(path) + 1 > _MAX_PATH:
        raise RoleArnError(f"the role's path is not one that IAM allows; {expected}")
    if not _NAME.fullmatch(name):
        raise RoleArnError(f"a role's name has 1 to 64 letters, digits or any of _+=,.@-; {expected}")
    return RoleArn(partition, account_id, path + "/", name)

"""IAM policies from the actions that a run takes: the one a role needs, and the session policy of each AssumeRole.

STS takes a session policy of at most 2,048 characters (API reference, AssumeRole). Where the actions do not fit, the
ones of one service that begin alike are put together as `service:Prefix*`, the longest common beginnings first, and
the answer says so. What does not fit even then is spread over several sessions, each for some services. A session never
gets more than the role itself allows.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

MAX_SESSION_POLICY = 2_048
MAX_MANAGED_POLICY = 6_144  # characters, without white space (IAM user guide, "IAM and AWS STS quotas")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[^A-Z]+")

# Actions that hand out data or secrets, and so must never slip in with a wildcard.
_NEVER_WIDEN_TO = (
    "athena:GetQueryResults", "codecommit:GetFile", "cognito-identity:GetCredentialsForIdentity", "dynamodb:GetItem",
    "ec2:GetConsoleOutput", "ec2:GetConsoleScreenshot", "ec2:GetPasswordData", "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer", "kinesis:GetRecords", "lambda:GetFunction", "logs:GetLogEvents",
    "logs:GetQueryResults", "rds:DownloadDBLogFilePortion", "redshift:GetClusterCredentials", "s3:GetObject",
    "s3:GetObjectTorrent", "s3:GetObjectVersion", "secretsmanager:GetSecretValue", "sqs:ReceiveMessage",
    "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath",
    "sts:GetSessionToken",
)  # fmt: skip


class PolicyTooLargeError(ValueError):
    """The actions do not fit: even with wildcards into a session policy, or one of them into any."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """A session policy as JSON. `widened` are the wildcards that had to stand for several actions; mostly none.

    `services` are those whose calls go with it, as the SDK names them; none: all that no other policy is for.
    """

    document: str
    widened: tuple[str, ...]
    services: tuple[str, ...] = ()


def session_policy(actions: Iterable[str]) -> SessionPolicy:
    """The policy that allows just these actions, in at most 2,048 characters."""
    wanted = frozenset(actions)
    entries = set(wanted)
    document = _session_document(entries)
    while len(document) > MAX_SESSION_POLICY:
        pattern = _narrowest_merge(entries, wanted)
        if pattern is None:
            raise PolicyTooLargeError(
                "The plan's rules need more IAM actions than a session policy can hold: split it."
            )
        entries = {entry for entry in entries if not entry.startswith(pattern[:-1])} | {pattern}
        document = _session_document(entries)
    return SessionPolicy(document, tuple(sorted(entries - wanted)))


def session_policies(by_service: Mapping[str, frozenset[str]]) -> tuple[SessionPolicy, ...]:
    """One policy for all these services' actions if it can be had, else one each for some of the services.

    The first is for every service that none of the others names. Raises PolicyTooLargeError.
    """
    try:
        return (session_policy(action for actions in by_service.values() for action in actions),)
    except PolicyTooLargeError:
        pass
    parts: list[dict[str, frozenset[str]]] = []
    for service, actions in sorted(by_service.items(), key=lambda pair: (-sum(map(len, pair[1])), pair[0])):
        for part in parts:
            if len(_session_document(actions.union(*part.values()))) <= MAX_SESSION_POLICY:
                part[service] = actions
                break
        else:
            parts.append({service: actions})
    made = [(session_policy(frozenset().union(*part.values())), tuple(sorted(part))) for part in parts]
    return tuple(
        SessionPolicy(policy.document, policy.widened, services if position else ())
        for position, (policy, services) in enumerate(made)
    )


def _session_document(entries: Iterable[str]) -> str:
    statement = {"Effect": "Allow", "Action": sorted(entries), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def _narrowest_merge(entries: set[str], wanted: frozenset[str]) -> str | None:
    """The wildcard of the longest beginning (in words) that several entries share; of these, what saves most."""
    groups: dict[str, list[str]] = {}
    words: dict[str, int] = {}
    for entry in entries:
        for count, beginning in _beginnings(entry):
            groups.setdefault(beginning, []).append(entry)
            words[beginning] = count
    candidates = [
        (words[beginning], sum(len(entry) + 3 for entry in group), beginning)
        for beginning, group in groups.items()
        if len(group) > 1 and not any(name.startswith(beginning) and name not in wanted for name in _NEVER_WIDEN_TO)
    ]
    return max(candidates)[2] + "*" if candidates else None


@lru_cache(maxsize=4_096)
def _beginnings(entry: str) -> tuple[tuple[int, str], ...]:
    """`ec2:Describe`, `ec2:DescribeVpc` … with the number of words; never a service alone."""
    service, _, name = entry.removesuffix("*").partition(":")
    ends = accumulate(len(word) for word in _WORD.findall(name))
    return tuple((count, f"{service}:{name[:end]}") for count, end in enumerate(ends, start=1))


def required_policy(actions: Iterable[str]) -> dict[str, Any]:
    """The IAM policy document that lets a role do these actions, a statement for each service."""
    by_service: dict[str, list[str]] = {}
    for action in sorted(set(actions)):
        by_service.setdefault(action.partition(":")[0], []).append(action)
    statements = [
        {
            "Sid": "Coreo" + re.sub("[^A-Za-z0-9]", "", service.title()),
            "Effect": "Allow",
            "Action": names,
            "Resource": "*",
        }
        for service, names in by_service.items()
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def size_of(document: dict[str, Any]) -> int:
    """Its length as IAM counts it."""
    return len(compact(document))


def compact(document: dict[str, Any]) -> str:
    """JSON without white space."""
    return json.dumps(document, separators=(",", ":"))


def split_policy(document: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Documents of at most `limit` characters that together allow the same."""
    statements = document["Statement"]
    if size_of(document) <= limit:
        return [document]
    if len(statements) > 1:
        halves = [statements[: len(statements) // 2], statements[len(statements) // 2 :]]
    else:
        [statement] = statements
        actions = statement["Action"]
        if len(actions) == 1:
            raise PolicyTooLargeError("an action is longer than a policy can be")
        middle = len(actions) // 2
        halves = [[{**statement, "Action": half}] for half in (actions[:middle], actions[middle:])]
    return [part for half in halves for part in split_policy({**document, "Statement": half}, limit)]

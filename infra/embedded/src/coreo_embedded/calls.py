"""What an AWS request is: service, operation and caller, read from its signature, target, form or path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import SplitResult, parse_qs, urlsplit

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel

from coreo_embedded.faults import Style

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]*)/([^/]+)/aws4_request")
_ACCOUNT = re.compile(r"\d{12}")
_ARN_ACCOUNT = re.compile(r"arn:[^:]+:[^:]+::(\d{12}):")
_KEPT_PARAMETERS = {
    "AssumeRole": ("RoleArn", "RoleSessionName", "ExternalId", "Policy", "DurationSeconds"),
    "CreateRole": ("RoleName", "Path"),
    "CreateChangeSet": ("StackName", "ChangeSetName", "ChangeSetType"),
    "DeleteChangeSet": ("StackName", "ChangeSetName"),
    "CancelUpdateStack": ("StackName", "ClientRequestToken"),
    "DeleteStack": ("StackName", "ClientRequestToken"),
    "ExecuteChangeSet": ("StackName", "ChangeSetName", "ClientRequestToken"),
}


@dataclass
class AwsRequest:
    """One request as logged. `principal` is an ARN when known; `parameters` are kept of some operations.

    `status` is the HTTP status once answered; None before, or where the request never reached the simulator.
    """

    service: str
    operation: str
    region: str
    access_key_id: str
    account: str | None
    principal: str | None
    time: float
    parameters: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    @property
    def role(self) -> str | None:
        """Name of the caller's role, if the caller is a role session."""
        found = re.search(r":assumed-role/([^/]+)/", self.principal or "")
        return found.group(1) if found else None


@dataclass(frozen=True)
class Call:
    """A request before its answer. Unsigned ones have no access key and the service "unsigned"."""

    service: str
    operation: str
    region: str
    access_key_id: str
    style: Style
    parameters: Mapping[str, str]


def read_call(method: str, raw_path: str, headers: Mapping[str, str], body: bytes | None) -> Call:
    """Reads a request; `body` only where the operation stands in it (a form)."""
    url = urlsplit(raw_path)
    query = parse_qs(url.query, keep_blank_values=True)
    credential = _CREDENTIAL.search(headers.get("Authorization", ""))
    if credential is None and "X-Amz-Credential" in query:
        credential = _CREDENTIAL.search("Credential=" + query["X-Amz-Credential"][0])
    key, region, service = credential.groups() if credential else ("", "", "unsigned")

    if target := headers.get("X-Amz-Target"):
        return Call(service, target.rpartition(".")[2], region, key, "json", {})
    form = parse_qs(body.decode("utf-8", "replace")) if body else query
    if action := form.get("Action"):
        parameters = {name: form[name][0] for name in _KEPT_PARAMETERS.get(action[0], ()) if name in form}
        return Call(service, action[0], region, key, "ec2" if service == "ec2" else "query", parameters)
    operation = _rest_operation(service, method, url, headers)
    return Call(service, operation, region, key, "s3" if service == "s3" else "json", {})


class Principals:
    """Access keys whose owner is known: account roots by their form, the rest from the answers that handed them out."""

    def __init__(self) -> None:
        self._arns: dict[str, str] = {}

    def learn(self, call: Call, answer: bytes) -> None:
        """Takes the new access key and its owner from an AssumeRole or CreateAccessKey answer."""
        text = answer.decode("utf-8", "replace")
        key, arn, user = (_element(text, name) for name in ("AccessKeyId", "Arn", "UserName"))
        if call.operation == "AssumeRole" and key and arn:
            self._arns[key] = arn
        elif call.operation == "CreateAccessKey" and key and user:
            self._arns[key] = f"arn:aws:iam::{self.account(call.access_key_id)}:user/{user}"

    def arn(self, access_key_id: str) -> str | None:
        """ARN of the key's owner, if known."""
        if _ACCOUNT.fullmatch(access_key_id):
            return f"arn:aws:iam::{access_key_id}:root"
        return self._arns.get(access_key_id)

    def account(self, access_key_id: str) -> str | None:
        """Account of the key's owner, if known."""
        found = _ARN_ACCOUNT.match(self.arn(access_key_id) or "")
        return found.group(1) if found else None


def is_root_key(access_key_id: str) -> bool:
    """Whether the simulator takes this key for the root user of an account."""
    return access_key_id == "test" or _ACCOUNT.fullmatch(access_key_id) is not None


def hands_out_keys(call: Call) -> bool:
    """Whether the answer carries an access key that Principals should learn."""
    return call.operation in ("AssumeRole", "CreateAccessKey")


def _element(xml: str, name: str) -> str | None:
    found = re.search(f"<{name}>([^<]+)</{name}>", xml)
    return found.group(1) if found else None


@dataclass(frozen=True)
class _Route:
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    headers: frozenset[str]
    operation: str


@lru_cache(maxsize=32)
def _routes(service: str) -> tuple[_Route, ...]:
    """The REST operations of a service by botocore's model, the most specific first."""
    try:
        model = botocore.session.get_session().get_service_model(service)
    except UnknownServiceError:
        return ()
    routes = [_route(model.operation_model(name)) for name in model.operation_names]
    return tuple(sorted(routes, key=lambda route: -len(route.query) - len(route.headers)))


def _route(operation: OperationModel) -> _Route:
    path, _, query = operation.http["requestUri"].partition("?")
    pattern = re.sub(r"\\\{[^}]*\+\\\}", ".+", re.escape(path.rstrip("/") or "/"))
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern) + "/?"
    required: dict[str, set[str]] = {"querystring": set(parse_qs(query, keep_blank_values=True)), "header": set()}
    shape = operation.input_shape
    if shape is not None:
        for name in shape.required_members:
            member = shape.members[name].serialization
            if (location := member.get("location")) in required:
                required[location].add(member["name"].lower() if location == "header" else member["name"])
    return _Route(
        operation.http["method"],
        re.compile(pattern),
        frozenset(required["querystring"]),
        frozenset(required["header"]),
        operation.name,
    )


def _rest_operation(service: str, method: str, url: SplitResult, headers: Mapping[str, str]) -> str:
    query = frozenset(parse_qs(url.query, keep_blank_values=True))
    names = frozenset(name.lower() for name in headers)
    for route in _routes(service):
        fits = route.method == method and route.query <= query and route.headers <= names
        if fits and route.path.fullmatch(url.path):
            return route.operation
    return f"{method} {url.path}"

"""What a session in a customer's account can tell of itself: whose account it is, and what its role may do."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from coreo_worker.aws.clients import ClientFactory, ClientSettings, SessionCredentials
from coreo_worker.aws.errors import SDK_ERRORS, code_of
from coreo_worker.aws.sts import Refusal

SIMULATE_ACTION: Final = "iam:SimulatePrincipalPolicy"
_ACTIONS_AT_ONCE: Final = 100
_SETTINGS = ClientSettings(max_attempts=3, read_timeout=15)

# GetCallerIdentity needs no permission (STS API reference), so a session that may do nothing can still be asked.
NOTHING: Final = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}, separators=(",", ":")
)


@dataclass(frozen=True)
class Simulated:
    """What IAM says that a role may not do; of `conditional` it cannot tell, as that depends on each request."""

    denied: tuple[str, ...] = ()
    conditional: tuple[str, ...] = ()


class Inside(Protocol):
    """Asks with a session's credentials. Never raises for AWS."""

    async def account(self, credentials: SessionCredentials) -> str | Refusal:
        """The id of the account that the session is in."""

    async def simulate(
        self, credentials: SessionCredentials, role_arn: str, actions: Sequence[str]
    ) -> Simulated | Refusal:
        """Which of the actions the role's own policies do not allow on all resources. Needs SIMULATE_ACTION."""


class SdkInside:
    """By the SDK. `region`: of STS, and in the partition of the account."""

    def __init__(self, region: str) -> None:
        self._region = region

    async def account(self, credentials: SessionCredentials) -> str | Refusal:
        """As the port says."""
        try:
            async with self._client(credentials, "sts") as sts:
                answer: Mapping[str, Any] = await sts.get_caller_identity()
        except SDK_ERRORS as error:
            return Refusal(code_of(error))
        return str(answer["Account"])

    async def simulate(
        self, credentials: SessionCredentials, role_arn: str, actions: Sequence[str]
    ) -> Simulated | Refusal:
        """As the port says."""
        results: list[Mapping[str, Any]] = []
        try:
            async with self._client(credentials, "iam") as iam:
                for start in range(0, len(actions), _ACTIONS_AT_ONCE):
                    results += await _simulate(iam, role_arn, actions[start : start + _ACTIONS_AT_ONCE])
        except SDK_ERRORS as error:
            return Refusal(code_of(error))
        return _judged(results, actions)

    @contextlib.asynccontextmanager
    async def _client(self, credentials: SessionCredentials, service: str) -> AsyncIterator[Any]:
        async with ClientFactory(credentials, settings=_SETTINGS) as clients:
            yield await clients.client(service, self._region)


async def _simulate(iam: Any, role_arn: str, actions: Sequence[str]) -> list[Mapping[str, Any]]:
    results: list[Mapping[str, Any]] = []
    page: dict[str, Any] = {}
    while True:
        answer = await iam.simulate_principal_policy(PolicySourceArn=role_arn, ActionNames=actions, **page)
        results += answer["EvaluationResults"]
        if not answer.get("IsTruncated"):
            return results
        page = {"Marker": answer["Marker"]}


def _judged(results: Sequence[Mapping[str, Any]], actions: Sequence[str]) -> Simulated:
    """An action that IAM said nothing of counts among those of which it cannot tell."""
    denied: set[str] = set()
    allowed: set[str] = set()
    for result in results:
        if result.get("MissingContextValues"):
            continue  # policies ask for what only a real request has: a region, an address, a tag
        is_allowed = result["EvalDecision"] == "allowed"
        by_organization = result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True)
        (allowed if is_allowed and by_organization else denied).add(result["EvalActionName"])
    return Simulated(tuple(sorted(denied)), tuple(sorted(set(actions) - allowed - denied)))

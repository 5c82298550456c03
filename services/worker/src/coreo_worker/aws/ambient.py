"""The identity of whoever runs a scan: credentials as the SDK finds them, in the order that it documents.

Only a scan on somebody's own machine uses this: a worker's run never works with an identity it was not given.
https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiobotocore.session import AioSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from coreo_worker.aws.clients import ClientSettings

_ANYWHERE = "us-east-1"  # STS answers in every region who somebody is


@dataclass(frozen=True)
class Identity:
    """Who the credentials are, as sts:GetCallerIdentity says."""

    account_id: str
    arn: str

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn`, `aws-us-gov`."""
        return self.arn.split(":")[1]


class AmbientError(Exception):
    """There is no identity to scan with. `next_step` says what to do; neither repeats a credential."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step


class AmbientClients:
    """Clients with the user's own credentials, each made once for a service and region; an async context manager.

    The SDK refreshes the credentials that it knows how to. AWS_ENDPOINT_URL is honoured.
    """

    generation = 0

    def __init__(self, *, profile: str | None = None, settings: ClientSettings | None = None) -> None:
        self._session = AioSession(profile=profile)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._config = (settings or ClientSettings()).config(path_style=bool(endpoint))
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def renewed(self, generation: int) -> bool:  # noqa: ARG002  the port's
        """Never: what the SDK could not refresh is over."""
        return False

    async def client(self, service: str, region: str) -> Any:
        """The SDK's client for a service in a region."""
        async with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = await self._stack.enter_async_context(
                    self._session.create_client(
                        service,  # type: ignore[call-overload]  # the name comes from the catalogue
                        region_name=region,
                        config=self._config,
                    )
                )
        return self._clients[service, region]

    async def identity(self) -> Identity:
        """Who the credentials are. Raises AmbientError."""
        try:
            region = self._session.get_config_variable("region") or _ANYWHERE
            client = await self.client("sts", region)
            answer = await client.get_caller_identity()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code") or "Unknown"
            raise AmbientError(
                f"AWS does not take the credentials: {code}.",
                "Renew them (`aws sso login`, or new keys); `aws sts get-caller-identity` shows when they are good.",
            ) from None
        except (BotoCoreError, HTTPClientError, ValueError) as error:
            raise _ambient_error(error) from None
        return Identity(answer["Account"], answer["Arn"])


def _ambient_error(error: Exception) -> AmbientError:  # noqa: PLR0911  a line for each kind of error
    """In our words: the SDK's may hold a part of a file or of a process's output."""
    match error:
        case ProfileNotFound():
            return AmbientError("AWS's configuration has no such profile.", "`aws configure list-profiles` shows them.")
        case NoCredentialsError():
            return AmbientError(
                "No AWS credentials were found.",
                "Give --profile NAME, set AWS_PROFILE, log in with `aws sso login`, or set AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.",
            )
        case PartialCredentialsError():
            return AmbientError(
                "The AWS credentials are not complete.", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together."
            )
        case SSOError() | TokenRetrievalError():
            return AmbientError("There is no AWS SSO session, or it is over.", "Log in: `aws sso login`.")
        case CredentialRetrievalError():
            return AmbientError(
                "The AWS credentials could not be fetched.", "`aws sts get-caller-identity` shows what is wrong."
            )
        case HTTPClientError() | NoConnectionError():
            return AmbientError(
                f"AWS cannot be reached: {type(error).__name__}.",
                "Look at the network, the proxy settings and AWS_ENDPOINT_URL.",
            )
        case ValueError():
            return AmbientError("AWS's configuration is not right.", "Look at AWS_ENDPOINT_URL and AWS_REGION.")
    return AmbientError(
        f"AWS cannot be asked: {type(error).__name__}.", "`aws sts get-caller-identity` shows what is wrong."
    )

"""Clients for a target account: one SDK session per process, explicit credentials for each client.

Nothing here looks for credentials in the environment: a run never works with an identity it was not given.
"""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Protocol, Self, SupportsIndex

from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession, get_session


@dataclass(frozen=True)
class SessionCredentials:
    """Temporary credentials of an assumed role. They cannot be printed or pickled; `expires_at` is in Unix seconds."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: float

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("SessionCredentials cannot be pickled or copied: they would leave this process")


@dataclass(frozen=True)
class ClientSettings:
    """How clients behave towards AWS; times are in seconds.

    `max_attempts` counts the first try. An audit tries again by itself: the SDK would hold the audit's slots, and its
    connections, while it waits for the next try.
    """

    max_attempts: int = 1
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    max_connections: int = 20

    def config(self, *, path_style: bool) -> AioConfig:
        """The SDK's form of these settings."""
        return AioConfig(
            retries={"mode": "standard", "total_max_attempts": self.max_attempts},
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            max_pool_connections=self.max_connections,
            # Bucket names cannot be put before the name of a simulator's endpoint.
            s3={"addressing_style": "path"} if path_style else None,
            user_agent_extra="coreo",
            http_session_cls=SharedTlsSession,
        )


class SharedTlsSession(AIOHTTPSession):
    """Connections that verify as the SDK's do, with the authorities' certificates loaded once, not for each client.

    Loading takes 40 ms and a megabyte: four seconds for the clients of thirty regions.
    """

    _shared: ClassVar[dict[bool | str, Any]] = {}

    def _build_ssl_contexts(self, proxy_url: str | None) -> Any:
        # The stubs leave out what is private.
        build: Any = super()._build_ssl_contexts  # type: ignore[misc]
        verify, own_certificate = self._verify, self._cert_file  # type: ignore[attr-defined]
        if proxy_url is not None or own_certificate is not None:
            return build(proxy_url)
        if verify not in self._shared:
            self._shared[verify] = build(None)
        return self._shared[verify]


@functools.cache
def sdk_session() -> AioSession:
    """The process's SDK session. It holds service models (200 ms to load, then 5 ms a client) and no credentials."""
    return get_session()


class Clients(Protocol):
    """Where the calls to an account get their clients from."""

    @property
    def generation(self) -> int:
        """Counts the credentials: which ones the clients asked for now have."""

    async def client(self, service: str, region: str) -> Any:
        """The SDK's client for a service in a region, with the newest credentials."""

    async def renewed(self, generation: int) -> bool:
        """Whether there are newer credentials than those, which AWS says have expired; asks for them if need be."""


class ClientFactory:
    """Clients of one account, each made once for a service and region; an async context manager.

    `by_service` are the credentials of services that have some of their own. `endpoint_url` stands in place of AWS;
    without it AWS_ENDPOINT_URL does, if set. `renew` is called when credentials have expired before they were replaced:
    it sees to it that `replace_credentials` is called, or returns without.
    """

    def __init__(
        self,
        credentials: SessionCredentials,
        by_service: Mapping[str, SessionCredentials] | None = None,
        *,
        endpoint_url: str | None = None,
        settings: ClientSettings | None = None,
        renew: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._credentials = credentials
        self._by_service = by_service or {}
        self._endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None
        self._config = (settings or ClientSettings()).config(path_style=self._endpoint_url is not None)
        self._generation = _Generation(0)
        self._previous: _Generation | None = None
        self._renew = renew
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._generation.close()
        if self._previous is not None:
            await self._previous.close()

    @property
    def generation(self) -> int:
        """As the port says."""
        return self._generation.number

    async def renewed(self, generation: int) -> bool:
        """As the port says. Many calls may find out at once: one of them asks, the others wait."""
        async with self._renewing:
            if self.generation == generation and self._renew is not None:
                await self._renew()
            return self.generation > generation

    async def client(self, service: str, region: str) -> Any:
        """The SDK's client for a service in a region, with the newest credentials."""
        generation, credentials = self._generation, self._by_service.get(service, self._credentials)
        async with generation.lock:
            if (service, region) not in generation.clients:
                generation.clients[service, region] = await generation.stack.enter_async_context(
                    sdk_session().create_client(
                        service,  # type: ignore[call-overload]  # the name comes from the catalogue
                        region_name=region,
                        endpoint_url=self._endpoint_url,
                        aws_access_key_id=credentials.access_key_id,
                        aws_secret_access_key=credentials.secret_access_key,
                        aws_session_token=credentials.session_token,
                        config=self._config,
                    )
                )
        return generation.clients[service, region]

    async def replace_credentials(
        self, credentials: SessionCredentials, by_service: Mapping[str, SessionCredentials] | None = None
    ) -> None:
        """Later clients have these. Calls under way end with the old ones, whose clients close at the next change."""
        expired, self._previous = self._previous, self._generation
        self._credentials, self._by_service = credentials, by_service or {}
        self._generation = _Generation(self.generation + 1)
        if expired is not None:
            await expired.close()


class _Generation:
    """The clients that share one set of credentials."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.clients: dict[tuple[str, str], Any] = {}
        self.lock = asyncio.Lock()
        self.stack = AsyncExitStack()

    async def close(self) -> None:
        async with self.lock:
            self.clients.clear()
            await self.stack.aclose()

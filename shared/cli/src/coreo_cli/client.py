"""The public API over HTTP. Everything that can go wrong comes out as a CliError in plain words."""

import ssl
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final, Self

import httpx

from coreo_cli.config import Connection
from coreo_cli.errors import ApiError, CliError, UnreachableError
from coreo_cli.events import Event, EventStreamError, read_events
from coreo_cli.problems import api_error
from coreo_cli.secret import SecretBody
from coreo_cli.session import query
from coreo_cli.text import Json

Parameters = Sequence[tuple[str, str]]
Wait = Callable[[float], object]

MAX_PAGE: Final = 200
STREAM_SILENCE_SECONDS: Final = 40.0  # the api sends a comment every 15 s
_TRIES = 3
_MAX_WAIT_SECONDS = 5.0


def wait_really(seconds: float) -> None:
    """Lets time pass between two tries."""
    threading.Event().wait(seconds)


class Client:
    """Talks to one api with one token. Threads may share it. `wait` passes the time between tries."""

    def __init__(self, connection: Connection, *, wait: Wait = wait_really) -> None:
        self.url = connection.url
        self._is_loopback = connection.is_loopback
        self._wait = self.wait = wait
        self._http = httpx.Client(
            base_url=connection.url,
            headers={
                "authorization": f"Bearer {connection.token}",
                "accept": "application/json",
                "user-agent": f"coreo-cli/{version('coreo-cli')}",
            },
            timeout=httpx.Timeout(30.0, connect=5.0),
            trust_env=not connection.is_loopback,  # a proxy has no part in what stays on this machine
            verify=_trust(connection.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections."""
        self._http.close()

    def get(self, path: str, parameters: Parameters = ()) -> Json:
        """The object at a path."""
        return self._json(self._send_again("GET", path, params=list(parameters)))

    def post(
        self, path: str, body: Any = None, *, idempotency_key: str | None = None, if_match: str | None = None
    ) -> Json:
        """What POST answers. With an idempotency key it is tried again when nobody answers: that does nothing twice.

        `if_match`: the ETag of what the request is about.
        """
        if if_match is not None:
            return self._json(self._send("POST", path, json=body, headers={"if-match": if_match}))
        if idempotency_key is None:
            return self._json(self._send("POST", path, json=body))
        return self._json(self._send_again("POST", path, json=body, headers={"idempotency-key": idempotency_key}))

    def post_secret(self, path: str, body: SecretBody) -> Json:
        """What POST answers to a body with secrets, which is sent once and leaves this machine encrypted only."""
        if self.url.startswith("http://") and not self._is_loopback:
            raise CliError(
                f"{self.url} is plain http to another machine: the secret would cross the network unencrypted.",
                next_step="Log in with an https address: `coreo login --url URL --token-stdin`.",
            )
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        return self._json(self._send("POST", path, content=body, headers=headers))

    def put(self, path: str, body: Any) -> Json:
        """What PUT answers."""
        return self._json(self._send("PUT", path, json=body))

    def patch(self, path: str, body: Any) -> Json:
        """What PATCH answers."""
        return self._json(self._send("PATCH", path, json=body))

    def delete(self, path: str) -> None:
        """Deletes what is at a path."""
        self._send("DELETE", path)

    def delete_what(self, path: str) -> Json:
        """Deletes what is at a path; what DELETE answers."""
        return self._json(self._send("DELETE", path))

    def items(
        self, path: str, parameters: Parameters = (), *, limit: int | None = None, size: int = MAX_PAGE
    ) -> Iterator[Json]:
        """The items of a list, at most `limit`, page after page as they are asked for."""
        for page in self.pages(path, parameters, limit=limit, size=size):
            yield from page["items"]

    def pages(
        self, path: str, parameters: Parameters = (), *, limit: int | None = None, size: int = MAX_PAGE
    ) -> Iterator[Json]:
        """The answers that make up a list, of `size` items each; together at most `limit` items."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            wanted = size if left is None else min(left, size)
            page = self.get(path, [*parameters, ("limit", str(wanted)), *query(cursor=cursor)])
            if not isinstance(page.get("items"), list):
                raise self._not_coreo("no list where one is expected")
            yield page
            left = None if left is None else left - len(page["items"])
            previous, cursor = cursor, page.get("next_cursor")
            if cursor is None:
                return
            if cursor == previous:
                raise self._not_coreo("a list that does not end")

    @contextmanager
    def run_events(self, run_id: str, last_event_id: str | None) -> Iterator[Iterator[Event]]:
        """The run's events after `last_event_id`; no events when it has ended and that was the last one."""
        headers = {"accept": "text/event-stream"}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        timeout = httpx.Timeout(30.0, connect=5.0, read=STREAM_SILENCE_SECONDS)
        with (
            self._plain_errors(),
            self._http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers, timeout=timeout) as answer,
        ):
            if answer.status_code == 204:
                yield iter(())
                return
            if not answer.is_success:
                answer.read()
                raise self._refusal(answer)
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise self._not_coreo("no event stream")
            try:
                yield read_events(answer.iter_bytes())
            except EventStreamError as error:
                raise self._not_coreo(str(error)) from None

    def _send_again(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Sends what may be sent twice, and does so when nobody answers or the api asks for it."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self._send(method, path, **arguments)
            except UnreachableError as error:
                if attempt == _TRIES or not error.sent:
                    raise
                seconds = 0.5 * attempt
            except ApiError as error:
                if attempt == _TRIES or not error.is_passing:
                    raise
                seconds = error.retry_after if error.retry_after is not None else 0.5 * attempt
                if seconds > _MAX_WAIT_SECONDS:
                    raise
            self._wait(seconds)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        with self._plain_errors():
            answer = self._http.request(method, path, **arguments)
        if not answer.is_success:
            raise self._refusal(answer)
        return answer

    def _json(self, answer: httpx.Response) -> Json:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._not_coreo("no JSON object")
        return body

    def _refusal(self, answer: httpx.Response) -> CliError:
        if answer.is_redirect:
            return CliError(
                f"{self.url} answers with a redirect to another address; the token is not sent there.",
                next_step="Log in with the final address: `coreo login --url URL --token-stdin`.",
            )
        try:
            body = answer.json()
        except ValueError:
            body = None
        request_id = answer.headers.get("x-request-id")
        retry_after = _seconds(answer.headers.get("retry-after"))
        if isinstance(body, dict) and "code" in body:
            return api_error(answer.status_code, body, request_id=request_id, retry_after=retry_after)
        return ApiError(
            answer.status_code,
            "error",
            f"{self.url} answered {answer.status_code} {answer.reason_phrase}, and not in Coreo's words.",
            next_step="Check that the address is the Coreo api's, and what stands between it and you (a proxy?).",
            request_id=request_id,
            retry_after=retry_after,
        )

    def _not_coreo(self, what: str) -> CliError:
        return CliError(
            f"{self.url} does not answer as the Coreo api does: {what}.",
            next_step="Check the address: `coreo login --url URL --token-stdin` or COREO_URL.",
        )

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise self._unreachable(f"Nobody answers at {self.url} ({_cause(error)}).", sent=False) from None
        except httpx.ConnectTimeout:
            raise self._unreachable(f"Nobody answers at {self.url} within 5 s.", sent=False) from None
        except httpx.TimeoutException:
            raise self._unreachable(f"{self.url} did not answer in time.", sent=True) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._unreachable(f"The connection to {self.url} broke ({_cause(error)}).", sent=True) from None

    def _unreachable(self, problem: str, *, sent: bool) -> UnreachableError:
        start = "Start the demo with `make demo`, or" if self._is_loopback else "Check your network, or"
        next_step = f"{start} name another address: `coreo login --url URL --token-stdin` or COREO_URL."
        return UnreachableError(problem, sent=sent, next_step=next_step)


def new_idempotency_key() -> str:
    """A fresh one."""
    return f"cli-{uuid.uuid4()}"


def _trust(url: str) -> ssl.SSLContext | bool:
    """Whose certificates are good. Loading the authorities takes 0.1 s; plain http needs none, so nobody is trusted."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _cause(error: BaseException) -> str:
    """The operating system's word for it, where there is one; httpx's own may repeat what it was given."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower() if cause.strerror.isascii() else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "connection lost"

"""The one port of the simulated AWS: a proxy, on loopback unless told otherwise, that logs requests and plays faults.

It runs in a thread with its own event loop. The Host header and everything signed pass unchanged, so SigV4 holds.
It also closes what the simulator leaves open: account roots, whose signatures it does not check, must bring the
session token that only the launcher knows, and unsigned requests and its administration paths are refused.
Other processes reach the log and the faults under `/_coreo/`:

    GET    /_coreo/requests?after=N   {"requests": [...], "next": M}
    POST   /_coreo/faults             a Fault's fields -> {"id": N}
    DELETE /_coreo/faults/{id}        lifts one; without an id, all
"""

import asyncio
import contextlib
import hmac
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from coreo_embedded.calls import AwsRequest, Call, Principals, hands_out_keys, is_root_key, read_call
from coreo_embedded.faults import Ages, Fault, FaultError, FaultFields, Kind, error_answer, parse_fault

_LOG_SIZE = 200_000  # requests kept in memory; a long demo forgets its oldest
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
}
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # what aiohttp would add by itself
_ADMINISTRATION = ("/_ministack/", "/_localstack/")
_TOKEN = "X-Amz-Security-Token"
_START_SECONDS = 10


@dataclass(frozen=True)
class Listen:
    """Where the proxy listens: by default on a free port of 127.0.0.1, which no other machine or container reaches.

    `name` is what queue URLs call this host. Anywhere but on 127.0.0.1 `/_coreo/` is closed: whoever may use AWS there
    must not read what others asked for, or play faults.
    """

    host: str = "127.0.0.1"
    port: int = 0
    name: str = "127.0.0.1"

    @property
    def is_private(self) -> bool:
        """Whether only this machine's own processes can connect."""
        return self.host == "127.0.0.1"


class ProxyError(RuntimeError):
    """The proxy does not listen; the message says why."""


class _UnansweredError(Exception):
    """The simulator ended before its answer was whole."""


class Proxy:
    """A running proxy in front of the simulator that listens on the unix socket `upstream`."""

    def __init__(
        self, upstream: Path, root_token: str, *, log_file: Path | None = None, listen: Listen | None = None
    ) -> None:
        self._upstream = upstream
        self._root_token = root_token
        self._log_file = log_file
        self._listen = listen or Listen()
        self._requests: deque[AwsRequest] = deque(maxlen=_LOG_SIZE)
        self._seen = 0
        self._faults: dict[int, Fault] = {}
        self._next_fault = 1
        self._lifted = asyncio.Condition()
        self._principals = Principals()
        self._roles_made: dict[str, float] = {}
        self._keep_bodies_of: str | None = None
        self.bodies: list[tuple[str, bytes]] = []  # (operation, body), while some are kept
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="aws-proxy", daemon=True)
        self.port = 0

    @classmethod
    def start(
        cls, upstream: Path, root_token: str, *, log_file: Path | None = None, listen: Listen | None = None
    ) -> "Proxy":
        """Listens, without `listen` on 127.0.0.1; `log_file` gets each request as a line of JSON besides.

        Raises ProxyError.
        """
        self = cls(upstream, root_token, log_file=log_file, listen=listen)
        self._thread.start()
        self._started.wait(_START_SECONDS)
        if self._failure is not None or self.port == 0:
            reason = self._failure or f"not ready after {_START_SECONDS} s"
            raise ProxyError(f"The proxy of the simulated AWS did not start: {reason}") from self._failure
        return self

    def stop(self) -> None:
        """Closes the port and ends the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    @property
    def url(self) -> str:
        """What services on this machine use as AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[AwsRequest]:
        """Every request that arrived so far, oldest first, those a fault answered included."""
        return list(self._requests)

    @contextlib.contextmanager
    def fault(self, **fields: Unpack[FaultFields]) -> Iterator[Fault]:
        """Plays a fault while the block runs: `with proxy.fault(kind="throttle", service="sqs", times=3):`."""
        fault = Fault(**fields)
        number = self._call(self._add_fault(fault))
        try:
            yield fault
        finally:
            self._call(self._lift_faults(number))

    @contextlib.contextmanager
    def keeping_bodies(self, service: str) -> Iterator[None]:
        """Keeps the bodies of requests to a service, in `bodies`, while the block runs: for tests of what is sent."""
        self.bodies.clear()
        self._keep_bodies_of = service
        try:
            yield
        finally:
            self._keep_bodies_of = None

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_SECONDS)

    async def _add_fault(self, fault: Fault) -> int:
        number, self._next_fault = self._next_fault, self._next_fault + 1
        self._faults[number] = fault
        return number

    async def _lift_faults(self, number: int | None = None) -> None:
        async with self._lifted:
            if number is None:
                self._faults.clear()
            else:
                self._faults.pop(number, None)
            self._lifted.notify_all()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  start() raises it in the caller's thread
            self._failure = error
        finally:
            self._loop.close()
            self._started.set()

    async def _serve(self) -> None:
        connector = aiohttp.UnixConnector(str(self._upstream), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._client = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        # A client that hangs up ends its request, as at AWS: else a dead worker's long poll would swallow a message.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0)
        async with self._client:
            await runner.setup()
            site = web.TCPSite(runner, self._listen.host, self._listen.port)
            await site.start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._stopping.wait()
            await runner.cleanup()
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.raw_path.startswith("/"):  # "GET http://host/path", as to a proxy that forwards anywhere
            return web.Response(status=400, text="Ask this host for a path; it forwards to the simulated AWS alone")
        if request.path.startswith("/_coreo/") and self._listen.is_private:
            return await self._control(request)
        if request.headers.get("Expect", "").lower() == "100-continue":  # else botocore waits a second per upload
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        short = request.content_type == "application/x-www-form-urlencoded" or "X-Amz-Target" in request.headers
        body = await request.content.read() if short else None
        call = read_call(request.method, request.raw_path, request.headers, body)
        entry = self._note(call)
        if body is not None and call.service == self._keep_bodies_of:
            self.bodies.append((call.operation, body))
        try:
            if not self._is_admitted(call, request):
                return await _answer_error("deny", call, entry, request)
            fault = self._matching_fault(call, request, body)
            if fault is not None and fault.reaches_aws:
                return await self._swallow(fault, request, call, entry, body)
            if fault is not None and (answer := await self._play(fault, call, entry, request)) is not None:
                return answer
            return await self._forward(request, call, entry, body)
        finally:
            self._write(entry)

    def _is_admitted(self, call: Call, request: web.BaseRequest) -> bool:
        if not call.access_key_id or request.path.startswith(_ADMINISTRATION):
            return False
        if not is_root_key(call.access_key_id):
            return True
        token = request.headers.get(_TOKEN) or request.query.get(_TOKEN) or ""
        return hmac.compare_digest(token.encode(), self._root_token.encode())

    def _matching_fault(self, call: Call, request: web.BaseRequest, body: bytes | None) -> Fault | None:
        if not self._faults:
            return None
        principal = self._principals.arn(call.access_key_id)
        made = self._roles_made.get(call.parameters.get("RoleArn", "")) if call.operation == "AssumeRole" else None
        ages = Ages(_signature_age(request), None if made is None else time.time() - made)
        text = request.raw_path + (body or b"").decode("utf-8", "replace")
        return next(
            (
                f
                for f in self._faults.values()
                if f.takes(call.service, call.operation, principal, ages=ages, text=text)
            ),
            None,
        )

    async def _play(
        self, fault: Fault, call: Call, entry: AwsRequest, request: web.BaseRequest
    ) -> web.StreamResponse | None:
        """The fault's answer, or None where the request goes on (a delay, a lifted hang)."""
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return None
        if fault.kind == "hang":
            async with self._lifted:
                await self._lifted.wait_for(lambda: fault not in self._faults.values())
            return None
        if fault.kind == "disconnect":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)  # nobody reads it: the connection is gone
        return await _answer_error(fault.kind, call, entry, request)

    async def _swallow(
        self, fault: Fault, request: web.BaseRequest, call: Call, entry: AwsRequest, body: bytes | None
    ) -> web.StreamResponse:
        """Has it done, to the end, and keeps the answer back."""
        await asyncio.shield(asyncio.create_task(self._have_done(request, call, entry, body)))
        if fault.kind == "mute":
            async with self._lifted:
                await self._lifted.wait_for(lambda: fault not in self._faults.values())
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=503)  # nobody reads it: the connection is gone

    async def _have_done(self, request: web.BaseRequest, call: Call, entry: AwsRequest, body: bytes | None) -> None:
        answer, _ = await self._ask(request, call, body)
        async with answer:
            entry.status = answer.status
            await answer.read()

    async def _forward(
        self, request: web.BaseRequest, call: Call, entry: AwsRequest, body: bytes | None
    ) -> web.StreamResponse:
        asking = asyncio.create_task(self._ask(request, call, body))
        try:
            answer, whole = await asyncio.shield(asking)
        except _UnansweredError:
            return await _answer_error("unavailable", call, entry, request)  # the simulator died; see its log
        except asyncio.CancelledError:
            self._client_has_gone(call, body, asking, entry)
            raise
        try:
            async with answer:
                # Both before the client sees the answer: it may look into the log, and use the keys it got.
                entry.status = answer.status
                if whole is not None and answer.status == 200:
                    self._principals.learn(call, whole)
                if call.operation == "CreateRole" and answer.status == 200:
                    path, name = call.parameters.get("Path", "/"), call.parameters.get("RoleName", "")
                    self._roles_made[f"arn:aws:iam::{entry.account}:role{path}{name}"] = time.time()
                return await _pass_back(request, answer, whole)
        except (asyncio.CancelledError, ConnectionResetError):
            self._client_has_gone(call, body, asking, entry)
            raise

    def _client_has_gone(
        self,
        call: Call,
        body: bytes | None,
        asking: "asyncio.Task[tuple[aiohttp.ClientResponse, bytes | None]]",
        entry: AwsRequest,
    ) -> None:
        if body is not None and call.operation == "ReceiveMessage":
            self._in_background(self._hand_back(call, body, asking))
        elif body is not None:  # all of it has come, so it is carried out, as at AWS, and the log has to say so
            self._in_background(_end_unheard(asking, entry))
        else:
            asking.cancel()

    async def _ask(
        self, request: web.BaseRequest, call: Call, body: bytes | None
    ) -> tuple[aiohttp.ClientResponse, bytes | None]:
        """The simulator's answer, and its body where that must be known before it is passed on.

        Raises _UnansweredError where the simulator dies, at whatever byte.
        """
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        known = hands_out_keys(call) or call.operation == "ReceiveMessage"
        try:
            answer = await self._client.request(
                request.method,
                URL(self.url + request.raw_path, encoded=True),
                headers=headers,
                data=body if body is not None else request.content if request.can_read_body else None,
                skip_auto_headers=_AUTOMATIC,
                allow_redirects=False,
            )
            return answer, await answer.read() if known else None
        except (aiohttp.ClientError, ConnectionResetError) as error:
            raise _UnansweredError from error

    async def _hand_back(
        self, call: Call, body: bytes, asking: "asyncio.Task[tuple[aiohttp.ClientResponse, bytes | None]]"
    ) -> None:
        """Makes visible again what a long poll got whose client has gone.

        AWS ends such a poll; the simulator lets it wait on and take the next message, which would then stay hidden for
        a whole visibility timeout.
        """
        try:
            answer, whole = await asking
        except _UnansweredError:
            return  # the message is gone, with the simulator
        queue_url = json.loads(body)["QueueUrl"]
        account = urlsplit(queue_url).path.split("/")[1]
        for message in json.loads(whole or b"{}").get("Messages", []) if answer.status == 200 else []:
            change = {"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
            scope = f"Credential={account}/20260101/{call.region}/sqs/aws4_request"
            headers = {
                "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=root",
                "X-Amz-Target": "AmazonSQS.ChangeMessageVisibility",
                "Content-Type": "application/x-amz-json-1.0",
            }
            async with self._client.post(self.url, json=change, headers=headers) as handed:
                handed.raise_for_status()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _note(self, call: Call) -> AwsRequest:
        """Logs a request as it arrives, so that one whose client hangs up shows as well."""
        entry = AwsRequest(
            service=call.service,
            operation=call.operation,
            region=call.region,
            access_key_id=call.access_key_id,
            account=self._principals.account(call.access_key_id),
            principal=self._principals.arn(call.access_key_id),
            time=time.time(),
            parameters=call.parameters,
        )
        self._requests.append(entry)
        self._seen += 1
        return entry

    def _write(self, entry: AwsRequest) -> None:
        if self._log_file is not None:
            with self._log_file.open("a") as file:
                file.write(json.dumps(asdict(entry)) + "\n")

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.removeprefix("/_coreo/").split("/")
        if parts == ["requests"] and request.method == "GET":
            return self._requests_page(request.query.get("after", "0"))
        if parts == ["faults"] and request.method == "POST":
            try:
                fault = parse_fault(json.loads(await request.content.read()))
            except (FaultError, json.JSONDecodeError) as error:
                return web.json_response({"detail": str(error)}, status=400)
            return web.json_response({"id": await self._add_fault(fault)}, status=201)
        if parts[0] == "faults" and request.method == "DELETE" and (len(parts) == 1 or parts[1].isdecimal()):
            await self._lift_faults(int(parts[1]) if len(parts) > 1 else None)
            return web.Response(status=204)
        return web.json_response({"detail": "There are /_coreo/requests and /_coreo/faults"}, status=404)

    def _requests_page(self, after: str) -> web.Response:
        if not after.isdecimal():
            return web.json_response({"detail": "after must be a number"}, status=400)
        forgotten = self._seen - len(self._requests)
        entries = list(self._requests)[max(0, int(after) - forgotten) :]
        return web.json_response({"requests": [asdict(entry) for entry in entries], "next": self._seen})


async def _end_unheard(asking: "asyncio.Task[tuple[aiohttp.ClientResponse, bytes | None]]", entry: AwsRequest) -> None:
    try:
        answer, _ = await asking
    except _UnansweredError:
        return  # nobody knows
    async with answer:
        entry.status = answer.status


def _signature_age(request: web.BaseRequest) -> float | None:
    try:
        signed = datetime.strptime(request.headers.get("X-Amz-Date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None  # in the query, or not signed
    return time.time() - signed.timestamp()


async def _answer_error(kind: Kind, call: Call, entry: AwsRequest, request: web.BaseRequest) -> web.Response:
    await request.content.read()  # an answer before the whole request would break the client's connection
    entry.status, content_type, payload = error_answer(kind, call.style)
    return web.Response(status=entry.status, body=payload, headers={"Content-Type": content_type})


async def _pass_back(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, whole: bytes | None
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers.items():
        if name.lower() not in _HOP_BY_HOP:
            response.headers.add(name, value)
    await response.prepare(request)
    if whole is not None:
        await response.write(whole)
        await response.write_eof()
        return response
    try:
        async for chunk in _chunks(answer):
            await response.write(chunk)
    except _UnansweredError:
        _reset(request)
        return response
    await response.write_eof()
    return response


def _reset(request: web.BaseRequest) -> None:
    """Breaks the connection so that the client cannot take what it has for whole: boto3 does not count bytes."""
    if request.transport is not None:
        at_once = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        request.transport.abort()


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes. Raises _UnansweredError where the simulator dies."""
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, ConnectionResetError) as error:
        raise _UnansweredError from error

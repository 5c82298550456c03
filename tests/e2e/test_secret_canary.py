"""The secret of an access key goes through the whole of Coreo, and is nowhere afterwards: proof by looking everywhere.

The simulated AWS knows the secret by nature, as AWS does; its memory and files are left out, and nothing else.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from coreo_embedded.estate.people import KeyEstate, seed_with_keys
from coreo_embedded.stack import Process, Stack
from tests.support.canary import Canary, Sighting
from tests.support.stack import ONBOARD_SETTINGS, until

pytestmark = pytest.mark.timeout(180)
ACCOUNT = "444444440001"
READS_MEMORY = sys.platform == "linux" and os.geteuid() == 0  # only root reads another's
# Loaded by the api's interpreter at its start: what careless changes of the api might do.
CUSTOMIZE = """
import base64, logging, os, sys
KEPT = []
from uvicorn.protocols.http import httptools_impl
real = httptools_impl.HttpToolsProtocol.on_body
def on_body(self, body):
    folder = os.environ["COREO_TEST_LEAK"]
    logging.getLogger("careless").warning("body %s", body.decode())
    open(os.path.join(folder, "plain"), "ab").write(body)
    open(os.path.join(folder, "encoded"), "ab").write(base64.b64encode(body))
    KEPT.append(bytearray(body))
    return real(self, body)
httptools_impl.HttpToolsProtocol.on_body = on_body
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own, whose every log is at DEBUG."""
    with (
        tempfile.TemporaryDirectory(prefix="coreo-canary-") as directory,
        Stack(Path(directory), log_level="DEBUG", durable=False) as stack,
    ):
        stack.start_results(lease_seconds="3", sweep_seconds="0.5")
        stack.start_worker("onboard", **ONBOARD_SETTINGS)
        yield stack


class Customer:
    """Posts keys, and keeps every answer."""

    def __init__(self, stack: Stack, api: Process, name: str) -> None:
        self.api = api
        token = stack.create_team(name)["token"]
        headers = {"authorization": f"Bearer {token}"}
        self.http = httpx.AsyncClient(base_url=api.url, headers=headers, timeout=30)
        self.answers: list[bytes] = []

    async def call(self, method: str, path: str, content: object = None) -> httpx.Response:
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        headers = {"content-type": "application/json"}
        answer = await self.http.request(method, path, content=body, headers=headers)
        self.answers.append(b"\n".join([*(name + b": " + value for name, value in answer.headers.raw), answer.content]))
        return answer

    async def bootstrap(self, keys: KeyEstate) -> str:
        """The state that the account ends in."""
        added = await self.call("POST", "/v1/cloud-accounts", {"name": "a", "account_id": keys.account_id})
        path = f"/v1/cloud-accounts/{added.json()['id']}"
        key = keys.administrator
        body = {"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key}
        for broken in _broken(body):
            assert (await self.call("POST", f"{path}/bootstrap", broken)).status_code in {400, 413, 422}
        answer = await self.call("POST", f"{path}/bootstrap", body)
        assert answer.status_code == 202, answer.text

        async def ended() -> str | None:
            shown = (await self.call("GET", path)).json()
            busy = shown["verifying"] or shown["state"] in {"BOOTSTRAPPING", "VERIFYING"}
            return None if busy else str(shown["state"])

        state = await until(ended, what="the end of onboarding", seconds=60)
        await self.call("GET", f"{path}/history")
        return state


def _broken(body: dict[str, str]) -> list[object]:
    """The same secret in requests that are refused."""
    whole = json.dumps(body).encode()
    return [
        whole[:-1],
        whole.replace(b'"access_key_id"', b'"acess_key_id"'),
        {**body, "access_key_id": "no"},
        {**body, "access_key_id": body["secret_access_key"]},
        {**body, "role_name": "a role"},
        {**body, "role_name": body["secret_access_key"] + "/"},
        {**body, "level": "most"},
        {**body, "secret_access_key": body["secret_access_key"] + "\n"},
        {**body, "secret_access_key": [body["secret_access_key"]]},
        {**body, body["secret_access_key"]: "x"},
        {**body, "account_id": "1"},
        [body],
        whole + b" " * 100_000,
    ]


def _look(stack: Stack, canary: Canary, customer: Customer) -> list[Sighting]:
    """Everything written, queued and answered."""
    checkpoint = stack.directory / "checkpoint.sql"
    checkpoint.write_text("CHECKPOINT;")
    stack.postgres.run_script(checkpoint)
    aws = stack.directory / "aws"
    folders = [each for each in stack.directory.iterdir() if each != aws]
    seen = [sighting for folder in folders if folder.is_dir() for sighting in canary.in_files([folder])]
    seen += canary.in_files([Path("/dev/shm")])  # noqa: S108  others' shared memory
    seen += [Sighting("an answer", form) for answer in customer.answers for form in canary.forms_in(answer)]
    bodies = [body for _, body in stack.simulator.proxy.bodies]
    assert bodies  # the queue's bodies are among them
    return seen + [Sighting("a queue's body", form) for body in bodies for form in canary.forms_in(body)]


def _look_into_memory(stack: Stack, canary: Canary) -> list[Sighting]:
    """The memory of every process of the stack but the simulated AWS, PostgreSQL's one for each connection too."""
    seen: list[Sighting] = []
    for pid, name in stack.pids():
        seen += canary.in_memory(pid, name)
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(FileNotFoundError, ProcessLookupError):  # a connection that has just ended
                seen += canary.in_memory(process.pid, name, shared=False)
    return seen


@asynccontextmanager
async def customer_of(stack: Stack, name: str, environment: dict[str, str] | None = None) -> AsyncIterator[Customer]:
    """A customer of an api that ends with the block."""
    api = stack.start_api(environment=environment)
    customer = Customer(stack, api, name)
    try:
        yield customer
    finally:
        await customer.http.aclose()
        await asyncio.to_thread(api.stop)


async def test_the_secret_is_nowhere_once_the_request_is_over(stack: Stack) -> None:
    keys = seed_with_keys(stack.simulator, ACCOUNT)
    async with customer_of(stack, "careful") as customer:
        with stack.simulator.proxy.keeping_bodies("sqs"):
            assert await customer.bootstrap(keys) == "CONNECTED"
        canary = Canary(keys.administrator.secret_access_key)
        assert _look(stack, canary, customer) == []
        if READS_MEMORY:
            assert await asyncio.to_thread(_look_into_memory, stack, canary) == []


async def test_a_careless_api_is_found_out_wherever_it_leaks(stack: Stack, tmp_path: Path) -> None:
    """The same watcher over the same flow, with leaks built in: it would see each."""
    keys = seed_with_keys(stack.simulator, "444444440005")
    folder = stack.directory / "leaks"
    folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text(CUSTOMIZE)
    canary = Canary(keys.administrator.secret_access_key)
    environment = {"PYTHONPATH": str(tmp_path), "COREO_TEST_LEAK": str(folder)}
    async with customer_of(stack, "careless", environment) as customer:
        with stack.simulator.proxy.keeping_bodies("sqs"):
            assert await customer.bootstrap(keys) == "CONNECTED"
        seen = {Path(sighting.place).name for sighting in _look(stack, canary, customer)}
        if READS_MEMORY:
            remembered = await asyncio.to_thread(_look_into_memory, stack, canary)
            assert customer.api.name in {sighting.place.removeprefix("memory of ") for sighting in remembered}
    assert seen == {"plain", "encoded", customer.api.log.name}

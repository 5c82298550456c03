"""The installed `coreo` command as a process, and the real api on loopback with a real database."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from coreo_embedded.processes import free_port
from coreo_shared.contracts.onboarding import Report
from coreo_shared.contracts.terms import RunState
from tests.support.api import Api, Team, until
from tests.support.console import drop_connections

COMMAND = Path(sys.executable).with_name("coreo")


class Server(uvicorn.Server):
    """Leaves the test runner's signal handlers alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Done:
    """How a command ended, and what it wrote."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Served:
    """The api, a team, and the command for it."""

    api: Api
    team: Team
    url: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's that could matter; before a login, address and token are in it."""
        variables = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(self.folder), "TERM": "xterm-256color"}
        if (self.folder / "coreo").exists():
            return variables
        return variables | {"COREO_URL": self.url, "COREO_TOKEN": self.team.token}

    async def begin(self, *arguments: str, **streams: Any) -> Process:
        """Starts `coreo`."""
        streams = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE} | streams
        return await asyncio.create_subprocess_exec(COMMAND, *arguments, env=self.environment(), **streams)

    async def coreo(self, *arguments: str, stdin: str = "") -> Done:
        """Runs `coreo` to its end."""
        process = await self.begin(*arguments)
        return await finish(process, stdin)

    async def log_in(self) -> None:
        """Stores address and token."""
        done = await self.coreo("login", "--url", self.url, "--token-stdin", stdin=self.team.token)
        assert done.code == 0, done.err

    async def plan_of(self, *account_ids: str) -> str:
        """A plan by the name `weekly` on new cloud accounts of these AWS accounts; its id."""
        for account_id in account_ids:
            await self.team.add_account(account_id=account_id)
        accounts = (await self.team.http.get("/v1/cloud-accounts")).json()["items"]
        plan = await self.team.add_plan(*(account["id"] for account in accounts), name="weekly")
        return str(plan["id"])

    async def runs(self, count: int = 1) -> list[dict[str, Any]]:
        """The team's runs, as soon as there are so many."""
        found: list[dict[str, Any]] = []

        async def are_there() -> bool:
            found[:] = (await self.team.http.get("/v1/runs")).json()["items"]
            return len(found) == count

        await until(are_there)
        return found

    async def task(self, kind: str) -> dict[str, Any]:
        """The newest task of the kind that is under way in the team's newest cloud account."""
        found: list[dict[str, Any]] = []

        async def is_there() -> bool:
            for account in (await self.team.http.get("/v1/cloud-accounts")).json()["items"][:1]:
                entries = (await self.team.http.get(f"/v1/cloud-accounts/{account['id']}/history")).json()["items"]
                found[:] = [entry for entry in entries if entry["kind"] == kind and entry["ended_at"] is None]
            return bool(found)

        await until(is_there)
        return found[0]

    async def report(self, kind: str, report: Report | None, state: RunState = RunState.SUCCEEDED) -> None:
        """What an onboard worker would say at the end of the task under way."""
        self.tell(await self.task(kind), 3, state, report=report)

    def tell(self, run: dict[str, Any], version: int, state: RunState, **fields: Any) -> None:
        """What a worker would bring about."""
        self.api.results.emit(run, self.team.id, version, state, **fields)


async def finish(process: Process, stdin: str = "") -> Done:
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin.encode())
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def served(api: Api, tmp_path: Path) -> AsyncIterator[Served]:
    """The api on a port of its own, and a new team."""
    team, port = await api.team("ACME"), free_port()
    config = uvicorn.Config(api.app, host="127.0.0.1", port=port, log_config=None, ws="none", access_log=False)
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or serving.done())
        yield Served(api, team, f"http://127.0.0.1:{port}", tmp_path)
    finally:
        server.should_exit = True
        api.context.stopping.set()
        api.context.signals.ring_all()
        await serving
        await drop_connections(server)


async def until_written(process: Process, words: str) -> None:
    """Waits for a line of standard error with these words."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while line := await process.stderr.readline():
            if words in line.decode():
                return
    pytest.fail(f"{words} was never written")


def read_until(terminal: int, words: str) -> str:
    """What is drawn, up to these words; the test's own time limit ends a wait in vain."""
    drawn = b""
    while words.encode() not in drawn:
        drawn += os.read(terminal, 65_536)
    return drawn.decode("utf-8", "replace")

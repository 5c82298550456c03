"""The installed `coreo` command, as a process, against the real api on loopback with a real database."""

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn

from coreo_embedded.processes import free_port
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, RunState, Severity
from tests.support.api import Api, Team, until

COMMAND = Path(sys.executable).with_name("coreo")
ROLE = "arn:aws:iam::210987654321:role/CoreoAudit"
COUNTS = Counts(by_status={FindingStatus.FAIL: 2}, failed_by_severity={Severity.HIGH: 2})


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

    def tell(self, run: dict[str, Any], version: int, state: RunState, **fields: Any) -> None:
        """What a worker would bring about."""
        self.api.results.emit(run, self.team.id, version, state, **fields)


async def finish(process: Process, stdin: str = "") -> Done:
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin.encode())
    return Done(process.returncode, out.decode(), err.decode())


def a_finding(number: int, status: FindingStatus = FindingStatus.FAIL) -> Finding:
    return Finding(
        fingerprint=f"{number:032x}",
        rule_id="s3-bucket-unencrypted",
        status=status,
        severity=Severity.HIGH,
        resource_type="aws.s3.bucket",
        resource_id=f"bucket-{number}",
        resource_arn=f"arn:aws:s3:::bucket-{number}",
        region="eu-west-1",
        message=f"bucket-{number} has no default encryption",
    )


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


async def test_the_whole_way_from_login_to_findings(served: Served) -> None:
    await served.log_in()
    added = await served.coreo("account", "add", "--name", "production", "--account-id", "210987654321", "-o", "json")
    assert added.json["state"] == "PENDING"
    role = await served.coreo("account", "set-role", "production", "--role-arn", ROLE, "-o", "json")
    assert role.json["state"] == "UNVERIFIED"
    made = await served.coreo(
        *("plan", "create", "--name", "weekly", "--account", added.json["id"][:13], "--rule-set", "baseline"),
        *("--region", "eu-west-1", "--every", "7d", "--param", "iam-password-policy-length.min_length=16"),
    )
    assert made.code == 0, made.err
    policy = await served.coreo("plan", "policy", "weekly")
    assert policy.json["Version"] == "2012-10-17"

    watching = await served.begin("run", "start", "weekly", "--watch", "--fail-on", "critical")
    (run,) = await served.runs()
    served.api.results.findings[UUID(run["id"])] = [a_finding(1), a_finding(2, FindingStatus.NOT_EVALUATED)]
    served.tell(run, 2, RunState.CLAIMED)
    served.tell(run, 3, RunState.RUNNING, units_done=1, units_total=2)
    served.tell(run, 4, RunState.PARTIAL, units_done=2, units_total=2, counts=COUNTS)
    done = await finish(watching)
    assert done.code == 3, done.err
    assert done.out.startswith("PARTIAL  production  2 high failed")
    assert f"coreo findings {run['id'][:13]}" in done.err

    assert [line[0] for line in (await served.coreo("findings")).out.splitlines() if line] == ["H", " ", " "]
    found = await served.coreo("findings", "--all", "-o", "json")
    assert [json.loads(line)["resource_id"] for line in found.out.splitlines()] == ["bucket-1", "bucket-2"]
    listed = await served.coreo("run", "list", "--plan", "weekly", "--state", "PARTIAL", "-o", "json")
    assert [each["id"] for each in listed.json] == [run["id"]]


async def test_refusals_name_the_options(served: Served) -> None:
    account = await served.coreo("account", "add", "--name", "a", "--account-id", "111111111111")
    assert account.code == 1
    assert "--account-id: This is Coreo's own AWS account" in account.err
    plan = await served.coreo(
        *("plan", "create", "--name", "n", "--rule", "iam-root-mfa", "--rule", "iam-root-mfaa"),
        *("--cron", "61 * * * *", "--time-zone", "Mars/Base"),
    )
    assert plan.code == 1
    assert "--cron: " in plan.err
    assert "--time-zone: not an IANA time zone" in plan.err
    rule = await served.coreo("plan", "create", "--name", "n", "--rule", "iam-root-mfa", "--rule", "iam-root-mfaa")
    assert "--rule (2nd): no rule of this name; did you mean iam-root-mfa" in rule.err
    assert "Request id: " in rule.err


async def test_another_teams_things_are_not_there(served: Served) -> None:
    other = await served.api.team("other")
    account = await other.add_account()
    done = await served.coreo("account", "show", account["id"])
    assert done.code == 1
    assert done.err.startswith(f"Error: There is no cloud account '{account['id']}'.")


async def test_tokens_are_made_used_and_revoked(served: Served) -> None:
    token = (await served.coreo("token", "create", "--name", "ci", "--expires", "90d")).out.strip()
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as http:
        assert (await http.get("/v1/team")).status_code == 200
        assert (await served.coreo("token", "revoke", "ci")).code == 0
        assert (await http.get("/v1/team")).status_code == 401
    last = await served.coreo("token", "revoke", "first token")
    assert last.code == 1
    assert "only valid token" in last.err


async def test_a_start_sent_again_with_its_key_starts_nothing_new(served: Served) -> None:
    await served.plan_of("210987654321")
    first = await served.coreo("run", "start", "weekly", "--idempotency-key", "mine", "-o", "json")
    again = await served.coreo("run", "start", "weekly", "--idempotency-key", "mine", "-o", "json")
    assert first.json["group_id"] == again.json["group_id"]
    await served.runs(1)


async def test_a_group_is_watched_and_canceled(served: Served) -> None:
    await served.plan_of("210987654321", "310987654321")
    watching = await served.begin("run", "start", "weekly", "--watch", "-o", "json")
    first, second = await served.runs(2)
    served.tell(first, 2, RunState.SUCCEEDED, units_done=1, units_total=1)
    await until_written(watching, "SUCCEEDED")
    canceled = await served.coreo("run", "cancel", second["id"], "-o", "json")
    assert canceled.json["cancel_requested"]
    served.tell(second, 2, RunState.CANCELED, reason="Canceled on request.")
    done = await finish(watching)
    assert done.code == 4
    assert {run["id"]: run["state"] for run in done.json["runs"]} == {
        first["id"]: "SUCCEEDED",
        second["id"]: "CANCELED",
    }


async def test_ctrl_c_ends_the_watching_and_not_the_run(served: Served) -> None:
    await served.plan_of("210987654321")
    watching = await served.begin("run", "start", "weekly", "--watch")
    (run,) = await served.runs()
    await until_written(watching, "QUEUED")
    watching.send_signal(signal.SIGINT)
    done = await finish(watching)
    assert (done.code, done.out) == (130, "")
    assert f"coreo run watch {run['id']}" in done.err
    assert "Traceback" not in done.err
    assert (await served.runs())[0]["state"] == "QUEUED"


async def test_on_a_terminal_bars_are_drawn(served: Served) -> None:
    await served.plan_of("210987654321")
    await served.coreo("run", "start", "weekly")
    (run,) = await served.runs()
    terminal, stderr = pty.openpty()
    try:
        watching = await served.begin("run", "watch", stderr=stderr)
        served.tell(run, 2, RunState.RUNNING, units_done=1, units_total=4)
        drawn = await asyncio.to_thread(read_until, terminal, "1/4 units")
        served.tell(run, 3, RunState.SUCCEEDED, units_done=4, units_total=4)
        drawn += await asyncio.to_thread(read_until, terminal, "4/4 units")
        async with asyncio.timeout(30):
            out, _ = await watching.communicate()
    finally:
        os.close(stderr)
        os.close(terminal)
    assert watching.returncode == 0
    assert "━" in drawn
    assert out.decode().startswith("SUCCEEDED  production")


async def test_a_reader_that_goes_away_is_no_error(served: Served) -> None:
    await served.plan_of("210987654321")
    await served.coreo("run", "start", "weekly")
    (run,) = await served.runs()
    served.api.results.findings[UUID(run["id"])] = [a_finding(number) for number in range(2_000)]
    process = await served.begin("findings", "--all", "-o", "json")
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]  # what `| head -1` does
    assert process.stderr is not None
    async with asyncio.timeout(30):
        err = (await process.stderr.read()).decode()
        await process.wait()
    assert "Traceback" not in err
    assert process.returncode == 1


async def test_with_nobody_there_it_says_where_and_how_to_start_one(served: Served) -> None:
    served.url = f"http://127.0.0.1:{free_port()}"
    done = await served.coreo("team")
    assert done.code == 1
    assert "(connection refused)" in done.err
    assert "make demo" in done.err


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

"""The `coreo` command in process, against an api that a test scripts, on pipes or on a terminal of any width."""

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from typer.testing import CliRunner

from coreo_cli.main import app
from coreo_shared.ids import new_id

URL = "http://127.0.0.1:8080"
TOKEN = "coreo_" + "t" * 43
Handler = Callable[[httpx.Request], httpx.Response]
Answer = Handler | Exception | dict[str, Any] | None


@dataclass
class ScriptedApi:
    """Answers by method and path: a dict is a 200, None a 204, an exception is raised. Of several answers each serves
    once and the last stays. A request that nothing was said about fails the test."""

    requests: list[httpx.Request] = field(default_factory=list)
    _answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """What to answer."""
        self._answers[method, path] = list(answers)

    def lists(self, path: str, *items: dict[str, Any]) -> None:
        """A list of one page."""
        self.on("GET", path, {"items": list(items), "next_cursor": None, "total": len(items)})

    def sent(self, method: str, path: str) -> list[httpx.Request]:
        """The requests that came."""
        return [each for each in self.requests if (each.method, each.url.path) == (method, path)]

    def body(self, method: str, path: str) -> Any:
        """The body of the one such request."""
        (request,) = self.sent(method, path)
        return json.loads(request.content)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The transport's handler."""
        with self._lock:
            self.requests.append(request)
            answers = self._answers[request.method, request.url.path]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return httpx.Response(204) if answer is None else httpx.Response(200, json=answer)


def problem(status: int, code: str, detail: str, *fields: tuple[str, str], **headers: str) -> Handler:
    """A problem answer as the api gives it."""
    body: dict[str, Any] = {
        "type": f"urn:coreo:problem:{code}",
        "title": "Some fields are not valid" if fields else "It failed",
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": "request-12345",
    }
    if fields:
        body["errors"] = [{"field": name, "message": message} for name, message in fields]
    headers = {"content-type": "application/problem+json"} | {name.replace("_", "-"): headers[name] for name in headers}
    return lambda _request: httpx.Response(status, json=body, headers=headers)


def sse(*runs: tuple[Any, dict[str, Any]], breaks: bool = False) -> Handler:
    """An event stream of runs with their versions; one that `breaks` loses the connection after the last.

    What has no state is a stack event, and its id is written out: `("3.1", event)`.
    """
    return lambda _request: httpx.Response(
        200, headers={"content-type": "text/event-stream"}, stream=_EventStream(runs, breaks=breaks)
    )


class _EventStream(httpx.SyncByteStream):
    def __init__(self, runs: Sequence[tuple[Any, dict[str, Any]]], *, breaks: bool) -> None:
        self._runs = runs
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield b": keep-alive\n\n"
        for version, run in self._runs:
            name = "run" if "state" in run else "stack"
            yield f"id: {version}\nevent: {name}\ndata: {json.dumps(run)}\n\n".encode()
        if self._breaks:
            raise httpx.ReadError("connection reset")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Cli:
    """Runs `coreo`."""

    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: str, stdin: str | None = None) -> Done:
        """On pipes."""
        result = CliRunner().invoke(app, arguments, input=stdin, prog_name="coreo")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def on_terminal(self, *arguments: str, columns: int = 100, keys: str = "") -> Done:
        """On a terminal of so many columns, where somebody presses these keys."""
        out, err, keyboard = Terminal(), Terminal(), Terminal(keys)
        with self.monkeypatch.context() as patch:
            for name, value in {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}.items():
                patch.setenv(name, value)
            for name, stream in {"stdout": out, "stderr": err, "stdin": keyboard}.items():
                patch.setattr(sys, name, stream)
            try:
                app(list(arguments), prog_name="coreo")
                code = 0
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def scripted_api(monkeypatch: pytest.MonkeyPatch) -> ScriptedApi:
    """The api that `coreo` talks to; no time passes between its tries."""
    api = ScriptedApi()
    transport = httpx.MockTransport(api.answer)
    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=transport))
    return api


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Takes back what a command that sets up logging (`coreo scan`) does to this process, which other tests log in."""
    root = logging.getLogger()
    level = root.level
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = [
        each for each in root.handlers if not isinstance(each.formatter, structlog.stdlib.ProcessorFormatter)
    ]


@pytest.fixture
def coreo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scripted_api: ScriptedApi, logging_as_before: None) -> Cli:
    """The command, logged in by the environment to the scripted api."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "COREO_OUTPUT", "COREO_ALLOW_PLAIN_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COREO_URL", URL)
    monkeypatch.setenv("COREO_TOKEN", TOKEN)
    return Cli(monkeypatch)


def an_account(**fields: Any) -> dict[str, Any]:
    """A cloud account as the api shows it."""
    trust = {"Version": "2012-10-17", "Statement": [{"Principal": {"AWS": "arn:aws:iam::111111111111:root"}}]}
    account: dict[str, Any] = {
        "id": str(new_id()),
        "name": "production",
        "account_id": "210987654321",
        "external_id": "0123456789abcdef0123456789abcdef",
        "state": "PENDING",
        "role_arn": None,
        "coreo_account_id": "111111111111",
        "trust_policy": trust,
        "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:00:00Z",
        "reason": None,
        "next_external_id": None,
        "missing_actions": [],
        "last_verification": None,
        "verifying": False,
        "next_verification_at": None,
    }
    return account | fields


def a_task(kind: str = "verify", **fields: Any) -> dict[str, Any]:
    """An entry of a cloud account's history, as the api shows it: a task that waits for a worker."""
    entry = {
        "id": str(new_id()),
        "kind": kind,
        "by": "first token",
        "at": "2026-01-31T12:00:00Z",
        "state": "QUEUED",
        "verdict": None,
        "reason": None,
        "report": None,
        "ended_at": None,
    }
    return entry | fields


def over(task: dict[str, Any], report: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """The task when a worker has ended it with this report."""
    ended = {"state": "SUCCEEDED", "report": report, "ended_at": "2026-01-31T12:00:03Z"}
    if report is not None and report["kind"] == "verify":
        ended |= {"verdict": report["verdict"], "reason": report["reason"]}
    return task | ended | fields


def a_verify_report(verdict: str = "CONNECTED", reason: str | None = None, **outcomes: str) -> dict[str, Any]:
    """A verification's report; its checks passed but for those named, such as `permissions="unknown"`."""
    names = ("with_external_id", "account", "without_external_id", "wrong_external_id", "permissions")
    checks = [
        {"name": name, "outcome": outcomes.get(name, "passed"), "detail": f"What AWS said about {name}."}
        for name in names
    ]
    return {"kind": "verify", "verdict": verdict, "reason": reason, "checks": checks, "missing_actions": []}


def a_bootstrap_report(**fields: Any) -> dict[str, Any]:
    """The report of a bootstrap that made all there is to make."""
    report = {"kind": "bootstrap", "role": "created", "policy": "created", "attached": True, "problem": None}
    return report | {"detail": None, "missing_action": None} | fields


def a_grant(**fields: Any) -> dict[str, Any]:
    """A grant as the api shows it."""
    grant = {
        "level": "audit",
        "role_name": "CoreoAudit",
        "role_arn": "arn:aws:iam::210987654321:role/CoreoAudit",
        "external_id": "0123456789abcdef0123456789abcdef",
        "trust_policy": {"Version": "2012-10-17", "Statement": []},
        "managed_policy_arns": ["arn:aws:iam::aws:policy/SecurityAudit"],
        "policy": None,
        "cloudformation": "AWSTemplateFormatVersion: '2010-09-09'\nResources: {}\n",
        "quick_create_url": None,
        "terraform": 'resource "aws_iam_role" "coreo" {\n}\n',
        "commands": ["aws iam create-role --role-name CoreoAudit", "aws iam attach-role-policy"],
        "stack_set": ["aws cloudformation create-stack-set", "aws cloudformation create-stack-instances"],
        "notes": ["SecurityAudit cannot read a few things."],
    }
    return grant | fields


def a_plan(**fields: Any) -> dict[str, Any]:
    """A plan as the api shows it."""
    plan = {
        "id": str(new_id()),
        "name": "nightly",
        "kind": "audit",
        "revision": 1,
        "spec": {"rule_sets": ["baseline"], "rules": [], "regions": ["all"], "parameters": {}},
        "cloud_account_ids": [],
        "schedule": None,
        "enabled": True,
        "next_run_at": None,
        "last_tick_at": None,
        "last_tick_problem": None,
        "lint": None,
        "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:00:00Z",
    }
    return plan | fields


def a_run(state: str = "SUCCEEDED", **fields: Any) -> dict[str, Any]:
    """A run as the api shows it."""
    is_over = state not in {"QUEUED", "CLAIMED", "RUNNING", "AWAITING_APPROVAL", "APPLYING", "OUTCOME_UNKNOWN"}
    run = {
        "id": str(new_id()),
        "group_id": str(new_id()),
        "plan_id": str(new_id()),
        "plan_revision": 1,
        "kind": "audit",
        "deploy": None,
        "cloud_account_id": str(new_id()),
        "trigger": "manual",
        "state": state,
        "reason": None,
        "attempt": 1,
        "units_done": 40 if is_over else 0,
        "units_total": 40 if is_over else None,
        "counts": {"by_status": {}, "failed_by_severity": {}},
        "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:01:00Z",
        "ended_at": "2026-01-31T12:01:05Z" if is_over else None,
        "cancel_requested": False,
        "dispatched_at": "2026-01-31T12:00:00Z",
        "expires_at": "2026-01-31T18:00:00Z",
        "backup": True,
        "results_gone": None,
    }
    return run | fields


def a_deploy(state: str = "SUCCEEDED", action: str = "apply", **fields: Any) -> dict[str, Any]:
    """A deploy run as the api shows it; `fields` of its part `deploy` go there."""
    deploy: dict[str, Any] = {
        "action": action,
        "target_id": str(new_id()),
        "region": "eu-west-1",
        "stack_name": "network",
        "holds_target": False,
        "resume_at": None,
        "approval": None,
        "preview_hash": None,
        "approved_by": [],
        "cancel_refused": None,
        "no_change": False,
        "documents": {},
    }
    mine = {name: fields.pop(name) for name in tuple(fields) if name in deploy}
    return a_run(state, kind="deploy", deploy=deploy | mine, **{"units_done": 0, "units_total": None} | fields)


def a_finding(**fields: Any) -> dict[str, Any]:
    """A finding as the api shows it."""
    finding: dict[str, Any] = {
        "fingerprint": "0" * 32,
        "rule_id": "s3-bucket-unencrypted",
        "status": "FAIL",
        "severity": "high",
        "resource_type": "aws.s3.bucket",
        "resource_id": "acme-logs",
        "resource_arn": "arn:aws:s3:::acme-logs",
        "region": "eu-west-1",
        "message": "acme-logs has no default encryption",
        "evidence": {"Encryption": []},
        "reason": None,
        "missing_actions": [],
    }
    return finding | fields

"""`coreo account bootstrap`: what happens to the secret, and to the account."""

import getpass
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from coreo_cli import secret as secrets
from coreo_cli.client import Client
from coreo_cli.commands.account import bootstrap
from coreo_cli.config import Connection
from coreo_cli.errors import CliError
from coreo_cli.secret import Secret, SecretBody
from tests.support.cli import (
    TOKEN,
    Cli,
    Done,
    ScriptedApi,
    a_bootstrap_report,
    a_plan,
    a_task,
    a_verify_report,
    an_account,
    over,
    problem,
)

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "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"
SESSION = "FwoGZXIvYXdzEJr//canary-token=="
COMMAND = ("account", "bootstrap", "production", "--access-key-id", KEY_ID)
ROLE = "arn:aws:iam::210987654321:role/CloudCoreoAssumedRole"


class Scene:
    """A cloud account whose role is made by a worker, and is found to be safe."""

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.account = an_account()
        self.path = f"/v1/cloud-accounts/{self.account['id']}"
        self.task, self.proof = a_task("bootstrap"), a_task()
        self.started = {
            "history": self.task,
            "role_arn": ROLE,
            "advice": ["Deactivate the key now, and delete it."],
            "commands": [f"aws iam update-access-key --access-key-id {KEY_ID} --status Inactive"],
        }
        api.lists("/v1/cloud-accounts", self.account)
        api.on("POST", f"{self.path}/bootstrap", self.started)
        api.lists(f"{self.path}/history", self.proof, self.task)
        self.makes(a_bootstrap_report())
        self.proves(a_verify_report())

    def makes(self, report: dict[str, Any] | None, **fields: Any) -> None:
        """How the making of the role ends."""
        made = over(self.task, report, **fields)
        self.api.on("GET", f"{self.path}/history/{self.task['id']}", self.task | {"state": "RUNNING"}, made)

    def proves(self, report: dict[str, Any]) -> None:
        """How the verification ends."""
        self.api.on("GET", f"{self.path}/history/{self.proof['id']}", over(self.proof, report))
        after = self.account | {"role_arn": ROLE, "state": report["verdict"], "reason": report["reason"]}
        self.api.on("GET", self.path, after)

    @property
    def sent(self) -> Any:
        """The one body that was sent."""
        return self.api.body("POST", f"{self.path}/bootstrap")


@pytest.fixture
def scene(scripted_api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr("coreo_cli.tasks._FIRST_PAUSE", 0.0)
    return Scene(scripted_api)


def holds_no_secret(done: Done) -> bool:
    return not any(word in done.out + done.err for word in (SECRET, SESSION, "canary"))


def test_a_role_is_made_and_proven_with_a_secret_from_standard_input(coreo: Cli, scene: Scene) -> None:
    done = coreo(*COMMAND, stdin=f" {SECRET}\t\r\n")
    assert done.code == 0
    assert scene.sent == {"access_key_id": KEY_ID, "level": "full", "secret_access_key": SECRET}
    assert f"The role is {ROLE}." in done.out
    assert "Deactivate the key now, and delete it.\n  aws iam update-access-key" in done.out
    assert "The role was made. Its policy was made." in done.out
    assert done.out.endswith("CONNECTED  production  verified in 3 s\n")
    assert "Making the role in production: a worker has it" in done.err
    assert holds_no_secret(done)


def test_the_answers_are_json_when_told_so(coreo: Cli, scene: Scene) -> None:
    done = coreo(*COMMAND, "-o", "json", stdin=SECRET)
    assert set(done.json) == {"history", "role_arn", "advice", "commands", "verification", "account"}
    assert done.json["history"]["report"]["role"] == "created"
    assert done.json["verification"]["verdict"] == done.json["account"]["state"] == "CONNECTED"
    assert holds_no_secret(done)


def test_only_beginning_is_enough_when_told_so(coreo: Cli, scene: Scene) -> None:
    done = coreo(*COMMAND, "--no-watch", stdin=SECRET)
    assert done.code == 0
    assert "Deactivate the key now" in done.out
    assert "coreo account show production" in done.err
    assert coreo(*COMMAND, "--no-watch", "-o", "json", stdin=SECRET).json == scene.started


def test_on_a_terminal_the_secret_is_asked_for_without_showing_it(
    coreo: Cli, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    typed = {"Secret access key (it is not shown): ": SECRET, "Session token (it is not shown): ": SESSION}

    def getpass_(words: str) -> str:
        asked.append(words)
        return typed[words]

    monkeypatch.setattr(getpass, "getpass", getpass_)
    done = coreo.on_terminal(*COMMAND)
    assert (done.code, asked) == (0, ["Secret access key (it is not shown): "])
    assert scene.sent["secret_access_key"] == SECRET
    assert holds_no_secret(done)
    scene.api.requests.clear()
    scene.makes(a_bootstrap_report())
    done = coreo.on_terminal(*COMMAND, "--session-token-stdin")
    assert scene.sent["session_token"] == SESSION
    assert holds_no_secret(done)


def test_a_terminal_that_would_show_the_secret_is_refused(
    coreo: Cli, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fallback(_: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=2)
        return SECRET

    monkeypatch.setattr(getpass, "getpass", fallback)
    done = coreo.on_terminal(*COMMAND)
    assert done.code == 1
    assert "would show the secret" in done.err
    assert scene.api.sent("POST", f"{scene.path}/bootstrap") == []


def test_a_temporary_key_brings_its_session_token_on_the_second_line(coreo: Cli, scene: Scene) -> None:
    done = coreo(
        *("account", "bootstrap", "production", "--access-key-id", "ASIAIOSFODNN7EXAMPLE"),
        stdin=f"{SECRET}\n{SESSION}\n",
    )
    assert done.code == 0
    assert scene.sent["session_token"] == SESSION
    assert holds_no_secret(done)


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("", "Standard input ends before the secret"),
        (" \r\n", "Standard input ends before the secret"),
        (f'{SECRET}"', "Line 1 of standard input is no secret access key"),
        (f"Access key ID,Secret access key\n{KEY_ID},{SECRET}\n", "Line 1 of standard input is no secret access key"),
        (f"{SECRET}\u00e9canary", "Line 1 of standard input is no secret access key"),
        ("x" * 9_000, "Line 1 of standard input is no secret access key"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(coreo: Cli, scene: Scene, stdin: str, words: str) -> None:
    done = coreo(*COMMAND, stdin=stdin)
    assert done.code in {1, 2}
    assert words in done.err
    assert "x" * 20 not in done.err
    assert holds_no_secret(done)
    assert scene.api.sent("POST", f"{scene.path}/bootstrap") == []


def test_a_missing_session_token_is_said(coreo: Cli, scene: Scene) -> None:
    done = coreo(*COMMAND, "--session-token-stdin", stdin=SECRET)
    assert done.code == 2
    assert "the session token (if any) on the second" in done.err
    assert scene.api.sent("POST", f"{scene.path}/bootstrap") == []


@pytest.mark.parametrize(
    "arguments",
    [
        (*COMMAND, SECRET),
        ("account", "bootstrap", SECRET, "--access-key-id", KEY_ID),
        (*COMMAND, "--secret-access-key", SECRET),
        (*COMMAND, f"--secret-access-key={SECRET}"),
        ("account", "bootstrap", "production", "--access-key-id", SECRET),
        (*COMMAND, "--level", SECRET),
    ],
)
def test_a_secret_on_the_command_line_is_refused_without_repeating_it(
    coreo: Cli, scene: Scene, arguments: tuple[str, ...]
) -> None:
    done = coreo(*arguments, stdin=SECRET)
    assert done.code == 2
    assert holds_no_secret(done)
    assert scene.api.requests == []


def test_a_secret_argument_counts_as_exposed(coreo: Cli, scene: Scene) -> None:
    assert "deactivate that key and make a new one" in coreo(*COMMAND, SECRET).err


def test_no_environment_variable_is_a_secret(coreo: Cli, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "COREO_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    done = coreo(*COMMAND, stdin="")
    assert done.code == 2
    assert scene.api.sent("POST", f"{scene.path}/bootstrap") == []
    assert not [name for name in bootstrap.bootstrap.__annotations__ if "secret" in name]


def test_the_level_follows_from_plans_and_rules(coreo: Cli, scene: Scene) -> None:
    plan = a_plan(cloud_account_ids=[scene.account["id"]])
    scene.api.lists("/v1/plans", plan, a_plan(name="other"))
    options: dict[tuple[str, ...], dict[str, Any]] = {
        ("--level", "audit", "--role-name", "Mine"): {"level": "audit", "role_name": "Mine"},
        ("--rule-set", "baseline"): {"level": "exact", "plan_ids": [], "rule_sets": ["baseline"], "rules": []},
        ("--plan", "nightly"): {"level": "exact", "plan_ids": [plan["id"]], "rule_sets": [], "rules": []},
        ("--level", "exact"): {"level": "exact", "plan_ids": [plan["id"]], "rule_sets": [], "rules": []},
    }
    for words, body in options.items():
        scene.api.requests.clear()
        assert coreo(*COMMAND, *words, "--no-watch", stdin=SECRET).code == 0
        assert scene.sent == body | {"access_key_id": KEY_ID, "secret_access_key": SECRET}
    assert coreo(*COMMAND, "--level", "full", "--rule-set", "baseline", stdin=SECRET).code == 2


@pytest.mark.parametrize(
    ("report", "fields", "said"),
    [
        (
            a_bootstrap_report(problem="missing_permission", detail="The key lacks iam:GetUser."),
            {},
            ("The key lacks iam:GetUser.",),
        ),
        (None, {"state": "EXPIRED", "reason": "Post the keys again."}, ("Post the keys again.",)),
        (None, {"state": "FAILED"}, ("ended as FAILED",)),
    ],
)
def test_a_role_that_was_not_made_says_why(
    coreo: Cli, scene: Scene, report: dict[str, Any] | None, fields: dict[str, Any], said: tuple[str, ...]
) -> None:
    scene.makes(report, **fields)
    done = coreo(*COMMAND, stdin=SECRET)
    assert done.code == 4
    assert all(words in done.err for words in (*said, "ost the keys again: the same command"))
    assert done.out == ""


@pytest.mark.parametrize(("verdict", "code"), [("UNVERIFIED", 3), ("INSECURE", 6), ("UNREACHABLE", 7)])
def test_the_exit_code_is_the_verdict_on_the_role(coreo: Cli, scene: Scene, verdict: str, code: int) -> None:
    scene.makes(a_bootstrap_report(role="adopted", policy="managed"))
    scene.proves(a_verify_report(verdict, "So it is."))
    done = coreo(*COMMAND, stdin=SECRET)
    assert done.code == code
    assert "The role was there already, exactly so. Its policy is AWS's own." in done.out


def test_a_role_that_nobody_verifies_is_said(coreo: Cli, scene: Scene) -> None:
    scene.api.lists(f"{scene.path}/history", scene.task)
    done = coreo(*COMMAND, stdin=SECRET)
    assert done.code == 1
    assert "coreo account verify production" in done.err


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (problem(503, "no_onboard_worker", "No worker is up.", retry_after="30"), "Nothing was kept of the key."),
        (problem(422, "invalid", "No.", ("body.secret_access_key", "not an AWS secret")), "secret access key: not an"),
        (httpx.ReadTimeout("x"), "It is not known whether the key arrived."),
        (httpx.ConnectError(SECRET), "Nobody answers"),
    ],
)
def test_refusals_and_outages_send_the_secret_once_and_never_show_it(
    coreo: Cli, scene: Scene, refusal: Any, said: str
) -> None:
    scene.api.on("POST", f"{scene.path}/bootstrap", refusal)
    done = coreo(*COMMAND, stdin=SECRET)
    assert done.code == 1
    assert said in done.err
    assert holds_no_secret(done)
    assert len(scene.api.sent("POST", f"{scene.path}/bootstrap")) == 1


def test_ctrl_c_while_the_key_is_sent_does_not_say_that_nothing_was_changed(coreo: Cli, scene: Scene) -> None:
    def pressed(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    scene.api.on("POST", f"{scene.path}/bootstrap", pressed)
    done = coreo(*COMMAND, stdin=SECRET)
    assert done.code == 130
    assert "It is not known whether the key arrived." in done.err
    assert "Nothing was changed" not in done.err


def test_the_secret_crosses_no_network_in_the_clear(scripted_api: ScriptedApi) -> None:
    """Also where COREO_ALLOW_PLAIN_HTTP=1 lets the team's token do so."""
    client = Client(Connection("http://coreo.example.com", TOKEN))
    with pytest.raises(CliError, match="unencrypted"):
        client.post_secret("/v1/x", SecretBody({}, {"s": Secret(bytearray(b"canary"))}))
    assert scripted_api.requests == []


def test_the_secret_is_in_no_file_and_no_log(
    coreo: Cli, scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert coreo(*COMMAND, stdin=SECRET).code == 0
    assert SECRET not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def kept(monkeypatch: pytest.MonkeyPatch) -> list[Secret]:
    """Secrets as they are made from now on."""
    made: list[Secret] = []

    class Kept(Secret):
        def __init__(self, value: bytearray) -> None:
            super().__init__(value)
            made.append(self)

    monkeypatch.setattr(secrets, "Secret", Kept)
    return made


@pytest.mark.parametrize("answer", [None, problem(422, "invalid", "No."), httpx.ReadTimeout("x"), KeyboardInterrupt()])
def test_the_secret_is_overwritten_whatever_the_answer(
    coreo: Cli, scene: Scene, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    made = kept(monkeypatch)

    def during(request: httpx.Request) -> httpx.Response:
        assert [each.reveal() for each in made] == [SECRET.encode(), SESSION.encode()]
        if isinstance(answer, BaseException):
            raise answer
        ended: Callable[[httpx.Request], httpx.Response] = answer or (lambda _: httpx.Response(202, json=scene.started))
        return ended(request)

    scene.api.on("POST", f"{scene.path}/bootstrap", during)
    coreo(*COMMAND, "--session-token-stdin", "--no-watch", stdin=f"{SECRET}\n{SESSION}")
    assert [each.reveal() for each in made] == [bytes(len(SECRET)), bytes(len(SESSION))]


def test_a_crash_shows_no_secret(scene: Scene, tmp_path: Path) -> None:
    """A fault in the command itself, with the secret in hand, as a process of its own."""
    code = (
        "import io, sys\nfrom coreo_cli.secret import SecretBody, asked\nfrom coreo_cli.main import app\n"
        "import coreo_cli.commands.account.bootstrap as bootstrap\n"
        "bootstrap.resolve = lambda *_: {'id': 'x', 'name': 'production', 'account_id': '210987654321'}\n"
        "bootstrap._send = lambda client, account, body: b''.join(body).fault\n"
        "app()\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, *COMMAND],
        input=SECRET,
        env=os.environ | {"COREO_URL": "http://127.0.0.1:9", "COREO_TOKEN": TOKEN, "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "AttributeError" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_a_secret_is_not_shown_copied_or_pickled() -> None:
    secret = Secret(bytearray(b"canary"))
    assert "canary" not in f"{secret} {secret!r} {[secret]} {SecretBody({}, {'a': secret}).__dict__}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_a_body_is_json_of_the_length_that_it_says() -> None:
    body = SecretBody(
        {"name": 'über "quoted"', "ids": []}, {"one": Secret(bytearray(b"1+/=")), "two": Secret(bytearray(b"2"))}
    )
    text = b"".join(body)
    assert len(body) == len(text)
    assert json.loads(text) == {"name": 'über "quoted"', "ids": [], "one": "1+/=", "two": "2"}


def test_what_is_typed_ends_with_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ended)
    monkeypatch.setattr(sys, "stdin", type("T", (io.StringIO,), {"isatty": lambda _: True})())
    with pytest.raises(CliError, match="Nothing was typed"), secrets.asked(session_token=False):
        pass


def test_the_key_is_spoken_of_when_the_worker_no_longer_needs_it(coreo: Cli, scene: Scene) -> None:
    def asked(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    assert coreo(*COMMAND, stdin=SECRET).out.index("Deactivate") < coreo(*COMMAND, stdin=SECRET).out.index("CONNECTED")
    scene.api.on("GET", f"{scene.path}/history/{scene.task['id']}", asked)
    done = coreo(*COMMAND, stdin=SECRET)
    assert done.code == 130
    assert "Deactivate the key now" in done.out
    assert coreo(*COMMAND, "-o", "json", stdin=SECRET).json == scene.started

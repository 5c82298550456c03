"""`coreo --help` and the rest that works without an api; it must be quick."""

import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
import typer

from coreo_cli.main import app
from tests.support.cli import Cli, ScriptedApi

SLOW = ("httpx", "rich", "pydantic", "ssl", "asyncio")
COMMAND = typer.main.get_command(app)


def all_commands(command: Any = COMMAND, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of each command and group."""
    nested = getattr(command, "commands", {})
    return [path, *(each for name, child in nested.items() for each in all_commands(child, (*path, name)))]


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_command_has_help(coreo: Cli, scripted_api: ScriptedApi, words: tuple[str, ...]) -> None:
    done = coreo(*words, "--help")
    assert done.code == 0
    assert done.out.startswith(" ".join(["Usage: coreo", *words]))
    assert scripted_api.requests == []


def test_every_option_and_argument_says_what_it_is() -> None:
    def check(command: Any, path: str) -> None:
        assert command.help or path == "", path
        for parameter in command.params:
            assert parameter.help, f"{path} {parameter.name}"
        for name, child in getattr(command, "commands", {}).items():
            check(child, f"{path} {name}".strip())

    check(COMMAND, "")


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys\nfrom coreo_cli.main import run\nsys.argv = ['coreo', '--help']\n"
        "try: run()\nexcept SystemExit: pass\n"
        f"print([name for name in {SLOW!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: coreo")
    assert done.stdout.endswith("\n[]\n"), done.stdout[-200:]


def test_without_arguments_the_help_is_shown_as_wrong_usage(coreo: Cli) -> None:
    for words in ((), ("plan",), ("run",)):
        done = coreo(*words)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Usage: coreo")


def test_the_version_is_the_distributions(coreo: Cli) -> None:
    assert coreo("--version").out == f"coreo {version('coreo-cli')}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plna"], "Did you mean 'plan'"),
        (["plan", "crate"], "Did you mean 'create'"),
        (["plan", "create"], "--name"),
        (["run", "start"], "PLAN"),
        (["--frobnicate"], "--frobnicate"),
        (["team", "-o", "xml"], "'xml' is not one of 'table', 'json'"),
    ],
)
def test_wrong_usage_is_explained_and_points_to_the_help(coreo: Cli, words: list[str], said: str) -> None:
    done = coreo(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "--help` shows how it is used" in done.err


def test_the_shell_can_complete_commands() -> None:
    variables = os.environ | {"_COREO_COMPLETE": "complete_bash", "COMP_WORDS": "coreo plan cr", "COMP_CWORD": "2"}
    code = "from coreo_cli.main import run; run()"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["create"]


def test_a_terminal_without_a_character_gets_its_code() -> None:
    variables = os.environ | {"PYTHONIOENCODING": "ascii", "COREO_URL": "http://127.0.0.1:9", "COREO_TOKEN": "x" * 50}
    code = "from coreo_cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "login", "coreo_" + "é" + "a" * 43],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr

"""The `coreo` command. What a command needs beyond its options is loaded when it runs, so that --help is quick."""

import gc
import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from coreo_cli.commands import (
    account,
    compliance,
    custody,
    deploy,
    findings,
    login,
    pack,
    plan,
    rules,
    scan,
    suppression,
    token,
)
from coreo_cli.commands import run as runs
from coreo_cli.errors import EXIT_ERROR, CliError
from coreo_cli.groups import SectionedGroup
from coreo_cli.options import examples
from coreo_cli.output import note, show_error
from coreo_cli.secret import without_secrets

# Objects made before garbage is looked for. What a command loads is none: looking takes a tenth of its start.
_FIRST_COLLECTION = 100_000
_START = "Start here"
_WORK = "Audit"
_DEPLOY = "Deploy"
_TEAM = "Team"


class CoreoGroup(SectionedGroup):
    """Turns errors into words and exit codes, for the process and for tests alike."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command; ends the process in standalone mode."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except CliError as error:
            show_error(error)
            code = error.exit_code
        except typer.Abort:
            note("Nothing was changed.")
            code = EXIT_ERROR
        except typer.TyperException as error:
            code = _usage_error(error)
        if standalone_mode:
            sys.exit(code)
        return code


def _usage_error(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # typer keeps the class to itself; its message is the help
        print(error.format_message(), file=sys.stderr)  # noqa: T201  meant for people
    else:
        context = getattr(error, "ctx", None)
        command = "coreo" if context is None else context.command_path
        words = without_secrets(error.format_message())  # it repeats what was typed
        show_error(CliError(words, next_step=f"`{command} --help` shows how it is used."))
    return error.exit_code


_FIRST_STEPS = """\b
First steps:
  coreo login --url https://coreo.example.com --token-stdin < token.txt
  coreo account add production --account-id 210987654321
  coreo account set-role production --role-arn ARN --watch
  coreo plan create --name weekly --account production --rule-set baseline --every 7d
  coreo run start weekly --watch
  coreo findings

Environment: COREO_URL and COREO_TOKEN come before what `coreo login` stored; COREO_OUTPUT: table or json; NO_COLOR."""

app = typer.Typer(
    cls=CoreoGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # the plain help takes half the time
    pretty_exceptions_enable=False,  # those show local variables, and a token may be one
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog=_FIRST_STEPS,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  slow, and seldom asked for

        print(f"coreo {version('coreo-cli')}")  # noqa: T201  the result
        raise typer.Exit


@app.callback()
def coreo(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Coreo looks for misconfigurations in AWS accounts, and changes their infrastructure as you approve."""


app.command(
    rich_help_panel=_START, epilog=examples("coreo login --url https://coreo.example.com --token-stdin < token.txt")
)(login.login)
app.add_typer(account.app, name="account", rich_help_panel=_START)
app.add_typer(plan.app, name="plan", rich_help_panel=_WORK)
app.add_typer(runs.app, name="run", rich_help_panel=_WORK)
app.add_typer(deploy.app, name="deploy", rich_help_panel=_DEPLOY)
app.command(rich_help_panel=_WORK, epilog=findings.EXAMPLES)(findings.findings)
app.command(rich_help_panel=_WORK, epilog=compliance.EXAMPLES)(compliance.compliance)
app.add_typer(suppression.app, name="suppression", rich_help_panel=_WORK)
app.add_typer(suppression.severities, name="severity", rich_help_panel=_WORK)
app.add_typer(compliance.app, name="control", rich_help_panel=_WORK)
app.add_typer(rules.app, name="rules", rich_help_panel=_WORK)
app.add_typer(pack.app, name="rule-pack", rich_help_panel=_WORK)
app.command(rich_help_panel=_WORK, epilog=scan.EXAMPLES)(scan.scan)
app.command(rich_help_panel=_TEAM)(login.team)
app.add_typer(custody.app, name="custody", rich_help_panel=_TEAM)
app.add_typer(token.app, name="token", rich_help_panel=_TEAM)
app.command(rich_help_panel=_TEAM)(login.logout)


def run() -> None:
    """Entry point."""
    gc.set_threshold(_FIRST_COLLECTION)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without a character gets its code
    app(prog_name="coreo")

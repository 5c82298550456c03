"""`coreo account bootstrap`: Coreo makes its role with access keys, which are read without echo and kept nowhere."""

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from coreo_cli.account_words import exit_code, show_verdict, word
from coreo_cli.commands.account.options import AlwaysWatchOption, PlansOption, RuleSetsOption, RulesOption
from coreo_cli.errors import EXIT_INTERRUPTED, EXIT_NOT_SUCCEEDED, CliError, UnreachableError, UsageMistakeError
from coreo_cli.grants import Choice
from coreo_cli.options import AccountArgument
from coreo_cli.output import Output, OutputOption, next_steps, note, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.secret import SecretBody, asked, exposed, looks_like_a_secret
from coreo_cli.session import connect
from coreo_cli.text import Json, plain

if TYPE_CHECKING:
    from coreo_cli.client import Client

_KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
_TEMPORARY = "ASIA"  # what ids of temporary keys begin with (IAM user guide, "Unique identifiers")
_UNKNOWN = "It is not known whether the key arrived."


class KeysLevel(StrEnum):
    """How much a role made with keys allows."""

    FULL = "full"
    AUDIT = "audit"
    EXACT = "exact"


def bootstrap(
    *,
    context: typer.Context,
    account: AccountArgument,
    access_key_id: Annotated[
        str,
        typer.Option("--access-key-id", metavar="AKIA…", help="The key's id. Its secret is asked for, and no option."),
    ],
    role_name: Annotated[
        str | None,
        typer.Option("--role-name", metavar="NAME", help="The role to make; else CloudCoreoAssumedRole."),
    ] = None,
    level: Annotated[
        KeysLevel | None,
        typer.Option(
            "--level",
            help="What the role allows. full: everything but iam:CreateUser; audit: AWS's SecurityAudit policy; exact: "
            "the least that the named plans and rules need. full, unless plans or rules are named.",
            show_default=False,
        ),
    ] = None,
    plan: PlansOption = None,
    rule_set: RuleSetsOption = None,
    rule: RulesOption = None,
    session_token_stdin: Annotated[
        bool,
        typer.Option(
            "--session-token-stdin",
            help="For a temporary key: its session token is asked for too, or is the second line of standard input.",
        ),
    ] = False,
    watch: AlwaysWatchOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let Coreo make its role with an access key of the account.

    The secret is asked for without showing it; without a terminal it is the first line of standard input. It is never
    an argument, an option or an environment variable, and neither this command nor Coreo keeps it.
    """
    if context.args or looks_like_a_secret(account):
        raise exposed()
    if not _KEY_ID.fullmatch(access_key_id):
        raise UsageMistakeError(
            "--access-key-id: an access key's id has capital letters and digits only, and begins with AKIA or ASIA."
        )
    choice, level = _chosen(level, Choice(plan or [], rule_set or [], rule or []))
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        body: dict[str, Any] = {"access_key_id": access_key_id, "level": str(level)}
        body |= {} if role_name is None else {"role_name": role_name}
        if level is KeysLevel.EXACT:
            exact = choice.resolved(client, found)
            body |= {"plan_ids": exact.plans, "rule_sets": exact.rule_sets, "rules": exact.rules}
        note(
            f"Coreo makes a role in {found['name']!r} ({found['account_id']}) with this key, and keeps the key nowhere."
        )
        with asked(session_token=session_token_stdin or access_key_id.startswith(_TEMPORARY)) as secrets:
            started = _send(client, found, SecretBody(body, secrets))
        if watch:
            _conclude(client, found, started, output)
    _show_started(started, output)
    if output is Output.TABLE:
        next_steps([f"coreo account show {word(found)}"])


def _chosen(level: KeysLevel | None, choice: Choice) -> tuple[Choice, KeysLevel]:
    if level is None:
        level = KeysLevel.FULL if choice.is_empty else KeysLevel.EXACT
    if level is not KeysLevel.EXACT and not choice.is_empty:
        raise UsageMistakeError("--plan, --rule-set and --rule are about --level exact.")
    return choice, level


def _send(client: "Client", account: Json, body: SecretBody) -> Json:
    try:
        return client.post_secret(f"/v1/cloud-accounts/{account['id']}/bootstrap", body)
    except UnreachableError as error:
        if error.sent:
            error.lines = (_UNKNOWN,)
            error.next_step = _see(account)
        raise
    except KeyboardInterrupt:
        raise CliError(_UNKNOWN, next_step=_see(account), exit_code=EXIT_INTERRUPTED) from None


def _see(account: Json) -> str:
    return f"See whether the role is being made: coreo account show {word(account)}"


def _show_started(started: Json, output: Output) -> None:
    if output is Output.JSON:
        write_json(started)
    else:
        _show_advice(started)


def _show_advice(started: Json) -> None:
    write_line(f"The role is {plain(started['role_arn'])}.")
    for sentence in started["advice"]:
        write_line(plain(sentence))
    for command in started["commands"]:
        write_line(f"  {plain(command)}")


def _conclude(client: "Client", account: Json, started: Json, output: Output) -> NoReturn:
    """Follows the making of the role and then its verification. Raises typer.Exit."""
    from coreo_cli.tasks import follow, newest_verification  # noqa: PLC0415  loads httpx and rich

    try:
        made = follow(client, account, started["history"])
    except BaseException:
        _show_started(started, output)
        raise
    problem = _problem(made)
    if problem is None and output is Output.TABLE:
        _show_advice(started)  # not before: the worker needs the key until then
    proof = None if problem else newest_verification(client, account)
    if proof is not None:
        proof = follow(client, account, proof)
    after = client.get(f"/v1/cloud-accounts/{account['id']}")
    if output is Output.JSON:
        write_json(started | {"history": made, "verification": proof, "account": after})
    if problem is not None:
        raise problem
    if proof is None:
        raise CliError(
            "The role was made, and nobody verifies it yet.", next_step=f"coreo account verify {word(account)}"
        )
    if output is Output.TABLE:
        write_line("")
        write_line(_made(made["report"]))
        write_line("")
        show_verdict(after, proof)
    raise typer.Exit(exit_code(proof))


def _problem(made: Json) -> CliError | None:
    """Why there is no role."""
    report = made["report"]
    if report is not None and report["problem"] is None:
        return None
    detail = made["reason"] or (report or {}).get("detail")
    return CliError(
        detail or f"No role was made: the work ended as {made['state']}.",
        next_step=f"{'Change that, then p' if report else 'P'}ost the keys again: the same command. "
        "When you need the key no more: deactivate and delete it.",
        exit_code=EXIT_NOT_SUCCEEDED,
    )


def _made(report: Json) -> str:
    """What is new in the customer's account."""
    role = "The role was there already, exactly so." if report["role"] == "adopted" else "The role was made."
    policies = {
        "created": "Its policy was made.",
        "adopted": "Its policy was there already, exactly so.",
        "managed": "Its policy is AWS's own.",
    }
    return f"{role} {policies.get(report['policy'], '')}".rstrip()

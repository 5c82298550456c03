"""`coreo deploy preview`, `apply`, `drift` and `destroy`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from coreo_cli.commands.deploy.options import (
    AccountsOption,
    AllowOption,
    KeyOption,
    RegionsOption,
    WatchOption,
    WhatArgument,
)
from coreo_cli.deploy.ends import conclude
from coreo_cli.deploy.following import EXIT_CODES_HELP, Decide, ask, document, exit_code, follow
from coreo_cli.deploy.plans import plan_of
from coreo_cli.deploy.words import label
from coreo_cli.errors import UsageMistakeError
from coreo_cli.options import examples
from coreo_cli.output import Output, OutputOption, next_steps, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.run_words import names_of
from coreo_cli.session import connect
from coreo_cli.starting import start_plan
from coreo_cli.text import Json, plain
from coreo_cli.words import plural

PREVIEW_EXAMPLES = examples("coreo deploy preview --watch", "coreo deploy preview network --region eu-west-1 --watch",
                            more=EXIT_CODES_HELP)  # fmt: skip
APPLY_EXAMPLES = examples(
    "coreo deploy apply --watch",
    "coreo deploy apply network --watch --yes",
    "coreo deploy apply --allow Database --watch",
    more=EXIT_CODES_HELP,
)
DRIFT_EXAMPLES = examples("coreo deploy drift --watch", "coreo deploy drift network --watch --fail-on-drift",
                          more=EXIT_CODES_HELP)  # fmt: skip
DESTROY_EXAMPLES = examples("coreo deploy destroy --watch", "coreo deploy destroy network --region eu-west-1 --watch",
                            more=EXIT_CODES_HELP)  # fmt: skip
_DOCUMENTS = {"preview": "preview", "apply": "outputs", "drift": "drift", "destroy": "preview"}
ApproveOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Approve what the preview shows without asking; needs --watch.")
]


def preview(
    what: WhatArgument = ".",
    watch: WatchOption = False,
    account: AccountsOption = None,
    region: RegionsOption = None,
    allow: AllowOption = None,
    idempotency_key: KeyOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what an apply would change, and change nothing. A directory's plan is made or brought up to date first."""
    _act("preview", what, _wish(account, region, allow), idempotency_key, output, watch=watch)


def apply(
    what: WhatArgument = ".",
    watch: WatchOption = False,
    yes: ApproveOption = False,
    account: AccountsOption = None,
    region: RegionsOption = None,
    allow: AllowOption = None,
    idempotency_key: KeyOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Preview, wait for approval, then make or change the stack. On a terminal --watch asks you to approve."""
    decide = _decide(yes=yes, watch=watch, output=output)
    _act("apply", what, _wish(account, region, allow), idempotency_key, output, watch=watch, decide=decide)


def drift(
    what: WhatArgument = ".",
    watch: WatchOption = False,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit with 5 when something differs from the template.")
    ] = False,
    account: AccountsOption = None,
    region: RegionsOption = None,
    idempotency_key: KeyOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Compare the stack's resources with its template. What differs are findings: `coreo findings RUN --change NEW`."""
    if fail_on_drift and not watch:
        raise UsageMistakeError("--fail-on-drift needs --watch: only the end shows it.", next_step="Add --watch.")
    _act("drift", what, _wish(account, region, None), idempotency_key, output, watch=watch, fail_on_drift=fail_on_drift)


def destroy(
    what: WhatArgument = ".",
    watch: WatchOption = False,
    yes: ApproveOption = False,
    account: AccountsOption = None,
    region: RegionsOption = None,
    allow: AllowOption = None,
    idempotency_key: KeyOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what would go and what is kept, wait for approval, then delete the stack."""
    decide = _decide(yes=yes, watch=watch, output=output)
    _act("destroy", what, _wish(account, region, allow), idempotency_key, output, watch=watch, decide=decide)


def _decide(*, yes: bool, watch: bool, output: Output) -> Decide | None:
    """How what waits for approval is decided. Raises UsageMistakeError for a --yes to what is not there yet."""
    if yes and not watch:
        raise UsageMistakeError(
            "--yes needs --watch: the preview has to be there before it can be approved.",
            next_step="Add --watch, or approve it later with `coreo deploy approve RUN --yes`.",
        )
    if output is Output.JSON:  # standard output shows people nothing that they could approve
        return (lambda _: True) if yes else None
    return lambda preview: ask(preview, yes=yes)


def _wish(accounts: Sequence[str] | None, regions: Sequence[str] | None, allow: Sequence[str] | None) -> Json:
    wish: Json = {"accounts": accounts, "regions": regions, "allow": allow}
    return {name: list(value) for name, value in wish.items() if value}


def _act(
    action: str,
    what: str,
    wish: Json,
    key: str | None,
    output: Output,
    *,
    watch: bool,
    decide: Decide | None = None,
    fail_on_drift: bool = False,
) -> None:
    with connect() as client:
        plan = plan_of(client, what, bring_up_to_date=action in {"preview", "apply"})
        body: Json = {"action": action} | {name: value for name, value in wish.items() if name != "accounts"}
        if "accounts" in wish:
            body["cloud_account_ids"] = [resolve(client, ACCOUNT, each)["id"] for each in wish["accounts"]]
        group = start_plan(client, plan, body, key)
        runs: list[Json] = group["runs"]
        if watch:
            runs = follow(client, runs, decide)
        if output is Output.JSON:
            documents = {run["id"]: document(client, run, _DOCUMENTS[action]) for run in runs}
            write_json({"group_id": group["group_id"], "runs": runs, "documents": documents})
        elif watch:
            conclude(client, runs)
        else:
            names = names_of(client)
            write_line(f"Started {action} of {plan['name']!r}: {plural(len(runs), 'run')}.")
            for run in runs:
                write_line(f"  {run['id']}  {plain(label(run, names))}")
            next_steps([f"coreo deploy status {run['id']} --watch" for run in runs[:3]])
    if watch:
        raise typer.Exit(exit_code(runs, fail_on_drift=fail_on_drift))

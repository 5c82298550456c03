"""`coreo plan …`."""

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coreo_cli.commands import custody
from coreo_cli.errors import UsageMistakeError
from coreo_cli.layout import Column
from coreo_cli.options import PlanArgument, YesOption, confirm, confirm_for_good, examples
from coreo_cli.output import Output, OutputOption, next_steps, note, show_details, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, PLAN, is_id, resolve
from coreo_cli.session import connect
from coreo_cli.specs import ScheduleWish, parameters_of, rule_words, schedule_words
from coreo_cli.text import Json, as_json, plain
from coreo_cli.words import ago, local, plural

if TYPE_CHECKING:
    from coreo_cli.client import Client

app = typer.Typer(no_args_is_help=True, help="What to look for, where, and when.")


class Missed(StrEnum):
    """What becomes of a schedule's ticks while Coreo was down."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


AccountsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--account",
        metavar="ACCOUNT",
        help="A cloud account to audit, by name or id. May be repeated.",
        show_default=False,
    ),
]
RulesOption = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="ID", help="A rule (`coreo rules list`). May be repeated.", show_default=False),
]
RuleSetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rule-set", metavar="ID", help="A rule set (`coreo rules sets`). May be repeated.", show_default=False
    ),
]
RegionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="A region, or `all` the account has enabled. May be repeated.",
        show_default=False,
    ),
]
PacksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rule-pack",
        metavar="NAME[@VERSION]",
        help="Rules of your own: see coreo rule-pack. The newest version is pinned unless said. May be repeated.",
        show_default=False,
    ),
]
ParametersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="RULE.PARAMETER=VALUE",
        help="A value for a rule's parameter (coreo rules parameters), as JSON where it is JSON; * is every rule that "
        "has it. May be repeated.",
        show_default=False,
    ),
]
_SCHEDULE = "Schedule"
CronOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION", help="Minute, hour, day of month, month, day of week.", rich_help_panel=_SCHEDULE
    ),
]
EveryOption = Annotated[
    str | None, typer.Option(metavar="SPAN", help="Run so often: 15m, 6h, 1d.", rich_help_panel=_SCHEDULE)
]
TimeZoneOption = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="ZONE",
        help="What --cron means by hours, such as Europe/Berlin; else UTC.",
        rich_help_panel=_SCHEDULE,
    ),
]
JitterOption = Annotated[
    str | None,
    typer.Option(
        metavar="SPAN", help="Start up to so much later, a plan always by the same.", rich_help_panel=_SCHEDULE
    ),
]
MissedOption = Annotated[
    Missed | None,
    typer.Option(
        help="What to do about runs missed while Coreo was down; run_once unless said.", rich_help_panel=_SCHEDULE
    ),
]


@app.command(
    epilog=examples(
        "coreo plan create --name weekly --account production --rule-set baseline --every 7d",
        "coreo plan create --name buckets --account production --rule s3-bucket-unencrypted --region eu-west-1",
        "coreo plan create --name nightly --account production --account staging --rule-set cis-aws-5.0 \\\n"
        "    --cron '0 3 * * *' --time-zone Europe/Berlin --jitter 10m",
    )
)
def create(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="A name for people.")],
    account: AccountsOption = None,
    rule_set: RuleSetsOption = None,
    rule: RulesOption = None,
    rule_pack: PacksOption = None,
    region: RegionsOption = None,
    param: ParametersOption = None,
    cron: CronOption = None,
    every: EveryOption = None,
    time_zone: TimeZoneOption = None,
    jitter: JitterOption = None,
    missed: MissedOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an audit plan. It runs when asked to (`coreo run start`), and on its schedule if it has one."""
    if not (rule or rule_set or rule_pack):
        raise UsageMistakeError(
            "A plan needs rules.",
            next_step="Give --rule-set baseline, or others of `coreo rules sets` and `coreo rules list`.",
        )
    spec = {
        "rule_sets": rule_set or [],
        "rules": rule or [],
        "regions": region or ["all"],
        "parameters": parameters_of(param or []),
        **({"rule_packs": rule_pack} if rule_pack else {}),
    }
    schedule = ScheduleWish(cron, every, time_zone, jitter, missed).over(None)
    with connect() as client:
        targets = _targets(client, account or [])
        body = {"name": name, "kind": "audit", "spec": spec, "cloud_account_ids": list(targets), "schedule": schedule}
        plan = client.post("/v1/plans", body)
    if output is Output.JSON:
        write_json(plan)
        return
    _show(plan, list(targets.values()))
    word = shlex.quote(plain(plan["name"]))
    if targets:
        next_steps([f"coreo run start {word} --watch", f"coreo plan policy {word}   (what its role must allow)"])
    else:
        next_steps([f"coreo plan update {word} --account ACCOUNT   (it has no cloud account yet)"])


@app.command(
    epilog=examples("coreo plan update nightly --disable", "coreo plan update nightly --cron '30 6 * * MON-FRI'")
)
def update(
    *,
    plan: PlanArgument,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The new name.")] = None,
    account: AccountsOption = None,
    rule_set: RuleSetsOption = None,
    rule: RulesOption = None,
    rule_pack: PacksOption = None,
    region: RegionsOption = None,
    param: ParametersOption = None,
    cron: CronOption = None,
    every: EveryOption = None,
    time_zone: TimeZoneOption = None,
    jitter: JitterOption = None,
    missed: MissedOption = None,
    no_schedule: Annotated[
        bool, typer.Option("--no-schedule", help="Run only when asked to.", rich_help_panel=_SCHEDULE)
    ] = False,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Let it run, or not.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a plan. What is not said stays; what may be repeated replaces all there was of it."""
    wish = ScheduleWish(cron, every, time_zone, jitter, missed)
    if no_schedule and not wish.is_empty:
        raise UsageMistakeError("--no-schedule excludes the other options about the schedule.")
    parameters = None if param is None else parameters_of(param)
    spec = _said(rule_sets=rule_set, rules=rule, rule_packs=rule_pack, regions=region, parameters=parameters)
    body = _said(name=name, enabled=enabled)
    if not (spec or body or account is not None or no_schedule or not wish.is_empty):
        raise UsageMistakeError(
            "Nothing to change was said.", next_step="`coreo plan update --help` lists what can be."
        )
    with connect() as client:
        found = resolve(client, PLAN, plan)
        if spec and found["kind"] == "deploy":
            raise UsageMistakeError(
                f"{plain(found['name'])!r} is a deploy plan: those options are for audits.",
                next_step="Change its coreo.yaml; `coreo deploy preview` brings the plan up to date.",
            )
        if spec:
            body["spec"] = found["spec"] | spec
        if account is not None:
            body["cloud_account_ids"] = list(_targets(client, account))
        if no_schedule or not wish.is_empty:
            body["schedule"] = None if no_schedule else wish.over(found["schedule"])
        after = client.patch(f"/v1/plans/{found['id']}", body)
        names = _account_names(client, after) if output is Output.TABLE else []
    if output is Output.JSON:
        write_json(after)
    else:
        _show(after, names)


@app.command("list")
def list_plans(output: OutputOption = Output.TABLE) -> None:
    """List the plans, newest first."""
    with connect() as client:
        plans = list(client.items("/v1/plans"))
    if output is Output.JSON:
        write_json(plans)
        return
    show_listing(
        [
            Column("NAME", flexible=True),
            Column("KIND"),
            Column("WHAT", flexible=True),
            Column("REGIONS", flexible=True),
            Column("ACCOUNTS", right=True),
            Column("RUNS", flexible=True),
            Column("NEXT"),
            Column("ID"),
        ],
        [
            [
                each["name"],
                each["kind"],
                _what(each),
                ", ".join(each["spec"]["regions"]),
                str(len(each["cloud_account_ids"])),
                schedule_words(each),
                _next_run(each),
                each["id"],
            ]
            for each in plans
        ],
        empty="There are no plans yet. Make one: coreo plan create --name NAME --account ACCOUNT --rule-set baseline",
    )


@app.command()
def show(plan: PlanArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a plan."""
    with connect() as client:
        found = resolve(client, PLAN, plan)
        names = _account_names(client, found) if output is Output.TABLE else []
    if output is Output.JSON:
        write_json(found)
    else:
        _show(found, names)


@app.command()
def remove(plan: PlanArgument, yes: YesOption = False) -> None:
    """Remove a plan none of whose runs is at work. Its past runs stay."""
    with connect() as client:
        found = resolve(client, PLAN, plan)
        confirm(f"Remove the plan {found['name']!r}?", yes=yes)
        client.delete(f"/v1/plans/{found['id']}")
    write_line(f"Removed the plan {found['name']!r} ({found['id']}).")


@app.command("delete-results", epilog=examples("coreo plan delete-results nightly"))
def delete_results(plan: PlanArgument, yes: YesOption = False, output: OutputOption = Output.TABLE) -> None:
    """Delete the results of all the plan's runs for good. The plan stays, and its runs keep their states."""
    with connect() as client:
        found = {"id": plan.lower(), "name": plan} if is_id(plan) else resolve(client, PLAN, plan)
        confirm_for_good(f"Delete the results of all runs of {found['name']!r} for good?", yes=yes)
        answer = client.delete_what(f"/v1/plans/{found['id']}/results")
    if output is Output.JSON:
        write_json(answer)
    else:
        write_line(f"Deleted the results of {plural(answer['runs'], 'run')}.")


app.add_typer(custody.of_plan, name="custody")


@app.command(epilog=examples("coreo plan policy nightly > policy.json"))
def policy(
    plan: PlanArgument,
    session: Annotated[
        bool,
        typer.Option("--session", help="The session policy that each run is cut down to, whatever its role allows."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the least IAM policy with which a role can run the plan. With --output json: all about it."""
    with connect() as client:
        found = resolve(client, PLAN, plan)
        required = client.get(f"/v1/plans/{found['id']}/required-policy")
    if output is Output.JSON:
        write_json(required)
        return
    policies = required["session_policies"]
    write_json((policies if len(policies) > 1 else policies[0]) if session else required["policy"])
    note(f"The rules of {found['name']!r} take {plural(len(required['actions']), 'IAM action')}.")
    if session and required["widened"]:
        note(f"Widened for want of room: {', '.join(required['widened'])}")


def _said(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _targets(client: "Client", accounts: list[str]) -> dict[str, str]:
    """Names of the cloud accounts by id; one that is there twice counts once."""
    found = [resolve(client, ACCOUNT, account) for account in accounts]
    return {each["id"]: each["name"] for each in found}


def _account_names(client: "Client", plan: Json) -> list[str]:
    names = (
        {each["id"]: each["name"] for each in client.items("/v1/cloud-accounts")} if plan["cloud_account_ids"] else {}
    )
    return [names.get(each, each) for each in plan["cloud_account_ids"]]


def _next_run(plan: Json) -> str:
    if not plan["enabled"]:
        return "disabled"
    return "-" if plan["next_run_at"] is None else ago(plan["next_run_at"])


def _what(plan: Json) -> str:
    return f"stack {plan['spec']['stack_name']}" if plan["kind"] == "deploy" else rule_words(plan["spec"])


def _show(plan: Json, accounts: list[str]) -> None:
    spec: dict[str, Any] = plan["spec"]
    show_details(
        plan["name"],
        [
            ("id", plan["id"]),
            ("kind", plan["kind"]),
            ("enabled", "yes" if plan["enabled"] else "no: it does not run"),
            ("stack", spec.get("stack_name")),
            ("rule sets", ", ".join(spec["rule_sets"]) or None),
            ("rules", ", ".join(spec["rules"]) or None),
            ("rule packs", ", ".join(spec.get("rule_packs", [])) or None),
            ("regions", ", ".join(spec["regions"])),
            ("parameters", as_json(spec["parameters"], indent=None) if spec["parameters"] else None),
            ("cloud accounts", ", ".join(accounts) or "none yet"),
            ("runs", schedule_words(plan)),
            ("next run", None if plan["next_run_at"] is None else f"{local(plan['next_run_at'])} ({_next_run(plan)})"),
            ("last tick", None if plan["last_tick_at"] is None else local(plan["last_tick_at"])),
            ("problem then", plan["last_tick_problem"]),
            ("revision", f"{plan['revision']}, changed {local(plan['updated_at'])}"),
        ],
    )

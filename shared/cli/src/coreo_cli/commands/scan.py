"""`coreo scan`. What it needs is loaded when it runs: --help is quick, and works without the engine."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.errors import EXIT_ERROR, EXIT_FINDINGS, EXIT_INTERRUPTED, EXIT_PARTIAL, CliError, UsageMistakeError
from coreo_cli.options import FilesOption, examples
from coreo_cli.scan.selection import (
    AliasOption,
    FrameworkOption,
    PackOption,
    ResourceOption,
    RuleOption,
    RuleSetOption,
    Selection,
    ServiceOption,
    SeverityOption,
    SkipOption,
    choose,
)
from coreo_cli.specs import parameters_of
from coreo_cli.text import Json
from coreo_shared.contracts.terms import FindingStatus, Severity

if TYPE_CHECKING:
    from coreo_shared.rules.model import Rule


class ScanFormat(StrEnum):
    """How the findings are written to standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    OCSF = "ocsf"
    ASFF = "asff"
    SARIF = "sarif"
    JUNIT = "junit"
    HTML = "html"
    NONE = "none"


EXAMPLES = examples(
    "coreo scan",
    "coreo scan --framework cis-aws-5.0 --output report.html",
    "coreo scan --service s3 --service iam --regions eu-west-1,us-east-1",
    "coreo scan --severity critical --severity high --fail-on high --format jsonl",
    "coreo scan --alias prowler:s3_bucket_default_encryption --profile production",
    "coreo scan --rule 'ec2-*' --param '*.required_tags=[\"Owner\",\"CostCentre\"]'",
    more="Exit codes: 0 all was judged, and nothing failed that --fail-on is about; 1 error; 2 wrong usage; "
    "3 something could not be judged; 5 failed findings as severe as --fail-on, which comes before 3; 130 Ctrl-C: "
    "what was found until then is reported. What a scan may have to ask AWS: `coreo rules permissions`.",
)


def scan(
    *,
    rule: RuleOption = None,
    rule_set: RuleSetOption = None,
    framework: FrameworkOption = None,
    alias: AliasOption = None,
    pack: PackOption = None,
    service: ServiceOption = None,
    resource: ResourceOption = None,
    severity: SeverityOption = None,
    skip_rule: SkipOption = None,
    regions: Annotated[
        list[str] | None,
        typer.Option(
            "--regions",
            "--region",
            metavar="NAMES",
            help="Regions, with commas between; those that the account has enabled unless said. May be repeated.",
            show_default=False,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="RULE.PARAMETER=VALUE",
            help="A rule's parameter (coreo rules parameters); * is every rule that has it. May be repeated.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A profile of AWS's configuration, in place of AWS_PROFILE."),
    ] = None,
    account_id: Annotated[
        str | None,
        typer.Option("--account-id", metavar="ID", help="Stop if the credentials are of another AWS account."),
    ] = None,
    format_: Annotated[
        ScanFormat | None,
        typer.Option(
            "--format",
            "-f",
            case_sensitive=False,
            metavar="FORMAT",
            help="On standard output: table (unless said), json, jsonl, csv, ocsf, asff, sarif, junit, html, none.",
            show_default=False,
        ),
    ] = None,
    output: FilesOption = None,
    fail_on: Annotated[
        Severity | None,
        typer.Option(
            "--fail-on",
            case_sensitive=False,
            metavar="SEVERITY",
            help="Exit with 5 when findings of this severity or worse failed: critical, high, medium, low, info.",
            show_default=False,
        ),
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Exit with 0, not 3, when something could not be judged.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All failures in the table, not the worst 100.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Audit the AWS account of your own credentials, here and now, without the service."""
    from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  a second's tenth that --help need not wait for

    catalogue, own = load_catalogue(), list[str]()
    if pack:
        from coreo_cli.scan.own import with_files  # noqa: PLC0415  loads the rule language

        catalogue, own = with_files(catalogue, pack)
    selection = Selection(
        rules=rule or (),
        rule_sets=rule_set or (),
        frameworks=framework or (),
        aliases=alias or (),
        services=service or (),
        resources=resource or (),
        severities=severity or (),
        skipped=skip_rule or (),
    )
    rules = choose(catalogue, selection, own)
    parameters = _parameters(param or [], [catalogue.rules[each] for each in rules])
    try:
        from coreo_cli.scan import local  # noqa: PLC0415  loads the engine and the SDK
    except ModuleNotFoundError as error:
        raise CliError(
            f"The engine is not installed: there is no module {error.name}.",
            next_step="Install it with the command: coreo-cli[scan].",
        ) from None
    from coreo_cli.scan.report import Report  # noqa: PLC0415  loads rich

    wanted = local.Wanted(
        rules=rules,
        regions=[part.strip() for text in regions or [local.ALL_REGIONS] for part in text.split(",") if part.strip()],
        parameters=parameters,
        profile=profile,
        account_id=account_id,
    )
    frameworks = tuple(framework or ())
    report = Report(catalogue, wanted, frameworks, format_ or ScanFormat.TABLE, output or [], quiet=quiet)
    with report:
        scanned = report.run()
        report.write(scanned, sys.stdout, limit=None if everything else 100)
        by_status, by_severity = report.spool.by_status, report.spool.by_severity
    if scanned.ending is not local.Ending.WHOLE:
        raise typer.Exit(EXIT_INTERRUPTED if scanned.ending is local.Ending.INTERRUPTED else EXIT_ERROR)
    if fail_on is not None and any(
        by_severity[FindingStatus.FAIL, each] for each in Severity if each.rank >= fail_on.rank
    ):
        raise typer.Exit(EXIT_FINDINGS)
    if by_status[FindingStatus.NOT_EVALUATED] and not allow_unknown:
        raise typer.Exit(EXIT_PARTIAL)


def _parameters(options: list[str], rules: "list[Rule]") -> Json:
    """The parameters of the rules. Raises UsageMistakeError for those of others; values are checked by the engine."""
    from coreo_shared.rules.variables import EVERY_RULE, shared_errors, spread  # noqa: PLC0415  loads the language

    given = parameters_of(options)
    ids = {rule.id for rule in rules}
    for name in given:
        if name not in ids and name != EVERY_RULE:
            raise UsageMistakeError(f"--param: the scan has no rule {name!r}.", next_step="coreo rules list")
    for error in shared_errors(given, rules):
        raise UsageMistakeError(f"--param {error}.", next_step="`coreo rules parameters` shows them.")
    return spread(given, rules)

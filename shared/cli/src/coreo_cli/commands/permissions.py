"""`coreo rules permissions`. What it needs is loaded when it runs."""

from collections.abc import Iterable
from typing import Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.options import examples
from coreo_cli.output import note, write_json, write_line
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
from coreo_cli.words import plural

EXAMPLES = examples(
    "coreo rules permissions --framework cis-aws-5.0",
    "coreo rules permissions --service s3 --actions",
    "coreo rules permissions --part 1 > coreo-1.json",
    more="Without options: what all rules together ask. Give the policy to the role or user that scans. IAM takes "
    "6,144 characters, white space not counted, in a managed policy: where it is longer, --part splits it.",
)


def permissions(
    *,
    rule: RuleOption = None,
    rule_set: RuleSetOption = None,
    framework: FrameworkOption = None,
    alias: AliasOption = None,
    pack: PackOption = None,
    service: ServiceOption = None,
    resource: ResourceOption = None,
    severity_: SeverityOption = None,
    skip_rule: SkipOption = None,
    actions: Annotated[bool, typer.Option("--actions", help="The actions alone, one a line.")] = False,
    part: Annotated[
        int | None,
        typer.Option(
            "--part",
            min=1,
            metavar="NUMBER",
            help="Split into managed policies, and print this one of them.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the IAM policy that rules need: just the calls that are made, and no other."""
    from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  takes longer than --help may
    from coreo_shared.rules.needs import REGION_ACTIONS, needs_of  # noqa: PLC0415  as above

    if actions and part is not None:
        raise UsageMistakeError("--actions and --part do not go together.", next_step="Leave one of them out.")
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
        severities=severity_ or (),
        skipped=skip_rule or (),
    )
    rules = choose(catalogue, selection, own)
    needed = needs_of(catalogue, rules).actions | REGION_ACTIONS
    if actions:
        for action in sorted(needed):
            write_line(action)
    else:
        _write_policy(needed, part)
    note(f"{plural(len(needed), 'action')} for {plural(len(rules), 'rule')}.")


def _write_policy(needed: Iterable[str], part: int | None) -> None:
    """The policy, or a part of it that IAM takes as a managed policy. Raises UsageMistakeError."""
    from coreo_shared.rules.policy import (  # noqa: PLC0415  takes longer than --help may
        MAX_MANAGED_POLICY,
        required_policy,
        size_of,
        split_policy,
    )

    policy = required_policy(needed)
    parts = split_policy(policy, MAX_MANAGED_POLICY)
    if part is None:
        write_json(policy)
        if len(parts) > 1:
            note(
                f"The policy has {size_of(policy):,} characters and IAM takes {MAX_MANAGED_POLICY:,} in a managed one."
            )
            note(f"As {len(parts)} policies: --part 1 to --part {len(parts)}.")
        return
    if part > len(parts):
        raise UsageMistakeError(f"--part: the policy has {plural(len(parts), 'part')}.", next_step="Count from 1.")
    write_json(parts[part - 1])
    note(f"Part {part} of {len(parts)}.")

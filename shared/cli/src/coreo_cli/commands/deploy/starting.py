"""`coreo deploy init` and `check`: a directory to keep in git."""

from pathlib import Path
from typing import Annotated

import typer

from coreo_cli.commands.deploy.options import WhatArgument
from coreo_cli.deploy.plans import checked
from coreo_cli.deploy.project import FILE, find, load
from coreo_cli.errors import EXIT_FINDINGS, CliError
from coreo_cli.options import examples
from coreo_cli.output import Output, OutputOption, next_steps, note, write_json, write_line
from coreo_cli.session import connect
from coreo_cli.text import plain

INIT_EXAMPLES = examples(
    "coreo deploy init network --stack network --region eu-west-1 --account production",
    "coreo deploy init . --stack network --region eu-west-1 --account production --template vpc.yaml",
)
_TEMPLATE = "template.yaml"
_FILE_TEXT = """\
# What Coreo deploys from this directory: see docs/deploy.md. `coreo deploy preview --watch` shows what it would change.
plan: {plan}
accounts: [{account}]
stack_name: {stack}
regions: [{region}]
template: {template}

# Values of the template's parameters. A secret (NoEcho) is a reference, never its value:
#   Password: "{{{{resolve:secretsmanager:NAME:SecretString:KEY}}}}"
parameters: {{}}
tags: {{}}

# Either a role with which CloudFormation works, or the IAM actions that this template's resources take.
# service_role: cloudformation
permissions: {permissions}

# Changes that are refused unless a run says --allow LOGICAL_ID.
gates:
  - {{resource_type: "AWS::RDS::*", refuse: [replace, remove]}}
  - {{resource_type: "AWS::DynamoDB::Table", refuse: [replace, remove]}}

# approval: {{approvers: 2, requester_may_approve: false, expires_seconds: 86400}}
# drift_schedule: {{rate_seconds: 86400}}
"""
_STARTER = """\
AWSTemplateFormatVersion: "2010-09-09"
Description: Started by `coreo deploy init`.
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      PublicAccessBlockConfiguration:
        BlockPublicAcls: true
        BlockPublicPolicy: true
        IgnorePublicAcls: true
        RestrictPublicBuckets: true
Outputs:
  BucketName:
    Value: !Ref Bucket
"""
_STARTER_PERMISSIONS = "[s3:CreateBucket, s3:PutBucketPublicAccessBlock]"


def init(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made when it is not there.")] = Path(),
    stack: Annotated[str, typer.Option(metavar="NAME", help="The CloudFormation stack's name.")],
    region: Annotated[str, typer.Option(metavar="REGION", help="Where the stack is.")],
    account: Annotated[str, typer.Option(metavar="ACCOUNT", help="A cloud account, by name or id.")],
    template: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A template that is in the directory; a small one is made when left out."),
    ] = None,
) -> None:
    """Start a directory: coreo.yaml, and a template unless there is one. Nothing is overwritten."""
    name = template or _TEMPLATE
    starts_template = not (directory / name).exists()
    if template is not None and starts_template:
        raise CliError(f"There is no {plain(template)!r} in {plain(directory)}.")
    permissions = _STARTER_PERMISSIONS if starts_template else "[]"
    text = _FILE_TEXT.format(
        plan=_quoted(stack),
        account=_quoted(account),
        stack=_quoted(stack),
        region=_quoted(region),
        template=_quoted(name),
        permissions=permissions,
    )
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / FILE, text)
    if starts_template:
        _write(directory / name, _STARTER)
    load(directory)
    where = "" if directory == Path() else f" {plain(directory)}"
    next_steps([f"coreo deploy check{where}", f"coreo deploy preview{where} --watch"])


def check(what: WhatArgument = ".", output: OutputOption = Output.TABLE) -> None:
    """Look at a directory's coreo.yaml and template; store nothing. Exit code 5 when the template has errors."""
    directory = find(what)
    if directory is None:
        raise CliError(f"{plain(what)!r} is no directory with a {FILE}.")
    project = load(directory)
    with connect() as client:
        template = checked(client, project)
    if template is None:
        note("Nothing is wrong with coreo.yaml. The template is in S3: it is looked at when a preview is made.")
        return
    if output is Output.JSON:
        write_json(template)
    else:
        for finding in template["findings"]:
            place = f"{project.template_name}:{finding['line']}:{finding['column']}"
            write_line(plain(f"{place}: {finding['level']}: {finding['rule']} {finding['message']}"))
        for misfit in template["misfits"]:
            place = project.place(*misfit["field"].split("."))
            write_line(plain(f"{place}: error: {misfit['field']}: {misfit['message']}"))
    if template["misfits"] or any(finding["level"] == "error" for finding in template["findings"]):
        raise typer.Exit(EXIT_FINDINGS)
    note("Nothing is wrong with it.")


def _quoted(text: str) -> str:
    """A YAML text, whatever is in it."""
    import json  # noqa: PLC0415  JSON's texts are YAML's

    return json.dumps(text, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CliError(f"{plain(path)} is there already; nothing was overwritten.") from None
    except OSError as error:
        raise CliError(f"{plain(path)} cannot be written: {str(error.strerror).lower()}.") from None
    write_line(f"Made {plain(path)}.")

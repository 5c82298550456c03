"""The plan of a directory: made when it is not there, changed when the directory says something else."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from coreo_cli.deploy.project import Project, find, load
from coreo_cli.errors import ApiError, CliError, FieldProblem
from coreo_cli.output import note
from coreo_cli.resolve import ACCOUNT, PLAN, resolve
from coreo_cli.text import Json, plain

if TYPE_CHECKING:
    from coreo_cli.client import Client

_SPEC: Final = "body.spec."
_LINE = re.compile(r"line (?P<line>[0-9]+), column (?P<column>[0-9]+): (?P<rest>.*)", re.DOTALL)
_ELSEWHERE: Final = {"body.cloud_account_ids": "accounts", "body.schedule": "drift_schedule", "body.name": "plan"}


def plan_of(client: "Client", what: str, *, bring_up_to_date: bool) -> Json:
    """The plan that an argument means: of a directory, or by its name or id. Raises CliError.

    A directory's plan is made or changed to what the directory says, if asked.
    """
    directory = find(what)
    if directory is None:
        plan = resolve(client, PLAN, what)
        if plan["kind"] != "deploy":
            raise CliError(f"{plain(plan['name'])!r} is an audit plan.", next_step="`coreo run start` starts those.")
        return plan
    project = load(directory)
    present = next((each for each in client.items(PLAN.path) if _is_named(each, project.plan)), None)
    if not bring_up_to_date:
        if present is None:
            raise CliError(
                f"There is no deploy plan {project.plan!r} yet.",
                next_step="Preview or apply it: that makes the plan.",
            )
        return present
    return _brought_up_to_date(client, project, present)


def _is_named(plan: Json, name: str) -> bool:
    return bool(plan["kind"] == "deploy" and plan["name"] == name)


def _brought_up_to_date(client: "Client", project: Project, present: Json | None) -> Json:
    body = _body(client, project)
    with by_line(project):
        if present is None:
            plan = client.post(PLAN.path, _named(project, body))
            note(f"Made the plan {plan['name']!r}.")
        else:
            plan = client.patch(f"{PLAN.path}/{present['id']}", body)
            if plan["revision"] != present["revision"]:
                note(f"The plan {plan['name']!r} has revision {plan['revision']} now.")
    for finding in plan["lint"] or []:
        note(f"{project.template_name}:{finding['line']}:{finding['column']}: {finding['rule']} {finding['message']}")
    return plan


def checked(client: "Client", project: Project) -> Json | None:
    """What the api says of the directory's template; None of one in S3. Raises ApiError for what else is wrong."""
    body = _named(project, _body(client, project))
    with by_line(project):
        template: Json | None = client.post(f"{PLAN.path}/check", body)["template"]
    return template


def _body(client: "Client", project: Project) -> Json:
    accounts = [str(resolve(client, ACCOUNT, each)["id"]) for each in project.accounts]
    return {"spec": project.spec, "cloud_account_ids": accounts, "schedule": project.schedule}


def _named(project: Project, body: Json) -> Json:
    return body | {"name": project.plan, "kind": "deploy"}


@contextmanager
def by_line(project: Project) -> Iterator[None]:
    """Turns the api's fields into files and lines."""
    try:
        yield
    except ApiError as error:
        if error.fields:
            error.lines = tuple(_place(project, field) for field in error.fields)
        raise


def _place(project: Project, problem: FieldProblem) -> str:
    found = _LINE.fullmatch(problem.message) if problem.field == f"{_SPEC}template" else None
    if found:
        return f"{project.template_name}:{found['line']}:{found['column']}: {found['rest']}"
    path = problem.field.removeprefix(_SPEC)
    for field, name in _ELSEWHERE.items():
        if problem.field == field or problem.field.startswith(f"{field}."):
            path = name + problem.field.removeprefix(field)
    parts = tuple(int(part) if part.isdecimal() else part for part in path.split("."))
    return f"{project.place(*parts)}: {path}: {problem.message}"

"""A directory with `coreo.yaml` and a template: what people keep in git of a deploy plan."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coreo_cli.deploy.yaml_lines import Document, YamlError, read
from coreo_cli.errors import CliError
from coreo_cli.text import Json, plain

FILE: Final = "coreo.yaml"
_TEXT, _TEXTS, _NUMBER, _FLAG, _TABLE, _TABLES = (
    "a text",
    "a list of texts",
    "a whole number",
    "yes or no",
    "a mapping",
    "a list",
)
# What may stand in the file. Those marked go into the plan's spec as they are; the api judges their values.
_OF_PLAN: Final = {"plan": _TEXT, "accounts": _TEXTS, "template": _TEXT, "drift_schedule": _TABLE}
_OF_SPEC: Final = {
    "stack_name": _TEXT,
    "regions": _TEXTS,
    "template_url": _TEXT,
    "parameters": _TABLE,
    "capabilities": _TEXTS,
    "tags": _TABLE,
    "service_role": _TEXT,
    "permissions": _TEXTS,
    "termination_protection": _FLAG,
    "rollback_triggers": _TABLES,
    "monitoring_minutes": _NUMBER,
    "timeout_minutes": _NUMBER,
    "gates": _TABLES,
    "approval": _TABLE,
    "rule_sets": _TEXTS,
    "rules": _TEXTS,
    "rule_packs": _TEXTS,
    "rule_parameters": _TABLE,
    "refuse_severity": _TEXT,
}
_NEEDED: Final = ("plan", "accounts", "stack_name", "regions")
_NAMES: Final = _OF_PLAN | _OF_SPEC


@dataclass(frozen=True)
class Project:
    """What a directory says. `template` is None where the template is in S3."""

    directory: Path
    document: Document
    template: str | None

    @property
    def plan(self) -> str:
        """The plan's name."""
        return str(self.document.data["plan"])

    @property
    def accounts(self) -> list[str]:
        """Cloud accounts as people name them."""
        return list(self.document.data["accounts"])

    @property
    def schedule(self) -> Json | None:
        """When to look for drift, as the api has it."""
        schedule: Json | None = self.document.data.get("drift_schedule")
        return schedule

    @property
    def spec(self) -> Json:
        """The plan's spec."""
        data = self.document.data
        spec = {name: data[name] for name in _OF_SPEC if name in data}
        return spec if self.template is None else spec | {"template": self.template}

    @property
    def template_name(self) -> str:
        """The template's file, as it is called in the directory."""
        return str(self.document.data.get("template", ""))

    def place(self, *path: str | int) -> str:
        """Where something stands in coreo.yaml."""
        return f"{FILE}:{self.document.line(path)}"


def find(what: str) -> Path | None:
    """The directory that an argument means; None when it means no directory."""
    path = Path(what)
    if path.name == FILE and path.is_file():
        return path.parent
    return path if path.is_dir() else None


def load(directory: Path) -> Project:
    """What the directory says. Raises CliError that names every problem by its line."""
    file = directory / FILE
    try:
        document = read(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CliError(
            f"There is no {FILE} in {plain(directory)}.",
            next_step="`coreo deploy init` starts one; or name the directory, or a plan.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{plain(file)} cannot be read: {_cause(error)}.") from None
    except YamlError as error:
        raise _wrong(directory, [f"{FILE}:{error.line}: {error.problem}"]) from None
    problems = list(_problems(document))
    if problems:
        raise _wrong(directory, problems)
    return Project(directory, document, _template(directory, document))


def _problems(document: Document) -> Iterator[str]:
    data = document.data
    if not isinstance(data, dict):
        yield f"{FILE}:1: expected names and values, such as `plan: network`"
        return
    for name, value in data.items():
        place = f"{FILE}:{document.line((name,))}"
        if name not in _NAMES:
            close = difflib.get_close_matches(name, _NAMES, n=1)
            yield f"{place}: {name!r} means nothing here{f'; did you mean {close[0]}?' if close else ''}"
        elif not _fits(value, _NAMES[name]):
            yield f"{place}: {name} is {_NAMES[name]}"
    for name in _NEEDED:
        if name not in data:
            yield f"{FILE}:1: {name} is missing"
    if ("template" in data) == ("template_url" in data):
        yield f"{FILE}:{document.line(('template_url',))}: give template (a file) or template_url, and not both"


def _fits(value: Any, kind: str) -> bool:
    if kind == _TEXT:
        return isinstance(value, str) and bool(value)
    if kind == _TEXTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if kind == _NUMBER:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == _FLAG:
        return isinstance(value, bool)
    return isinstance(value, dict if kind == _TABLE else list)


def _template(directory: Path, document: Document) -> str | None:
    name = document.data.get("template")
    if name is None:
        return None
    try:
        return (directory / str(name)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        place = f"{FILE}:{document.line(('template',))}"
        raise _wrong(directory, [f"{place}: the file {name!r} cannot be read: {_cause(error)}"]) from None


def _wrong(directory: Path, problems: list[str]) -> CliError:
    return CliError(f"{plain(directory / FILE)} is not right.", lines=[plain(problem) for problem in problems])


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror or "unknown").lower()

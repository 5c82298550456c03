"""Each distribution asks for exactly what it imports, and each lock holds what is installed where tests run."""

import ast
import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.containers import ROOT
from tests.support.wheels import locked

FOLDERS = {
    "api": "services/api",
    "lint": "services/api/lint",
    "results": "services/results",
    "worker": "services/worker",
    "cli": "shared/cli",
    "shared": "shared",
}
# Used without an import: time zones, which the standard library reads.
DATA = {"api": {"tzdata"}}
# coreo_shared.web and .db need these, and only services that ask for them use those packages.
BORROWED = {"shared": {"fastapi", "starlette", "sqlalchemy"}}
# Ours are installed as links to their sources, which metadata does not see through.
DISTRIBUTIONS = {
    **importlib.metadata.packages_distributions(),
    **{f"coreo_{name}": [f"coreo-{name}"] for name in (*FOLDERS, "embedded")},
}


class _Imports(ast.NodeVisitor):
    """Modules that are imported when code runs, not for type checks alone."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.modules |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and not node.level:
            self.modules.add(node.module)


def imports(source: str) -> set[str]:
    """The distributions that a module's imports need; the standard library's are of none."""
    found = _Imports()
    found.visit(ast.parse(source))
    tops = {module.partition(".")[0] for module in found.modules}
    return {str(canonicalize_name(name)) for top in tops for name in DISTRIBUTIONS.get(top, [])}


def imported(name: str) -> set[str]:
    files = list((ROOT / FOLDERS[name] / "src" / f"coreo_{name}").rglob("*.py"))
    assert files
    return {distribution for file in files for distribution in imports(file.read_text())} - {f"coreo-{name}"}


def asked(name: str) -> set[str]:
    project = tomllib.loads((ROOT / FOLDERS[name] / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {}).values()
    texts = [*project["dependencies"], *(text for texts in optional for text in texts)]
    return {str(canonicalize_name(Requirement(text).name)) for text in texts}


def problems(name: str, needed: set[str], declared: set[str]) -> Iterator[str]:
    """What is imported by luck, as another package brings it, and what is shipped for nothing."""
    known = declared if name == "shared" else declared | asked("shared")
    yield from sorted(f"{item} is imported and not asked for" for item in needed - known - BORROWED.get(name, set()))
    yield from sorted(f"{item} is asked for and not imported" for item in declared - needed - DATA.get(name, set()))


@pytest.mark.parametrize("name", FOLDERS)
def test_distribution_asks_for_exactly_what_it_imports(name: str) -> None:
    assert list(problems(name, imported(name), asked(name))) == []


@pytest.mark.parametrize("name", [*DATA, *BORROWED])
def test_exceptions_are_needed(name: str) -> None:
    assert DATA.get(name, set()) <= asked(name) - imported(name)
    assert BORROWED.get(name, set()) <= imported(name) - asked(name)


def test_import_by_luck_and_needless_wheel_show() -> None:
    needed = imports("import boto3\nfrom yaml import safe_load\nimport json\nfrom . import own\n")

    assert needed == {"boto3", "pyyaml"}
    assert list(problems("worker", needed, {"httpx"})) == [
        "boto3 is imported and not asked for",
        "httpx is asked for and not imported",
    ]


def test_imports_for_type_checks_need_no_wheel() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import boto3\nelse:\n    import httpx\n"

    assert imports(source) == {"httpx"}


def test_only_borrowed_packages_are_borrowed_by_web_and_db() -> None:
    source = ROOT / "shared/src/coreo_shared"
    borrowers = {
        Path(file).relative_to(source).parts[0]
        for file in source.rglob("*.py")
        if imports(file.read_text()) & BORROWED["shared"]
    }

    assert borrowers == {"web", "db"}


@pytest.mark.parametrize("lock", ["api", "lint", "results", "worker", "cli", "embedded", "dev", "build"])
def test_lock_is_what_is_installed_where_tests_run(lock: str) -> None:
    wanted = locked(f"{lock}.txt")
    assert len(wanted) > 5

    assert {name: importlib.metadata.version(name) for name in wanted} == wanted

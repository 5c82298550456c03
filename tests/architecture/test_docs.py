"""What the documentation says is so: links lead somewhere, settings and names are the code's, the example works."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields as struct_fields

import coreo_api.settings
import coreo_results.settings
import coreo_worker.settings
from coreo_shared.catalogue import Catalogue, load_catalogue
from coreo_shared.rules.arguments import Parameter
from coreo_shared.rules.cases import CaseDefinition, read_case
from coreo_shared.rules.conditions import _KEYWORDS
from coreo_shared.rules.definitions import build_rule, convert, read_document
from coreo_shared.rules.errors import DefinitionError
from coreo_shared.rules.functions import FUNCTIONS
from coreo_shared.rules.model import (
    EnrichmentDefinition,
    KeyDefinition,
    ListDefinition,
    Remediation,
    ResourceType,
    ResourceTypeDefinition,
    Rule,
    RuleDefinition,
)
from coreo_shared.rules.needs import needs_of
from coreo_shared.rules.operators import OPERATORS
from coreo_shared.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "infra/decisions").glob("*.md"))]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
RULES = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
SETTINGS_MODULES = (coreo_api.settings, coreo_results.settings, coreo_worker.settings)
# Variables that are no service's setting: of the command line, the database scripts, compose and the simulator.
OTHER_VARIABLES = [
    *ROOT.glob("shared/cli/src/coreo_cli/**/*.py"),
    ROOT / "infra/database/roles.sql",
    ROOT / "docker-compose.yml",
    ROOT / "infra/embedded/src/coreo_embedded/simulator.py",
]
_VARIABLE = re.compile(r"\bCOREO_[A-Z][A-Z_]*[A-Z]\b")
_LINK = re.compile(r"\]\((?!https?://)([^)\s#]*)(?:#([^)\s]*))?\)")
_CODE = re.compile(r"`([^`]+)`|^ {4,}(\S.*)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def settings_variables() -> set[str]:
    """The variable of every field of every settings class."""
    classes = [
        each
        for module in SETTINGS_MODULES
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, ServiceSettings)
    ]
    return {
        str(field.validation_alias or f"COREO_{name.upper()}")
        for each in classes
        for name, field in each.model_fields.items()
    }


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(page.read_text(encoding="utf-8")))
    return {each.strip().replace(" ", "-") for each in words}


def code_in(text: str) -> Iterator[str]:
    """What stands in code spans and indented lines."""
    return (span or line for span, line in _CODE.findall(text))


def section(text: str, title: str) -> str:
    """The part of a page under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def first_cells(text: str) -> Iterator[str]:
    """The names in the first cells of a section's tables."""
    for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE):
        yield from re.findall(r"`([^`]+)`", row)


def field_names(*kinds: type[Any]) -> set[str]:
    """The keys that these definitions take in YAML."""
    return {field.encode_name for kind in kinds for field in struct_fields(kind)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for code in code_in(text) for name in re.findall(r"\bmake ([a-z][a-z-]*)", code)}
    paths = {code for code in code_in(text) if re.fullmatch(r"(services|shared|infra|tests|docs)/[\w./-]+", code)}

    assert named <= targets
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_setting_is_documented() -> None:
    assert settings_variables() - set(_VARIABLE.findall(OPERATIONS)) == {"AWS_REGION"}
    assert "`AWS_REGION`" in OPERATIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_unknown_variable_is_named(page: Path) -> None:
    known = settings_variables()
    for file in OTHER_VARIABLES:
        known |= set(_VARIABLE.findall(file.read_text(encoding="utf-8")))

    assert set(_VARIABLE.findall(page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("kind", [coreo_api.settings.ApiSettings, coreo_results.settings.ResultsSettings])
def test_documented_defaults_are_the_codes(kind: type[ServiceSettings]) -> None:
    service = "api" if kind is coreo_api.settings.ApiSettings else "results"
    assert documented_defaults(service) == defaults_of(kind)


def test_documented_defaults_of_the_worker_are_the_codes() -> None:
    wanted = defaults_of(coreo_worker.settings.HealthSettings) | defaults_of(coreo_worker.settings.WorkerSettings)
    given = documented_defaults("worker")

    assert given.pop("COREO_WORKER_ID")  # made up at start
    wanted.pop("COREO_WORKER_ID")
    assert given == wanted


def documented_defaults(service: str) -> dict[str, str]:
    """Variable to default in a service's table; a row may have several, in order."""
    table = re.search(rf"^\*\*{service}\*\*.*?\n\n(.*?)\n\n", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert table is not None
    found: dict[str, str] = {}
    for row in table[1].splitlines()[2:]:
        names, _, default = row.strip("| ").split(" | ")
        defaults = default.replace("`", "").split(", ")
        found |= dict(zip(_VARIABLE.findall(names), defaults, strict=True))
    return found


def defaults_of(kind: type[ServiceSettings]) -> dict[str, str]:
    """The same from the class; `req` for what has none."""
    return {
        f"COREO_{name.upper()}": "req"
        if field.is_required()
        else "none"
        if field.default in {None, ()}
        else f"{field.default:g}"
        if isinstance(field.default, float)
        else str(field.default)
        for name, field in kind.model_fields.items()
        if field.validation_alias is None and name != "log_level"
    }


def test_log_events_are_the_codes() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("services", "shared/src")
        for path in (ROOT / folder).rglob("*.py")
    )
    named = list(first_cells(section(OPERATIONS, "Logs and what to alert on")))

    assert len(named) > 15
    assert [name for name in named if f'"{name}"' not in source] == []


def test_rule_keys_are_the_schemas() -> None:
    keys = set(first_cells(section(RULES, "Keys of a rule")))

    assert keys == field_names(RuleDefinition)
    texts = section(RULES, "Keys of a rule")
    assert {name for name in field_names(Parameter, Remediation) if f"`{name}`" not in texts} == set()


def test_operators_and_conditions_are_the_languages() -> None:
    text = section(RULES, "Conditions")
    cells = "\n".join(re.findall(r"^\|([^|]+)\|", text, re.MULTILINE))
    named = {word for code in re.findall(r"`([^`]+)`", cells) for word in re.findall(r"\b[a-z_]{2,}\b", code)}
    arguments = {name for function in FUNCTIONS.values() for name in function.arguments}
    syntax = {"value", "null", "operator", "argument", "type", "key", "same_region"}

    assert set(OPERATORS) | set(_KEYWORDS) <= named
    assert named <= set(OPERATORS) | set(_KEYWORDS) | arguments | syntax


def test_keys_of_resource_types_and_cases_are_the_schemas() -> None:
    types = section(RULES, "Resource types")
    cases = section(RULES, "Cases")
    of_types = field_names(ResourceTypeDefinition, KeyDefinition, ListDefinition, EnrichmentDefinition)

    assert [name for name in of_types if not re.search(rf"\b{name}\b", types)] == []
    assert [name for name in field_names(CaseDefinition) if f"`{name}`" not in cases] == []


@dataclass(frozen=True)
class Example:
    """The worked example, and the catalogue with it alone."""

    rule: Rule
    cases: str
    catalogue: Catalogue

    @property
    def rules(self) -> dict[str, Rule]:
        """As `needs_of` wants it."""
        return {self.rule.id: self.rule}

    @property
    def resource_types(self) -> Any:
        """As `needs_of` wants it."""
        types: Any = self.catalogue.resource_types
        return types


@pytest.fixture(scope="module")
def example() -> Example:
    rule, cases = re.findall(r"^```yaml\n(.*?)^```", section(RULES, "A whole example"), re.MULTILINE | re.DOTALL)
    return Example(make_rule(rule), cases, load_catalogue())


def make_rule(text: str) -> Rule:
    """The one rule of a document, as the catalogue's loader makes it."""
    catalogue = load_catalogue()

    def make(raw: Any) -> Rule:
        [one] = convert(raw, list[Any], ())
        return build_rule(one, (0,), catalogue.shapes, catalogue.item_types)

    return read_document(text, "docs/rules.md", make)


def test_the_example_is_a_new_rule_whose_cases_hold(example: Example) -> None:
    catalogue = example.catalogue

    def make(raw: Any) -> list[Any]:
        [(name, cases)] = convert(raw, dict[str, list[Any]], ()).items()
        assert name == example.rule.id
        return [
            read_case(one, example.rule, catalogue.shapes, catalogue.item_types, (name, index))
            for index, one in enumerate(cases)
        ]

    cases = read_document(example.cases, "docs/rules.md", make)

    assert example.rule.id not in catalogue.rules
    assert {"FAIL", "PASS", "NOT_EVALUATED", "NOT_APPLICABLE"} == {case.expect for case in cases}
    for case in cases:
        verdict = case.verdict()
        assert (str(verdict.status) if verdict else "NOT_APPLICABLE") == case.expect, case.name
        assert case.expect != "NOT_EVALUATED" or verdict.missing_actions == case.missing_actions


def test_the_examples_actions_are_those_that_it_needs(example: Example) -> None:
    text = section(RULES, "A whole example").rpartition("```")[2]
    named = set(re.findall(r"`(s3:\w+)`", text))

    assert named == needs_of(example, [example.rule.id]).actions


def test_a_typo_in_the_example_would_show() -> None:
    text = re.findall(r"^```yaml\n(.*?)^```", RULES, re.MULTILINE | re.DOTALL)[0]

    with pytest.raises(DefinitionError, match=r"docs/rules\.md:\d+: .*did you mean Versioning"):
        make_rule(text.replace("Versioning.Status: Enabled", "Versionning.Status: Enabled"))


def test_the_resource_type_shown_is_one_of_the_catalogue() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```", section(RULES, "Resource types"), re.MULTILINE | re.DOTALL)
    shown = read_document(text, "docs/rules.md", lambda raw: convert(raw, ResourceTypeDefinition, ()))
    real: ResourceType = load_catalogue().resource_types[shown.type]

    assert set(shown.enrich) == set(real.enrichments)
    assert shown.key == real.key

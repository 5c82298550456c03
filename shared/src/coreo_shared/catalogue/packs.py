"""Rule packs: rules that teams write themselves, in the catalogue's language, on the catalogue's resource types.

    pack: acme
    title: What Acme asks of its accounts
    rules:
      - id: bucket-name            # becomes x-acme-bucket-name
        …as in the catalogue
    cases:                         # optional; `coreo rules test` and every upload run them
      bucket-name:
        - {name: …, expect: FAIL, item: {…}}

No rule of the catalogue begins with `x-`, so that no pack can take one's place, and none of two packs another's.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import msgspec

from coreo_shared.catalogue import Catalogue, load_catalogue
from coreo_shared.catalogue.frameworks import check_objectives, controls_of, known_control, load_frameworks
from coreo_shared.rules.cases import Case, read_case
from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.definitions import build_rule, convert
from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean
from coreo_shared.rules.model import Rule
from coreo_shared.rules.yamltext import MAX_BYTES, line_of, read_yaml

PREFIX: Final = "x-"
MAX_RULES: Final = 200
MAX_CASES: Final = 20  # of a rule
MAX_ERRORS: Final = 20  # that are told at once
_NAME = re.compile(r"[a-z][a-z0-9]{1,29}")


class PackError(ValueError):
    """A pack is not right. `problems`: one for each place, at most 20."""

    def __init__(self, problems: Iterable[DefinitionError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class _PackDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pack as written; its rules are looked at one by one, so that each can say what is wrong with it."""

    pack: str
    rules: list[Any]
    title: str = ""
    cases: dict[str, list[Any]] = {}


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack, checked. `digest` is the SHA-256 of its text, in hex."""

    name: str
    title: str
    rules: Mapping[str, Rule]
    cases: Mapping[str, tuple[Case, ...]]  # by rule id
    digest: str

    def failing_cases(self) -> list[str]:
        """A sentence for each case whose verdict is another than it says."""
        return [said for cases in self.cases.values() for case in cases if (said := failing(case)) is not None]


def failing(case: Case) -> str | None:
    """What is wrong with a case's verdict; None when it is the one that the case says."""
    verdict = case.verdict()
    got = "NOT_APPLICABLE" if verdict is None else str(verdict.status)
    return None if got == case.expect else f"{case.rule.id}: {case.name}: should be {case.expect}, is {got}"


def read_pack(text: str, catalogue: Catalogue, file: str = "") -> Pack:
    """A pack from YAML that nobody trusts. Raises PackError, whose problems name file, line and field."""
    try:
        definition = convert(read_yaml(text, file), _PackDefinition, ())
        _check_head(definition)
    except DefinitionError as error:
        raise PackError([_placed(error, text, file)]) from None
    problems: list[DefinitionError] = []
    rules: dict[str, Rule] = {}
    for index, raw in enumerate(definition.rules):
        try:
            rule = _rule(raw, definition.pack, ("rules", index), catalogue)
        except DefinitionError as error:
            problems.append(error)
            continue
        if rule.id in rules:
            problems.append(DefinitionError("another rule has this id", ("rules", index, "id")))
        rules[rule.id] = rule
    cases: dict[str, tuple[Case, ...]] = {}
    if not problems:
        for name, raws in definition.cases.items():
            try:
                rule_id = f"{PREFIX}{definition.pack}-{name}"
                cases[rule_id] = tuple(_cases(rules, rule_id, name, raws, catalogue))
            except DefinitionError as error:
                problems.append(error)
    if problems:
        raise PackError(_placed(problem, text, file) for problem in problems[:MAX_ERRORS])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Pack(definition.pack, definition.title, dict(sorted(rules.items())), cases, digest)


def with_packs(catalogue: Catalogue, packs: Iterable[Pack]) -> Catalogue:
    """A catalogue that has these rules too; the given one stays as it is."""
    rules = dict(catalogue.rules)
    for pack in packs:
        rules |= pack.rules
    controls = {name: catalogue.controls.get(name) or controls_of(rule.definition) for name, rule in rules.items()}
    return replace(catalogue, rules=dict(sorted(rules.items())), controls=controls)


def squeeze(text: str) -> bytes:
    """A pack's text as it travels in a job."""
    return zlib.compress(text.encode(), level=9)


@lru_cache(maxsize=8)
def catalogue_with(texts: tuple[bytes, ...]) -> Catalogue:
    """This release's catalogue with the packs of these squeezed texts. Raises PackError."""
    catalogue = load_catalogue()
    if not texts:
        return catalogue
    return with_packs(catalogue, [read_pack(_unsqueezed(text), catalogue) for text in texts])


def _unsqueezed(data: bytes) -> str:
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(data, MAX_BYTES + 1)  # what is longer is refused by its length, not by its memory
        return text.decode()
    except (zlib.error, UnicodeDecodeError):
        raise PackError([DefinitionError("the pack's text cannot be read")]) from None


def _check_head(definition: _PackDefinition) -> None:
    if not _NAME.fullmatch(definition.pack):
        raise DefinitionError("must be 2 to 30 characters of a to z and 0 to 9, a letter first", ("pack",))
    if len(definition.title) > 200:
        raise DefinitionError("longer than 200 characters", ("title",))
    if not definition.rules:
        raise DefinitionError("there is no rule", ("rules",))
    if len(definition.rules) > MAX_RULES:
        raise DefinitionError(f"more than {MAX_RULES} rules", ("rules",))


def _rule(raw: Any, pack: str, path: Path, catalogue: Catalogue) -> Rule:
    if isinstance(raw, dict) and isinstance(raw.get("id"), str):
        raw = raw | {"id": f"{PREFIX}{pack}-{raw['id']}"}
    rule = build_rule(raw, path, catalogue.shapes, catalogue.item_types)
    check_objectives(rule.definition, path)
    known = load_frameworks()
    for name, controls in rule.definition.controls.items():
        if name not in known:
            raise DefinitionError(f"no such framework{did_you_mean(name, known)}", (*path, "controls", name))
        for index, control in enumerate(controls):
            if not known_control(known[name], control):
                raise DefinitionError("the framework has no such control", (*path, "controls", name, index))
    compile_rule(rule)
    return rule


def _cases(rules: Mapping[str, Rule], rule_id: str, name: str, raws: list[Any], catalogue: Catalogue) -> Iterator[Case]:
    if rule_id not in rules:
        short = [each.removeprefix(PREFIX).partition("-")[2] for each in rules]
        raise DefinitionError(f"the pack has no such rule{did_you_mean(name, short)}", ("cases", name))
    if len(raws) > MAX_CASES:
        raise DefinitionError(f"more than {MAX_CASES} cases", ("cases", name))
    for index, raw in enumerate(raws):
        yield read_case(raw, rules[rule_id], catalogue.shapes, catalogue.item_types, ("cases", name, index))


def _placed(error: DefinitionError, text: str, file: str) -> DefinitionError:
    """With the line, where the error does not have it already: text that is no YAML has no places."""
    return error if error.line is not None else error.at(file, line_of(text, error.path) if error.path else None)

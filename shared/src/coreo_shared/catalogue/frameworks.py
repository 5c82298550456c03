"""Control frameworks as data: their controls, and which of them each rule bears on.

A rule names controls of the CIS benchmarks and of AWS FSBP itself. The broad frameworks (PCI DSS, NIST and the like) it
reaches through its objectives, which `objectives.yaml` maps once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from coreo_shared.rules.definitions import convert, read_document
from coreo_shared.rules.errors import DefinitionError, did_you_mean
from coreo_shared.rules.model import RuleDefinition

_FOLDER = Path(__file__).parent
_FSBP_CONTROL = re.compile(r"[A-Z][A-Za-z0-9]*\.[1-9][0-9]*")

Assessment = Literal["automated", "manual"]


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A control. `assessment` is the publisher's: whether a tool can answer it, or a person must."""

    id: str
    title: str
    assessment: Assessment
    section: str = ""
    level: int | None = None


class _FrameworkDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    title: str
    publisher: str
    checked_against: str
    controls: list[Control] = []
    partial: bool = False
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework, its controls in its own order.

    `partial`: it holds more controls than those here. `grows`: its publisher adds controls all the time, so that a rule
    may name one that is not here yet.
    """

    id: str
    title: str
    publisher: str
    checked_against: str
    controls: Mapping[str, Control]
    partial: bool
    grows: bool


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule serves, with the controls of the broad frameworks that ask for it."""

    id: str
    title: str
    controls: dict[str, list[str]]  # framework -> control ids


@cache
def load_objectives() -> dict[str, Objective]:
    """The objectives by id; read once per process."""
    file = _FOLDER / "objectives.yaml"
    read = read_document(file.read_text(encoding="utf-8"), file.name, lambda raw: convert(raw, list[Objective], ()))
    return {objective.id: objective for objective in read}


def controls_of(definition: RuleDefinition) -> dict[str, tuple[str, ...]]:
    """Framework to the control ids that a rule bears on: those it names and those of its objectives."""
    found = {framework: dict.fromkeys(ids) for framework, ids in definition.controls.items()}
    for name in definition.objectives:
        for framework, ids in load_objectives()[name].controls.items():
            found.setdefault(framework, {}).update(dict.fromkeys(ids))
    return {framework: tuple(sorted(ids, key=_order)) for framework, ids in sorted(found.items())}


def check_objectives(definition: RuleDefinition, path: tuple[str | int, ...]) -> None:
    """DefinitionError if the rule names an objective that is not there."""
    known = load_objectives()
    for index, name in enumerate(definition.objectives):
        if name not in known:
            raise DefinitionError(f"no such objective{did_you_mean(name, known)}", (*path, "objectives", index))


@cache
def load_frameworks() -> dict[str, Framework]:
    """The frameworks by id, as published; read once per process."""
    found: dict[str, Framework] = {}
    for file in sorted((_FOLDER / "frameworks").glob("*.yaml")):

        def make(raw: Any) -> Framework:
            document = convert(raw, _FrameworkDocument, ())
            controls = {control.id: control for control in document.controls}
            if len(controls) != len(document.controls):
                raise DefinitionError("a control is there twice", ("controls",))
            return Framework(
                id=document.id,
                title=document.title,
                publisher=document.publisher,
                checked_against=document.checked_against.strip(),
                controls=controls,
                partial=document.partial,
                grows=document.grows,
            )

        made = read_document(file.read_text(encoding="utf-8"), file.name, make)
        found[made.id] = made
    return found


def known_control(framework: Framework, control: str) -> bool:
    """Whether the framework has such a control, or may have it by now."""
    return control in framework.controls or (framework.grows and bool(_FSBP_CONTROL.fullmatch(control)))


@cache
def _order(control: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts 1.10 after 1.9, and S3.8 before S3.12."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", control))

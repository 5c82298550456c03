"""Which further calls an item needs, in which order, and what their answers put into it."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from coreo_shared.rules.compiler import compile_condition
from coreo_shared.rules.generate import Condition
from coreo_shared.rules.model import Call, Enrichment, Preparation, ResourceType
from coreo_shared.rules.operators import Run
from coreo_shared.rules.paths import reader
from coreo_shared.rules.values import Relations, Unknown, describe_unknowns

_CONDITION_STEPS = 10_000
_NO_RELATIONS = Relations()

Answers = list[dict[str, Any]] | Unknown | None
"""The pages that a call answered, None where the API says that there is nothing, or why it could not be read."""


@dataclass(frozen=True)
class Step:
    """One call that fills one or more fields of an item (or of each element of its list `each`)."""

    call: Call
    prepare: Preparation | None
    each: str | None
    locates: bool  # tells the item's region, which is not known before
    _when: Condition | None
    _fields: tuple[tuple[str, Callable[[Any], Any] | None], ...]

    def owners(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        """What the fields are put into."""
        if self.each is None:
            return [item]
        elements = item.get(self.each)
        return [] if elements is None or isinstance(elements, Unknown) else list(elements)

    def wanted(self, owner: Mapping[str, Any]) -> bool | Unknown:
        """Whether the call is to be made for this item or element; Unknown where that cannot be told."""
        if self._when is None:
            return True
        outcome = self._when(owner, Run(datetime.now(UTC), _NO_RELATIONS, _CONDITION_STEPS))
        return outcome if isinstance(outcome, bool) else Unknown(*describe_unknowns(outcome))

    def put(self, owner: dict[str, Any], answers: Answers) -> None:
        """Sets the fields."""
        for name, take in self._fields:
            owner[name] = _taken(take, answers) if isinstance(answers, list) else answers


def _taken(take: Callable[[Any], Any] | None, pages: list[dict[str, Any]]) -> Any:
    """A field from the answer; a list may have gone on over several pages."""
    first = pages[0] if take is None else take(pages[0])
    if take is None or not isinstance(first, list):
        return first
    return [element for page in pages for element in take(page) or ()]


def _reader_of(enrichment: Enrichment) -> Callable[[Any], Any] | None:
    """What takes the field from one page of the answer."""
    if enrichment.take is None:
        return None
    take, scalar, columns = reader(enrichment.take), enrichment.scalar, enrichment.columns
    if columns:
        return lambda page: _rows(take(page), columns)
    if scalar is not None:
        return lambda page: [{scalar: value} for value in take(page) or ()]
    return take


def _rows(text: Any, columns: tuple[str, ...]) -> list[dict[str, str | None]] | None:
    """The lines of a CSV text with a header; a column that it lacks is absent."""
    if text is None:
        return None
    lines = csv.DictReader(io.StringIO(text.decode() if isinstance(text, bytes) else text))
    return [{name: line.get(name) for name in columns} for line in lines]


def steps_of(kind: ResourceType, fields: Iterable[str]) -> list[list[Step]]:
    """The calls for these enrichments, in stages: those of one stage may be made at once, after the stages before."""
    wanted = {name: kind.enrichments[name] for name in sorted(fields)}
    stages: list[list[Step]] = []
    done: set[str] = set()
    while len(done) < len(wanted):
        ready = [e for e in wanted.values() if e.name not in done and not (_before(kind, e) & wanted.keys() - done)]
        if not ready:
            raise ValueError(f"the enrichments of {kind.name} wait for each other")
        stages.append([_step(kind, group) for group in _grouped(ready)])
        done.update(enrichment.name for enrichment in ready)
    return stages


def _before(kind: ResourceType, enrichment: Enrichment) -> frozenset[str]:
    """What must be read first: what the call depends on, and what tells the region to call."""
    if enrichment.name in kind.key_enrichments:
        return enrichment.after
    return enrichment.after | kind.key_enrichments


def _grouped(enrichments: list[Enrichment]) -> list[list[Enrichment]]:
    """Together what the same call fills."""
    groups: list[list[Enrichment]] = []
    for enrichment in enrichments:
        same = next((group for group in groups if _same_call(group[0], enrichment)), None)
        if same is None:
            groups.append([enrichment])
        else:
            same.append(enrichment)
    return groups


def _same_call(one: Enrichment, other: Enrichment) -> bool:
    return (one.call, one.prepare, one.when, one.each, one.after) == (
        other.call,
        other.prepare,
        other.when,
        other.each,
        other.after,
    )


def _step(kind: ResourceType, group: list[Enrichment]) -> Step:
    first = group[0]
    return Step(
        call=first.call,
        prepare=first.prepare,
        each=first.each,
        locates=first.name in kind.key_enrichments,
        _when=None if first.when is None else compile_condition(first.when, {}),
        _fields=tuple((e.name, _reader_of(e)) for e in group),
    )

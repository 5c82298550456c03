"""Which findings a suppression fits. Pure.

What stands in clear (rule, region, cloud account) is decided for whole groups of findings; what needs the finding
itself (resource, tag) is decided finding by finding, see `Selection`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from coreo_results.chunks.columns import Columns
from coreo_results.suppressions.globs import Glob
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.tags import tags_in


@dataclass(frozen=True)
class Rule:
    """A live suppression of the run's team, for all of its cloud accounts or for the run's."""

    id: UUID
    version: int
    reason: str
    rule_id: str | None = None
    resource: str | None = None
    tag: str | None = None
    region: str | None = None

    @property
    def is_selective(self) -> bool:
        """Whether the findings themselves must be looked at."""
        return self.resource is not None or self.tag is not None


def covers(rules: Iterable[Rule], groups: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[Rule]]:
    """For each (rule id, region) the suppressions whose rule and region fit, in their order."""
    known = [(each, None if each.rule_id is None else Glob(each.rule_id)) for each in rules]
    return {
        (rule_id, region): [
            each
            for each, glob in known
            if (glob is None or glob.fits(rule_id)) and (each.region is None or each.region == region)
        ]
        for rule_id, region in groups
    }


@dataclass
class Selection:
    """Finds the findings of chunks that selective suppressions fit.

    Suppressions of one resource, which most are, are found by a look-up; patterns are tried once for each resource.
    """

    rules: list[Rule]
    _covers: dict[tuple[str, str], frozenset[UUID]] = field(default_factory=dict)
    _by_resource: dict[str, list[Rule]] = field(default_factory=dict)
    _patterns: list[tuple[Glob, Rule]] = field(default_factory=list)
    _any_resource: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        for rule in self.rules:
            if rule.resource is None:
                self._any_resource.append(rule)
            elif (glob := Glob(rule.resource)).is_exact:
                self._by_resource.setdefault(rule.resource, []).append(rule)
            else:
                self._patterns.append((glob, rule))

    def in_chunk(self, columns: Columns) -> dict[UUID, list[int]]:
        """For each suppression the places of the failed findings that it fits."""
        hits: dict[UUID, list[int]] = {}
        resources: dict[tuple[str, str | None], list[Rule]] = {}
        for position, allowed in self._candidates(columns):
            resource = (columns.resource_ids[position], columns.resource_arns[position])
            if resource not in resources:
                resources[resource] = list(self._on(*resource))
            for rule in resources[resource]:
                if rule.id in allowed and self._has_tag(rule, columns, position):
                    hits.setdefault(rule.id, []).append(position)
        return hits

    def _candidates(self, columns: Columns) -> Iterator[tuple[int, frozenset[UUID]]]:
        for group in columns.groups:
            if group.status is not FindingStatus.FAIL:
                continue
            place = (group.rule_id, group.region)
            if place not in self._covers:
                self._covers[place] = frozenset(each.id for each in covers(self.rules, [place])[place])
            if self._covers[place]:
                for position in range(group.first, group.first + group.count):
                    yield position, self._covers[place]

    def _on(self, resource_id: str, arn: str | None) -> Iterator[Rule]:
        yield from self._any_resource
        yield from self._by_resource.get(resource_id, ())
        if arn is not None and arn != resource_id:
            yield from self._by_resource.get(arn, ())
        for glob, rule in self._patterns:
            if glob.fits(resource_id) or (arn is not None and glob.fits(arn)):
                yield rule

    @staticmethod
    def _has_tag(rule: Rule, columns: Columns, position: int) -> bool:
        if rule.tag is None:
            return True
        name, _, value = rule.tag.partition("=")
        return tags_in(msgspec.json.decode(columns.evidence[position])).get(name) == value

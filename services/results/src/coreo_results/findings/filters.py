"""Which findings a reader wants, and where in them a page begins."""

from dataclasses import dataclass
from uuid import UUID

import msgspec

from coreo_results.findings.cursors import sign, verify
from coreo_results.keys.material import SecretKey
from coreo_results.keys.seal import bind
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus, Severity


@dataclass(frozen=True)
class Filters:
    """Values within one field are alternatives, fields narrow each other; an empty field lets all through."""

    statuses: frozenset[FindingStatus] = frozenset()
    severities: frozenset[Severity] = frozenset()
    rule_ids: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    changes: frozenset[Change] = frozenset()
    resource: str | None = None  # a resource's id or ARN, whole


class Position(msgspec.Struct, array_like=True, frozen=True):
    """The last finding of a page, in the order of pages: worst severity first, then rule, unit, chunk, place in it."""

    severity_order: int
    rule_id: str
    unit: str
    chunk_index: int
    position: int


def write_cursor(position: Position, run_id: UUID, filters: Filters, key: SecretKey) -> str:
    """The position as an opaque text that is good for this run and these filters alone."""
    return sign(msgspec.msgpack.encode(position), _question(run_id, filters), key)


def read_cursor(cursor: str, run_id: UUID, filters: Filters, key: SecretKey) -> Position:
    """The position that `write_cursor` was given. Raises a 422 Problem about `cursor`."""
    return msgspec.msgpack.decode(verify(cursor, _question(run_id, filters), key), type=Position)


def _question(run_id: UUID, filters: Filters) -> bytes:
    parts: list[str | int | UUID] = [run_id]
    for values in (filters.statuses, filters.severities, filters.rule_ids, filters.regions, filters.changes):
        parts += [len(values), *sorted(values)]
    parts += [0] if filters.resource is None else [1, filters.resource]
    return bind("cursor", *parts)

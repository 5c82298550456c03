"""Which findings a reader wants, and where in them a page begins."""

import base64
import binascii
import hmac
from dataclasses import dataclass
from uuid import UUID

import msgspec

from coreo_results.keys.material import SecretKey
from coreo_results.keys.seal import bind
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid

_MAC_BYTES = 16


@dataclass(frozen=True)
class Filters:
    """Values within one field are alternatives, fields narrow each other; an empty field lets all through."""

    statuses: frozenset[FindingStatus] = frozenset()
    severities: frozenset[Severity] = frozenset()
    rule_ids: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
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
    payload = msgspec.msgpack.encode(position)
    return _to_text(_mac(payload, run_id, filters, key) + payload)


def read_cursor(cursor: str, run_id: UUID, filters: Filters, key: SecretKey) -> Position:
    """The position that `write_cursor` was given. Raises a 422 Problem about `cursor`."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    genuine = hmac.compare_digest(mac, _mac(payload, run_id, filters, key))
    if not genuine or _to_text(raw) != cursor:  # base64 has several spellings of the same bytes
        raise bad_cursor()
    return msgspec.msgpack.decode(payload, type=Position)


def bad_cursor() -> Problem:
    """The answer to any cursor that we did not give out for just this question."""
    return invalid("query.cursor", "cursor: use the next_cursor of a page of the same run with the same filters")


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(payload: bytes, run_id: UUID, filters: Filters, key: SecretKey) -> bytes:
    parts: list[str | int | UUID] = [run_id]
    for values in (filters.statuses, filters.severities, filters.rule_ids, filters.regions):
        parts += [len(values), *sorted(values)]
    parts += [0] if filters.resource is None else [1, filters.resource]
    return hmac.digest(key.reveal(), bind("cursor", *parts) + payload, "sha256")[:_MAC_BYTES]

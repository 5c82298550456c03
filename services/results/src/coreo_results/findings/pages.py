"""A page of findings: the parts of spans that are on it, decrypted, and held against what was in clear. Pure."""

from dataclasses import dataclass
from uuid import UUID

from coreo_results.chunks.columns import Columns, StoredFinding
from coreo_results.chunks.repository import SEVERITIES
from coreo_results.chunks.sealing import ChunkPlace, unseal_chunk
from coreo_results.findings.filters import Position
from coreo_results.findings.repository import Span
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import RunKey
from coreo_results.life.changes import decode
from coreo_results.life.repository import Past
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus, Severity

Place = tuple[str, int, int]  # unit, chunk, position in it


class ListedView(StoredFinding, frozen=True, kw_only=True, omit_defaults=True):
    """A `contracts.life.ListedFinding` on its way out; what is not known is left out."""

    change: Change | None = None
    previous_status: FindingStatus | None = None
    first_seen: str | None = None
    first_run_id: UUID | None = None
    suppression_id: UUID | None = None
    suppression_reason: str | None = None
    rule_severity: Severity | None = None


@dataclass(frozen=True)
class Beside:
    """What is known beside the findings of a page; None where nobody asked for it."""

    past: dict[Place, Past]
    reasons: dict[UUID, str]


@dataclass(frozen=True)
class Piece:
    """The part of a span that is on the page."""

    span: Span
    first: int
    count: int

    def places(self) -> list[Place]:
        """Where its findings are."""
        span = self.span
        return [(span.unit, span.chunk_index, self.first + number) for number in range(self.count)]


def cut(spans: list[Span], after: Position | None, limit: int) -> tuple[list[Piece], bool]:
    """The first `limit` findings of the spans that come after the position, and whether more follow."""
    pieces: list[Piece] = []
    left = limit
    for span in spans:
        first = span.first
        if after is not None and _starts_before(span, after):
            first = after.position + 1
        available = span.first + span.count - first
        if left < available or left == 0:
            if left:
                pieces.append(Piece(span, first, left))
            return pieces, True
        pieces.append(Piece(span, first, available))
        left -= available
    return pieces, False


def _starts_before(span: Span, after: Position) -> bool:
    place = (span.shown_order, span.rule_id, span.unit, span.chunk_index)
    return (
        place == (after.severity_order, after.rule_id, after.unit, after.chunk_index) and span.first <= after.position
    )


def end_of(piece: Piece) -> Position:
    """Where the next page goes on."""
    span = piece.span
    return Position(span.shown_order, span.rule_id, span.unit, span.chunk_index, piece.first + piece.count - 1)


def read(pieces: list[Piece], sealed: dict[ChunkPlace, bytes], key: RunKey, beside: Beside | None) -> list[ListedView]:
    """The findings of the pieces. Raises DamagedError."""
    opened = {(place.unit, place.index): unseal_chunk(place, data, key) for place, data in sealed.items()}
    findings: list[ListedView] = []
    for piece in pieces:
        columns = opened.get((piece.span.unit, piece.span.chunk_index))
        if columns is None:
            raise DamagedError("a chunk that has groups is missing")
        _check_clear_part(piece.span, columns)
        findings += [_listed(columns.finding_at(place[2]), piece.span, place, beside) for place in piece.places()]
    return findings


def _listed(finding: StoredFinding, span: Span, place: Place, beside: Beside | None) -> ListedView:
    shown = {name: getattr(finding, name) for name in StoredFinding.__struct_fields__}
    shown["severity"] = SEVERITIES[span.shown_order]
    if span.suppression_id is not None:
        shown["status"] = FindingStatus.SUPPRESSED
    if beside is None:
        return ListedView(**shown)
    if span.suppression_id is not None:
        shown["suppression_id"] = span.suppression_id
        shown["suppression_reason"] = beside.reasons.get(span.suppression_id)
    if span.shown_order != span.severity_order:
        shown["rule_severity"] = finding.severity
    past = beside.past.get(place)
    if past is not None:
        shown["change"], shown["previous_status"] = decode(past.code)
        shown["first_seen"], shown["first_run_id"] = past.first_seen, past.first_run
    return ListedView(**shown)


def _check_clear_part(span: Span, columns: Columns) -> None:
    """What stands in clear chose the finding, so it must agree with what was encrypted."""
    if span.first + span.count > len(columns.resource_ids):
        raise DamagedError("a group reaches beyond its chunk")
    group = columns.group_at(span.first)
    agrees = (group.rule_id, group.status, group.severity, group.region) == (
        span.rule_id,
        span.status,
        SEVERITIES[span.severity_order],
        span.region,
    )
    if not agrees or span.first + span.count > group.first + group.count:
        raise DamagedError("a group in clear differs from the encrypted one")

"""What the segments of a run's backup hold, as MessagePack. A field is added with a default; nothing is renumbered."""

from typing import TypeVar

import msgspec

from coreo_results.backups.format import Kind
from coreo_results.chunks.columns import SCHEMA
from coreo_results.keys.seal import DamagedError

T = TypeVar("T")


class UnitRow(msgspec.Struct, array_like=True, frozen=True):
    """A unit that is done. `done_at`: microseconds since 1970."""

    unit: str
    chunks: int
    done_at: int


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The run's entry in the ledger: its row as JSON, so that columns of later versions come along."""

    row: str
    units: list[UnitRow]
    columns_schema: int = SCHEMA  # of the packed chunks


class Past(msgspec.Struct, array_like=True, frozen=True):
    """What the comparison with earlier runs said of a chunk's findings, in their order, as PostgreSQL writes it.

    Most of it only goes from one database to another, and taking it apart would be a good part of all work.

    `codes`: an array of those of `life.changes`. `first_of`: an array, which of the run's `first_runs` saw each first,
    or -1. `failed`: JSON, by position where a finding that is neither PASS nor FAIL failed last (run, unit, chunk,
    position); None where none did.
    """

    codes: str
    first_of: str
    failed: str | None

    def firsts(self) -> list[int]:
        """`first_of`, taken apart."""
        return [int(each) for each in self.first_of[1:-1].split(",")] if self.findings else []

    @property
    def findings(self) -> int:
        """Of how many findings this is."""
        return 0 if self.first_of == "{}" else self.first_of.count(",") + 1


class ChunkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of findings. `packed`: of `chunks.columns.pack`. `past`: a `Past`, packed likewise, if there was one."""

    unit: str
    index: int
    final: bool
    listed: bool
    findings: int
    packed: bytes
    past: bytes | None


class ResolvedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of `resolved_findings`, some thousands at most. `packed`: a JSON array, compressed."""

    rows: int
    packed: bytes


class DocumentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A part of one of the run's documents. `row`: its row but for that, as JSON; `content`: JSON, compressed."""

    row: str
    content: bytes


class EndRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How much there was."""

    units: int
    chunks: int
    findings: int
    resolved: int
    documents: int = 0


Record = RunRecord | ChunkRecord | ResolvedRecord | DocumentRecord | EndRecord
_TYPES: dict[Kind, type[Record]] = {
    Kind.RUN: RunRecord,
    Kind.CHUNK: ChunkRecord,
    Kind.RESOLVED: ResolvedRecord,
    Kind.DOCUMENT: DocumentRecord,
    Kind.END: EndRecord,
}
_KINDS = {kind: number for number, kind in _TYPES.items()}


def encode(record: Record) -> tuple[Kind, bytes]:
    """The record as a segment's kind and payload."""
    return _KINDS[type(record)], msgspec.msgpack.encode(record)


def decode(kind: Kind, payload: bytes) -> Record:
    """The record of a segment, which was authenticated before. Raises DamagedError for one of another version."""
    try:
        return msgspec.msgpack.decode(payload, type=_TYPES[kind])
    except msgspec.DecodeError:
        raise DamagedError("a backup holds what this version of Coreo cannot read") from None

"""Findings of one unit, handed on in chunks that the results service takes."""

from typing import Protocol

from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import MAX_CHUNK_FINDINGS

TARGET_BYTES = 1024 * 1024  # far below MAX_CHUNK_BYTES: what waits in memory of hundreds of units at once counts
MAX_EVIDENCE_BYTES = 64 * 1024


class AuditSink(Protocol):
    """Where an audit's findings go. Waiting in a method holds the audit back."""

    async def planned(self, units_total: int) -> None:
        """Called once, before any chunk, with the number of units of the run, those done earlier included."""

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        """Called with a unit's chunks in order, from index 0; never at the same time twice for the same unit."""


class ChunkWriter:
    """Collects the findings of one unit and hands them to the sink: at most MAX_CHUNK_FINDINGS, about TARGET_BYTES."""

    def __init__(self, sink: AuditSink, unit: str) -> None:
        self._sink = sink
        self._unit = unit
        self._index = 0
        self._findings: list[Finding] = []
        self._bytes = 0

    async def add(self, finding: Finding) -> None:
        """Takes a finding; hands on what came before where it would no longer fit."""
        size = len(encode_msgpack(finding))
        if self._findings and (len(self._findings) == MAX_CHUNK_FINDINGS or self._bytes + size > TARGET_BYTES):
            await self._hand_on(final=False)
        self._findings.append(finding)
        self._bytes += size

    async def finish(self) -> None:
        """Hands on the rest as the final chunk, which is empty where there was nothing to find."""
        await self._hand_on(final=True)

    async def _hand_on(self, *, final: bool) -> None:
        findings, self._findings, self._bytes = self._findings, [], 0
        await self._sink.chunk(self._unit, self._index, final=final, findings=findings)
        self._index += 1

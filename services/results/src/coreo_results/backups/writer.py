"""Writes the object of a run: its records, sealed one by one on their way from the database to the store."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.format import Kind, Sealer
from coreo_results.backups.log import run_folder
from coreo_results.backups.records import ChunkRecord, Record, encode
from coreo_results.backups.repository import Written
from coreo_results.backups.source import RunSource
from coreo_results.keys.material import SecretKey
from coreo_results.keys.service import Keys
from coreo_results.stores import ObjectStore

_INLINE = 256 * 1024  # bytes that are sealed sooner than a thread begins


def new_object(team_id: UUID, run_id: UUID) -> str:
    """A name for the run's object that no earlier try of it had."""
    return f"{run_folder(team_id)}{run_id}-{secrets.token_hex(6)}.bin"


@dataclass
class _Tally:
    """Of what was written so far."""

    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    bytes: int = 0
    findings: int = 0


class Writer:
    """Writes runs' objects."""

    def __init__(self, keys: Keys, store: ObjectStore) -> None:
        self._keys = keys
        self._store = store

    async def write(
        self, connection: AsyncConnection, team_id: UUID, run_id: UUID, name: str, key: SecretKey
    ) -> Written | None:
        """The run as the connection's snapshot has it, stored under this name and key; None if it has been purged.

        Raises DamagedError for a run that cannot be read, StaleRunKeyError where another snapshot is needed, and what
        keys and store raise; nothing is stored then.
        """
        source, tally = RunSource(connection, team_id, run_id), _Tally()
        head = await source.head()
        if not head.is_shown:
            return None
        data = None if head.key is None else await self._keys.open_run_key(team_id, run_id, head.key)
        sealer = Sealer(key, team_id, run_id)
        await self._store.put(name, _segments(source.records(head, data), sealer, tally))
        return Written(run_id, name, tally.digest.digest(), tally.bytes, tally.findings)


async def _segments(records: AsyncIterator[Record], sealer: Sealer, tally: _Tally) -> AsyncIterator[bytes]:
    async for record in records:
        kind, payload = encode(record)
        if len(payload) > _INLINE:
            segment = await asyncio.to_thread(_sealed, sealer, kind, payload, tally)
        else:
            segment = _sealed(sealer, kind, payload, tally)
        if isinstance(record, ChunkRecord):
            tally.findings += record.findings
        yield segment


def _sealed(sealer: Sealer, kind: Kind, payload: bytes, tally: _Tally) -> bytes:
    segment = sealer.segment(kind, payload)
    tally.digest.update(segment)
    tally.bytes += len(segment)
    return segment

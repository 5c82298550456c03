"""Opens runs' objects with the keys of a ledger snapshot, without a database."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from uuid import UUID

from coreo_results.backups.format import open_segments
from coreo_results.backups.ledger import Ledger
from coreo_results.backups.records import ChunkRecord, DocumentRecord, EndRecord, Record, RunRecord, decode
from coreo_results.keys.errors import KeyDestroyedError
from coreo_results.keys.material import SecretKey
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import BACKUP_KEYS, TeamKey
from coreo_results.stores import NotStoredError, ObjectStore
from coreo_shared.contracts.backups import BackedUpRun

_INLINE = 256 * 1024  # bytes that are hashed sooner than a thread begins


class LedgerKeys:
    """The backup keys of one team."""

    def __init__(self, vault: Vault, ledger: Ledger) -> None:
        self._vault = vault
        self._ledger = ledger
        self._team_keys: dict[int, TeamKey] = {}

    async def of(self, run_id: UUID) -> SecretKey:
        """The key of the run's backup. Raises DamagedError, KeyUnavailableError."""
        wrapped = self._ledger.keys[run_id]
        team = await self.team_key(wrapped.team_key_version)
        return BACKUP_KEYS.unwrap(team, self._ledger.snapshot.team_id, run_id, wrapped.wrapped)

    async def team_key(self, version: int) -> TeamKey:
        """A version of the team's key. Raises DamagedError, KeyUnavailableError."""
        if version not in self._team_keys:
            try:
                key = await self._vault.load(self._ledger.snapshot.team_id, version)
            except KeyDestroyedError:
                raise DamagedError(f"version {version} of the team's key, which it is under, was destroyed") from None
            self._team_keys[version] = TeamKey(version, key)
        return self._team_keys[version]


async def hashed(store: ObjectStore, run: BackedUpRun) -> AsyncIterator[bytes]:
    """The object's pieces. Raises DamagedError at its end, or before, where it is not what the log says."""
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in store.read(run.object):
            if len(piece) > _INLINE:
                await asyncio.to_thread(digest.update, piece)
            else:
                digest.update(piece)
            size += len(piece)
            yield piece
    except NotStoredError:
        raise DamagedError("it is missing") from None
    if (size, digest.hexdigest()) != (run.bytes, run.sha256):
        raise DamagedError("it is not the object that the log names: its hash is another")


async def records(store: ObjectStore, team_id: UUID, run: BackedUpRun, key: SecretKey) -> AsyncIterator[Record]:
    """The run's records. Raises DamagedError, after which what came before must not be used."""
    chunks = findings = documents = 0
    first = True
    async for kind, payload in open_segments(hashed(store, run), key, team_id, run.run_id):
        record = decode(kind, payload)
        if isinstance(record, RunRecord) is not first:
            raise DamagedError("a backup does not begin with its run")
        first = False
        if isinstance(record, ChunkRecord):
            chunks, findings = chunks + 1, findings + record.findings
        elif isinstance(record, DocumentRecord):
            documents += 1
        elif isinstance(record, EndRecord) and (record.chunks, record.findings, record.documents) != (
            *(chunks, findings),
            documents,
        ):
            raise DamagedError("a backup does not hold as much as its end says")
        yield record
    if findings != run.findings:
        raise DamagedError("a backup does not hold as many findings as the log says")

"""What exclusions do to backups: entries of the log, keys and objects."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.heads import team_lock
from coreo_results.backups.journal import Decide
from coreo_results.backups.log import entry_hash, entry_object, run_folder
from coreo_results.backups.repository import BackupRepository
from coreo_results.backups.service import Backups, BackupStores
from coreo_results.backups.snapshots import Custodian
from coreo_shared.contracts.exclusions import RECEIPT_TYPE, Receipt, Tombstone
from coreo_shared.db import Database


class ExcludedBackups:
    """The backups of runs that must not be in any."""

    def __init__(self, database: Database, backups: Backups, stores: BackupStores, custodian: Custodian) -> None:
        self._database = database
        self._backups = backups
        self._stores = stores
        self._custodian = custodian
        self.by = custodian.by

    async def tell(self, team_id: UUID, decide: Decide) -> bool:
        """Adds an entry to the team's log, and stores it; False if there was nothing to say. Raises LogAheadError."""
        async with team_lock(self._database, team_id, wait=True):
            return await self._backups.journal.append(team_id, decide)

    async def drop(self, connection: AsyncConnection, team_id: UUID, runs: list[UUID], seq: int) -> None:
        """Destroys the backup keys of these, whether they are stored or being written, as that entry says."""
        repository = BackupRepository(connection, team_id)
        await repository.drop(runs, "excluded", seq)
        await repository.settle(runs)

    async def delete(self, team_id: UUID, runs: list[UUID]) -> None:
        """Deletes all objects of dropped runs, with all versions: those that are known, and what tries left behind."""
        async with team_lock(self._database, team_id, wait=True):
            head = await self._backups.journal.settle(team_id)
            if head is None:
                return
            while await self._backups.forget_unwanted(team_id) or await self._backups.delete_dropped(team_id):
                pass
            for run_id in runs:
                await self._delete_left(team_id, run_id)

    async def _delete_left(self, team_id: UUID, run_id: UUID) -> None:
        folder, store = run_folder(team_id), self._stores.backups
        while True:
            # The run's objects begin with its id: they come right behind it.
            entry = await anext(store.list(folder, f"{folder}{run_id}"), None)
            if entry is None or not entry.key.startswith(f"{folder}{run_id}-"):
                return
            await store.delete(entry.key)

    async def entries(self, team_id: UUID, numbers: list[int]) -> dict[int, Tombstone]:
        """Entries of the log as they are stored, by number. Raises NotStoredError."""
        entries = [(seq, await self._stores.backups.get(entry_object(team_id, seq))) for seq in numbers]
        return {seq: Tombstone(seq=seq, sha256=entry_hash(entry)) for seq, entry in entries}

    def sign(self, receipt: Receipt) -> str:
        """The receipt as a compact JWS."""
        return self._custodian.signer.sign(receipt, typ=RECEIPT_TYPE)

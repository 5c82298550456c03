"""Opens the stores of the settings."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coreo_results.backups.service import BackupStores
from coreo_results.backups.snapshots import Custodian
from coreo_results.settings import StoreSettings
from coreo_results.stores import StoreSetupError, open_store
from coreo_shared.crypto.statements import Statements
from coreo_shared.settings import signer_of


@asynccontextmanager
async def open_stores(settings: StoreSettings) -> AsyncIterator[BackupStores | None]:
    """The stores, None where the settings want no backups. Raises StoreSetupError, StoreUnavailableError."""
    if settings.backup_store == "none" or settings.ledger_store is None:
        yield None
        return
    async with open_store(settings.backup_store) as backups, open_store(settings.ledger_store) as ledger:
        if await ledger.keeps_versions():
            raise StoreSetupError(
                f"the store {ledger.name} keeps versions of deleted objects, or once did: an old snapshot of the key "
                "ledger could be brought back. Use a bucket that never had versioning"
            )
        yield BackupStores(backups, ledger)


def custodian_of(settings: StoreSettings) -> Custodian:
    """Who signs, and whose signatures are believed. The settings must want backups."""
    if settings.custody_key is None:
        raise StoreSetupError("COREO_CUSTODY_KEY is missing")
    return Custodian(signer_of(settings.custody_key), Statements(settings.custody_keys()), socket.gethostname())

"""What reaches stored results, put together once for the service and for the operators' commands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from coreo_results.backups.excluding import ExcludedBackups
from coreo_results.backups.service import Backups
from coreo_results.backups.wiring import custodian_of, open_stores
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.service import Keys
from coreo_results.keys.turnover import Turnovers
from coreo_results.keys.vault import Vault, open_vault
from coreo_results.life.service import Life
from coreo_results.settings import KeySettings
from coreo_shared.db import Database

_COMMAND_CONNECTIONS = 4


@dataclass(frozen=True)
class Custody:
    """The keys over one database."""

    database: Database
    system_database: Database
    vault: Vault
    keys: Keys
    turnovers: Turnovers
    backups: Backups | None  # None where the settings want none
    excluded: ExcludedBackups | None  # likewise


@asynccontextmanager
async def open_custody(settings: KeySettings, database: Database, system_database: Database) -> AsyncIterator[Custody]:
    """Raises RootKeyError, VaultError, StoreSetupError, StoreUnavailableError."""
    async with (
        open_root_keys(settings.root_key, settings.other_root_keys) as roots,
        open_vault(settings.vault, roots) as vault,
        open_stores(settings) as stores,
    ):
        keys = Keys(database, vault)
        backups = excluded = None
        if stores is not None:
            custodian = custodian_of(settings)
            backups = Backups(database, keys, Life(database, keys), stores, custodian)
            excluded = ExcludedBackups(database, backups, stores, custodian)
        hooks = [] if backups is None else [backups.renew_ledger]
        turnovers = Turnovers(database, keys, vault, before_destroying=hooks)
        yield Custody(database, system_database, vault, keys, turnovers, backups, excluded)


@asynccontextmanager
async def open_for_command(settings: KeySettings) -> AsyncIterator[Custody]:
    """With connections of its own. Raises as `open_custody`."""
    database = Database(settings.database_url.get_secret_value(), pool_size=_COMMAND_CONNECTIONS)
    system_database = Database(settings.system_database_url.get_secret_value(), pool_size=1)
    try:
        async with open_custody(settings, database, system_database) as custody:
            yield custody
    finally:
        await system_database.close()
        await database.close()

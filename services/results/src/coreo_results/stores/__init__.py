"""Object stores: where backups, snapshots of the key ledger and the vault's keys lie. One port, two adapters."""

from coreo_results.stores.opening import Location, open_store
from coreo_results.stores.port import (
    NotStoredError,
    ObjectStore,
    StoreConflictError,
    StoredObject,
    StoreSetupError,
    StoreUnavailableError,
)

__all__ = [
    "Location",
    "NotStoredError",
    "ObjectStore",
    "StoreConflictError",
    "StoreSetupError",
    "StoreUnavailableError",
    "StoredObject",
    "open_store",
]

"""Which keys there are: the register in the database held against the vault. No key is opened."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from coreo_results.keys.inventory_repository import RegisteredVersion, registered, wrapped_by
from coreo_results.keys.root import root_id
from coreo_results.keys.vault import Vault, VaultVersion
from coreo_shared.db import Database

State = Literal["in use", "retired", "destroyed", "not registered"]


class InventoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a team's key.

    `wraps`: how many keys of runs, backups and secrets are under it. `root_keys`: those that open it in the vault.
    """

    team_id: UUID
    version: int
    state: State
    wraps: int
    created_at: datetime | None
    root_keys: list[str]
    problem: str | None


@dataclass(frozen=True)
class _Version:
    stored: RegisteredVersion | None
    kept: VaultVersion | None


class Inventory:
    """For the operators' list."""

    def __init__(self, database: Database, system_database: Database, vault: Vault) -> None:
        self._database = database
        self._system_database = system_database
        self._vault = vault

    async def of(self, team_id: UUID | None) -> list[InventoryEntry]:
        """The team's versions, or those of all, by team and version. Raises KeyUnavailableError."""
        found = await self._look(team_id)
        # A turnover between the look at the vault and that at the register would pass for a fault.
        return await self._look(team_id) if any(entry.problem for entry in found) else found

    async def _look(self, team_id: UUID | None) -> list[InventoryEntry]:
        kept = {(version.team_id, version.version): version async for version in self._vault.versions(team_id)}
        async with self._system_database.transaction() as connection:
            stored = {(row.team_id, row.version): row for row in await registered(connection, team_id)}
        counts: dict[UUID, dict[int, int]] = {}
        for team in {team for team, _ in stored}:
            async with self._database.transaction(team) as connection:
                counts[team] = await wrapped_by(connection, team)
        names = {root_id(root.name): root.name for root in self._vault.roots}
        return [
            _entry(team, version, _Version(stored.get((team, version)), kept.get((team, version))), counts, names)
            for team, version in sorted({*stored, *kept})
        ]


def _entry(
    team_id: UUID, version: int, found: _Version, counts: dict[UUID, dict[int, int]], names: dict[str, str]
) -> InventoryEntry:
    stored, kept = found.stored, found.kept
    wraps = counts.get(team_id, {}).get(version, 0)
    return InventoryEntry(
        team_id=team_id,
        version=version,
        state=_state(stored),
        wraps=wraps,
        created_at=None if stored is None else stored.created_at.astimezone(UTC),
        root_keys=[] if kept is None else sorted(names.get(root, f"unknown ({root})") for root in kept.roots),
        problem=_problem(found, wraps, set(names)),
    )


def _state(stored: RegisteredVersion | None) -> State:
    if stored is None:
        return "not registered"
    if stored.is_destroyed:
        return "destroyed"
    return "retired" if stored.is_retired else "in use"


def _problem(found: _Version, wraps: int, known_roots: set[str]) -> str | None:
    stored, kept = found.stored, found.kept
    roots = frozenset() if kept is None else kept.roots
    is_destroyed = stored is not None and stored.is_destroyed
    is_expected = stored is not None and not stored.is_destroyed and not stored.in_database
    problems = {
        "it was destroyed, but the vault has it again": kept is not None and kept.is_destroyed and bool(roots),
        "the database says that it is destroyed, but the vault has it": is_destroyed and bool(roots),
        "it is not in the vault": is_expected and not roots,
        "keys are under it, and are lost with it": is_destroyed and bool(wraps),
        "no root key of the settings opens it": bool(roots) and not roots & known_roots,
    }
    return next((problem for problem, is_there in problems.items() if is_there), None)

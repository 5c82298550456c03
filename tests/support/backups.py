"""Backups in tests: an installation with stores, its runs, and restores of them into other databases."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from coreo_results.backups.restorer import Restorer, RestoreReport, Target
from coreo_results.backups.service import Backups, BackupStores
from coreo_results.backups.verification import TeamVerdict, Verifier
from coreo_results.backups.wiring import custodian_of, open_stores
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.vault import open_vault
from coreo_results.settings import ResultsSettings
from coreo_results.stores import NotStoredError, StoreConflictError, StoredObject
from coreo_results.stores.port import check_key, check_prefix, in_parts
from coreo_shared.contracts.findings import Finding
from coreo_shared.db import Database
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    RunClient,
    Tokens,
    backup_settings,
    make_chunk,
    make_root_key,
    make_settings,
    running,
)

RULES = ["s3-bucket-public"]


@dataclass
class MemoryStore:
    """An ObjectStore without a disk, whose content a test may change."""

    objects: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, datetime] = field(default_factory=dict)
    name: str = "memory"

    async def keeps_versions(self) -> bool:
        return False

    async def put(self, key: str, data: bytes | AsyncIterable[bytes]) -> None:
        check_key(key)
        content = b"".join([part async for part in in_parts(data)])
        if self.objects.setdefault(key, content) != content:
            raise StoreConflictError(key)
        self.modified.setdefault(key, datetime.now(UTC))

    async def get(self, key: str) -> bytes:
        check_key(key)
        if key not in self.objects:
            raise NotStoredError(key)
        return self.objects[key]

    async def read(self, key: str) -> AsyncIterator[bytes]:
        content = await self.get(key)
        for start in range(0, len(content), 1024 * 1024):
            yield content[start : start + 1024 * 1024]

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        check_prefix(prefix)
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > after:
                yield StoredObject(key, len(self.objects[key]), self.modified.get(key, datetime.now(UTC)))

    async def delete(self, key: str) -> None:
        check_key(key)
        self.objects.pop(key, None)
        self.modified.pop(key, None)

    @classmethod
    def of(cls, directory: Path) -> "MemoryStore":
        """What a directory store holds."""
        store = cls()
        for path in directory.rglob("*"):
            key = str(path.relative_to(directory))
            if path.is_file() and not key.startswith("."):
                store.objects[key] = path.read_bytes()
                store.modified[key] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return store


@dataclass
class Installation:
    """Settings with stores in directories of their own, or where `stores` says. `database` is the live one."""

    directory: Path
    database: ServiceDatabase
    tokens: Tokens = field(default_factory=Tokens)
    stores: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root_key = make_root_key(self.directory)
        self._backups = backup_settings(self.directory) | self.stores
        self.settings = self.settings_on(self.database)

    def settings_on(self, database: ServiceDatabase, **changes: Any) -> ResultsSettings:
        """The same installation on another database."""
        return make_settings(database, self.tokens, self.root_key, **{**self._backups, **changes})

    @asynccontextmanager
    async def serving(
        self, database: ServiceDatabase | None = None, *, keeps_backups: bool = False, **changes: Any
    ) -> AsyncIterator[ResultsService]:
        """The service on the live database, or another."""
        settings = self.settings_on(database or self.database, **changes)
        async with running(settings, keeps_backups=keeps_backups) as app:
            yield ResultsService(app, self.tokens)

    def files(self, store: str) -> list[str]:
        """Keys in "backups" or "ledger"."""
        return sorted(MemoryStore.of(self.directory / store).objects)

    @asynccontextmanager
    async def verifier(self, stores: BackupStores | None = None, **options: Any) -> AsyncIterator[Verifier]:
        """Of the stores on disk, or of these."""
        async with (
            open_root_keys(self.settings.root_key) as roots,
            open_vault(self.settings.vault, roots) as vault,
            open_stores(self.settings) as opened,
        ):
            assert opened is not None
            statements = custodian_of(self.settings).statements
            yield Verifier(stores or opened, vault, statements, **options)

    async def verdict(self, team_id: UUID, stores: BackupStores | None = None) -> TeamVerdict:
        """Of one team."""
        async with self.verifier(stores) as verifier:
            return await verifier.team(team_id)

    async def restore(self, database: ServiceDatabase, **options: Any) -> RestoreReport:
        """Into an empty database."""
        app, system = Database(database.url("coreo_results")), Database(database.url("coreo_results_system"))
        try:
            async with self.verifier() as verifier:
                restorer = Restorer(verifier.stores, verifier.vault, verifier.statements, Target(app, system))
                return await restorer.run(**options)
        finally:
            await system.close()
            await app.close()


def backups_of(service: ResultsService) -> Backups:
    """The running service's."""
    backups: Backups = service.app.state.services.backups
    return backups


async def ended(service: ResultsService, team_id: UUID, units: dict[str, list[Finding]], **claims: Any) -> RunClient:
    """A run with these findings, two to a chunk, that was compared with those before it."""
    run = service.run(team_id)
    run.token = service.tokens.run(team_id, run.run_id, **claims)
    fence = (await run.say("claim", {"worker_id": "w", "rules": RULES})).json()["fence"]
    for unit, found in units.items():
        for start in range(0, max(len(found), 1), 2):
            chunk = make_chunk(
                fence, found[start : start + 2], unit=unit, index=start // 2, final=start + 2 >= len(found)
            )
            await run.stored(chunk)
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": len(units)})
    assert (await service.call("GET", f"/runs/{run.run_id}/changes", run.team_token)).status_code == 200
    return run


async def seen(service: ResultsService, run: RunClient) -> dict[str, Any]:
    """All that a reader sees of a run."""
    findings = await run.findings(full="true", limit=100)
    answers = {"findings": (findings.status_code, findings.json())}
    for path in ("rules", "changes", "resolved", "counts"):
        answer = await service.call("GET", f"/runs/{run.run_id}/{path}", run.team_token)
        answers[path] = (answer.status_code, answer.json())
    for status, answer in answers.values():
        assert status == 200, answer
    return answers


async def rows(database: ServiceDatabase, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """As a role that sees everything."""
    connection = await asyncpg.connect(database.url("postgres").replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()

"""Somebody with copies of everything from an earlier day, and every key that there is today.

Contexts, formats and derivations are public; what counts is whether a key opens a message. So all keys are tried on all
wrapped keys, those that come out too, until there are no more; then on everything that was copied.
"""

import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from coreo_results.backups.format import open_segments
from coreo_results.backups.ledger import parse_page
from coreo_results.chunks.sealing import ChunkPlace
from coreo_results.documents.sealing import DocumentPlace
from coreo_results.keys.material import SecretKey
from coreo_results.keys.root import KeyPlace, RootKey
from coreo_results.keys.seal import DamagedError, derive, unseal
from coreo_results.keys.wrapping import ALL_WRAPPINGS, BACKUP_KEYS, TEAM_SECRETS, TeamKey, Wrapping

TABLES = ("run_keys", "backup_keys", "team_secrets", "team_keys", "chunks", "run_documents")
Row = dict[str, Any]


@dataclass
class Copies:
    """What was taken away: rows by table, files by path."""

    tables: dict[str, list[Row]]
    backups: dict[str, bytes] = field(default_factory=dict)
    ledger: dict[str, bytes] = field(default_factory=dict)
    vault: dict[str, bytes] = field(default_factory=dict)


async def copy_database(url: str) -> Copies:
    """All that matters of a database, as its superuser."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return Copies(
            {table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {table}")] for table in TABLES}
        )
    finally:
        await connection.close()


def copy_store(directory: Path) -> dict[str, bytes]:
    """All files below."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Wrapped:
    """A wrapped key, wherever it was found."""

    wrapping: Wrapping
    team_id: UUID
    which: UUID | str
    version: int
    wrapped: bytes


class Attacker:
    """Tries all keys that can be had today on copies of before."""

    def __init__(self, root: RootKey, now: Copies, before: Copies) -> None:
        self._root = root
        self._now = now
        self._before = before
        self._keys: dict[bytes, SecretKey] = {}

    async def readable(self) -> set[tuple[str, UUID]]:
        """(where, run) of everything of which anything can be read in the copies of before."""
        await self._open_vault()
        self._open_wrapped()
        found = {("database", run_id) for run_id in self._chunks()} | {
            ("documents", run_id) for run_id in self._documents()
        }
        return found | {("backup", run_id) async for run_id in self._objects()}

    async def _open_vault(self) -> None:
        """The vault as it is now; of before nobody has a copy, which is what it is for."""
        for path, content in self._now.vault.items():
            if not path.endswith(".key"):
                continue
            _, team, version, _ = path.split("/")
            entry = msgspec.json.decode(content)
            sealed = msgspec.convert(entry["wrapped"], bytes)
            self._add(await self._root.unwrap(sealed, KeyPlace(UUID(team), int(version))))

    def _open_wrapped(self) -> None:
        wrapped = [*self._rows(self._now), *self._rows(self._before), *self._pages(self._before.ledger)]
        wrapped += self._pages(self._now.ledger)
        tried: set[tuple[bytes, int]] = set()
        while fresh := [key for key in self._keys.values() if (key.reveal(), -1) not in tried]:
            for key in fresh:
                tried.add((key.reveal(), -1))
                for each in wrapped:
                    self._try(key, each)

    def _try(self, key: SecretKey, each: Wrapped) -> None:
        try:
            self._add(each.wrapping.unwrap(TeamKey(each.version, key), each.team_id, each.which, each.wrapped))
        except DamagedError:
            return

    def _add(self, key: SecretKey) -> None:
        self._keys[key.reveal()] = key
        for purpose in ("backup", "team", "display", "fingerprints", "decisions", "resources", "cursors"):
            made = derive(key, purpose)
            self._keys.setdefault(made.reveal(), made)

    def _rows(self, copies: Copies) -> Iterator[Wrapped]:
        for wrapping in ALL_WRAPPINGS:
            for row in copies.tables[wrapping.table]:
                which = row[wrapping.id_column]
                yield Wrapped(wrapping, row["team_id"], which, row["team_key_version"], row["wrapped"])

    def _pages(self, ledger: dict[str, bytes]) -> Iterator[Wrapped]:
        for path, content in ledger.items():
            team = UUID(path.split("/")[1])
            if path.endswith(".bin"):
                for run_id, key in parse_page(content):
                    yield Wrapped(BACKUP_KEYS, team, run_id, key.team_key_version, key.wrapped)
            elif path.endswith(".jws"):
                payload = content.split(b".")[1]
                snapshot = msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
                for secret in snapshot["secrets"]:
                    sealed = base64.b64decode(secret["wrapped"])
                    yield Wrapped(TEAM_SECRETS, team, secret["name"], secret["team_key_version"], sealed)

    def _chunks(self) -> Iterator[UUID]:
        for row in self._before.tables["chunks"]:
            place = ChunkPlace(row["team_id"], row["run_id"], row["unit"], row["chunk_index"], row["final"])
            if self._opens(row["sealed"], place.context()):
                yield row["run_id"]

    def _documents(self) -> Iterator[UUID]:
        for row in self._before.tables["run_documents"]:
            place = DocumentPlace(row["team_id"], row["run_id"], row["name"], row["part"], row["first"])
            if self._opens(row["sealed"], place.context()):
                yield row["run_id"]

    async def _objects(self) -> AsyncIterator[UUID]:
        for path, content in self._before.backups.items():
            if not path.startswith("runs/"):
                continue
            team, run_id = UUID(path.split("/")[1]), UUID(path.rsplit("/", 1)[1][:36])
            for key in self._keys.values():
                if await _any_segment(content, key, team, run_id):
                    yield run_id
                    break

    def _opens(self, sealed: bytes, context: bytes) -> bool:
        for key in self._keys.values():
            try:
                unseal(key, sealed, context)
            except DamagedError:
                continue
            return True
        return False


async def _any_segment(content: bytes, key: SecretKey, team_id: UUID, run_id: UUID) -> bool:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    try:
        async for _ in open_segments(pieces(), key, team_id, run_id):
            return True
    except DamagedError:
        return False
    return False

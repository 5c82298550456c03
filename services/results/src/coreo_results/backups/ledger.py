"""Snapshots of a team's key ledger: their form, and how they are read and checked. No database here.

A snapshot is a signed statement that names pages. A page is a row of records, ordered by run: run (16 bytes), version
of the team's key (4), length (4, big-endian as all), wrapped key. It is named in the statement by its SHA-256.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from coreo_results.keys.material import Sealed
from coreo_results.keys.wrapping import WrappedKey
from coreo_results.stores import NotStoredError, ObjectStore
from coreo_shared.contracts.backups import LEDGER_SNAPSHOT_TYPE, LEDGER_VERSION, LedgerPage, LedgerSnapshot
from coreo_shared.crypto.statements import StatementError, Statements

_NUMBER_DIGITS = 10
_RECORD = 24


class LedgerError(Exception):
    """A snapshot of a key ledger is not whole, or not this team's. The message says where and why."""


@dataclass(frozen=True)
class Ledger:
    """A team's key ledger as a snapshot has it."""

    snapshot: LedgerSnapshot
    keys: dict[UUID, WrappedKey]


def team_folder(team_id: UUID) -> str:
    """Where the team's snapshots and pages lie in the ledger store."""
    return f"teams/{team_id}/"


def snapshot_object(team_id: UUID, number: int) -> str:
    """Where a snapshot lies."""
    return f"{team_folder(team_id)}{number:0{_NUMBER_DIGITS}}.jws"


def page_object(team_id: UUID, number: int, page: int) -> str:
    """Where a page lies that was written with a snapshot."""
    return f"{team_folder(team_id)}pages/{number:0{_NUMBER_DIGITS}}-{page:06}.bin"


def number_of(key: str) -> int:
    """Which snapshot an object of the ledger store was written with. Raises ValueError."""
    return int(key.rsplit("/", 1)[1][:_NUMBER_DIGITS])


async def teams_in(store: ObjectStore) -> list[UUID]:
    """Teams that have anything in the ledger store. Raises LedgerError."""
    teams: set[str] = set()
    async for entry in store.list("teams/"):
        teams.add(entry.key.split("/")[1])
    try:
        return sorted(UUID(team) for team in teams)
    except ValueError:
        raise LedgerError(f"{store.name} holds what is no key ledger") from None


async def snapshot_numbers(store: ObjectStore, team_id: UUID) -> list[int]:
    """The team's snapshots, oldest first."""
    keys = [entry.key async for entry in store.list(team_folder(team_id))]
    return [number_of(key) for key in keys if key.endswith(".jws")]


async def read_snapshot(store: ObjectStore, team_id: UUID, number: int, statements: Statements) -> LedgerSnapshot:
    """Raises LedgerError."""
    where = f"snapshot {number} of the key ledger of team {team_id}"
    try:
        stored = await store.get(snapshot_object(team_id, number))
        snapshot = statements.read(stored, LedgerSnapshot, typ=LEDGER_SNAPSHOT_TYPE)
    except NotStoredError:
        raise LedgerError(f"{where}: it is missing") from None
    except StatementError as error:
        raise LedgerError(f"{where}: {error}") from None
    if snapshot.version != LEDGER_VERSION:
        raise LedgerError(f"{where}: it is of version {snapshot.version}, which this version of Coreo cannot read")
    if (snapshot.team_id, snapshot.number) != (team_id, number):
        raise LedgerError(f"{where}: snapshot {snapshot.number} of team {snapshot.team_id} is in its place")
    return snapshot


async def read_ledger(store: ObjectStore, team_id: UUID, statements: Statements) -> Ledger:
    """The newest snapshot with its keys. Raises LedgerError: an older one is never taken in its place."""
    numbers = await snapshot_numbers(store, team_id)
    if not numbers:
        raise LedgerError(f"there is no snapshot of the key ledger of team {team_id} in {store.name}")
    snapshot = await read_snapshot(store, team_id, numbers[-1], statements)
    keys: dict[UUID, WrappedKey] = {}
    for page in snapshot.pages:
        keys.update(await _read_page(store, snapshot, page))
    if len(keys) != snapshot.keys:
        raise LedgerError(f"snapshot {snapshot.number} of the key ledger of team {team_id}: a key stands twice")
    return Ledger(snapshot, keys)


async def _read_page(store: ObjectStore, snapshot: LedgerSnapshot, page: LedgerPage) -> dict[UUID, WrappedKey]:
    where = f"page {page.page} of snapshot {snapshot.number} of the key ledger of team {snapshot.team_id}"
    try:
        content = await store.get(page.object)
    except NotStoredError:
        raise LedgerError(f"{where}: it is missing") from None
    if hashlib.sha256(content).hexdigest() != page.sha256:
        raise LedgerError(f"{where}: it was changed")
    keys = dict(parse_page(content))
    if len(keys) != page.keys:
        raise LedgerError(f"{where}: it does not hold as many keys as it should")
    return keys


def parse_page(content: bytes) -> Iterator[tuple[UUID, WrappedKey]]:
    """The records of a page, whose hash was checked before."""
    position = 0
    while position < len(content):
        run_id = UUID(bytes=content[position : position + 16])
        version, length = (int.from_bytes(content[position + at : position + at + 4], "big") for at in (16, 20))
        position += _RECORD + length
        yield run_id, WrappedKey(version, Sealed(content[position - length : position]))


def kept(snapshots: list[LedgerSnapshot], newest: int, oldest: datetime) -> list[LedgerSnapshot]:
    """Those to keep: at most so many, none older than that; the newest always."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.number, reverse=True)[:newest]
    return ordered[:1] + [each for each in ordered[1:] if datetime.fromisoformat(each.at) >= oldest]

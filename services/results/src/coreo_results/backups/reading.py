"""Reads a team's backups from the stores alone, and holds log, key ledger and objects against each other.

Nothing here needs a database, so it is the same for a restore after everything else is lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from coreo_results.backups.ledger import Ledger, LedgerError, read_ledger
from coreo_results.backups.log import LogError, LogState, entry_hash, entry_object, run_folder
from coreo_results.backups.service import UNFINISHED, BackupStores
from coreo_results.stores import NotStoredError, ObjectStore, StoredObject
from coreo_shared.contracts.backups import BackedUpRun
from coreo_shared.crypto.statements import Statements

_AHEAD = 16  # entries fetched at once


class BackupsRefusedError(Exception):
    """These backups cannot be relied on; the message says what is wrong with which part of them."""


@dataclass(frozen=True)
class TeamBackups:
    """What a team's log and key ledger agree upon.

    `end`: the newest entry as it is stored in the log, which lacks the one that the snapshot carries when it was broken
    off in between. `unfinished`: objects that are not in the log (yet); `leftover`: those that it has taken out, not
    deleted yet.
    """

    team_id: UUID
    ledger: Ledger
    log: LogState
    end: str | None
    unfinished: list[str]
    leftover: list[str]

    @property
    def runs(self) -> list[BackedUpRun]:
        """Runs that must be there, and that a restore brings back."""
        return [run for run in self.log.runs.values() if run.run_id not in self.log.doomed]


async def read_team(stores: BackupStores, team_id: UUID, statements: Statements) -> TeamBackups:
    """Everything but the objects' content. Raises BackupsRefusedError."""
    try:
        ledger = await read_ledger(stores.ledger, team_id, statements)
        log, end = await _read_log(stores.backups, ledger, statements)
    except (LedgerError, LogError) as error:
        raise BackupsRefusedError(str(error)) from None
    _check_keys(ledger, log)
    listed = {entry.key: entry async for entry in stores.backups.list(run_folder(team_id))}
    unfinished, leftover = _check_objects(log, listed)
    return TeamBackups(team_id, ledger, log, end, unfinished, leftover)


async def _read_log(store: ObjectStore, ledger: Ledger, statements: Statements) -> tuple[LogState, str | None]:
    snapshot = ledger.snapshot
    state = LogState(snapshot.team_id)
    folder = entry_object(snapshot.team_id, 0).rsplit("/", 1)[0] + "/"
    stored = [entry.key async for entry in store.list(folder)]
    newest = None
    async for content in _contents(store, stored):
        if state.seq == snapshot.log_seq:
            raise LogError(
                f"the log of team {state.team_id} goes on behind entry {state.seq}, where the newest snapshot of its "
                "key ledger is: newer snapshots were taken away"
            )
        if stored[state.seq] != entry_object(state.team_id, state.seq + 1):
            raise LogError(f"entry {state.seq + 1} of the log of team {state.team_id}: it is missing")
        state.follow(content, statements)
        newest = content
    if state.seq == snapshot.log_seq - 1 and snapshot.log_entry is not None:
        # The last one was about to be stored: the snapshot carries it.
        state.follow(snapshot.log_entry.encode(), statements)
    elif state.seq != snapshot.log_seq:
        raise LogError(f"entry {state.seq + 1} of the log of team {state.team_id}: it is missing, with all after it")
    elif newest is not None and newest != (snapshot.log_entry or "").encode():
        raise LogError(
            f"entry {state.seq} of the log of team {state.team_id}: the key ledger knows another "
            f"({entry_hash(snapshot.log_entry or '')})"
        )
    return state, None if newest is None else newest.decode()


async def _contents(store: ObjectStore, keys: list[str]) -> AsyncIterator[bytes]:
    """The objects in order, some fetched ahead."""
    ahead: deque[asyncio.Task[bytes]] = deque()
    waiting = iter(keys)
    try:
        while True:
            while len(ahead) < _AHEAD and (key := next(waiting, None)) is not None:
                ahead.append(asyncio.create_task(_get(store, key)))
            if not ahead:
                return
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()


async def _get(store: ObjectStore, key: str) -> bytes:
    try:
        return await store.get(key)
    except NotStoredError:
        raise LogError(f"{key} was there a moment ago, and is missing") from None


def _check_keys(ledger: Ledger, log: LogState) -> None:
    without = log.runs.keys() - ledger.keys.keys() - log.doomed
    if without:
        raise BackupsRefusedError(
            f"the key ledger of team {log.team_id} has no key for {len(without)} runs that are in the log: "
            f"{min(without)}, …"
        )
    beyond = ledger.keys.keys() - log.runs.keys()
    if beyond:
        raise BackupsRefusedError(
            f"the key ledger of team {log.team_id} has keys for {len(beyond)} runs that are not in the log: "
            f"{min(beyond)}, …"
        )


def _check_objects(log: LogState, listed: dict[str, StoredObject]) -> tuple[list[str], list[str]]:
    """(unfinished, leftover). Raises BackupsRefusedError."""
    problems = []
    for run in log.runs.values():
        found = listed.pop(run.object, None)
        if run.run_id in log.doomed:
            continue  # it goes, or has gone
        if found is None:
            problems.append(f"{run.object}: it is missing")
        elif found.size != run.bytes:
            problems.append(f"{run.object}: it has {found.size} bytes in place of {run.bytes}")
    unfinished, leftover = [], []
    for key, entry in listed.items():
        run_id = _run_of(key)
        if run_id in log.excluded or run_id in log.expired:
            leftover.append(key)
        elif log.at is None or entry.modified >= datetime.fromisoformat(log.at) - UNFINISHED:
            unfinished.append(key)
        else:
            problems.append(f"{key}: it is not in the log")
    if problems:
        shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        raise BackupsRefusedError(f"objects of team {log.team_id}: {shown}")
    return unfinished, leftover


def _run_of(key: str) -> UUID | None:
    try:
        return UUID(key.rsplit("/", 1)[1][:36])
    except ValueError:
        return None

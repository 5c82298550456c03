"""Small backups, and all that can be done to a byte, an object or a place of them: found each time, no plaintext.

The stores are copied into memory, changed there, and read as a restore reads them.
"""

import copy
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from coreo_results.backups.format import open_segments
from coreo_results.backups.ledger import snapshot_object
from coreo_results.backups.log import entry_object
from coreo_results.backups.opening import LedgerKeys
from coreo_results.backups.reading import BackupsRefusedError, TeamBackups, read_team
from coreo_results.backups.service import BackupStores
from coreo_results.backups.verification import Verifier
from coreo_results.keys.material import SecretKey
from coreo_results.keys.seal import DamagedError
from coreo_shared.contracts.backups import (
    LEDGER_SNAPSHOT_TYPE,
    LOG_ENTRY_TYPE,
    BackedUpRun,
    LedgerSnapshot,
    LogEntry,
    RunsBackedUp,
)
from coreo_shared.crypto.jose import Signer, generate_key
from coreo_shared.ids import new_id
from coreo_shared.settings import signer_of
from tests.support.backups import Installation, MemoryStore, backups_of, ended
from tests.support.postgres import ServiceDatabase
from tests.support.results import make_finding

CANARY = "canary-51c0de"


@dataclass
class Copies:
    """Two teams with two runs each, a log of three entries and a key ledger of two pages; as often as wanted."""

    verifier: Verifier
    signer: Signer
    backups: MemoryStore
    ledger: MemoryStore
    teams: list[UUID]

    async def read(self, backups: MemoryStore | None = None, ledger: MemoryStore | None = None) -> TeamBackups:
        """The first team, log and key ledger."""
        stores = BackupStores(backups or self.backups, ledger or self.ledger)
        return await read_team(stores, self.teams[0], self.verifier.statements)

    def changed(self, store: MemoryStore, key: str, content: bytes | None) -> MemoryStore:
        """The store with another content under the key, or none."""
        other = MemoryStore(dict(store.objects), dict(store.modified))
        if content is None:
            del other.objects[key]
        else:
            other.objects[key] = content
        return other

    async def refused(self, backups: MemoryStore | None = None, ledger: MemoryStore | None = None) -> str:
        """Why the first team's are refused, whether reading says so or verifying all of them."""
        stores = BackupStores(backups or self.backups, ledger or self.ledger)
        verifier = Verifier(stores, self.verifier.vault, self.verifier.statements)
        try:
            verdicts = [verdict async for verdict in verifier.teams()]
        except BackupsRefusedError as error:
            return str(error)
        problems = "; ".join(problem for verdict in verdicts for problem in verdict.problems)
        assert problems
        assert CANARY not in problems
        return problems


@pytest.fixture
async def copies(results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[Copies]:
    installation = Installation(tmp_path, results_database)
    teams = [new_id(), new_id()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coreo_results.backups.ledger_repository.PAGE_ENTRIES", 2)
        async with installation.serving() as service:
            for team in teams:
                for _ in range(3):
                    await ended(service, team, {"u@global": [make_finding(message=CANARY, evidence={})]})
                    await backups_of(service).cycle(team)
    async with installation.verifier() as verifier:
        backups, ledger = (MemoryStore.of(tmp_path / name) for name in ("backups", "ledger"))
        assert installation.settings.custody_key is not None
        yield Copies(verifier, signer_of(installation.settings.custody_key), backups, ledger, teams)


def wrongs(right: bytes) -> Iterator[bytes]:
    """Every flip of a byte, every truncation, and a byte too many."""
    for position, value in enumerate(right):
        yield right[:position] + bytes([value ^ (1 << position % 8)]) + right[position + 1 :]
    yield from (right[:length] for length in range(len(right)))
    yield right + b"\0"
    yield right + right[-1:]


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100):
        yield content[start : start + 100]


async def opened(
    content: bytes, key: SecretKey, team: UUID, run: UUID, payloads: list[bytes] | None = None
) -> list[bytes]:
    """The payloads; those before an error are in the given list."""
    given = [] if payloads is None else payloads
    async with aclosing(open_segments(pieces(content), key, team, run)) as segments:
        async for _, payload in segments:
            given.append(payload)
    return given


async def test_every_flip_and_cut_of_an_object_is_an_error(copies: Copies) -> None:
    """Of the format alone: not even the hash in the log is looked at."""
    backups = await copies.read()
    run = next(iter(backups.runs))
    key = await LedgerKeys(copies.verifier.vault, backups.ledger).of(run.run_id)
    right, team = copies.backups.objects[run.object], copies.teams[0]
    whole = await opened(right, key, team, run.run_id)
    assert len(whole) == 3
    tried = 0
    for wrong in wrongs(right):
        before: list[bytes] = []
        with pytest.raises(DamagedError) as error:
            await opened(wrong, key, team, run.run_id, before)
        assert before == whole[: len(before)]  # what is given is right, and never all of it
        assert len(before) < len(whole) or wrong.startswith(right)
        assert CANARY not in f"{error.value!r}"
        tried += 1
    assert tried > 3_000


async def test_segments_and_objects_open_in_their_place_alone(copies: Copies) -> None:
    backups = await copies.read()
    keys, team = LedgerKeys(copies.verifier.vault, backups.ledger), copies.teams[0]
    one, other, _ = sorted(backups.runs, key=lambda run: run.ended_at)
    key = await keys.of(one.run_id)
    right, foreign = copies.backups.objects[one.object], copies.backups.objects[other.object]
    head, segments = right[:8], list(split(right))
    assert b"".join([head, *segments]) == right
    wrongs = [
        b"".join([head, segments[1], segments[0], segments[2]]),
        b"".join([head, segments[0], segments[2]]),
        b"".join([head, segments[0], segments[1], segments[1], segments[2]]),
        b"".join([head, segments[0], list(split(foreign))[1], segments[2]]),
        foreign,
        right + segments[1],
    ]
    for wrong in wrongs:
        with pytest.raises(DamagedError):
            await opened(wrong, key, team, one.run_id)
    for place in ((copies.teams[1], one.run_id), (team, other.run_id)):
        with pytest.raises(DamagedError):
            await opened(right, key, *place)
    with pytest.raises(DamagedError):
        await opened(right, await keys.of(other.run_id), team, one.run_id)


def split(content: bytes) -> Iterator[bytes]:
    position = 8
    while position < len(content):
        end = position + 6 + int.from_bytes(content[position + 2 : position + 6], "big")
        yield content[position:end]
        position = end


async def test_every_flip_and_cut_of_the_log_and_the_key_ledger_is_an_error(copies: Copies) -> None:
    await copies.read()
    team, tried = str(copies.teams[0]), 0
    newest = max(key for key in copies.ledger.objects if team in key and key.endswith(".jws"))
    snapshot = (await copies.read()).ledger.snapshot
    used = {newest, *(page.object for page in snapshot.pages)}
    assert len(used) == 3
    for store, name in ((copies.backups, "backups"), (copies.ledger, "ledger")):
        for key in [key for key in store.objects if team in key and (key.startswith("log/") or key in used)]:
            for wrong in wrongs(store.objects[key]):
                with pytest.raises(BackupsRefusedError):
                    await copies.read(**{name: copies.changed(store, key, wrong)})
                tried += 1
    assert tried > 10_000


async def test_what_is_missing_added_or_exchanged_is_found(copies: Copies) -> None:
    one, other = (str(team) for team in copies.teams)
    state = await copies.read()
    log = [f"log/{one}/{seq:010}.jws" for seq in (1, 2, 3)]
    runs: list[BackedUpRun] = sorted(state.runs, key=lambda run: run.ended_at)
    snapshots = sorted(key for key in copies.ledger.objects if one in key and key.endswith(".jws"))
    page = state.ledger.snapshot.pages[-1].object

    flipped = bytearray(copies.backups.objects[runs[0].object])
    flipped[-1] ^= 1

    def without(store: MemoryStore, *keys: str) -> MemoryStore:
        for key in keys:
            store = copies.changed(store, key, None)
        return store

    def exchanged(store: MemoryStore, key: str, with_: str) -> MemoryStore:
        return copies.changed(copies.changed(store, key, store.objects[with_]), with_, store.objects[key])

    def moved(store: MemoryStore) -> MemoryStore:
        """The teams in each other's place."""
        objects = {
            key.replace(one, "x").replace(other, one).replace("x", other): content
            for key, content in store.objects.items()
        }
        return MemoryStore(objects, copy.copy(store.modified))

    cases: list[tuple[str, MemoryStore | None, MemoryStore | None]] = [
        ("entry 1 of the log .*: it is missing", without(copies.backups, log[0]), None),
        ("entry 2 of the log .*: it is missing", without(copies.backups, log[1]), None),
        ("entry 2 of the log .*: it is missing, with all after it", without(copies.backups, *log[1:]), None),
        ("entry 1 of the log .*: it is missing, with all after it", without(copies.backups, *log), None),
        ("entry 2 is in its place", exchanged(copies.backups, log[0], log[1]), None),
        (
            "belongs to team",
            copies.changed(copies.backups, log[1], copies.backups.objects[log[1].replace(one, other)]),
            None,
        ),
        ("it is missing", without(copies.backups, runs[0].object), None),
        ("bytes in place of", exchanged(copies.backups, runs[0].object, runs[2].object), None),
        ("was changed", copies.changed(copies.backups, runs[0].object, bytes(flipped)), None),
        ("newer snapshots were taken away", None, without(copies.ledger, snapshots[-1])),
        ("there is no snapshot", None, without(copies.ledger, *snapshots)),
        ("page .* it is missing", None, without(copies.ledger, page)),
        ("it was changed", None, exchanged(copies.ledger, page, state.ledger.snapshot.pages[0].object)),
        ("is in its place", None, exchanged(copies.ledger, snapshots[-1], snapshots[-2])),
        ("do not belong together", None, without(copies.ledger, *(key for key in copies.ledger.objects if one in key))),
        ("it belongs to team", moved(copies.backups), None),
        ("is in its place", None, moved(copies.ledger)),
    ]
    for expected, backups, ledger in cases:
        said = await copies.refused(backups, ledger)
        assert re.search(expected, said), (expected, said)
    planted = f"runs/{one}/{runs[0].run_id}-000000000000.bin"
    with_old = copies.changed(copies.backups, planted, b"planted")
    with_old.modified[planted] = datetime.now(UTC) - timedelta(days=1)
    assert "it is not in the log" in await copies.refused(with_old)
    fresh = copies.changed(copies.backups, planted, b"of a writer at work")
    assert (await copies.read(fresh)).unfinished == [planted]


async def test_what_another_key_signed_or_what_does_not_agree_is_refused(copies: Copies) -> None:
    """The second needs the custody key: a mistake of ours, or of who has it."""
    state, team = await copies.read(), copies.teams[0]
    snapshot = state.ledger.snapshot
    place = snapshot_object(team, snapshot.number)

    def signed(statement: LedgerSnapshot, signer: Signer = copies.signer) -> MemoryStore:
        return copies.changed(copies.ledger, place, signer.sign(statement, typ=LEDGER_SNAPSHOT_TYPE).encode())

    replace = msgspec.structs.replace
    page = snapshot.pages[-1]
    fewer = replace(snapshot, pages=snapshot.pages[:-1], keys=snapshot.keys - page.keys)
    twice = replace(snapshot, pages=[*snapshot.pages, page], keys=snapshot.keys + page.keys)
    cases = [
        ("none of the given public keys", signed(snapshot, Signer(generate_key()))),
        ("has no key for 2 runs", signed(fewer)),
        ("a key stands twice", signed(twice)),
        (
            "as many keys as it should",
            signed(replace(snapshot, pages=[replace(each, keys=9) for each in snapshot.pages])),
        ),
        ("of version 2", signed(replace(snapshot, version=2))),
        ("newer snapshots were taken away", signed(replace(snapshot, log_seq=2))),
        ("with all after it", signed(replace(snapshot, log_seq=5))),
        ("knows another", signed(replace(snapshot, log_entry="x.y.z"))),
        ("another kind", copies.changed(copies.ledger, place, copies.backups.objects[entry_object(team, 1)])),
    ]
    for expected, ledger in cases:
        assert expected in await copies.refused(ledger=ledger), expected
    entry = copies.verifier.statements.read(copies.backups.objects[entry_object(team, 3)], LogEntry, typ=LOG_ENTRY_TYPE)
    assert isinstance(entry.what, RunsBackedUp)
    for expected, changed in (
        ("none of the given public keys", Signer(generate_key()).sign(entry, typ=LOG_ENTRY_TYPE)),
        (
            "totals are not the sums",
            copies.signer.sign(replace(entry, what=replace(entry.what, findings=9)), typ=LOG_ENTRY_TYPE),
        ),
    ):
        store = copies.changed(copies.backups, entry_object(team, 3), changed.encode())
        assert expected in await copies.refused(store), expected

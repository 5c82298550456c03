"""A small store, and everything that can be done to one byte or to two places of it: an error each time, no plaintext.

Chunks, run keys and team secrets in the database, team keys in the vault; backups have a test of their own.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from coreo_results.chunks.sealing import ChunkPlace, unseal_chunk
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import BACKUP_KEYS, RUN_KEYS, TEAM_SECRETS
from coreo_results.services import Services
from coreo_results.stores import NotStoredError
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, RunClient, make_chunk, make_finding

CANARY = "canary-7f3a91"


@dataclass
class Store:
    """Two teams with two versions of their key each, two runs each, two chunks each."""

    service: ResultsService
    admin: Database
    vault: Path
    runs: list[RunClient]

    @property
    def teams(self) -> list[UUID]:
        return [run.team_id for run in self.runs[::2]]

    @property
    def keys(self) -> Keys:
        wired: Services = self.service.app.state.services
        return wired.keys

    def forget(self) -> None:
        """As a process that has read nothing yet."""
        for cache in (self.keys._team_keys, self.keys._run_keys, self.keys._secrets):
            cache._entries.clear()

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        async with self.admin.transaction() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger, no foreign key
            done = await connection.execute(text(statement), values)
            return list(done.all()) if done.returns_rows else []


@pytest.fixture
async def store(service: ResultsService, results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[Store]:
    runs = []
    wired: Services = service.app.state.services
    for team in (new_id(), new_id()):
        await service.run(team).claimed()
        await wired.turnovers.begin(team)  # so that there are two versions
        for _ in range(2):
            run = service.run(team)
            fence = await run.claimed()
            for index in range(2):
                finding = make_finding(index, message=CANARY, evidence={}, resource_arn=None)
                await run.stored(make_chunk(fence, [finding], unit="u@global", index=index, final=index == 1))
            wish = {"resource": "bucket-9", "reason": CANARY, "author": "ann"}
            assert (await service.call("POST", "/suppressions", run.team_token, wish)).status_code == 200
            runs.append(run)
    admin = Database(results_database.url("postgres"), pool_size=1)
    yield Store(service, admin, tmp_path / "vault", runs)
    await admin.close()


def wrongs(right: bytes) -> Iterator[bytes]:
    """Every flip of a byte, every truncation, and a byte too many."""
    for position, value in enumerate(right):
        for mask in (0x01, 0xFF):
            yield right[:position] + bytes([value ^ mask]) + right[position + 1 :]
    yield from (right[:length] for length in range(len(right)))
    yield right + b"\0"


async def test_every_flip_and_cut_of_all_that_is_sealed_in_the_database_is_an_error(store: Store) -> None:
    """Each of them as it is unsealed when it is read; that reading is what the next test does for one of each kind."""
    tried = 0

    def check(right: bytes, unseal: Callable[[bytes], object]) -> None:
        nonlocal tried
        assert unseal(right)
        for wrong in wrongs(right):
            with pytest.raises(DamagedError) as error:
                unseal(wrong)
            assert CANARY not in f"{error.value!r} {error.value.__cause__!r} {error.value.__context__!r}"
            tried += 1

    for row in await store.sql("SELECT * FROM chunks"):
        key = await store.keys.run_key(row.team_id, row.run_id)
        place = ChunkPlace(row.team_id, row.run_id, row.unit, row.chunk_index, row.final)
        check(row.sealed, partial(unseal_chunk, place, key=key))
    for wrapping in (RUN_KEYS, TEAM_SECRETS):
        for row in await store.sql(f"SELECT *, {wrapping.id_column} AS which FROM {wrapping.table}"):
            team = await store.keys.team_key(row.team_id, row.team_key_version)
            check(row.wrapped, partial(wrapping.unwrap, team, row.team_id, row.which))
    team = await store.keys.newest_team_key(store.teams[0])
    backup = store.keys.new_backup_key(store.teams[0], store.runs[0].run_id, team)
    check(backup.wrapped.wrapped, partial(BACKUP_KEYS.unwrap, team, store.teams[0], store.runs[0].run_id))
    assert tried > 8_000


async def test_every_flip_and_cut_of_a_key_in_the_vault_is_an_error(store: Store) -> None:
    holder = Holder()
    vault = Vault(holder, store.keys._vault.roots)  # type: ignore[arg-type]  # as much of a store as reading takes
    for path in sorted((store.vault / "teams").rglob("*.key")):
        team, version, right = UUID(path.parts[-3]), int(path.parts[-2]), path.read_bytes()
        holder.held = {str(path.relative_to(store.vault)): right}
        assert await vault.load(team, version)
        for wrong in wrongs(right):
            holder.held = {str(path.relative_to(store.vault)): wrong}
            with pytest.raises(DamagedError):
                await vault.load(team, version)


class Holder:
    """As much of an ObjectStore as reading a key takes, without a disk."""

    name = "holder"

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes:
        if key not in self.held:
            raise NotStoredError(key)
        return self.held[key]


async def test_a_flip_in_each_kind_of_place_reaches_the_reader_as_an_error(store: Store) -> None:
    run, other = store.runs[0], store.runs[3]
    right = (await run.findings()).json()
    for place in ("chunks SET sealed", "run_keys SET wrapped", "team_secrets SET wrapped"):
        table, _, column = place.split()
        where = f"WHERE team_id = '{run.team_id}'" + (" AND name = 'tags'" if table == "team_secrets" else "")
        flip = f"UPDATE {place} = set_byte({column}, 80, get_byte({column}, 80) # 1) {where}"
        await store.sql(flip)
        store.forget()
        for answer in (await run.findings(), await run.findings(resource="bucket-0")):
            assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")
            assert CANARY not in answer.text
        assert (await other.findings()).status_code == 200
        await store.sql(flip)
        store.forget()
        assert (await run.findings()).json() == right


async def test_every_swap_between_places_runs_and_teams_is_an_error(store: Store) -> None:
    """Through the API, as a reader gets it. What does not depend on what was swapped can still be read."""
    expected = {run.run_id: (await run.findings()).json() for run in store.runs}
    assert all(CANARY in str(page) for page in expected.values())
    of_team = {team: {run.run_id for run in store.runs if run.team_id == team} for team in store.teams}

    async def check(broken: set[UUID]) -> None:
        store.forget()
        whole = [run for run in store.runs if run.run_id not in broken]
        for run in [run for run in store.runs if run.run_id in broken] + whole[:1]:
            answer = await run.findings()
            if run.run_id in broken:
                assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged"), answer.text
                assert CANARY not in answer.text
            else:
                assert answer.json() == expected[run.run_id]

    swaps = 0
    for table, column, key in (
        ("chunks", "sealed", "(run_id, chunk_index)"),
        ("run_keys", "wrapped", "run_id"),
        ("team_secrets", "wrapped", "(team_id, name)"),
    ):
        rows = await store.sql(f"SELECT {key}::text AS key, {column} AS sealed, to_jsonb(t) AS row FROM {table} t")
        needing = {row.key: _needing(row.row, of_team) for row in rows}
        rows = [row for row in rows if needing[row.key]]
        for one, two in combinations(rows, 2):
            for target, source in ((one, two), (two, one)):
                await store.sql(
                    f"UPDATE {table} SET {column} = :sealed WHERE {key}::text = :key",
                    sealed=source.sealed,
                    key=target.key,
                )
            await check(needing[one.key] | needing[two.key])
            for row in (one, two):
                await store.sql(
                    f"UPDATE {table} SET {column} = :sealed WHERE {key}::text = :key", sealed=row.sealed, key=row.key
                )
            swaps += 1
    paths = sorted((store.vault / "teams").rglob("*.key"))
    contents = {path: path.read_bytes() for path in paths}
    for one, two in combinations(paths, 2):
        one.write_bytes(contents[two])
        two.write_bytes(contents[one])
        await check({run for path in (one, two) for run in of_team[UUID(path.parts[-3])]})
        for path in (one, two):
            path.write_bytes(contents[path])
        swaps += 1
    await check(set())
    assert swaps == 8 * 7 // 2 + 3 * (4 * 3 // 2)


def _needing(row: dict[str, str], of_team: dict[UUID, set[UUID]]) -> set[UUID]:
    """Which of the store's runs cannot be read without this row."""
    runs = of_team[UUID(row["team_id"])]
    return runs & {UUID(row["run_id"])} if "run_id" in row else runs

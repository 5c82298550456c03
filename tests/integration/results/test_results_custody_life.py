"""Custody as a whole: whatever is done in any order, with processes that die in between, what was excluded or deleted
never comes back, and everything else comes back as it was."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test

from coreo_results.auth import Actor
from coreo_results.backups.comparison import Side, compare_team
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import open_vault
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.attacker import Copies
from tests.support.backups import Installation, rows
from tests.support.crashes import Crash, Crasher
from tests.support.exclusions import Custodians, Place
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import RunClient, make_chunk, make_finding

T = TypeVar("T")
_SECONDS = 120.0  # longer than anything takes on a machine that is busy
# Where a process dies: at this transaction or change of a store, before or after its effect; None: it lives.
CRASHES = st.none() | st.tuples(st.integers(1, 30), st.booleans())


@dataclass
class Known:
    """What must be true of a run."""

    client: RunClient
    fence: int
    units: int = 1
    has_ended: bool = False
    is_deleted: bool = False
    is_excluded: bool = False


@dataclass
class World:
    """An installation and its service, from outside of whose event loop things are done."""

    place: Place
    databases: Databases
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What it gives."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_SECONDS)

    @asynccontextmanager
    async def process(self, crash: tuple[int, bool] | None) -> AsyncIterator[Custodians]:
        """Another process of the service, that dies where it is said; whoever does something with it never notices."""
        crasher = Crasher() if crash is None else Crasher(crash[0], after=crash[1])
        try:
            async with self.place.process(crasher) as parts:
                yield parts
        except Crash:
            pass


class CustodyMachine(RuleBasedStateMachine):
    """One team."""

    runs = Bundle("runs")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.team = new_id()
        self.known: dict[UUID, Known] = {}
        self.number = 0
        self.copies: list[tuple[Copies, set[UUID]]] = []  # with the runs that were excluded before

    @rule(target=runs)
    def start(self) -> UUID:
        """A run with a unit."""
        self.number += 1
        return self.world.do(self._start())

    async def _start(self) -> UUID:
        run = self.world.place.service.run(self.team)
        fence = await run.claimed()
        await run.stored(make_chunk(fence, [make_finding(self.number)], unit="u0@global"))
        self.known[run.run_id] = Known(run, fence)
        return run.run_id

    @rule(run=runs, findings=st.integers(0, 3))
    def ingest(self, run: UUID, findings: int) -> None:
        """Another unit."""
        known = self.known[run]
        chunk = make_chunk(
            known.fence, [make_finding(1000 + n) for n in range(findings)], unit=f"u{known.units}@global"
        )
        status = self.world.do(known.client.put(chunk)).status_code
        assert status == (409 if known.has_ended else 204)
        known.units += not known.has_ended

    @rule(run=runs)
    def finish(self, run: UUID) -> None:
        """The run's end."""
        known = self.known[run]
        body = {"fence": known.fence, "outcome": "completed", "units_total": known.units}
        status = self.world.do(known.client.say("finish", body)).status_code
        assert status == 200  # also when it is said again
        known.has_ended = True

    @rule(run=runs, crash=CRASHES)
    def delete(self, run: UUID, crash: tuple[int, bool] | None) -> None:
        """What can be read of it."""
        if self.known[run].has_ended:
            self.world.do(self._delete(run, crash))

    async def _delete(self, run: UUID, crash: tuple[int, bool] | None) -> None:
        async with self.world.process(crash) as parts:
            await parts.retention.delete_run(self.team, run, Actor(None, "ann"))
        found = await rows(self.world.place.database, "SELECT purged_at IS NOT NULL FROM runs WHERE run_id = $1", run)
        assert found == [(True,)] or crash is not None
        self.known[run].is_deleted |= found == [(True,)]

    @rule(run=consumes(runs), delete=st.booleans())
    def exclude(self, run: UUID, delete: bool) -> None:  # noqa: FBT001  hypothesis calls it by name
        """Asked for; it is done when the worker comes."""
        if not self.copies:
            self.copy()
        known = self.known[run]
        display = "delete" if delete and known.has_ended else "keep"
        self.world.do(self.world.place.exclude(self.team, "run", run, display=display))
        known.is_excluded = True
        known.is_deleted |= display == "delete"  # at the end, at least

    @rule(crash=CRASHES)
    def work_on_exclusions(self, crash: tuple[int, bool] | None) -> None:
        """The worker's round."""

        async def work() -> None:
            async with self.world.process(crash) as parts:
                await parts.worker.work(self.team)

        self.world.do(work())

    @rule(crash=CRASHES)
    def back_up(self, crash: tuple[int, bool] | None) -> None:
        """The keeper's round."""

        async def work() -> None:
            async with self.world.process(crash) as parts:
                await parts.backups.cycle(self.team, wait=True)

        self.world.do(work())

    @rule(crash=CRASHES)
    def rotate(self, crash: tuple[int, bool] | None) -> None:
        """A turnover of the team's key."""

        async def work() -> None:
            async with self.world.process(crash) as parts:
                await parts.turnovers.run(self.team)

        if self.known:
            self.world.do(work())

    @rule()
    def copy(self) -> None:
        """Somebody takes everything away."""
        if len(self.copies) < 2:
            excluded = {run for run, known in self.known.items() if known.is_excluded}
            self.copies.append((self.world.do(self.world.place.copies()), excluded))

    @rule()
    def restore(self) -> None:
        """Into an empty database, in the middle of all this."""
        self.world.do(self._restore(is_whole=False))

    def teardown(self) -> None:
        """Everything that is under way comes to its end; then all is looked at."""
        if self.known:
            self.world.do(self._settle())

    async def _settle(self) -> None:
        async with self.world.process(None) as parts:
            await parts.turnovers.finish(self.team)
            assert await parts.worker.work(self.team)
            cycle = await parts.backups.cycle(self.team, wait=True)
            assert (cycle.is_done, cycle.failed) == (True, {})
        for known in self.known.values():
            await self._check_live(known)
        await self._restore(is_whole=True)
        for copy, before in self.copies:
            readable = {run for _, run in await self.world.place.readable(copy)}
            for run, known in self.known.items():
                if known.is_excluded and run not in before:
                    assert run not in readable

    async def _check_live(self, known: Known) -> None:
        answer = await known.client.findings(limit=100)
        if known.is_deleted:
            assert answer.status_code == 410
        else:
            assert answer.status_code == 200, answer.text

    async def _restore(self, *, is_whole: bool) -> None:
        place = self.world.place
        if not [key for key in place.installation.files("ledger") if str(self.team) in key]:
            return  # nothing was ever backed up
        with self.world.databases.empty("coreo_results") as empty:
            await place.installation.restore(empty, only=self.team)
            await self._check_restored(empty, is_whole=is_whole)

    async def _check_restored(self, empty: ServiceDatabase, *, is_whole: bool) -> None:
        found = dict(await rows(empty, "SELECT run_id, purged_at IS NULL FROM runs WHERE team_id = $1", self.team))
        told = {run for (run,) in await rows(self.world.place.database, _TOLD, self.team)}
        for run, known in self.known.items():
            assert run not in told or run not in found  # excluded, as the log says
            if not is_whole:
                continue
            assert not (known.is_excluded and run in found)
            assert not (known.is_deleted and found.get(run, False))
            if known.has_ended and not known.is_excluded and not known.is_deleted:
                assert found.get(run) is True
        conf = self.world.place.installation.settings
        live, restored = Database(conf.database_url.get_secret_value()), Database(empty.url("coreo_results"))
        try:
            async with open_root_keys(conf.root_key) as roots, open_vault(conf.vault, roots) as vault:
                sides = [Side(database, Keys(database, vault)) for database in (live, restored)]
                compared = await compare_team(self.team, *sides)
                assert compared.differences == []
        finally:
            await live.close()
            await restored.close()


_TOLD = "SELECT run_id FROM exclusion_runs WHERE team_id = $1 AND log_seq IS NOT NULL"


async def test_whatever_is_done_in_any_order(
    databases: Databases, results_database: ServiceDatabase, tmp_path: Path
) -> None:
    installation = Installation(tmp_path, results_database)
    async with installation.serving(sweep_seconds=3600, retention_seconds=3600) as service:
        service.app.state.services.exclusion_keeper.wake = lambda: None
        world = World(Place(service, installation, results_database), databases, asyncio.get_running_loop())
        bounds = settings(
            max_examples=6,
            stateful_step_count=16,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        # In a thread, as rules are no coroutines; what they do runs here.
        await asyncio.to_thread(lambda: run_state_machine_as_test(lambda: CustodyMachine(world), settings=bounds))  # type: ignore[arg-type]  # a factory will do

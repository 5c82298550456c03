"""What the commands of `backups.commands` do."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from coreo_results.backups import drill
from coreo_results.backups.comparison import Side
from coreo_results.backups.keeper import due_teams
from coreo_results.backups.reading import read_team
from coreo_results.backups.report import cycle_line, drill_text, restore_text, run_line, team_line, verdict_line
from coreo_results.backups.restorer import Restorer, Target
from coreo_results.backups.verification import Verifier
from coreo_results.backups.wiring import custodian_of, open_stores
from coreo_results.commands import finish, load
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.vault import open_vault
from coreo_results.migrate import migrate
from coreo_results.opening import open_for_command
from coreo_results.settings import DrillSettings, KeySettings, StoreSettings
from coreo_results.stores import StoreSetupError
from coreo_shared.db import Database


def run(arguments: argparse.Namespace) -> None:
    """Runs the command and exits."""
    finish(_COMMANDS[getattr(arguments, "backups_command", None)](arguments))


async def _run(arguments: argparse.Namespace) -> bool:
    is_good = True
    async with open_for_command(load(KeySettings)) as custody:
        if custody.backups is None:
            raise _no_backups()
        async with custody.system_database.transaction() as connection:
            teams = await due_teams(connection)
        for team_id in teams if arguments.team is None else [arguments.team]:
            cycle = await custody.backups.cycle(team_id, wait=True)
            _say(cycle_line(team_id, cycle))
            for run_id, problem in cycle.failed.items():
                _say(f"  run {run_id}: {problem}")
            is_good = is_good and not cycle.failed
        if not teams and arguments.team is None:
            _say("nothing was due")
    return is_good


async def _list(arguments: argparse.Namespace) -> bool:
    async with _verifier(thorough=False) as verifier:
        for team_id in await verifier.team_ids(arguments.team):
            backups = await read_team(verifier.stores, team_id, verifier.statements)
            _say(team_line(backups))
            for each in sorted(backups.runs, key=lambda run: (run.ended_at, run.run_id)) if arguments.runs else ():
                _say(run_line(each))
    return True


async def _verify(arguments: argparse.Namespace) -> bool:
    is_good, teams = True, 0
    async with _verifier(thorough=arguments.all) as verifier:
        async for verdict in verifier.teams(arguments.team):
            teams += 1
            is_good = is_good and verdict.is_good
            _say(verdict_line(verdict))
            for problem in verdict.problems:
                _say(f"  {problem}")
    _say(f"{teams} teams: all is good" if is_good else f"{teams} teams: these backups cannot be restored as they are")
    return is_good


async def _restore(arguments: argparse.Namespace) -> bool:
    settings = load(KeySettings)
    async with _verifier(thorough=arguments.all) as verifier, _databases(settings) as target:
        restorer = Restorer(verifier.stores, verifier.vault, verifier.statements, target, _say)
        report = await restorer.run(only=arguments.team, thorough=arguments.all, with_expired=arguments.with_expired)
    _say(restore_text(report))
    return True


async def _drill(arguments: argparse.Namespace) -> bool:
    settings = load(DrillSettings)
    owner = drill.scratch_url(settings.migration_database_url.get_secret_value(), arguments.database)
    await asyncio.to_thread(migrate, owner)
    await drill.empty(owner)
    try:
        async with (
            _verifier(thorough=True) as verifier,
            open_for_command(settings) as live,
            _databases(settings, arguments.database) as scratch,
        ):
            restorer = Restorer(verifier.stores, verifier.vault, verifier.statements, scratch, _say)
            report = await drill.drill(restorer, Side(live.database, live.keys), only=arguments.team)
    finally:
        if not arguments.keep:
            await drill.empty(owner)
    _say(drill_text(report))
    return report.is_good


_COMMANDS: Mapping[str | None, Callable[[argparse.Namespace], Coroutine[Any, Any, bool]]] = MappingProxyType(
    {"run": _run, "list": _list, "verify": _verify, "drill": _drill, None: _restore}
)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _no_backups() -> StoreSetupError:
    return StoreSetupError("COREO_BACKUP_STORE is none: this installation has no backups")


@asynccontextmanager
async def _databases(settings: KeySettings, name: str | None = None) -> AsyncIterator[Target]:
    urls = [url.get_secret_value() for url in (settings.database_url, settings.system_database_url)]
    database, system_database = (Database(url if name is None else drill.scratch_url(url, name)) for url in urls)
    try:
        yield Target(database, system_database)
    finally:
        await system_database.close()
        await database.close()


@asynccontextmanager
async def _verifier(*, thorough: bool) -> AsyncIterator[Verifier]:
    settings = load(StoreSettings)
    async with (
        open_stores(settings) as stores,
        open_root_keys(settings.root_key, settings.other_root_keys) as roots,
        open_vault(settings.vault, roots) as vault,
    ):
        if stores is None:
            raise _no_backups()
        yield Verifier(stores, vault, custodian_of(settings).statements, thorough)

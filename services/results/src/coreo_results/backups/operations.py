"""What the commands of `backups.commands` do.

What they say goes to standard output, their log to standard error. Exit status 1: something is wrong with the backups;
2: with the settings.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from coreo_results.backups import drill
from coreo_results.backups.comparison import Side
from coreo_results.backups.journal import LogAheadError
from coreo_results.backups.keeper import due_teams
from coreo_results.backups.reading import BackupsRefusedError, read_team
from coreo_results.backups.report import cycle_line, drill_text, restore_text, team_line, verdict_line
from coreo_results.backups.restorer import Restorer, Target
from coreo_results.backups.verification import Verifier
from coreo_results.backups.wiring import custody_of, open_backups, open_stores
from coreo_results.keys.errors import RootKeyError
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import VaultError, open_vault
from coreo_results.life.service import Life
from coreo_results.migrate import migrate
from coreo_results.settings import DrillSettings, KeySettings, StoreSettings
from coreo_results.stores import StoreSetupError
from coreo_shared.db import Database
from coreo_shared.observability.logs import configure_logging
from coreo_shared.settings import load_settings
from coreo_shared.web import Problem

S = TypeVar("S", bound=StoreSettings)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command and exits."""
    work = _COMMANDS[getattr(arguments, "backups_command", None)]
    try:
        is_good = asyncio.run(work(arguments))
    except (RootKeyError, VaultError, StoreSetupError, drill.ScratchError) as error:
        _end(str(error), 2)
    except (BackupsRefusedError, LogAheadError, DamagedError, Problem) as error:
        _end(str(error), 1)
    except (SQLAlchemyError, OSError) as error:
        _end(f"the database cannot be used: {error}", 1)
    sys.exit(0 if is_good else 1)


async def _run(arguments: argparse.Namespace) -> bool:
    settings, is_good = _settings(KeySettings), True
    async with (
        _databases(settings) as target,
        _keys(settings, target) as keys,
        open_backups(settings, target.database, keys, Life(target.database, keys)) as backups,
    ):
        if backups is None:
            raise _no_backups()
        async with target.system_database.transaction() as connection:
            teams = await due_teams(connection)
        for team_id in teams if arguments.team is None else [arguments.team]:
            cycle = await backups.cycle(team_id, wait=True)
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
            for run_ in sorted(backups.runs, key=lambda run_: (run_.ended_at, run_.run_id)) if arguments.runs else ():
                _say(
                    f"  run {run_.run_id}: ended {run_.ended_at}, {run_.findings} findings, {run_.bytes} bytes, "
                    f"kept until {run_.expires_at}"
                )
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
    settings = _settings(KeySettings)
    async with _verifier(thorough=arguments.all) as verifier, _databases(settings) as target:
        restorer = Restorer(verifier.stores, verifier.vault, verifier.statements, target, _say)
        report = await restorer.run(only=arguments.team, thorough=arguments.all, with_expired=arguments.with_expired)
    _say(restore_text(report))
    return True


async def _drill(arguments: argparse.Namespace) -> bool:
    settings = _settings(DrillSettings)
    owner = drill.scratch_url(settings.migration_database_url.get_secret_value(), arguments.database)
    await asyncio.to_thread(migrate, owner)
    await drill.empty(owner)
    try:
        async with (
            _verifier(thorough=True) as verifier,
            _databases(settings) as live,
            _databases(settings, arguments.database) as scratch,
            _keys(settings, live) as keys,
        ):
            restorer = Restorer(verifier.stores, verifier.vault, verifier.statements, scratch, _say)
            report = await drill.drill(restorer, Side(live.database, keys), only=arguments.team)
    finally:
        if not arguments.keep:
            await drill.empty(owner)
    _say(drill_text(report))
    return report.is_good


_COMMANDS: Mapping[str | None, Callable[[argparse.Namespace], Coroutine[Any, Any, bool]]] = MappingProxyType(
    {"run": _run, "list": _list, "verify": _verify, "drill": _drill, None: _restore}
)


def _end(problem: str, status: int) -> NoReturn:
    print(f"coreo-results: {problem}", file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _settings(kind: type[S]) -> S:
    settings = load_settings(kind)
    configure_logging("results", settings.log_level)
    return settings


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
async def _keys(settings: KeySettings, target: Target) -> AsyncIterator[Keys]:
    async with (
        open_root_keys(settings.root_key, settings.other_root_keys) as roots,
        open_vault(settings.vault, roots) as vault,
    ):
        yield Keys(target.database, vault)


@asynccontextmanager
async def _verifier(*, thorough: bool) -> AsyncIterator[Verifier]:
    settings = _settings(StoreSettings)
    async with (
        open_stores(settings) as stores,
        open_root_keys(settings.root_key, settings.other_root_keys) as roots,
        open_vault(settings.vault, roots) as vault,
    ):
        if stores is None:
            raise _no_backups()
        yield Verifier(stores, vault, custody_of(settings).statements, thorough)

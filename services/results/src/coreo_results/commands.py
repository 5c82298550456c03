"""What the operators' commands have in common: settings, and how errors end them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError

from coreo_results.backups.drill import ScratchError
from coreo_results.backups.journal import LogAheadError
from coreo_results.backups.reading import BackupsRefusedError
from coreo_results.keys.errors import RootKeyError
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.vault import VaultError
from coreo_results.opening import Custody, open_for_command
from coreo_results.settings import KeySettings
from coreo_results.stores import StoreSetupError
from coreo_shared.heap import settle
from coreo_shared.observability.logs import configure_logging
from coreo_shared.settings import ServiceSettings, load_settings
from coreo_shared.web import Problem

S = TypeVar("S", bound=ServiceSettings)


def run_command(work: Callable[[Custody], Awaitable[bool]]) -> None:
    """Runs the work on what the settings name, and exits as `finish` does."""
    settings = load(KeySettings)

    async def opened() -> bool:
        async with open_for_command(settings) as custody:
            return await work(custody)

    finish(opened())


def load(kind: type[S]) -> S:
    """The command's settings, and its log on standard error."""
    settings = load_settings(kind)
    configure_logging("results", settings.log_level)
    return settings


def finish(work: Coroutine[Any, Any, bool]) -> NoReturn:
    """Does the work and exits: status 0 for True, 1 for False and errors, 2 for settings.

    What the work says goes to standard output, logs and errors to standard error.
    """
    settle()
    try:
        is_well = asyncio.run(work)
    except (RootKeyError, VaultError, StoreSetupError, ScratchError) as error:
        say_error(error)
        sys.exit(2)
    except (Problem, DamagedError, CommandError, BackupsRefusedError, LogAheadError) as error:
        sys.exit(say_error(error))
    except (DBAPIError, asyncpg.PostgresError, OSError) as error:
        sys.exit(say_error(f"the database cannot be used ({type(error).__name__})"))
    sys.exit(0 if is_well else 1)


class CommandError(Exception):
    """The command cannot do what was asked; the message says why."""


def say_error(what: object) -> int:
    """Says what is wrong; gives the exit status."""
    print(f"coreo-results: {what}", file=sys.stderr)  # noqa: T201  the command's answer
    return 1

"""Follows what a worker does about a cloud account (verify, bootstrap, discover) until it has ended, by asking again.

Each such task is an entry of the account's history.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.text import Text

from coreo_cli.client import Client
from coreo_cli.errors import EXIT_INTERRUPTED, CliError
from coreo_cli.output import console, note
from coreo_cli.text import Json, plain
from coreo_cli.watch import Patience, Report, Trouble, Wait

_FIRST_PAUSE: Final = 0.3
_LONGEST_PAUSE: Final = 3.0
_NEWEST: Final = 20
_DOING: Final = {
    "verify": "Verifying {}",
    "confirm": "Trying the next external id of {}",
    "bootstrap": "Making the role in {}",
    "discover": "Listing the organization of {}",
}
_STATES: Final = {"QUEUED": "waiting for a worker", "CLAIMED": "a worker has it", "RUNNING": "a worker has it"}

Say = Callable[[str], None]


def history_path(account: Json) -> str:
    """Where the account's history is."""
    return f"/v1/cloud-accounts/{account['id']}/history"


def is_over(entry: Json) -> bool:
    """Whether the task has ended."""
    return entry["ended_at"] is not None


def newest_verification(client: Client, account: Json) -> Json | None:
    """The newest verification in the account's history, at work or over; None where there is none lately."""
    entries = client.items(history_path(account), limit=_NEWEST)
    return next((entry for entry in entries if entry["kind"] == "verify"), None)


def follow(
    client: Client,
    account: Json,
    entry: Json,
    *,
    wait: Wait | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Json:
    """The task's entry when it has ended. Raises CliError, or typer.Exit after Ctrl-C: the task goes on."""
    doing = _DOING.get(entry["kind"], "At work in {}").format(plain(account["name"]))
    try:
        with _showing(doing) as say:
            return _until_over(client, f"{history_path(account)}/{entry['id']}", entry, say, wait, clock)
    except KeyboardInterrupt:
        note("")
        note(f"You no longer watch; the work goes on. See how it ends: coreo account show {account['id']}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except CliError as error:
        error.lines = (*error.lines, f"The watching ended; the work goes on: coreo account show {account['id']}")
        raise


def _until_over(
    client: Client, path: str, entry: Json, say: Say, wait: Wait | None, clock: Callable[[], float]
) -> Json:
    patience = Patience(_trouble_to(say), wait or threading.Event().wait, clock)
    pause = _FIRST_PAUSE
    while not is_over(entry):
        try:
            entry = client.get(path)
        except CliError as error:
            patience.failed(error)
        else:
            patience.answered()
            say(_STATES.get(str(entry["state"]), ""))
        if not is_over(entry):
            patience.pause(pause)
            pause = min(pause * 1.2, _LONGEST_PAUSE)
    return entry


def _trouble_to(say: Say) -> Callable[[Report], None]:
    def report(each: Report) -> None:
        if isinstance(each, Trouble) and each.problem:
            say(f"{each.problem} Trying again …")

    return report


@contextmanager
def _showing(doing: str) -> Iterator[Say]:
    """Takes words on how the task stands: beside a spinner on a terminal, elsewhere a line for each change."""
    out = console(stderr=True)
    if out.is_terminal and not out.is_dumb_terminal:
        with out.status(Text(f"{doing} …")) as status:
            yield lambda words: status.update(Text(plain(f"{doing}: {words} …" if words else f"{doing} …")))
        return
    last = ""

    def say(words: str) -> None:
        nonlocal last
        if words and words != last:
            note(f"{doing}: {words}")
            last = words

    yield say

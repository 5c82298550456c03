"""Follows runs until they end: their event streams where those get through, asking again and again where not.

Each followed run has a thread; all report into one queue, which the command reads. The runs of a large group are asked
for together instead.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from coreo_cli.client import Client
from coreo_cli.errors import ApiError, CliError, UnreachableError
from coreo_cli.outcome import is_final
from coreo_cli.session import query
from coreo_cli.text import Json

MAX_STREAMS: Final = 16
_RECONNECT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 2.0
_LONGEST_WAIT: Final = 15.0
_GIVE_UP_SECONDS: Final = 300.0

Wait = Callable[[float], bool]  # passes so many seconds; True when the watching shall end


@dataclass(frozen=True)
class RunSeen:
    """A run as it now stands."""

    run: Json


@dataclass(frozen=True)
class StackSeen:
    """What CloudFormation said while a deploy run changed its stack; each event once, oldest first."""

    run_id: str
    event: Json


@dataclass(frozen=True)
class Trouble:
    """Nobody answers just now; None: all is well again."""

    problem: str | None


@dataclass(frozen=True)
class WatchFailed:
    """The watching cannot go on."""

    error: CliError


Report = RunSeen | StackSeen | Trouble | WatchFailed
HasEnded = Callable[[Json], bool]


@contextmanager
def watching(client: Client, runs: Sequence[Json], has_ended: HasEnded = is_final) -> Iterator[Iterator[Report]]:
    """Reports on runs (of one group, when there are many) until all have ended. Leaving the block ends the watching.

    `has_ended`: which runs are not followed further; all that are final, at least.
    """
    stop = threading.Event()
    reports: SimpleQueue[Report] = SimpleQueue()
    open_runs = [run for run in runs if not has_ended(run)]
    if len(open_runs) <= MAX_STREAMS:
        each = [RunFollower(client, run, reports.put, stop.wait, has_ended=has_ended) for run in open_runs]
        followers = [follower.follow for follower in each]
    else:
        followers = [GroupFollower(client, open_runs, reports.put, stop.wait, has_ended=has_ended).follow]
    for follow in followers:
        # Daemons: one may sit in a read when the user stops watching, and must not hold up the exit.
        threading.Thread(target=_guarded, args=(follow, reports.put), daemon=True).start()
    try:
        yield _until_all_ended(reports, {run["id"] for run in open_runs}, has_ended)
    finally:
        stop.set()


def _until_all_ended(reports: "SimpleQueue[Report]", open_ids: set[str], has_ended: HasEnded) -> Iterator[Report]:
    while open_ids:
        report = reports.get()
        if isinstance(report, RunSeen) and has_ended(report.run):
            open_ids.discard(report.run["id"])
        yield report
        if isinstance(report, WatchFailed):
            return


def _guarded(follow: Callable[[], None], report: Callable[[Report], None]) -> None:
    try:
        follow()
    except CliError as error:
        report(WatchFailed(error))
    except BaseException as error:  # the command waits for this thread: it must hear of its end
        report(WatchFailed(CliError(f"The watching broke off: {type(error).__name__}.")))
        raise


class Patience:
    """Waits longer after each failure in a row, and ends the watching after five minutes without an answer."""

    def __init__(self, report: Callable[[Report], None], wait: Wait, clock: Callable[[], float]) -> None:
        self._report = report
        self._wait = wait
        self._clock = clock
        self._failures = 0
        self._since = clock()
        self._troubled = False

    def answered(self) -> None:
        """The api has answered."""
        self._failures, self._since = 0, self._clock()
        if self._troubled:
            self._troubled = False
            self._report(Trouble(None))

    def failed(self, error: CliError) -> None:
        """Raises the error when waiting does not help, or no longer."""
        passing = isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.is_passing)
        if not passing or self._clock() - self._since > _GIVE_UP_SECONDS:
            raise error
        self._failures += 1
        self._troubled = True
        self._report(Trouble(error.problem))

    def pause(self, seconds: float) -> bool:
        """Waits before the next try, longer after failures; True when the watching shall end."""
        return self._wait(min(seconds * 2 ** min(self._failures, 10), _LONGEST_WAIT))


class RunFollower:
    """Follows one run by its event stream. Each event is the run as it stands, so what is missed is not lost."""

    def __init__(
        self,
        client: Client,
        run: Json,
        report: Callable[[Report], None],
        wait: Wait,
        clock: Callable[[], float] = time.monotonic,
        *,
        has_ended: HasEnded = is_final,
    ) -> None:
        self._client = client
        self._has_ended = has_ended
        self._stack_events = 0  # how many were seen
        self._id = str(run["id"])
        self._report = report
        self._patience = Patience(report, wait, clock)
        self._last_event_id: str | None = None
        self._streams_get_through = True
        self._ended = False

    def follow(self) -> None:
        """Returns when the run has ended or the watching shall end. Raises CliError when it cannot go on."""
        while not self._ended:
            if self._streams_get_through:
                self._stream()
            if not self._ended:
                self._ask()
            seconds = _RECONNECT_SECONDS if self._streams_get_through else _POLL_SECONDS
            if not self._ended and self._patience.pause(seconds):
                return

    def _stream(self) -> None:
        seen = False
        try:
            with self._client.run_events(self._id, self._last_event_id) as events:
                self._patience.answered()
                for event in events:
                    if event.name in {"run", "stack"}:
                        seen = True
                        self._last_event_id = event.id or self._last_event_id
                        self._patience.answered()
                    if event.name == "stack":
                        self._see_stack([_object_of(event.data)])
                    elif event.name == "run":
                        self._see(_run_of(event.data))
                    if self._ended:
                        return
        except UnreachableError:
            # Something in between may hold streams back (a proxy that collects answers): then asking has to do.
            self._streams_get_through = seen or self._last_event_id is not None
        except ApiError as error:
            self._streams_get_through = error.is_passing  # asking shows whether it is the run or the stream
        except CliError:
            self._streams_get_through = False

    def _ask(self) -> None:
        try:
            run = self._client.get(f"/v1/runs/{self._id}")
            self._ask_stack(run)
        except CliError as error:
            self._patience.failed(error)
            return
        self._patience.answered()
        self._see(run)

    def _ask_stack(self, run: Json) -> None:
        stored = run["deploy"]["documents"].get("events", 0) if run.get("deploy") else 0
        while self._stack_events < stored:
            parameters = query(after=str(self._stack_events), limit="200")
            events = self._client.get(f"/v1/runs/{self._id}/stack-events", parameters)["events"]
            if not events:
                return
            self._see_stack(events)

    def _see_stack(self, events: Sequence[Json]) -> None:
        self._stack_events += len(events)
        for event in events:
            self._report(StackSeen(self._id, event))

    def _see(self, run: Json) -> None:
        self._ended = self._ended or self._has_ended(run)
        self._report(RunSeen(run))


class GroupFollower:
    """Follows the runs of a large group by listing them: one request instead of hundreds of streams."""

    def __init__(
        self,
        client: Client,
        runs: Sequence[Json],
        report: Callable[[Report], None],
        wait: Wait,
        clock: Callable[[], float] = time.monotonic,
        *,
        has_ended: HasEnded = is_final,
    ) -> None:
        self._client = client
        self._has_ended = has_ended
        self._group_id = str(runs[0]["group_id"])
        self._seen = {run["id"]: run for run in runs}
        self._report = report
        self._patience = Patience(report, wait, clock)

    def follow(self) -> None:
        """Returns when all have ended or the watching shall end. Raises CliError when it cannot go on."""
        while True:
            try:
                runs = list(self._client.items("/v1/runs", query(group_id=self._group_id)))
            except CliError as error:
                self._patience.failed(error)
            else:
                self._patience.answered()
                for run in runs:
                    if run["id"] in self._seen and run != self._seen[run["id"]]:
                        self._seen[run["id"]] = run
                        self._report(RunSeen(run))
            if all(self._has_ended(run) for run in self._seen.values()) or self._patience.pause(_POLL_SECONDS):
                return


def _object_of(data: str) -> Json:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _run_of(data: str) -> Json:
    run = _object_of(data)
    if {"id", "state"} <= set(run):
        return run
    raise CliError("The api sent an event that is no run.", next_step="Ask for the run: `coreo run show RUN`.")

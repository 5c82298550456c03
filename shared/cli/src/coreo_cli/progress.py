"""Shows runs at work on standard error: bars on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from coreo_cli import layout
from coreo_cli.outcome import is_final
from coreo_cli.output import console, note
from coreo_cli.tables import text_of
from coreo_cli.text import Json, plain
from coreo_cli.words import failed_by_severity, failed_words, moment

_NARROW: Final = 76
_MAX_BARS: Final = 20
_MAX_LABEL: Final = 28
_CTRL_C: Final = 2  # room for the ^C that a terminal writes; without it the bars would be drawn twice
_WORDS: Final = {
    "QUEUED": "waiting for a worker",
    "CLAIMED": "starting",
    "RUNNING": "running",
    "AWAITING_APPROVAL": "waiting for approval",
    "APPLYING": "changing the stack",
    "OUTCOME_UNKNOWN": "nobody knows",
}


class View:
    """Shows runs while they are at work; this one a line when a state changes and at each tenth of the units."""

    def __init__(self, runs: Sequence[Json], labels: Mapping[str, str]) -> None:
        self._runs = runs
        self._labels = labels
        self._shown: dict[str, tuple[str, int]] = {}
        self._is_troubled = False

    def __enter__(self) -> Self:
        for run in self._runs:
            self.see(run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    def see(self, run: Json) -> None:
        """Shows a run as it now stands."""
        tenth = 10 * run["units_done"] // run["units_total"] if run["units_total"] else 0
        present = (run["state"], tenth)
        if self._shown.get(run["id"]) != present:
            self._shown[run["id"]] = present
            words = [self._labels[run["id"]], run["state"], _units(run), failed_words(run["counts"]) if tenth else ""]
            self._say("  ".join(word for word in words if word))

    def hear(self, run_id: str, words: str) -> None:
        """Shows what was said about a run meanwhile, such as a stack event."""
        self._tell(f"{self._labels[run_id]}  {words}" if len(self._labels) > 1 else words)

    def trouble(self, problem: str | None) -> None:
        """Says that nobody answers just now, or (None) that all is well again."""
        if problem and not self._is_troubled:
            self._say(f"{problem} The run goes on; trying again …")
        elif not problem and self._is_troubled:
            self._say("The api answers again.")
        self._is_troubled = problem is not None

    def _say(self, words: str) -> None:
        note(words)

    def _tell(self, words: str) -> None:
        note(words)


class Bars(View):
    """A bar for each run, by units done."""

    def __init__(self, out: Console, runs: Sequence[Json], labels: Mapping[str, str]) -> None:
        super().__init__(runs, labels)
        self._progress = Progress(
            *_columns(out.width), console=out, expand=True, redirect_stdout=False, redirect_stderr=False
        )
        self._tasks: dict[str, TaskID] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()
        self._stack.enter_context(self._progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._stack.close()

    def see(self, run: Json) -> None:
        """Moves the run's bar."""
        total, done = _total(run), run["units_done"]
        values: dict[str, Any] = {"total": total, "completed": done, **_cells(run, self._labels[run["id"]])}
        if run["id"] in self._tasks:
            self._progress.update(self._tasks[run["id"]], **values)
        else:
            self._tasks[run["id"]] = self._progress.add_task("", **values)
            # The time shown is the run's, not that of this command: it may have been at work before.
            already = time.time() - moment(run["created_at"]).timestamp()
            self._progress.tasks[-1].start_time = self._progress.get_time() - max(already, 0.0)
        if is_final(run):
            self._progress.stop_task(self._tasks[run["id"]])

    def _say(self, words: str) -> None:
        self._progress.console.print(Text(plain(words), style="yellow"))

    def _tell(self, words: str) -> None:
        self._progress.console.print(Text(plain(words)), no_wrap=True, overflow="ellipsis")


def open_view(runs: Sequence[Json], labels: Mapping[str, str]) -> View:
    """The view that fits standard error. `labels`: run id -> what to call it."""
    out = console(stderr=True)
    if out.is_terminal and not out.is_dumb_terminal and len(runs) <= _MAX_BARS:
        out.width -= _CTRL_C
        return Bars(out, runs, labels)
    return View(runs, labels)


class _Cell(ProgressColumn):
    """A column that shows a field of the task, which is a Text."""

    def __init__(self, name: str, *, max_width: int | None = None) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", max_width=max_width))
        self._name = name

    def render(self, task: Task) -> Text:
        text: Text = task.fields[self._name]
        return text


def _columns(width: int) -> list[ProgressColumn]:
    label, bar, units = (
        _Cell("label", max_width=min(_MAX_LABEL, width // 3)),
        BarColumn(bar_width=None, complete_style="cyan", finished_style="cyan", pulse_style="cyan"),
        _Cell("units"),
    )
    if width < _NARROW:
        return [label, bar, units]
    return [label, _Cell("state"), bar, units, _Cell("failed"), TimeElapsedColumn()]


def _cells(run: Json, label: str) -> dict[str, Text]:
    words = _WORDS.get(run["state"]) or str(run["state"])
    if run["cancel_requested"] and not is_final(run):
        words = "canceling"
    if run["attempt"] > 1 and not is_final(run):
        words += f", attempt {run['attempt']}"
    failed = failed_by_severity(run["counts"])
    total = sum(count for _, count in failed)
    return {
        "label": text_of(label),
        "state": text_of(layout.state(run["state"], words)),
        "units": text_of(_units(run)),
        "failed": text_of(layout.severity(failed[0][0], f"{total} failed") if failed else ""),
    }


def _total(run: Json) -> float | None:
    """None draws a bar that says: at work, no telling how long. One that has ended stands still."""
    if run["units_total"] is None and is_final(run):
        return 1.0
    return None if run["units_total"] is None else float(run["units_total"])


def _units(run: Json) -> str:
    name = "resources" if run.get("deploy") else "units"
    return "" if run["units_total"] is None else f"{run['units_done']}/{run['units_total']} {name}"

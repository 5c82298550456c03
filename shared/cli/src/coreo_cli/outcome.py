"""How runs end, and what a command's exit code says about it."""

from collections.abc import Iterable
from typing import Final

from coreo_cli.errors import EXIT_FINDINGS, EXIT_NOT_SUCCEEDED, EXIT_PARTIAL
from coreo_cli.text import Json
from coreo_cli.words import failed_by_severity
from coreo_shared.contracts.terms import RunState, Severity

EXIT_CODES_HELP = (
    "Exit codes: 0 all runs SUCCEEDED; 1 error; 2 wrong usage; 3 a run is PARTIAL: something could not be evaluated; "
    "4 a run FAILED, EXPIRED or was CANCELED; 5 failed findings as severe as --fail-on; 130 Ctrl-C. "
    "Of several, 4 comes before 5, and 5 before 3."
)


_FINAL_STATES: Final = frozenset(state.value for state in RunState if state.is_final)


def is_final(run: Json) -> bool:
    """Whether the run has ended."""
    return run["state"] in _FINAL_STATES


def exit_code(runs: Iterable[Json], fail_on: Severity | None) -> int:
    """The code for runs that have ended. A state that is not known here counts as not succeeded."""
    ended = list(runs)
    states = {run["state"] for run in ended}
    if states - {"SUCCEEDED", "PARTIAL"}:
        return EXIT_NOT_SUCCEEDED
    if fail_on is not None and any(_reaches(run, fail_on) for run in ended):
        return EXIT_FINDINGS
    return EXIT_PARTIAL if "PARTIAL" in states else 0


def _reaches(run: Json, fail_on: Severity) -> bool:
    return any(Severity(severity).rank >= fail_on.rank for severity, _ in failed_by_severity(run["counts"]))

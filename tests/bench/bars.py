"""How the benchmarks tell what they measured: each line says whether it keeps to its bar."""

import os


def tell(what: str, measured: float, bar: float, unit: str, *, detail: str = "", at_least: bool = False) -> None:
    """One line. `bar` is the most that there may be, or with `at_least` the least."""
    kept = measured >= bar if at_least else measured <= bar
    side = "at least" if at_least else "at most"
    print(f"{'met' if kept else 'MISSED':6} {what}: {_short(measured)} {unit}, {side} {_short(bar)}", end="")  # noqa: T201
    print(f" ({detail})" if detail else "", flush=True)  # noqa: T201


def note_load() -> None:
    """Whether others are at work, so that lines about seconds say little."""
    busy, processors = os.getloadavg()[0], os.cpu_count() or 1
    if busy > processors:
        note(f"The machine is busy (load {busy:.0f} on {processors} processors): lines in s and by the clock suffer")


def note(text: str) -> None:
    """What stands beside the lines."""
    print(f"{'':6} {text}", flush=True)  # noqa: T201


def _short(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) or number >= 100 else f"{number:.2f}"

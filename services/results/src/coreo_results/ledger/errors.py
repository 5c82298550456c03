"""Refusals of the ledger, as the answers they become."""

import math

from coreo_shared.web import Problem


class RunBusyError(Problem):
    """Another claim holds the run."""

    def __init__(self, lease_left: float) -> None:
        seconds = str(max(1, math.ceil(lease_left)))
        detail = f"A worker holds this run. Claim again in {seconds} s: its lease has run out then, or it goes on."
        super().__init__(409, "run_busy", detail, headers={"Retry-After": seconds})


class RunOverError(Problem):
    """The run has ended; nothing more may be done with it."""

    def __init__(self) -> None:
        super().__init__(409, "run_over", "This run has ended. Drop its message.")


class PurgeRefusedError(Problem):
    """A run in the account has not ended, and would go on storing."""

    def __init__(self) -> None:
        detail = "A run in this cloud account has not ended. Cancel it, or wait, and try again."
        super().__init__(409, "runs_at_work", detail, headers={"Retry-After": "5"})


class StaleFenceError(Problem):
    """Whoever speaks does not hold the run (any more)."""

    def __init__(self) -> None:
        super().__init__(409, "stale_fence", "This fence is not the run's newest claim. Stop working on the run.")

"""Refusals of the ledger, as the answers they become."""

import math
from datetime import UTC, datetime

from coreo_shared.contracts.terms import GoneWhy, ObjectKind
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


class RunAtWorkError(Problem):
    """The run has not ended, and would go on storing."""

    def __init__(self) -> None:
        detail = "This run has not ended. Cancel it, or wait, then delete its results."
        super().__init__(409, "run_at_work", detail, headers={"Retry-After": "5"})


class RunsAtWorkError(Problem):
    """A run of the plan or in the cloud account has not ended."""

    def __init__(self, kind: ObjectKind) -> None:
        where = "of this plan" if kind is ObjectKind.PLAN else "in this cloud account"
        detail = f"A run {where} has not ended. Cancel it, or wait, and try again."
        super().__init__(409, "runs_at_work", detail, headers={"Retry-After": "5"})


class ResultsGoneError(Problem):
    """There was something to read, and it is gone: when, why, and by whose wish."""

    def __init__(self, at: datetime, why: GoneWhy, by: str | None) -> None:
        date = at.astimezone(UTC).date().isoformat()
        asked = "" if by is None else f", as {by} asked"
        code, detail = {
            GoneWhy.EXPIRED: ("results_expired", f"The results of this run expired on {date}."),
            GoneWhy.REQUESTED: ("results_deleted", f"The results of this run were deleted on {date}{asked}."),
            GoneWhy.ACCOUNT: (
                "results_purged",
                f"The results of this run were destroyed on {date}{asked} when its cloud account was disconnected.",
            ),
        }[why]
        super().__init__(410, code, detail, title="The results of this run are gone")


class StaleFenceError(Problem):
    """Whoever speaks does not hold the run (any more)."""

    def __init__(self) -> None:
        super().__init__(409, "stale_fence", "This fence is not the run's newest claim. Stop working on the run.")

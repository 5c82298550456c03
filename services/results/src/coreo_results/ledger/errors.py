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


class JobSupersededError(Problem):
    """The job is not the run's newest: it waits for people, or goes on with another job."""

    def __init__(self) -> None:
        detail = "This job is out of date: its run waits, or goes on with another job. Drop its message."
        super().__init__(409, "job_superseded", detail)


class NotPossibleError(Problem):
    """No word for this run, or not where it is now."""

    def __init__(self, detail: str, code: str = "not_possible") -> None:
        super().__init__(409, code, detail)


class HashDiffersError(Problem):
    """What was approved is not what is stored (RFC 9110, 13.1.1)."""

    def __init__(self) -> None:
        detail = "This is not the hash of the preview that waits for approval. Look at the preview again."
        super().__init__(412, "hash_differs", detail)


class RequesterMayNotApproveError(Problem):
    """The plan wants other people's approval."""

    def __init__(self) -> None:
        detail = "The token that requested this run may not approve it. Use another."
        super().__init__(403, "requester_may_not_approve", detail)


class PurgeRefusedError(Problem):
    """A run in the account has not ended, and would go on storing."""

    def __init__(self) -> None:
        detail = "A run in this cloud account has not ended. Cancel it, or wait, and try again."
        super().__init__(409, "runs_at_work", detail, headers={"Retry-After": "5"})


class StaleFenceError(Problem):
    """Whoever speaks does not hold the run (any more)."""

    def __init__(self) -> None:
        super().__init__(409, "stale_fence", "This fence is not the run's newest claim. Stop working on the run.")

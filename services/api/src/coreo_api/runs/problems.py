"""Answers about runs that several features give."""

from coreo_shared.web import Problem


def runs_at_work(what: str) -> Problem:
    """The answer to deleting something that runs are at work with."""
    detail = f"Runs of this {what} have not ended. Cancel them or wait for their end, then delete it."
    return Problem(409, "runs_at_work", detail)

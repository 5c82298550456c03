"""What a team token may do. Most have all scopes; one for a pipeline may lack the right to approve."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from coreo_shared.web import Problem


class Scope(StrEnum):
    """A right of a token."""

    READ = "read"  # see everything of the team
    PLAN = "plan"  # change what is not one of the other two: plans, runs, cloud accounts, suppressions
    APPROVE = "approve"  # decide about changes of infrastructure: approve, reject, settle, and which plans need nobody


ALL: Final = tuple(Scope)
_READS: Final = frozenset({"GET", "HEAD"})


def needed_for(method: str) -> frozenset[Scope]:
    """What a request takes unless its route says otherwise."""
    return frozenset({Scope.READ if method in _READS else Scope.PLAN})


def check(held: Collection[str], needed: Collection[Scope], *, why: str = "") -> None:
    """Raises a 403 Problem that names the scopes which the token lacks; `why` goes on with that sentence."""
    missing = sorted(scope for scope in needed if scope not in held)
    if missing:
        words = " and ".join(missing)
        detail = f"This token has not the scope {words}{why}. Use one that has; GET /v1/tokens lists what each may do."
        raise Problem(403, "scope_missing", detail)

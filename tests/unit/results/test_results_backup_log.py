"""What the log of a team's backups says of exclusions: from the entry that says what was asked on, no restore brings
these runs back."""

from uuid import UUID

import pytest

from coreo_results.backups.log import LogError, LogState, entry_hash, sign_entry
from coreo_shared.contracts.backups import (
    BackedUpRun,
    ExclusionAsked,
    Logged,
    ReceiptIssued,
    RunsBackedUp,
    RunsExcluded,
)
from coreo_shared.contracts.results import Counts
from coreo_shared.crypto.jose import Signer, generate_key, public_jwk
from coreo_shared.crypto.statements import Statements

TEAM, PLAN, OTHER, ACCOUNT, EXCLUSION = (UUID(int=number) for number in range(1, 6))
KEY = generate_key("custody-1")
STATEMENTS = Statements([public_jwk(KEY)])


def follow(*said: Logged) -> LogState:
    """The log that says this, entry by entry."""
    state, previous = LogState(TEAM), None
    for what in said:
        entry = sign_entry(Signer(KEY), (TEAM, state.seq, previous), what, by="host")
        state.follow(entry.encode(), STATEMENTS)
        previous = entry_hash(entry)
    return state


def run(number: int) -> UUID:
    return UUID(int=100 + number)


def backed_up(*numbers: int, plan: UUID = PLAN) -> RunsBackedUp:
    runs = [
        BackedUpRun(
            run_id=run(number),
            plan_id=plan,
            cloud_account_id=ACCOUNT,
            ended_at="2026-06-01T12:00:00+00:00",
            compared_at=None,
            object=f"runs/{number}",
            sha256="",
            bytes=1,
            findings=0,
            counts=Counts(),
            expires_at="2031-06-01T12:00:00+00:00",
        )
        for number in numbers
    ]
    return RunsBackedUp(runs=runs, findings=0, bytes=len(runs))


def asked(*numbers: int, runs: int, until: int = 0, scope: str = "plan", scope_id: UUID = PLAN) -> ExclusionAsked:
    return ExclusionAsked(
        exclusion_id=EXCLUSION,
        scope=scope,
        scope_id=scope_id,
        display="keep",
        runs=runs,
        runs_sha256="",
        run_ids=[run(number) for number in numbers],
        until=until,
        requested_at="2026-06-01T12:00:00+00:00",
        requested_by="ann",
        reason=None,
    )


def excluded(*numbers: int) -> RunsExcluded:
    run_ids = [run(number) for number in numbers]
    return RunsExcluded(
        exclusion_id=EXCLUSION, scope="plan", scope_id=PLAN, run_ids=run_ids, requested_by="ann", reason=None
    )


def doomed(*said: Logged) -> set[int]:
    return {run_id.int - 100 for run_id in follow(*said).doomed}


def test_the_extent_is_what_the_log_had_of_the_plan_or_account_and_what_is_named() -> None:
    log = (backed_up(1, 2), backed_up(3, plan=OTHER), backed_up(4), backed_up(5))
    assert doomed(*log, asked(1, 9, runs=2, until=4)) == {1, 9}  # all are named
    assert doomed(*log, asked(4, runs=4, until=2)) == {1, 2, 4}
    assert doomed(*log, asked(runs=4, until=3)) == {1, 2, 4}
    assert doomed(*log, asked(runs=4, until=3, scope="cloud_account", scope_id=ACCOUNT)) == {1, 2, 3, 4}
    assert doomed(*log, asked(runs=4, until=3, scope="cloud_account", scope_id=PLAN)) == set()


def test_tombstones_take_over_one_by_one_and_the_receipt_comes_after_all_of_them() -> None:
    receipt = ReceiptIssued(exclusion_id=EXCLUSION, receipt="x")
    log = (backed_up(1, 2, 3, 4), asked(runs=3, until=1), excluded(1, 2))
    state = follow(*log)
    assert (state.doomed, state.excluded) == ({run(3), run(4)}, {run(1), run(2)})
    exclusion = state.exclusions[EXCLUSION]
    assert (exclusion.untold, exclusion.stored) == ({run(3), run(4)}, {run(1), run(2)})
    with pytest.raises(LogError, match=r"entry 4 .* of which 2 runs have no tombstone"):
        follow(*log, receipt)
    state = follow(*log, excluded(3, 4), receipt)
    assert (state.doomed, state.runs, state.exclusions[EXCLUSION].receipt) == (set(), {}, "x")


def test_an_entry_that_comes_after_the_first_tombstones_asks_for_the_rest() -> None:
    """As of an exclusion that was begun before there were such entries."""
    state = follow(backed_up(1, 2, 3, 4), excluded(1, 2), asked(runs=5, until=1))
    assert (state.doomed, state.exclusions[EXCLUSION].untold) == ({run(3), run(4)}, {run(3), run(4)})


def test_what_is_said_twice_is_one_exclusion() -> None:
    """As by a database whose schema went back and forth."""
    state = follow(backed_up(1, 2), asked(runs=3, until=1), excluded(1), asked(1, 2, runs=2))
    assert (state.doomed, state.exclusions[EXCLUSION].untold) == ({run(2)}, {run(2)})
    assert [exclusion.asked and exclusion.asked[0] for exclusion in state.exclusions.values()] == [2]


def test_what_is_to_be_excluded_is_in_no_backup_afterwards() -> None:
    with pytest.raises(LogError, match=f"entry 2 .* run {run(1)} was excluded from all backups before"):
        follow(asked(1, runs=1), backed_up(1))

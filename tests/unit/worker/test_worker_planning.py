"""What happens to a run and its message, for each way to end: tables, and properties over all deliveries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_worker.runner import planning
from coreo_worker.runner.planning import (
    Canceled,
    Completed,
    Delivery,
    Disposition,
    Ending,
    Failed,
    Interrupted,
    Keep,
    Over,
    Return,
    Stopped,
    Superseded,
    Unreachable,
    Word,
)

LAST = 5
FIRST_TRY, LAST_TRY = Delivery(1, LAST, 1.0), Delivery(LAST, LAST, 1.0)
AGAIN = "This was delivery 5 of 5 of its job. Start the run again."

deliveries = st.builds(Delivery, st.integers(1, 12), st.just(LAST), st.floats(0, 1))
endings = st.sampled_from(
    [Completed(), Canceled(), Failed("F."), Interrupted("I."), Stopped(), Superseded(), Over(), Unreachable()]
)


@pytest.mark.parametrize(
    ("ending", "delivery", "expected"),
    [
        (Completed(), FIRST_TRY, Disposition(Word("completed"), Keep.DELETE)),
        (Completed(), LAST_TRY, Disposition(Word("completed"), Keep.DELETE)),
        (Canceled(), FIRST_TRY, Disposition(Word("canceled"), Keep.DELETE)),
        (Failed("No role."), FIRST_TRY, Disposition(Word("failed", "No role."), Keep.DELETE)),
        (Interrupted("It died."), FIRST_TRY, Disposition(Word("release", "It died."), Return(5))),
        (Interrupted("It died."), Delivery(3, LAST, 1.0), Disposition(Word("release", "It died."), Return(20))),
        (Interrupted("Later.", 90), FIRST_TRY, Disposition(Word("release", "Later."), Return(90))),
        (Interrupted("It died."), LAST_TRY, Disposition(Word("failed", f"It died. {AGAIN}"), Keep.DELETE)),
        (Stopped(), FIRST_TRY, Disposition(Word("release", "The worker was shut down."), Return(0))),
        (Stopped(), LAST_TRY, Disposition(Word("failed", f"The worker was shut down. {AGAIN}"), Keep.DELETE)),
        (Superseded(), FIRST_TRY, Disposition(None, Keep.LEAVE)),
        (Over(), FIRST_TRY, Disposition(None, Keep.DELETE)),
        (Unreachable(), FIRST_TRY, Disposition(None, Return(5))),
    ],
)
def test_each_ending_has_its_word_and_its_message(ending: Ending, delivery: Delivery, expected: Disposition) -> None:
    assert planning.after_run(ending, delivery) == expected


@given(endings, deliveries)
def test_a_message_is_deleted_only_when_the_ledger_has_the_last_word(ending: Ending, delivery: Delivery) -> None:
    planned = planning.after_run(ending, delivery)
    ended = isinstance(ending, Over) or (planned.word is not None and planned.word.kind != "release")
    assert (planned.message is Keep.DELETE) == ended


@given(endings, deliveries)
def test_the_last_delivery_never_gives_a_run_back(ending: Ending, delivery: Delivery) -> None:
    planned = planning.after_run(ending, delivery)
    if delivery.is_last:
        assert planned.word is None or planned.word.kind != "release"


@pytest.mark.parametrize(
    ("number", "jitter", "expected"),
    [(1, 0.0, Return(40)), (1, 1.0, Return(44)), (2, 0.0, Return(80)), (4, 0.0, Return(320)), (5, 0.0, Keep.DELETE)],
)
def test_a_held_run_is_looked_at_when_its_lease_may_have_ended(
    number: int, jitter: float, expected: planning.MessageFate
) -> None:
    assert planning.after_busy(40, Delivery(number, LAST, jitter)) == expected


@given(st.floats(0, 43_000), deliveries)
def test_a_held_run_is_never_looked_at_before_its_lease_ends(retry_after: float, delivery: Delivery) -> None:
    fate = planning.after_busy(retry_after, delivery)
    assert fate is Keep.DELETE or (isinstance(fate, Return) and retry_after <= fate.seconds)


@given(deliveries)
def test_backoff_doubles_up_to_five_minutes(delivery: Delivery) -> None:
    seconds = planning.backoff(delivery)
    assert 2.5 <= seconds <= 300
    assert planning.backoff(Delivery(delivery.number + 1, LAST, delivery.jitter)) >= seconds


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_calls_are_repeated_within_ten_seconds(failures: int, jitter: float) -> None:
    assert 0.25 <= planning.call_delay(failures, jitter) <= 10


@pytest.mark.parametrize(
    ("lifetime", "delay"), [(3600, 3000), (1201, 601), (1200, 600), (900, 450), (4, 2), (1, 1), (-50, 1)]
)
def test_sessions_are_replaced_ten_minutes_before_their_end(lifetime: float, delay: float) -> None:
    assert planning.renewal_delay(lifetime) == delay


def test_a_message_the_worker_failed_on_comes_again() -> None:
    assert planning.after_bug(1) == Return(5)

"""Identifiers are in the order in which they were made."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from coreo_shared import ids
from coreo_shared.ids import new_id


def test_ids_are_of_version_7_and_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1


@pytest.mark.parametrize("now", [1_700_000_000_000, 0])
def test_those_of_one_millisecond_are_in_order_also_where_the_clock_goes_back(
    monkeypatch: pytest.MonkeyPatch, now: int
) -> None:
    monkeypatch.setattr(ids, "_last", (1_700_000_000_000, 0))
    monkeypatch.setattr(time, "time_ns", lambda: now * 1_000_000)
    made = [new_id() for _ in range(1_000)]
    assert made == sorted(set(made))
    assert {each.int >> 80 for each in made} == {1_700_000_000_000}
    assert {each.version for each in made} == {7}


def test_where_a_millisecond_is_full_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_last", (1_700_000_000_000, (1 << 74) - 1))
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000 * 1_000_000)
    assert new_id().int >> 80 == 1_700_000_000_001
    assert new_id().int >> 80 == 1_700_000_000_001


def test_threads_make_no_id_twice() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [each for part in pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)) for each in part]
    assert len(set(made)) == len(made)


def test_nobody_can_tell_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000 * 1_000_000)
    monkeypatch.setattr(ids, "_last", (0, 0))
    made = [new_id().int for _ in range(1_000)]
    steps = {later - earlier for earlier, later in pairwise(made)}
    assert len(steps) > 990

"""Codes of changes: each is read as it was written, and what the words mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_results.life.changes import change_of, decode, encode
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus

PASS, FAIL, UNKNOWN = FindingStatus.PASS, FindingStatus.FAIL, FindingStatus.NOT_EVALUATED


@given(st.sampled_from(Change), st.none() | st.sampled_from(FindingStatus))
def test_a_code_is_read_as_it_was_written(change: Change, previous: FindingStatus | None) -> None:
    assert decode(encode(change, previous)) == (change, previous)


def test_no_two_changes_share_a_code() -> None:
    codes = [encode(change, previous) for change in Change for previous in (None, *FindingStatus)]
    assert len(codes) == len(set(codes))
    assert max(codes) < 2**15


@pytest.mark.parametrize("code", [-1, 5, 45, 90])
def test_what_is_no_code_is_an_error(code: int) -> None:
    with pytest.raises(KeyError):
        decode(code)


@pytest.mark.parametrize(
    ("status", "previous", "was_open", "expected"),
    [
        (FAIL, None, False, Change.NEW),
        (PASS, None, True, Change.NEW),
        (FAIL, FAIL, True, Change.UNCHANGED),
        (PASS, PASS, False, Change.UNCHANGED),
        (UNKNOWN, FAIL, True, Change.CHANGED),
        (UNKNOWN, UNKNOWN, True, Change.UNCHANGED),
        (PASS, FAIL, True, Change.RESOLVED),
        (PASS, UNKNOWN, True, Change.RESOLVED),
        (PASS, UNKNOWN, False, Change.CHANGED),
        (FAIL, PASS, False, Change.CHANGED),
        (FAIL, UNKNOWN, True, Change.CHANGED),
    ],
)
def test_what_a_change_is_called(
    status: FindingStatus, previous: FindingStatus | None, *, was_open: bool, expected: Change
) -> None:
    assert change_of(status, previous, was_open=was_open) is expected

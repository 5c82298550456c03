"""Changes as the small numbers that the database keeps, one for each finding. Pure."""

from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus

# A code is ten times the number of the change, plus that of the status before (0: there was none). Never renumbered.
CHANGE_NUMBERS = {Change.NEW: 0, Change.UNCHANGED: 1, Change.CHANGED: 2, Change.RESOLVED: 3}
STATUS_NUMBERS = {
    FindingStatus.PASS: 1,
    FindingStatus.FAIL: 2,
    FindingStatus.NOT_EVALUATED: 3,
    FindingStatus.SUPPRESSED: 4,
}
_CHANGES = {number: change for change, number in CHANGE_NUMBERS.items()}
_STATUSES = {number: status for status, number in STATUS_NUMBERS.items()}


def encode(change: Change, previous: FindingStatus | None) -> int:
    """The code of a change from a status, or from none."""
    return 10 * CHANGE_NUMBERS[change] + (0 if previous is None else STATUS_NUMBERS[previous])


def decode(code: int) -> tuple[Change, FindingStatus | None]:
    """The change and the status before. Raises KeyError for what is no code."""
    change, status = divmod(code, 10)
    return _CHANGES[change], _STATUSES[status] if status else None


def change_of(status: FindingStatus, previous: FindingStatus | None, *, was_open: bool) -> Change:
    """What the comparison's SQL says of a finding, for tests to hold against it.

    `previous`: the status it had, None when nothing is known of it or its resource was gone. `was_open`: it failed when
    it was judged last.
    """
    if previous is None:
        return Change.NEW
    if status is FindingStatus.PASS and was_open:
        return Change.RESOLVED
    return Change.UNCHANGED if status is previous else Change.CHANGED

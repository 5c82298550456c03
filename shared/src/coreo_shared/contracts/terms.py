"""The closed vocabularies of the wire: run states, pools, finding statuses, severities."""

from enum import StrEnum


class Pool(StrEnum):
    """A worker pool: its own queue, IAM role and process."""

    AUDIT = "audit"
    DEPLOY = "deploy"
    ONBOARD = "onboard"


class RunState(StrEnum):
    """Where a run is. The transition table is `coreo_results.ledger.transitions`; nothing else writes a state.

    AWAITING_APPROVAL, APPLYING, ROLLED_BACK and OUTCOME_UNKNOWN are of deploys alone.
    """

    QUEUED = "QUEUED"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # people must approve what is to be changed
    APPLYING = "APPLYING"  # AWS may have been told to change the stack
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"  # nobody can say what became of that: a person must look. Not an end
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"  # finished, with units or findings that could not be evaluated
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    ROLLED_BACK = "ROLLED_BACK"  # the stack is as it was before

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self in _FINAL_STATES


_FINAL_STATES = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.PARTIAL,
        RunState.FAILED,
        RunState.CANCELED,
        RunState.EXPIRED,
        RunState.ROLLED_BACK,
    }
)


class FindingStatus(StrEnum):
    """What a rule found on a resource. What could not be read is NOT_EVALUATED, never PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_EVALUATED = "NOT_EVALUATED"
    SUPPRESSED = "SUPPRESSED"


class Severity(StrEnum):
    """How bad a failed rule is."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for info up to 4 for critical, for sorting."""
        return _SEVERITY_RANKS[self]


_SEVERITY_RANKS = {severity: rank for rank, severity in enumerate(reversed(Severity))}

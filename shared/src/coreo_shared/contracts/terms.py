"""The closed vocabularies of the wire: run states, pools, finding statuses, severities, what was done to results."""

from enum import StrEnum


class Pool(StrEnum):
    """A worker pool: its own queue, IAM role and process."""

    AUDIT = "audit"
    DEPLOY = "deploy"
    ONBOARD = "onboard"


class RunState(StrEnum):
    """Where a run is. The transition table is `coreo_results.ledger.states`; nothing else writes a state."""

    QUEUED = "QUEUED"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"  # finished, with units or findings that could not be evaluated
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self not in {RunState.QUEUED, RunState.CLAIMED, RunState.RUNNING}


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


class GoneWhy(StrEnum):
    """Why a run's results are gone."""

    EXPIRED = "expired"  # their time was over
    REQUESTED = "requested"  # somebody of the team had the run's, or its plan's, deleted
    ACCOUNT = "account"  # so was said when the cloud account was disconnected


class AccessAction(StrEnum):
    """What somebody did to results, or to what decides about them."""

    READ_FINDINGS = "READ_FINDINGS"  # findings of a run, or what it resolved
    READ_SUMMARY = "READ_SUMMARY"  # counts of a run alone: by rule, status, change or control
    READ_DOCUMENT = "READ_DOCUMENT"  # what a run left beside findings
    EXPORT = "EXPORT"  # findings that the reader said would be taken away
    DELETE = "DELETE"  # on request
    EXPIRE = "EXPIRE"  # their time was over
    EXCLUDE = "EXCLUDE"  # from backups
    SETTINGS = "SETTINGS"
    RESTORE = "RESTORE"
    DRILL = "DRILL"
    READ_RECORD = "READ_RECORD"  # this record


class ObjectKind(StrEnum):
    """What it was done to."""

    RUN = "run"
    PLAN = "plan"
    CLOUD_ACCOUNT = "cloud_account"
    TEAM = "team"

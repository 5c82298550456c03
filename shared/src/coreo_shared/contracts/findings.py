"""A finding as it travels from the worker to the results service and on to the api."""

from typing import Any

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.terms import FindingStatus, Severity


class Finding(Message, frozen=True, kw_only=True):
    """What one rule says of one resource.

    `fingerprint` is stable over runs: it depends on account, rule and resource alone.
    `reason` and `missing_actions` are for NOT_EVALUATED: why, and which IAM actions would help. In exports, `reason`
    is also what somebody gave who suppressed it.
    """

    fingerprint: str  # 32 hex digits
    rule_id: str
    status: FindingStatus
    severity: Severity
    resource_type: str
    resource_id: str
    resource_arn: str | None
    region: str  # "global" where the resource has none
    message: str
    evidence: dict[str, Any] = {}
    reason: str | None = None
    missing_actions: list[str] = []

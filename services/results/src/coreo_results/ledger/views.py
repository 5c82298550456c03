"""A deploy as the feed and the api see it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Row

from coreo_results.ledger.run import DeployState
from coreo_shared.contracts.deploys import Approval, DeployTerms, DeployView, Resume


def view_of(row: Row[Any]) -> DeployView | None:
    """What is special of the deploy in a row with terms, deploy, resume_at and approval_until; None of other runs."""
    if row.terms is None or row.deploy is None:
        return None
    terms = msgspec.json.decode(row.terms, type=DeployTerms)
    state = msgspec.json.decode(row.deploy, type=DeployState)
    return DeployView(
        action=terms.action,
        target_id=terms.target_id,
        resume=None if row.resume_at is None else Resume(ticket=state.ticket, at=_written(row.resume_at)),
        approval=_approval(state, terms, row.approval_until),
        preview_hash=state.preview_hash,
        approved_by=list(state.approved_by),
        cancel_refused=state.cancel_refused,
        no_change=state.no_change,
        documents=state.documents,
    )


def _approval(state: DeployState, terms: DeployTerms, until: datetime | None) -> Approval | None:
    if until is None or state.preview_hash is None:
        return None
    return Approval(
        hash=state.preview_hash,
        expires_at=_written(until),
        needed=terms.approvals,
        approved_by=list(state.approved_by),
    )


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()

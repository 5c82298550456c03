"""Cloud accounts and their history as they are answered."""

import shlex
from typing import Any

from sqlalchemy import Row

from coreo_api.accounts.schemas import AccountView, CheckView, DisconnectView, HistoryView, VerificationView
from coreo_api.accounts.trust import trust_policy
from coreo_api.settings import ApiSettings


def account_view(settings: ApiSettings, row: Row[Any]) -> AccountView:
    """The cloud account. While its external id is being replaced, the trust policy takes both."""
    external_ids = [row.external_id, *([row.next_external_id] if row.next_external_id else [])]
    return AccountView(
        id=row.id,
        name=row.name,
        account_id=row.account_id,
        external_id=row.external_id,
        next_external_id=row.next_external_id,
        state=row.state,
        reason=row.reason,
        role_arn=row.role_arn,
        missing_actions=row.missing_actions,
        verifying=row.verifying,
        last_verification=_verification(row),
        next_verification_at=row.next_verification_at,
        coreo_account_id=settings.aws_account_id,
        trust_policy=trust_policy(settings, *external_ids),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _verification(row: Row[Any]) -> VerificationView | None:
    if row.verification is None:
        return None
    report = row.verification
    return VerificationView(
        id=row.verification_id,
        verdict=report["verdict"],
        reason=report["reason"],
        checks=[CheckView(**check) for check in report["checks"]],
        missing_actions=report.get("missing_actions", []),
        ended_at=row.verified_at,
    )


def history_view(row: Row[Any]) -> HistoryView:
    """An entry of the history."""
    report = row.report
    return HistoryView(
        id=row.id,
        kind=row.kind,
        by=row.by_name,
        at=row.at,
        state=row.state,
        verdict=None if report is None else report.get("verdict"),
        reason=row.reason if report is None else report.get("reason") or report.get("detail") or report.get("problem"),
        report=report,
        ended_at=row.ended_at,
    )


def disconnect_view(settings: ApiSettings, row: Row[Any], role_arn: str | None) -> DisconnectView:
    """The cloud account, and how its role is removed."""
    commands: list[str] = []
    if role_arn is not None:
        name = shlex.quote(role_arn.rpartition("/")[2])
        commands = [
            f"aws iam list-attached-role-policies --role-name {name}",
            f"aws iam detach-role-policy --role-name {name} --policy-arn POLICY_ARN  # for each of them",
            f"aws iam delete-role --role-name {name}",
        ]
    return DisconnectView(cloud_account=account_view(settings, row), commands=commands)

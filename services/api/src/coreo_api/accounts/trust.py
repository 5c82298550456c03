"""What the customer's role must say so that Coreo's workers, and nobody who merely knows its ARN, may assume it."""

from typing import Any

from coreo_api.settings import ApiSettings


def trust_policy(settings: ApiSettings, external_id: str) -> dict[str, Any]:
    """The role's trust policy. The external id is what keeps others from having Coreo assume the role for them (IAM
    user guide, "access to AWS accounts owned by third parties")."""
    ours = f"arn:{settings.partition}:iam::{settings.aws_account_id}:root"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "CoreoAudit",
                "Effect": "Allow",
                "Principal": {"AWS": settings.audit_worker_role_arn or ours},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
            }
        ],
    }

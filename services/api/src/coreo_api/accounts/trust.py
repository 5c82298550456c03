"""What the customer's role must say so that Coreo's workers, and nobody who merely knows its ARN, may assume it."""

from typing import Any

from coreo_api.settings import ApiSettings


def trust_policy(settings: ApiSettings, *external_ids: str) -> dict[str, Any]:
    """The role's trust policy; with two external ids, it takes both. The external id is what keeps others from having
    Coreo assume the role for them (IAM user guide, "access to AWS accounts owned by third parties")."""
    ours = f"arn:{settings.partition}:iam::{settings.aws_account_id}:root"
    named = (settings.audit_worker_role_arn, settings.deploy_worker_role_arn, settings.onboard_worker_role_arn)
    roles = [arn for arn in named if arn is not None]
    principals = roles or [ours]
    ids = list(external_ids)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Coreo",
                "Effect": "Allow",
                "Principal": {"AWS": principals if len(principals) > 1 else principals[0]},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": ids if len(ids) > 1 else ids[0]}},
            }
        ],
    }

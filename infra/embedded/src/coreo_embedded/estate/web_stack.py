"""The stack that the demo deploys into a customer's account: its directory, and what an audit must say of it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coreo_embedded.estate.planted import Expected, RootClients
from coreo_shared.contracts.terms import FindingStatus

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

REGION = "us-east-1"
AUDITED = ("ec2-security-group-open-ssh", "iam-role-trusts-everyone", "s3-bucket-versioning")
_DIRECTORY = Path(__file__).parent / "web"


def copy_to(directory: Path) -> None:
    """What a customer keeps in git: coreo.yaml and the template."""
    shutil.copytree(_DIRECTORY, directory)


def expected(outputs: Mapping[str, str]) -> frozenset[Expected]:
    """What an audit with the rules AUDITED must find on the stack's resources, of which the outputs give the names."""
    return frozenset(
        {
            Expected("ec2-security-group-open-ssh", FindingStatus.FAIL, outputs["GroupId"], REGION),
            Expected("iam-role-trusts-everyone", FindingStatus.PASS, outputs["RoleName"], "global"),
            Expected("s3-bucket-versioning", FindingStatus.FAIL, outputs["BucketName"], REGION),
        }
    )


def drift(clients: RootClients, account_id: str, outputs: Mapping[str, str]) -> None:
    """Somebody changes the role by hand: now Lambda may use it, which the template does not say."""
    iam: IAMClient = clients.root_client("iam", account_id)
    statement = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.update_assume_role_policy(RoleName=outputs["RoleName"], PolicyDocument=document)

"""The simulated AWS for tests: one per session; tests keep apart by using accounts of their own."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from coreo_embedded.credentials import CredentialEndpoint
from coreo_embedded.deploy import Deployment, Service, deploy
from coreo_embedded.simulator import Credentials, Simulator

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

_account_ids = itertools.count(200_000_000_001)


@pytest.fixture(scope="session")
def aws() -> Iterator[Simulator]:
    """AWS with every check on: `.endpoint_url`, `.requests`, `.root_client(service, account_id)`, `.fault(...)`."""
    directory = Path(tempfile.mkdtemp(prefix="coreo-aws-"))
    try:
        simulator = Simulator.start(directory)
        try:
            yield simulator
        finally:
            simulator.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def new_account() -> Callable[[], str]:
    """Makes the id of an account nobody has used: `customer = new_account()`."""
    return lambda: str(next(_account_ids))


@pytest.fixture(scope="session")
def deployment(aws: Simulator) -> Deployment:
    """Coreo's own account from the templates: queues, roles, key. A test that needs empty queues deploys its own."""
    return deploy(aws)


@pytest.fixture(scope="session")
def credential_endpoint(aws: Simulator, deployment: Deployment) -> Iterator[CredentialEndpoint]:
    """Gives processes their role: `.environment(deployment.role_arns["worker-audit"], "worker-1")`."""
    endpoint = CredentialEndpoint.start(aws.client("sts", deployment.launcher))
    yield endpoint
    endpoint.stop()


def role_credentials(aws: Simulator, deployment: Deployment, service: Service) -> Credentials:
    """Session credentials of one of our roles, as its process would have them."""
    sts: STSClient = aws.client("sts", deployment.launcher)
    keys = sts.assume_role(RoleArn=deployment.role_arns[service], RoleSessionName="test")["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def refusal(call: Callable[[], object]) -> str | None:
    """The AWS error code of a call, or None when it worked."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None

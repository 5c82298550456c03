"""moto in process as the AWS of an audit: calls are done at once, and what moto does not know is denied."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.support.engine import LastingSession, MadeCall

ACCOUNT = "123456789012"  # moto's
REGION: Any = "eu-west-1"
# Where AWS names the action unlike the operation (service authorization reference, Amazon S3).
ACTIONS = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
}
_UNKNOWN_TO_MOTO = (NotImplementedError, ModuleNotFoundError, AttributeError)


@contextmanager
def moto() -> Iterator[None]:
    """An empty account. Nothing of the caller's environment gets through."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        environment.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        environment.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        with mock_aws(config={"lambda": {"use_docker": False}}):
            yield


class MotoClients(LastingSession):
    """The engine's clients, on moto. `unknown`: the operations that moto does not have."""

    def __init__(self) -> None:
        self.calls: list[MadeCall] = []
        self.unknown: set[str] = set()
        self._clients: dict[tuple[str, str], Any] = {}

    async def client(self, service: str, region: str) -> Any:
        """A client whose operations can be awaited."""
        if (service, region) not in self._clients:
            config = Config(retries={"total_max_attempts": 1})
            self._clients[service, region] = boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]  # any service
        return _Awaited(self, self._clients[service, region], service, region)

    @property
    def actions(self) -> set[str]:
        """The IAM actions of the calls made."""
        names = set()
        for call in self.calls:
            api = self._clients[call.service, call.region].meta.method_to_api_mapping[call.operation]
            names.add(ACTIONS.get(f"{call.service}:{api}", f"{call.service}:{api}"))
        return names


class _Awaited:
    def __init__(self, clients: MotoClients, client: Any, service: str, region: str) -> None:
        self._clients, self._client, self._service, self._region = clients, client, service, region

    def __getattr__(self, operation: str) -> Any:
        async def call(**params: Any) -> Any:
            made = MadeCall(self._service, self._region, operation, json.dumps(params, sort_keys=True))
            self._clients.calls.append(made)
            method = getattr(self._client, operation)
            try:
                return method(**params)
            except _UNKNOWN_TO_MOTO:
                pass
            except ClientError as error:
                # The service is there, and has no page of this address.
                if error.response["Error"]["Code"] != "404":
                    raise
            self._clients.unknown.add(f"{self._service}.{operation}")
            raise _denied(operation)

        return call


def _denied(operation: str) -> ClientError:
    shape: Any = {
        "Error": {"Code": "AccessDenied", "Message": "moto does not have it"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    return ClientError(shape, operation)

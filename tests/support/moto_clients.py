"""The engine's clients on moto, within the process: a call is done at once."""

import json
from typing import Any

import boto3
from botocore.config import Config

from tests.support.engine import LastingSession, MadeCall, refuse

# Where AWS names the action unlike the operation (service authorization reference, Amazon S3).
ACTIONS = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
}


class MotoClients(LastingSession):
    """Clients whose operations can be awaited; `calls` are those that were made."""

    def __init__(self) -> None:
        self.calls: list[MadeCall] = []
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
            try:
                return getattr(self._client, operation)(**params)
            except NotImplementedError:  # what moto does not know; in its server form it says so as an error
                return refuse("InvalidAction")(self._region, params)

        return call

"""The local credential endpoint: the SDKs take it for ECS's, and it gives each process its own role."""

import json
from typing import TYPE_CHECKING

import boto3
import httpx
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import CredentialRetrievalError

from coreo_embedded.credentials import CredentialEndpoint
from coreo_embedded.deploy import Deployment
from coreo_embedded.simulator import REGION, Simulator

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def caller(aws: Simulator) -> str:
    sts: STSClient = boto3.session.Session().client("sts", endpoint_url=aws.endpoint_url, region_name=REGION)
    return sts.get_caller_identity()["Arn"]


def test_boto3_takes_its_role_from_the_endpoint(
    aws: Simulator, deployment: Deployment, credential_endpoint: CredentialEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, credential_endpoint.environment(deployment.role_arns["api"], "api-1"))

    assert caller(aws) == f"arn:aws:sts::{deployment.account_id}:assumed-role/coreo-api/api-1"


async def test_aiobotocore_takes_its_role_from_the_endpoint(
    aws: Simulator, deployment: Deployment, credential_endpoint: CredentialEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, credential_endpoint.environment(deployment.role_arns["worker-audit"], "worker-1"))

    async with get_session().create_client("sts", endpoint_url=aws.endpoint_url, region_name=REGION) as sts:
        identity = await sts.get_caller_identity()

    assert identity["Arn"] == f"arn:aws:sts::{deployment.account_id}:assumed-role/coreo-worker-audit/worker-1"


def test_another_processs_token_gets_nothing(deployment: Deployment, credential_endpoint: CredentialEndpoint) -> None:
    api = credential_endpoint.environment(deployment.role_arns["api"], "api-1")
    results = credential_endpoint.environment(deployment.role_arns["results"], "results-1")
    url, token = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"

    crossed = httpx.get(results[url], headers={"Authorization": api[token]})
    bare = httpx.get(results[url])
    own = httpx.get(results[url], headers={"Authorization": results[token]})

    assert (crossed.status_code, bare.status_code, own.status_code) == (403, 403, 200)
    assert "SecretAccessKey" not in json.dumps([crossed.json(), bare.json()])


def test_role_that_refuses_the_launcher_is_named(
    aws: Simulator, deployment: Deployment, credential_endpoint: CredentialEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, credential_endpoint.environment("arn:aws:iam::555555555555:role/other", "api-1"))

    with pytest.raises(CredentialRetrievalError, match="arn:aws:iam::555555555555:role/other"):
        caller(aws)

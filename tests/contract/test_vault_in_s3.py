"""The vault in S3, made from the production template and used with the results service's own role."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coreo_embedded.deploy import Deployment, Service, create_stack, deploy
from coreo_embedded.simulator import Simulator
from coreo_results.keys.errors import KeyDestroyedError, VaultUnavailableError
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.vault import Vault, VaultError, open_vault
from coreo_results.stores import StoreSetupError, open_store
from coreo_results.stores.s3 import S3Store
from coreo_shared.ids import new_id
from tests.support.aws import refusal, role_credentials
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, Tokens, make_chunk, make_root_key, make_settings, running

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCOUNT = "555555555502"


@pytest.fixture(scope="module")
def own(aws: Simulator) -> Deployment:
    return deploy(aws, account_id=ACCOUNT)


@pytest.fixture(scope="module")
def bucket(aws: Simulator, own: Deployment) -> str:
    cloudformation = aws.root_client("cloudformation", ACCOUNT)
    parameters = {"ResultsRoleArn": own.role_arns["results"], "RequireTls": "false", "DenyOthers": "false"}
    return create_stack(cloudformation, "vault", parameters)["VaultBucket"]


@pytest.fixture
def as_results(aws: Simulator, own: Deployment) -> Iterator[None]:
    """What the SDK's chain finds in the results service."""
    values = role_credentials(aws, own, "results").environment()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (values | {"AWS_ENDPOINT_URL": aws.endpoint_url, "AWS_REGION": own.region}).items():
            patch.setenv(name, value)
        yield


async def test_the_role_may_do_all_that_the_service_does_there_and_what_is_destroyed_is_gone(
    aws: Simulator, results_database: ServiceDatabase, bucket: str, as_results: None, tmp_path: Path
) -> None:
    tokens = Tokens()
    settings = make_settings(results_database, tokens, make_root_key(tmp_path), vault=f"s3://{bucket}/keys")
    root: S3Client = aws.root_client("s3", ACCOUNT)

    def stored() -> set[str]:
        return {entry["Key"] for entry in root.list_objects_v2(Bucket=bucket).get("Contents", [])}

    async with running(settings) as app:
        run = ResultsService(app, tokens).run()
        await run.stored(make_chunk(await run.claimed()))
        first = stored()
        await app.state.services.turnovers.run(run.team_id)
        marks = {key for key in stored() if key.endswith("/destroyed")}
        assert marks == {f"keys/teams/{run.team_id}/0000000001/destroyed"}
        assert len(first) == 1
        assert not first & stored()
        versions = root.list_object_versions(Bucket=bucket)
        assert {entry["Key"] for entry in versions["Versions"]} == stored()
        assert versions.get("DeleteMarkers", []) == []
    async with running(settings) as app:
        again = ResultsService(app, tokens).run(run.team_id, run.run_id)
        with aws.fault(kind="deny", service="s3"):
            refused = await again.findings()
        assert (refused.status_code, refused.json()["code"]) == (503, "key_unavailable")
        assert "vault" in refused.json()["detail"]
        assert (await again.findings()).json()["total"] == 1


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
async def test_a_bucket_with_versions_is_refused_at_the_start_and_before_anything_is_destroyed(
    aws: Simulator, as_results: None, own: Deployment, tmp_path: Path, status: str
) -> None:
    root: S3Client = aws.root_client("s3", ACCOUNT)
    bucket = f"vault-{new_id()}"
    root.create_bucket(Bucket=bucket)
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Principal": {"AWS": own.role_arns["results"]}, "Action": "s3:*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement | {"Resource": resources}]})
    root.put_bucket_policy(Bucket=bucket, Policy=policy)
    async with open_root_keys(make_root_key(tmp_path)) as roots:
        async with open_vault(f"s3://{bucket}", roots) as vault:
            team = new_id()
            key = await vault.create(team, 1)
            root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            if status == "Suspended":
                root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
            with pytest.raises(VaultError, match="never had versioning"):
                await vault.destroy(team, 1)
            assert await vault.load(team, 1) == key
        with pytest.raises(VaultError, match="never had versioning"):
            async with open_vault(f"s3://{bucket}", roots):
                pytest.fail("opened")
        with pytest.raises(StoreSetupError):
            async with open_vault(f"s3://none-{new_id()}", roots):
                pytest.fail("opened")


async def test_the_bucket_is_looked_for_in_the_region_that_the_container_is_told(
    as_results: None, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    async with open_store(f"s3://{bucket}") as store:
        assert isinstance(store, S3Store)
        assert store._client.meta.region_name == "eu-west-3"


async def test_nobody_else_of_ours_reaches_it(aws: Simulator, own: Deployment, bucket: str) -> None:
    others: tuple[Service, ...] = ("api", "worker-audit", "worker-deploy", "worker-onboard")
    for service in others:
        client: S3Client = aws.client("s3", role_credentials(aws, own, service))
        calls: list[Callable[[], object]] = [
            partial(client.list_objects_v2, Bucket=bucket),
            partial(client.get_object, Bucket=bucket, Key="keys/x"),
            partial(client.delete_object, Bucket=bucket, Key="keys/x"),
        ]
        assert [refusal(call) for call in calls] == ["AccessDenied"] * 3, service


async def test_a_key_that_comes_back_beside_its_mark_is_not_used(bucket: str, as_results: None, tmp_path: Path) -> None:
    team = new_id()
    async with open_root_keys(make_root_key(tmp_path)) as roots, open_vault(f"s3://{bucket}/back", roots) as vault:
        await vault.create(team, 1)
        (path,) = await vault._list(f"teams/{team}/0000000001/")
        copy = await vault._store.get(path)
        await vault.destroy(team, 1)
        await vault._store.put(path, copy)
        for ask in (vault.load, vault.create):
            with pytest.raises(KeyDestroyedError):
                await ask(team, 1)
        with pytest.raises(VaultUnavailableError, match="does not have this key"):
            await vault.load(team, 2)
        await vault.destroy(team, 1)
        assert [
            (version.roots, version.is_destroyed) async for version in Vault(vault._store, roots).versions(team)
        ] == [(frozenset(), True)]

"""Backups and their key ledger in S3, made from the production templates and used with the results service's own role:
what the buckets' policies allow is enough for all that is done with backups, and none of it is too much."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import pytest

from coreo_embedded.deploy import Deployment, create_stack, deploy
from coreo_embedded.simulator import Simulator
from coreo_results.backups.reading import read_team
from coreo_results.stores import StoreSetupError, StoreUnavailableError
from coreo_shared.contracts.exclusions import ExclusionState, ExclusionStep
from coreo_shared.ids import new_id
from tests.support.aws import role_credentials
from tests.support.backups import Installation, rows
from tests.support.exclusions import Place
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import RunClient

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Status = Literal["Enabled", "Suspended"]
ACCOUNT = "555555555503"
_NEEDED = {"RequireTls": "false", "DenyOthers": "false"}


@dataclass(frozen=True)
class Buckets:
    """The three, and who may do everything with them."""

    backups: str
    ledger: str
    vault: str
    root: "S3Client"

    def versions(self, bucket: str, of: str = "") -> list[str]:
        """Keys of all versions and delete markers with this in their key."""
        found = self.root.list_object_versions(Bucket=bucket)
        return [
            entry["Key"]
            for entry in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]
            if of in entry["Key"]
        ]


@pytest.fixture(scope="module")
def own(aws: Simulator) -> Deployment:
    return deploy(aws, account_id=ACCOUNT)


@pytest.fixture(scope="module")
def buckets(aws: Simulator, own: Deployment) -> Buckets:
    cloudformation = aws.root_client("cloudformation", ACCOUNT)
    parameters = _NEEDED | {"ResultsRoleArn": own.role_arns["results"]}
    made = {
        **create_stack(cloudformation, "vault", parameters),
        **create_stack(cloudformation, "backups", parameters),
    }
    names = (made["BackupsBucket"], made["LedgerBucket"], made["VaultBucket"])
    return Buckets(*names, aws.root_client("s3", ACCOUNT))


@pytest.fixture
def as_results(aws: Simulator, own: Deployment) -> Iterator[None]:
    """What the SDK's chain finds in the results service."""
    values = role_credentials(aws, own, "results").environment()
    values |= {"AWS_ENDPOINT_URL": aws.endpoint_url, "AWS_REGION": own.region}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def installation(results_database: ServiceDatabase, buckets: Buckets, as_results: None, tmp_path: Path) -> Installation:
    places = {"backup_store": buckets.backups, "ledger_store": buckets.ledger, "vault": buckets.vault}
    folder = new_id()
    return Installation(
        tmp_path, results_database, stores={name: f"s3://{bucket}/{folder}" for name, bucket in places.items()}
    )


@dataclass
class Life:
    """All that is done with the backups of a team, part by part."""

    place: Place
    databases: Databases
    buckets: Buckets
    team: UUID = field(default_factory=new_id)
    runs: list[RunClient] = field(default_factory=list)  # that is excluded, that expires, that is kept
    exclusion: UUID = field(default_factory=new_id)

    def versions(self, run: RunClient) -> list[str]:
        """Of the run's backup."""
        return self.buckets.versions(self.buckets.backups, f"/{run.run_id}-")

    async def begin(self) -> None:
        """Three runs."""
        self.runs = [await self.place.ended(self.team, number) for number in range(3)]

    async def back_up(self) -> None:
        await self.place.back_up(self.team)

    async def verify(self) -> None:
        async with self.place.installation.verifier() as verifier:
            assert len((await read_team(verifier.stores, self.team, verifier.statements)).runs) == 3
            verdict = await verifier.team(self.team)
        assert (verdict.runs, verdict.problems) == (3, [])

    async def ask(self) -> None:
        """For an exclusion, after somebody wrote objects over with the same, and hid one: there are more versions."""
        root, bucket = self.buckets.root, self.buckets.backups
        for run in self.runs[:2]:
            (key,) = self.versions(run)
            root.put_object(Bucket=bucket, Key=key, Body=root.get_object(Bucket=bucket, Key=key)["Body"].read())
        root.delete_object(Bucket=bucket, Key=key)
        assert [len(self.versions(run)) for run in self.runs] == [2, 3, 1]
        self.exclusion = (await self.place.exclude(self.team, "run", self.runs[0].run_id)).id

    async def exclude(self) -> None:
        excluded = self.runs[0]
        is_through = await self.place.work(self.team)
        found = await self.place.find(self.team, self.exclusion)
        if not is_through:  # what keeps one from being done does not keep others from it, and is noted
            assert self.versions(excluded)
            raise StoreUnavailableError(str(found.problem), "noted")
        assert found.state is ExclusionState.DONE
        assert (await self.place.receipt(self.team, self.exclusion)).run_ids == [excluded.run_id]
        assert self.versions(excluded) == []
        vault = self.buckets.versions(self.buckets.vault, f"{self.team}/0000000001")
        assert all("/destroyed" in key for key in vault)
        assert (await excluded.findings()).json()["total"] == 1

    async def let_go(self) -> None:
        over = "UPDATE backups SET expires_at = now() WHERE run_id = $1"
        await rows(self.place.database, over, self.runs[1].run_id)
        await self.place.back_up(self.team)
        assert [len(self.versions(run)) for run in self.runs] == [0, 0, 1]

    async def restore(self) -> None:
        installation = self.place.installation
        with self.databases.empty("coreo_results") as empty:
            report = await installation.restore(empty, only=self.team, thorough=True)
            assert report.restored[self.team].runs == 1
            async with installation.serving(empty, sweep_seconds=3600) as service:
                assert (await service.run(self.team, self.runs[2].run_id).findings()).json()["total"] == 1
                again = Place(service, installation, empty)
                assert (await again.receipt(self.team, self.exclusion)).backups_deleted == 1


@pytest.fixture
async def life(installation: Installation, databases: Databases, buckets: Buckets) -> AsyncIterator[Life]:
    async with installation.serving(sweep_seconds=3600) as service:
        service.app.state.services.exclusion_keeper.wake = lambda: None
        made = Life(Place(service, installation, installation.database), databases, buckets)
        await made.begin()
        yield made


async def test_the_role_may_do_all_that_is_done_with_backups_and_no_version_is_left(
    life: Life, buckets: Buckets
) -> None:
    assert buckets.root.get_bucket_versioning(Bucket=buckets.backups)["Status"] == "Enabled"
    assert "Status" not in buckets.root.get_bucket_versioning(Bucket=buckets.ledger)

    for part in (life.back_up, life.verify, life.ask, life.exclude, life.let_go, life.restore):
        await part()

    # Of the ledger there is what snapshots of today need, once; of the backups nothing but the kept run and the log.
    ledger = buckets.versions(buckets.ledger, f"{life.team}/")
    assert len(ledger) == len(set(ledger))
    left = buckets.versions(buckets.backups, f"runs/{life.team}/")
    assert [str(life.runs[2].run_id) in key for key in left] == [True]


@contextmanager
def without(buckets: Buckets, bucket: str, action: str) -> Iterator[None]:
    """The bucket's policy without one of its actions."""
    policy = buckets.root.get_bucket_policy(Bucket=bucket)["Policy"]
    changed = json.loads(policy)
    allowed = [statement["Action"] for statement in changed["Statement"] if statement["Effect"] == "Allow"]
    assert sum(action in actions for actions in allowed) == 1
    for actions in allowed:
        if action in actions:
            actions.remove(action)
    buckets.root.put_bucket_policy(Bucket=bucket, Policy=json.dumps(changed))
    try:
        yield
    finally:
        buckets.root.put_bucket_policy(Bucket=bucket, Policy=policy)


async def test_each_of_its_rights_is_needed_and_with_it_back_the_work_goes_on(life: Life, buckets: Buckets) -> None:
    """The simulator asks for DeleteObject for the first version in a request, and for DeleteObjectVersion for others;
    S3 for the latter for each."""

    async def needs(part: Callable[[], Awaitable[None]], bucket: str, *actions: str) -> None:
        for action in actions:
            with (
                without(buckets, getattr(buckets, bucket), f"s3:{action}"),
                pytest.raises(StoreUnavailableError, match="AccessDenied"),
            ):
                await part()

    for bucket in ("backups", "ledger"):
        with (
            without(buckets, getattr(buckets, bucket), "s3:GetBucketVersioning"),
            pytest.raises(StoreSetupError, match="access denied"),
        ):
            async with life.place.installation.verifier():
                pytest.fail("opened")
    await needs(life.back_up, "backups", "PutObject")
    await needs(life.back_up, "ledger", "PutObject", "ListBucket")
    await life.back_up()
    await needs(life.verify, "backups", "ListBucket", "GetObject")
    await needs(life.verify, "ledger", "ListBucket", "GetObject")
    await life.verify()
    await life.ask()
    await needs(life.exclude, "backups", "PutObject", "ListBucketVersions", "DeleteObject", "DeleteObjectVersion")
    await needs(life.exclude, "ledger", "ListBucketVersions", "DeleteObject")
    found = await life.place.find(life.team, life.exclusion)
    assert found.state is ExclusionState.PENDING
    assert found.remaining == [ExclusionStep.OLD_KEYS, ExclusionStep.RECEIPT]
    await life.exclude()
    await needs(life.let_go, "backups", "ListBucketVersions", "DeleteObject", "DeleteObjectVersion")
    await life.let_go()


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
async def test_a_ledger_in_a_bucket_with_versions_is_refused_at_the_start(
    results_database: ServiceDatabase,
    own: Deployment,
    buckets: Buckets,
    as_results: None,
    tmp_path: Path,
    status: Status,
) -> None:
    """Otherwise as the template makes it."""
    bucket, root = f"ledger-{new_id()}", buckets.root
    root.create_bucket(Bucket=bucket)
    policy = root.get_bucket_policy(Bucket=buckets.ledger)["Policy"].replace(buckets.ledger, bucket)
    root.put_bucket_policy(Bucket=bucket, Policy=policy)
    places = {"backup_store": f"s3://{buckets.backups}/{bucket}", "ledger_store": f"s3://{bucket}"}
    installation = Installation(tmp_path, results_database, stores=places)
    async with installation.serving():
        pass
    root.delete_bucket_policy(Bucket=bucket)  # which refuses what comes now, to everybody
    states: tuple[Status, ...] = ("Enabled", status)
    for state in states:
        root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})
    root.put_bucket_policy(Bucket=bucket, Policy=policy)
    with pytest.raises(StoreSetupError, match="never had versioning"):
        async with installation.serving():
            pytest.fail("started")

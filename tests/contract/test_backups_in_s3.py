"""Backups and their key ledger in S3, made from the production templates and used with the results service's own role:
what the buckets' policies allow is enough for all that is done with backups, and none of it is too much."""

import json
from collections.abc import Iterator
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
    """All that is done with backups, part by part."""

    installation: Installation
    databases: Databases
    buckets: Buckets
    team: UUID = field(default_factory=new_id)
    runs: list[RunClient] = field(default_factory=list)  # that is excluded, that expires, that is kept
    exclusion: UUID | None = None
    done: list[str] = field(default_factory=list)

    async def live(self) -> None:
        """`done` says how far it came; what a store refuses is raised."""
        refused: StoreUnavailableError | None = None
        async with self.installation.serving(sweep_seconds=3600) as service:
            service.app.state.services.exclusion_keeper.wake = lambda: None
            place = Place(service, self.installation, self.installation.database)
            self.runs = [await place.ended(self.team, number) for number in range(3)]
            try:
                await self._parts(place)
            except StoreUnavailableError as error:
                refused = error  # not through the end of the service, which would wrap it
        if refused is not None:
            raise refused
        await self._restore()
        self.done.append("restore")

    async def _parts(self, place: Place) -> None:
        await place.back_up(self.team)
        self.done.append("back up")
        await self._verify(3)
        self._put_more_versions()
        self.done.append("verify")
        await self._exclude(place)
        self.done.append("exclude")
        await self._let_go(place)
        self.done.append("let go")

    def versions(self, run: RunClient) -> list[str]:
        """Of the run's backup."""
        return self.buckets.versions(self.buckets.backups, f"/{run.run_id}-")

    async def _verify(self, runs: int) -> None:
        async with self.installation.verifier() as verifier:
            assert len((await read_team(verifier.stores, self.team, verifier.statements)).runs) == runs
            verdict = await verifier.team(self.team)
        assert (verdict.runs, verdict.problems) == (runs, [])

    def _put_more_versions(self) -> None:
        """As a person might: objects that are written over with the same, and hidden."""
        root, bucket = self.buckets.root, self.buckets.backups
        for run in self.runs[:2]:
            (key,) = self.versions(run)
            root.put_object(Bucket=bucket, Key=key, Body=root.get_object(Bucket=bucket, Key=key)["Body"].read())
        root.delete_object(Bucket=bucket, Key=key)
        assert [len(self.versions(run)) for run in self.runs] == [2, 3, 1]

    async def _exclude(self, place: Place) -> None:
        excluded = self.runs[0]
        self.exclusion = (await place.exclude(self.team, "run", excluded.run_id)).id
        is_through = await place.work(self.team)
        found = await place.find(self.team, self.exclusion)
        if not is_through:  # what keeps one from being done does not keep others from it
            assert (found.state, found.remaining[-1]) == (ExclusionState.PENDING, ExclusionStep.RECEIPT)
            assert "AccessDenied" in (found.problem or "")
            assert self.versions(excluded)
            raise StoreUnavailableError("the exclusion's", "AccessDenied")
        assert (await place.receipt(self.team, self.exclusion)).run_ids == [excluded.run_id]
        assert self.versions(excluded) == []
        assert all("/destroyed" in key for key in self.buckets.versions(self.buckets.vault, f"{self.team}/0000000001"))
        assert (await excluded.findings()).json()["total"] == 1

    async def _let_go(self, place: Place) -> None:
        await rows(place.database, "UPDATE backups SET expires_at = now() WHERE run_id = $1", self.runs[1].run_id)
        await place.back_up(self.team)
        assert [len(self.versions(run)) for run in self.runs] == [0, 0, 1]

    async def _restore(self) -> None:
        with self.databases.empty("coreo_results") as empty:
            report = await self.installation.restore(empty, only=self.team, thorough=True)
            assert report.restored[self.team].runs == 1
            async with self.installation.serving(empty, sweep_seconds=3600) as service:
                assert (await service.run(self.team, self.runs[2].run_id).findings()).json()["total"] == 1
                again = Place(service, self.installation, empty)
                assert self.exclusion is not None
                assert (await again.receipt(self.team, self.exclusion)).backups_deleted == 1


@pytest.fixture
def life(installation: Installation, databases: Databases, buckets: Buckets) -> Life:
    return Life(installation, databases, buckets)


async def test_the_role_may_do_all_that_is_done_with_backups_and_no_version_is_left(
    life: Life, buckets: Buckets
) -> None:
    assert buckets.root.get_bucket_versioning(Bucket=buckets.backups)["Status"] == "Enabled"
    assert "Status" not in buckets.root.get_bucket_versioning(Bucket=buckets.ledger)

    await life.live()

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


# (bucket, action): the parts that go well without it. The simulator asks for DeleteObject for the first version in a
# request, and for DeleteObjectVersion for others; S3 for the latter for each.
_BACK_UP, _VERIFY = ["back up"], ["back up", "verify"]
NEEDED = {
    ("backups", "s3:GetBucketVersioning"): [],
    ("backups", "s3:PutObject"): [],
    ("backups", "s3:ListBucket"): _BACK_UP,
    ("backups", "s3:GetObject"): _BACK_UP,
    ("backups", "s3:ListBucketVersions"): _VERIFY,
    ("backups", "s3:DeleteObject"): _VERIFY,
    ("backups", "s3:DeleteObjectVersion"): _VERIFY,
    ("ledger", "s3:GetBucketVersioning"): [],
    ("ledger", "s3:PutObject"): [],
    ("ledger", "s3:ListBucket"): [],
    ("ledger", "s3:GetObject"): [],
    ("ledger", "s3:ListBucketVersions"): _VERIFY,
    ("ledger", "s3:DeleteObject"): _VERIFY,
}


@pytest.mark.parametrize(("bucket", "action"), NEEDED)
async def test_each_of_its_rights_is_needed(life: Life, buckets: Buckets, bucket: str, action: str) -> None:
    with (
        without(buckets, getattr(buckets, bucket), action),
        pytest.raises((StoreSetupError, StoreUnavailableError), match=r"access denied|AccessDenied"),
    ):
        await life.live()
    assert life.done == NEEDED[bucket, action]


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

"""One suite for both adapters of the object store port: a directory, and S3 with versions and without."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coreo_embedded.simulator import Simulator
from coreo_results.stores import (
    Location,
    NotStoredError,
    ObjectStore,
    StoreConflictError,
    StoredObject,
    StoreSetupError,
    StoreUnavailableError,
    open_store,
)
from coreo_shared.ids import new_id

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCOUNT = "555555555501"
MEBIBYTE = 1024 * 1024


@pytest.fixture
def s3(aws: Simulator) -> "S3Client":
    client: S3Client = aws.root_client("s3", ACCOUNT)
    return client


@pytest.fixture
def s3_environment(aws: Simulator) -> Iterator[None]:
    """What the SDK's chain finds."""
    values = aws.root_credentials(ACCOUNT).environment()
    values |= {"AWS_ENDPOINT_URL": aws.endpoint_url, "AWS_REGION": "us-east-1"}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(params=["directory", "s3", "s3-versioned"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "directory":
        location = f"dir:{tmp_path}"  # pytest makes it 0700
    else:
        request.getfixturevalue("s3_environment")
        client: S3Client = request.getfixturevalue("s3")
        bucket = f"store-{new_id()}"
        client.create_bucket(Bucket=bucket)
        if request.param == "s3-versioned":
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        location = f"s3://{bucket}/some/folder"
    async with open_store(location) as opened:
        assert opened.name == location
        assert await opened.keeps_versions() is (request.param == "s3-versioned")
        yield opened


async def in_parts(count: int, part: bytes) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield part


async def keys(found: AsyncIterator[StoredObject]) -> list[str]:
    return [entry.key async for entry in found]


async def test_what_was_put_is_got(store: ObjectStore) -> None:
    await store.put("teams/a/one.bin", b"content")
    await store.put("teams/a/empty.bin", b"")

    assert await store.get("teams/a/one.bin") == b"content"
    assert [piece async for piece in store.read("teams/a/one.bin")] == [b"content"]
    assert await store.get("teams/a/empty.bin") == b""
    with pytest.raises(NotStoredError, match=r"teams/a/two\.bin"):
        await store.get("teams/a/two.bin")
    with pytest.raises(NotStoredError):
        await anext(aiter(store.read("teams")))


async def test_parts_become_one_object(store: ObjectStore) -> None:
    part = os.urandom(3 * MEBIBYTE)

    await store.put("large.bin", in_parts(6, part))
    pieces = [piece async for piece in store.read("large.bin")]

    assert b"".join(pieces) == part * 6
    assert max(map(len, pieces)) <= MEBIBYTE
    assert [(entry.key, entry.size) async for entry in store.list()] == [("large.bin", 18 * MEBIBYTE)]
    await store.put("large.bin", in_parts(6, part))
    with pytest.raises(StoreConflictError):
        await store.put("large.bin", in_parts(5, part))


async def test_nothing_is_ever_replaced(store: ObjectStore) -> None:
    await store.put("one.bin", b"first")

    await store.put("one.bin", b"first")
    with pytest.raises(StoreConflictError):
        await store.put("one.bin", b"other")

    assert await store.get("one.bin") == b"first"
    contents = [b"%d" % number for number in range(8)]
    outcomes = await asyncio.gather(*(store.put("race.bin", content) for content in contents), return_exceptions=True)
    assert outcomes.count(None) == 1
    assert await store.get("race.bin") == contents[outcomes.index(None)]


async def test_a_source_that_fails_leaves_nothing(store: ObjectStore) -> None:
    async def failing(count: int) -> AsyncIterator[bytes]:
        async for part in in_parts(count, b"x" * MEBIBYTE):
            yield part
        raise FileNotFoundError

    for count in (1, 20):
        with pytest.raises(FileNotFoundError):
            await store.put("one.bin", failing(count))

    assert await keys(store.list()) == []
    await store.put("one.bin", b"another try")


async def test_a_listing_is_in_the_order_of_keys(store: ObjectStore) -> None:
    names = ["a-b/x", "a/b", "a/b.c/d", "a/b0", "a/c/1", "a/c/2", "a0", "b"]
    for name in reversed(names):
        await store.put(name, b"12")

    assert await keys(store.list()) == sorted(names)
    assert await keys(store.list("a/")) == ["a/b", "a/b.c/d", "a/b0", "a/c/1", "a/c/2"]
    for position, name in enumerate(names):
        assert await keys(store.list("", name)) == names[position + 1 :]
    assert await keys(store.list("a/", "a/c/1")) == ["a/c/2"]
    assert await keys(store.list("nothing/")) == []
    assert {(entry.size, entry.modified.tzinfo is not None) async for entry in store.list()} == {(2, True)}


async def test_what_was_deleted_is_gone_and_may_be_written_anew(store: ObjectStore) -> None:
    await store.put("a/one.bin", b"first")
    await store.put("a/one.bin.more", b"kept")

    await store.delete("a/one.bin")
    await store.delete("a/one.bin")
    with pytest.raises(NotStoredError):
        await store.get("a/one.bin")
    await store.put("a/one.bin", b"second")

    assert await store.get("a/one.bin") == b"second"
    assert await store.get("a/one.bin.more") == b"kept"


async def test_no_key_leads_out_of_the_store(store: ObjectStore) -> None:
    for key in ("", "/etc/passwd", "../up", "a/../b", "a//b", "a/", "./a", "A", "a b", "a\n", "x" * 201):
        for call in (store.put(key, b""), store.get(key), store.delete(key), anext(store.list(f"{key or '/'}/"))):
            with pytest.raises(ValueError, match="no key"):
                await call
    with pytest.raises(ValueError, match="ends with a slash"):
        await anext(store.list("a"))


async def test_no_version_of_what_was_deleted_is_left(s3: "S3Client", s3_environment: None) -> None:
    bucket = f"store-{new_id()}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="p/old", Body=b"from before")  # before there were versions
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="p/old", Body=b"newer")
    s3.delete_object(Bucket=bucket, Key="p/old")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})

    async with open_store(f"s3://{bucket}/p") as store:
        assert await store.keeps_versions()
        await store.delete("old")

    left = s3.list_object_versions(Bucket=bucket)
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])


async def test_s3_in_trouble_is_unavailable_and_leaves_no_upload(
    aws: Simulator, s3: "S3Client", s3_environment: None
) -> None:
    bucket = f"store-{new_id()}"
    s3.create_bucket(Bucket=bucket)
    async with open_store(f"s3://{bucket}") as store:
        await store.put("there", b"content")
        large = b"x" * (9 * MEBIBYTE)
        with aws.fault(kind="deny", service="s3"):
            for call in (store.put("a", b""), store.put("a", large), store.get("there"), store.delete("there")):
                with pytest.raises(StoreUnavailableError, match="AccessDenied"):
                    await call
        with (
            aws.fault(kind="deny", service="s3", operation="UploadPart"),
            pytest.raises(StoreUnavailableError, match="AccessDenied"),
        ):
            await store.put("a", large)
        with aws.fault(kind="disconnect", service="s3", times=1):  # after which the SDK tries again
            assert await store.get("there") == b"content"

    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    with pytest.raises(StoreSetupError, match="no such bucket"):
        async with open_store(f"s3://nobodys-{new_id()}"):
            pass
    with aws.fault(kind="deny", service="s3"), pytest.raises(StoreSetupError, match="GetBucketVersioning"):
        async with open_store(f"s3://{bucket}"):
            pass


async def test_a_directory_must_be_there_and_be_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with pytest.raises(StoreSetupError, match="mkdir -m 700"):
        async with open_store(f"dir:{folder}"):
            pass
    folder.mkdir()
    folder.chmod(0o750)
    with pytest.raises(StoreSetupError, match="chmod 700"):
        async with open_store(f"dir:{folder}"):
            pass
    folder.chmod(0o700)
    async with open_store(f"dir:{folder}") as store:
        await store.put("a/b", b"secret")
        assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}
        (folder / "a" / "b").unlink()
        (folder / "a").rmdir()
        for left in (".partial", ".deleting"):
            (folder / left).rmdir()
        folder.rmdir()
        with pytest.raises(StoreUnavailableError, match="gone"):
            await store.get("a/b")


async def test_deleting_overwrites_the_file_and_goes_on_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: Path) -> None:
        raise OSError(5, "the power went")

    async with open_store(f"dir:{tmp_path}") as store:
        await store.put("a/b", b"secret" * 300_000)
        with (tmp_path / "a" / "b").open("rb") as held:
            with monkeypatch.context() as patch:
                patch.setattr("coreo_results.stores.directory._overwrite", crash)
                with pytest.raises(StoreUnavailableError):
                    await store.delete("a/b")
            with pytest.raises(NotStoredError):
                await store.get("a/b")
            await store.delete("a/b")
            assert set(held.read()) == {0}
        assert not list((tmp_path / ".deleting").iterdir())


@pytest.mark.parametrize(
    "value",
    ["", "/stores", "dir:here", "dir:/a/../b", "s3://", "s3://A", "s3://bucket/Upper", "s3://bucket/../x", "gs://b"],
)
def test_what_is_no_location_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="expected dir:"):
        Location.parse(value)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("dir:/a/b", "dir:/a/b/", True),
        ("dir:/a", "dir:/a/b", True),
        ("dir:/a/bc", "dir:/a/b", False),
        ("s3://bucket/a", "s3://bucket/a/b", True),
        ("s3://bucket", "s3://bucket/b", True),
        ("s3://bucket/a", "s3://bucket/ab", False),
        ("s3://bucket/a", "s3://other/a", False),
        ("dir:/bucket", "s3://bucket", False),
    ],
)
def test_stores_inside_each_other_are_noticed(one: str, other: str, *, expected: bool) -> None:
    assert Location.parse(one).overlaps(Location.parse(other)) is expected
    assert Location.parse(other).overlaps(Location.parse(one)) is expected

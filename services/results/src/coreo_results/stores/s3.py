"""A store in an S3 bucket. The only module besides keys/kms_root.py that touches the AWS SDK.

Needs s3:GetObject, s3:PutObject, s3:AbortMultipartUpload, s3:DeleteObject, s3:DeleteObjectVersion on the objects and
s3:ListBucket, s3:ListBucketVersions, s3:GetBucketVersioning on the bucket. Objects are written with `If-None-Match: *`,
so that none is ever replaced, and encrypted as the bucket says (by default SSE-S3).
"""

import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import ClientError as TransportError
from botocore.exceptions import BotoCoreError, ClientError

from coreo_results.stores.opening import Location
from coreo_results.stores.port import (
    PIECE_BYTES,
    NotStoredError,
    StoreConflictError,
    StoredObject,
    StoreSetupError,
    StoreUnavailableError,
    check_key,
    check_prefix,
    digest_of,
    rechunked,
)
from coreo_shared.observability.logs import get_logger

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, ObjectIdentifierTypeDef

_log = get_logger(__name__)
_CONFIG = AioConfig(connect_timeout=3, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
_PART_BYTES = 8 * 1024 * 1024  # of a multipart upload, of which S3 takes 10,000
_MISSING = {"NoSuchKey", "404", "NotFound"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}  # the name is taken, or just being taken
_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "AuthorizationHeaderMalformed"}


@asynccontextmanager
async def s3_store(where: Location) -> AsyncIterator["S3Store"]:
    """The bucket, looked at once; region, credentials, endpoint come from the SDK's chain. Raises StoreSetupError."""
    region = os.environ.get("AWS_REGION")  # the SDK itself reads AWS_DEFAULT_REGION alone
    async with get_session().create_client("s3", region_name=region, config=_CONFIG) as client:
        store = S3Store(client, where)
        try:
            await store.keeps_versions()
        except StoreUnavailableError as error:
            if error.cause in _NO_BUCKET:
                raise StoreSetupError(f"store {store.name}: there is no such bucket here ({error.cause})") from None
            if error.cause == "AccessDenied":
                hint = "the role needs s3:GetBucketVersioning and the rights named in docs/operations.md"
                raise StoreSetupError(f"store {store.name}: access denied; {hint}") from None
            raise
        yield store


class S3Store:
    """An ObjectStore."""

    def __init__(self, client: "S3Client", where: Location) -> None:
        self._client = client
        self._bucket = where.place
        self._prefix = where.prefix
        self.name = str(where)

    def __repr__(self) -> str:
        return f"S3Store({self.name!r})"

    async def keeps_versions(self) -> bool:
        """See ObjectStore. A bucket whose versioning was suspended still has its old versions."""
        with self._errors():
            answer = await self._client.get_bucket_versioning(Bucket=self._bucket)
        return "Status" in answer

    async def put(self, key: str, data: bytes | AsyncIterable[bytes]) -> None:
        """See ObjectStore."""
        name, digest = self._name(key), hashlib.sha256()
        parts = rechunked(data, _PART_BYTES)
        first = await anext(parts, b"")
        digest.update(first)
        try:
            if len(first) < _PART_BYTES:
                with self._errors(key):
                    await self._client.put_object(Bucket=self._bucket, Key=name, Body=first, IfNoneMatch="*")
            else:
                await self._put_multipart(key, first, parts, digest)
        except StoreUnavailableError as error:
            if error.cause not in _TAKEN:
                raise
            stored = await digest_of(self, key)
            if stored is None:  # another writer was about to, and did not
                raise
            if stored != digest.digest():
                raise StoreConflictError(key) from None

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        return b"".join([piece async for piece in self.read(key)])

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """See ObjectStore."""
        with self._errors(key):
            answer = await self._client.get_object(Bucket=self._bucket, Key=self._name(key))
        async with answer["Body"] as body:
            while True:
                with self._errors(key):
                    piece = await body.read(PIECE_BYTES)
                if not piece:
                    return
                yield piece

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """See ObjectStore."""
        folder = self._prefix + check_prefix(prefix)
        start = self._prefix + after if after else ""
        while True:
            with self._errors():
                page = await self._client.list_objects_v2(Bucket=self._bucket, Prefix=folder, StartAfter=start)
            for entry in page.get("Contents", []):
                yield StoredObject(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"])
            if not page["IsTruncated"]:
                return
            start = page["Contents"][-1]["Key"]

    async def delete(self, key: str) -> None:
        """See ObjectStore. Each version goes by its id: without one S3 would hide the object and keep it."""
        name = self._name(key)
        while True:
            with self._errors():
                page = await self._client.list_object_versions(Bucket=self._bucket, Prefix=name)
            versions: list[ObjectIdentifierTypeDef] = [
                {"Key": name, "VersionId": version["VersionId"]}
                for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                if version["Key"] == name
            ]
            if not versions:
                return
            with self._errors():
                answer = await self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": versions, "Quiet": True}
                )
            for refused in answer.get("Errors", []):
                raise StoreUnavailableError(self.name, refused.get("Code", "unknown"))

    async def _put_multipart(self, key: str, first: bytes, rest: AsyncIterator[bytes], digest: "hashlib._Hash") -> None:
        name = self._name(key)
        with self._errors(key):
            upload = (await self._client.create_multipart_upload(Bucket=self._bucket, Key=name))["UploadId"]
        try:
            parts: list[CompletedPartTypeDef] = [await self._put_part(key, upload, 1, first)]
            async for part in rest:
                digest.update(part)
                parts.append(await self._put_part(key, upload, len(parts) + 1, part))
            with self._errors(key):
                await self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=name,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                    IfNoneMatch="*",
                )
        except BaseException:
            await self._abandon(name, upload)
            raise

    async def _put_part(self, key: str, upload: str, number: int, data: bytes) -> "CompletedPartTypeDef":
        with self._errors(key):
            answer = await self._client.upload_part(
                Bucket=self._bucket, Key=self._name(key), UploadId=upload, PartNumber=number, Body=data
            )
        part: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part

    async def _abandon(self, name: str, upload: str) -> None:
        try:
            await self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)
        except (ClientError, BotoCoreError, TransportError) as error:
            # What went wrong before is what the caller must hear of; the bucket's lifecycle removes the parts.
            _log.warning("upload_not_aborted", store=self.name, cause=_cause(error))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    @contextmanager
    def _errors(self, key: str | None = None) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError, TransportError, TimeoutError) as error:
            cause = _cause(error)
            if key is not None and cause in _MISSING:
                raise NotStoredError(key) from None
            raise StoreUnavailableError(self.name, cause) from error


def _cause(error: Exception) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__

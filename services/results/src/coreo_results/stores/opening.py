"""From a setting to a store."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coreo_results.stores.port import ObjectStore, check_key

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Location:
    """Where a store is: dir:/ABSOLUTE/PATH or s3://BUCKET/PREFIX (the prefix may be left out)."""

    kind: Literal["dir", "s3"]
    place: str  # the directory, or the bucket
    prefix: str = ""  # in the bucket: empty, or ends with a slash

    @classmethod
    def parse(cls, value: str) -> "Location":
        """Raises ValueError."""
        if value.startswith("dir:") and Path(value[4:]).is_absolute() and ".." not in Path(value[4:]).parts:
            return cls("dir", str(Path(value[4:])))
        if value.startswith("s3://"):
            bucket, _, prefix = value.removeprefix("s3://").partition("/")
            prefix = prefix.rstrip("/")
            if _BUCKET.fullmatch(bucket) and (not prefix or _is_key(prefix)):
                return cls("s3", bucket, f"{prefix}/" if prefix else "")
        raise ValueError("expected dir:/ABSOLUTE/PATH or s3://BUCKET/PREFIX (the prefix in lower case, or none)")

    def overlaps(self, other: "Location") -> bool:
        """Whether one of them is the other, or lies inside it."""
        if self.kind != other.kind:
            return False
        if self.kind == "s3":
            inside = self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
            return self.place == other.place and inside
        mine, its = Path(self.place).resolve(), Path(other.place).resolve()
        return mine.is_relative_to(its) or its.is_relative_to(mine)

    def __str__(self) -> str:
        return f"dir:{self.place}" if self.kind == "dir" else f"s3://{self.place}/{self.prefix}".rstrip("/")


@asynccontextmanager
async def open_store(location: str | Location) -> AsyncIterator[ObjectStore]:
    """The store there, looked at once. Raises StoreSetupError, StoreUnavailableError; ValueError for no location."""
    where = Location.parse(location) if isinstance(location, str) else location
    if where.kind == "dir":
        from coreo_results.stores.directory import DirectoryStore  # noqa: PLC0415  only the chosen adapter is loaded

        yield await DirectoryStore.open(Path(where.place))
    else:
        from coreo_results.stores.s3 import s3_store  # noqa: PLC0415  the SDK takes a while to import

        async with s3_store(where) as store:
            yield store


def _is_key(prefix: str) -> bool:
    try:
        check_key(prefix)
    except ValueError:
        return False
    return True

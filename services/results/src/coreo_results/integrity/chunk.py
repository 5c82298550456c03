"""What is wrong with one stored chunk. Pure."""

from dataclasses import dataclass
from uuid import UUID

from coreo_results.chunks.columns import Group
from coreo_results.chunks.sealing import ChunkPlace, resource_hashes, tags, unseal_chunk
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import RunKey


@dataclass(frozen=True)
class StoredChunk:
    """A chunk with everything that stands in clear beside it."""

    place: ChunkPlace
    findings: int
    resource_hashes: list[int]
    tags: list[UUID]  # none for a chunk that was stored before there were any
    groups: list[Group]  # by their place in it
    sealed: bytes


def find_fault(chunk: StoredChunk, key: RunKey) -> str | None:
    """The first thing that is wrong with it, in words that say nothing of what is in it."""
    try:
        columns = unseal_chunk(chunk.place, chunk.sealed, key)
    except DamagedError:
        return "does not decrypt"
    if chunk.findings != len(columns.resource_ids) or chunk.groups != columns.groups:
        return "does not hold what stands in clear beside it"
    if chunk.resource_hashes != resource_hashes(columns, key.resources):
        return "has wrong hashes of resources"
    if chunk.tags and [tag.hex for tag in chunk.tags] != tags(columns.fingerprints, key.fingerprints):
        return "has wrong tags of fingerprints"
    return None

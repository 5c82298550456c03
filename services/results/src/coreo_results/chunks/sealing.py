"""From a chunk to what the database gets, and back. What stays in clear: the groups, and a keyed hash per resource."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from coreo_results.chunks.columns import FINGERPRINT_BYTES, SCHEMA, Columns, Group, pack, to_columns, unpack
from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import bind, seal, unseal
from coreo_results.keys.service import RunKey
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import PutChunk
from coreo_shared.contracts.terms import FindingStatus


@dataclass(frozen=True)
class ChunkPlace:
    """Where a chunk belongs. It opens nowhere else."""

    team_id: UUID
    run_id: UUID
    unit: str
    index: int
    final: bool

    def context(self) -> bytes:
        """The associated data of the encryption."""
        return bind("chunk", SCHEMA, self.team_id, self.run_id, self.unit, self.index, int(self.final))


@dataclass(frozen=True)
class SealedChunk:
    """A chunk ready to be stored.

    `resource_hashes`: 64-bit hashes of the resource ids in the order of the findings, then as many of the ARNs, with
    0 where there is no ARN or it is the id, so that a hash is found once per finding. `tags`: a keyed hash of each
    fingerprint, in the same order. `listed`: nothing in it says that the unit could not be listed to the end.
    """

    place: ChunkPlace
    groups: list[Group]
    findings: int
    resource_hashes: list[int]
    tags: list[UUID]
    listed: bool
    sealed: Sealed


@dataclass(frozen=True)
class PackedChunk:
    """As SealedChunk, in the form that many are stored in soonest: arrays as PostgreSQL writes them, tags in hex."""

    place: ChunkPlace
    groups: list[Group]
    findings: int
    resource_hashes: str
    tags: list[str]
    listed: bool
    sealed: Sealed


@dataclass(frozen=True)
class ResealedChunk:
    """What changes of a stored chunk when its run gets another key."""

    place: ChunkPlace
    resource_hashes: list[int]
    sealed: Sealed


def seal_chunk(team_id: UUID, run_id: UUID, chunk: PutChunk, key: RunKey) -> SealedChunk:
    """The chunk encrypted under its run's key. Raises TypeError where evidence has no JSON form."""
    place = ChunkPlace(team_id, run_id, chunk.unit, chunk.index, chunk.final)
    columns = to_columns(chunk.findings)
    return SealedChunk(
        place=place,
        groups=columns.groups,
        findings=len(chunk.findings),
        resource_hashes=resource_hashes(columns, key.resources),
        tags=tags(columns.fingerprints, key.fingerprints),
        listed=not any(_says_unlisted(finding, chunk.unit) for finding in chunk.findings),
        sealed=seal(key.data, pack(columns), place.context()),
    )


def seal_packed(place: ChunkPlace, packed: bytes, key: RunKey, *, listed: bool) -> PackedChunk:
    """A chunk from columns that were packed before, as `seal_chunk` made it then."""
    columns = unpack(packed)
    hashes = resource_hashes(columns, key.resources)
    return PackedChunk(
        place=place,
        groups=columns.groups,
        findings=len(columns.resource_ids),
        resource_hashes=f"{{{','.join(map(str, hashes))}}}",
        tags=[digest.hex() for digest in _tag_digests(columns.fingerprints, key.fingerprints)],
        listed=listed,
        sealed=seal(key.data, packed, place.context()),
    )


def unseal_chunk(place: ChunkPlace, sealed: bytes, key: RunKey) -> Columns:
    """The chunk's findings. Raises DamagedError."""
    return unpack(unseal(key.data, sealed, place.context()))


def reseal_chunk(place: ChunkPlace, sealed: bytes, old: RunKey, new: RunKey) -> ResealedChunk:
    """The chunk under another key of its run. Raises DamagedError."""
    packed = unseal(old.data, sealed, place.context())
    hashes = resource_hashes(unpack(packed), new.resources)
    return ResealedChunk(place, hashes, seal(new.data, packed, place.context()))


def resource_hash(resource: str, key: SecretKey) -> int:
    """The keyed hash of a resource id or ARN: 64 bits of keyed BLAKE2b (RFC 7693), signed, never 0.

    BLAKE2b rather than HMAC-SHA256: as strong for this, and a third of the time, of which this is a good part.
    """
    return _hash(resource, key.reveal())


def _hash(resource: str, key: bytes) -> int:
    digest = blake2b(resource.encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def tags(fingerprints: bytes, key: SecretKey) -> list[UUID]:
    """Keyed hashes of fingerprints (16 bytes each): the same in all runs of the team."""
    return [UUID(bytes=digest) for digest in _tag_digests(fingerprints, key)]


def _tag_digests(fingerprints: bytes, key: SecretKey) -> Iterator[bytes]:
    """128 bits of keyed BLAKE2b for each fingerprint (16 bytes each): the same in all runs of the team."""
    material, size = key.reveal(), FINGERPRINT_BYTES
    for start in range(0, len(fingerprints), size):
        yield blake2b(fingerprints[start : start + size], key=material, digest_size=16).digest()


def _says_unlisted(finding: Finding, unit: str) -> bool:
    """Whether this is what the engine says in place of resources that it could not list: it is about the unit."""
    return finding.resource_id == unit and finding.status is FindingStatus.NOT_EVALUATED


def resource_hashes(columns: Columns, key: SecretKey) -> list[int]:
    """See SealedChunk."""
    material = key.reveal()
    ids, arns = columns.resource_ids, columns.resource_arns
    hashes: dict[str | None, int] = {name: _hash(name, material) for name in {*ids, *arns} if name is not None}
    hashes[None] = 0
    pairs = zip(ids, arns, strict=True)
    return [hashes[name] for name in ids] + [0 if arn == name else hashes[arn] for name, arn in pairs]

"""From a chunk to what the database gets, and back. What stays in clear: the groups, and a keyed hash per resource."""

from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from coreo_results.chunks.columns import (
    FINGERPRINT_BYTES,
    SCHEMA,
    Columns,
    Group,
    Named,
    pack,
    to_columns,
    unpack,
    unpack_names,
)
from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import bind, seal, unseal
from coreo_results.keys.service import RunKey
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import PutChunk
from coreo_shared.contracts.terms import FindingStatus

_REMEMBERED = 50_000  # tags, of some 160 bytes


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
    fingerprint in hex, in the same order. `listed`: nothing in it says that the unit could not be listed to the end.
    """

    place: ChunkPlace
    groups: list[Group]
    findings: int
    resource_hashes: list[int]
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


def seal_packed(place: ChunkPlace, packed: bytes, key: RunKey, known: "KnownTags", *, listed: bool) -> SealedChunk:
    """A chunk from columns that were packed before, as `seal_chunk` made it then."""
    columns = unpack_names(packed)
    return SealedChunk(
        place=place,
        groups=columns.groups,
        findings=len(columns.resource_ids),
        resource_hashes=resource_hashes(columns, key.resources),
        tags=known.of(columns.fingerprints),
        listed=listed,
        sealed=seal(key.data, packed, place.context()),
    )


def unseal_chunk(place: ChunkPlace, sealed: bytes, key: RunKey) -> Columns:
    """The chunk's findings. Raises DamagedError."""
    return unpack(unseal(key.data, sealed, place.context()))


def reseal_chunk(place: ChunkPlace, sealed: bytes, old: RunKey, new: RunKey) -> ResealedChunk:
    """The chunk under another key of its run. Raises DamagedError."""
    packed = unseal(old.data, sealed, place.context())
    hashes = resource_hashes(unpack_names(packed), new.resources)
    return ResealedChunk(place, hashes, seal(new.data, packed, place.context()))


def resource_hash(resource: str, key: SecretKey) -> int:
    """The keyed hash of a resource id or ARN: 64 bits of keyed BLAKE2b (RFC 7693), signed, never 0.

    BLAKE2b rather than HMAC-SHA256: as strong for this, and a third of the time, of which this is a good part.
    """
    return _hash(resource, key.reveal())


def _hash(resource: str, key: bytes) -> int:
    digest = blake2b(resource.encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def tags(fingerprints: bytes, key: SecretKey) -> list[str]:
    """128 bits of keyed BLAKE2b, in hex, for each fingerprint (16 bytes each): the same in all runs of the team."""
    material, size = key.reveal(), FINGERPRINT_BYTES
    return [
        blake2b(fingerprints[start : start + size], key=material, digest_size=16).hexdigest()
        for start in range(0, len(fingerprints), size)
    ]


class KnownTags(dict[bytes, str]):
    """Tags by fingerprint, for who meets the same findings run after run."""

    def __init__(self, key: SecretKey) -> None:
        super().__init__()
        self.key = key

    def of(self, fingerprints: bytes) -> list[str]:
        """As `tags`."""
        size = FINGERPRINT_BYTES
        return [self[fingerprints[start : start + size]] for start in range(0, len(fingerprints), size)]

    def __missing__(self, fingerprint: bytes) -> str:
        [tag] = tags(fingerprint, self.key)
        if len(self) < _REMEMBERED:
            self[fingerprint] = tag
        return tag


def _says_unlisted(finding: Finding, unit: str) -> bool:
    """Whether this is what the engine says in place of resources that it could not list: it is about the unit."""
    return finding.resource_id == unit and finding.status is FindingStatus.NOT_EVALUATED


def resource_hashes(columns: Columns | Named, key: SecretKey) -> list[int]:
    """See SealedChunk."""
    material = key.reveal()
    ids, arns = columns.resource_ids, columns.resource_arns
    hashes: dict[str | None, int] = {name: _hash(name, material) for name in {*ids, *arns} if name is not None}
    hashes[None] = 0
    pairs = zip(ids, arns, strict=True)
    return [hashes[name] for name in ids] + [0 if arn == name else hashes[arn] for name, arn in pairs]

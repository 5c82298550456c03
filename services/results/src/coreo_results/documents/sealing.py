"""A run's documents as the database keeps them: JSON, compressed, encrypted, each bound to its place."""

import sys
from dataclasses import dataclass
from uuid import UUID

from coreo_results.keys.material import Sealed
from coreo_results.keys.seal import bind, seal, unseal
from coreo_results.keys.service import RunKey
from coreo_shared.contracts.base import encode_json

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SCHEMA = 1
CHECKPOINT = "checkpoint"
EVENTS = "events"
_LEVEL = 1  # as chunks


@dataclass(frozen=True)
class DocumentPlace:
    """Where a document belongs. It opens nowhere else.

    Of stack events, which come in parts, `first` is how many there are before the part.
    """

    team_id: UUID
    run_id: UUID
    name: str
    part: int = 0
    first: int = 0

    def context(self) -> bytes:
        """The associated data of the encryption."""
        return bind("document", SCHEMA, self.team_id, self.run_id, self.name, self.part, self.first)


@dataclass(frozen=True)
class SealedDocument:
    """A document ready to be stored. `items`: how many stack events are in it, else 1."""

    place: DocumentPlace
    items: int
    sealed: Sealed


def seal_document(place: DocumentPlace, content: object, key: RunKey, *, items: int = 1) -> SealedDocument:
    """The content, as JSON, encrypted under its run's key."""
    packed = zstd.compress(encode_json(content), level=_LEVEL)
    return SealedDocument(place, items, seal(key.data, packed, place.context()))


def unseal_document(place: DocumentPlace, sealed: bytes, key: RunKey) -> bytes:
    """The JSON that was sealed. Raises DamagedError."""
    return zstd.decompress(unseal(key.data, sealed, place.context()))

"""The form of a run's backup: sealed segments one after the other. Pure; memory holds one segment at a time.

An object begins with `MAGIC`. A segment is: kind (1 byte), final (1 byte), length of what follows (4), and a message of
`keys.seal` under the run's backup key. Its context binds team, run, the segment's number, kind and whether it is the
final one, so that segments cannot be changed, left out, swapped, added or taken from another run.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from enum import IntEnum
from uuid import UUID

from coreo_results.keys.material import SecretKey
from coreo_results.keys.seal import OVERHEAD, DamagedError, bind, seal, unseal

MAGIC = b"coreobk\x02"
_HEADER = 6
MAX_SEGMENT_BYTES = 64 * 1024 * 1024  # a chunk has 8 MiB at most, and little grows


class Kind(IntEnum):
    """What a segment holds (see `records`). Never renumbered."""

    RUN = 1
    CHUNK = 2
    RESOLVED = 3
    DOCUMENT = 4
    END = 5


_KINDS = frozenset(map(int, Kind))


class Sealer:
    """Makes the segments of one object, in order."""

    def __init__(self, key: SecretKey, team_id: UUID, run_id: UUID) -> None:
        self._key = key
        self._place = (team_id, run_id)
        self._index = 0

    def segment(self, kind: Kind, payload: bytes) -> bytes:
        """The next segment, the object's beginning before the first; `Kind.END` is the final one."""
        final = int(kind is Kind.END)
        sealed = seal(self._key, payload, _context(*self._place, self._index, kind, final))
        start = MAGIC if self._index == 0 else b""
        self._index += 1
        return b"".join((start, bytes((kind, final)), len(sealed).to_bytes(4, "big"), sealed))


async def open_segments(
    pieces: AsyncIterator[bytes], key: SecretKey, team_id: UUID, run_id: UUID
) -> AsyncGenerator[tuple[Kind, bytes], None]:
    """The segments of an object, each once it is known to be in its place. Raises DamagedError.

    What came before a DamagedError is part of no whole object: whoever uses it must be able to take it back.
    """
    reader = _Reader(pieces)
    if await reader.take(len(MAGIC)) != MAGIC:
        raise DamagedError("this is no backup of a run, or one of an unknown version")
    index, final = 0, 0
    while not final:
        header = await reader.take(_HEADER)
        number, final, length = header[0], header[1], int.from_bytes(header[2:], "big")
        if number not in _KINDS or final != (number == Kind.END) or not OVERHEAD <= length <= MAX_SEGMENT_BYTES:
            raise DamagedError("a segment of a backup has no such header")
        sealed = await reader.take(length)
        yield Kind(number), unseal(key, sealed, _context(team_id, run_id, index, number, final))
        index += 1
    if not await reader.at_end():
        raise DamagedError("a backup goes on behind its end")


class _Reader:
    """Takes exact numbers of bytes from pieces of any size."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = bytearray()

    async def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = await anext(self._pieces, None)
            if piece is None:
                raise DamagedError("a backup was cut short")
            self._buffer += piece
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def at_end(self) -> bool:
        while not self._buffer:
            piece = await anext(self._pieces, None)
            if piece is None:
                return True
            self._buffer += piece
        return False


def _context(team_id: UUID, run_id: UUID, index: int, kind: int, final: int) -> bytes:
    return bind("backup", MAGIC[-1], team_id, run_id, index, kind, final)

"""Decisions' texts as the database keeps them: encrypted, each bound to its row."""

from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import msgspec

from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import bind, derive, seal, unseal
from coreo_results.keys.service import Keys, TeamKey

T = TypeVar("T")


@dataclass(frozen=True)
class SealedText:
    """What a row holds: the ciphertext, and which of the team's keys it is under."""

    key_version: int
    sealed: bytes


def seal_text(key: TeamKey, value: object, *place: UUID | str) -> SealedText:
    """The value encrypted. `place`: what it is, whose, and which; it opens nowhere else."""
    context = bind("decision", *place)
    return SealedText(key.version, seal(_key(key), msgspec.json.encode(value), context))


class Opener:
    """Opens texts of one team, with the keys that they are under."""

    def __init__(self, keys: dict[int, SecretKey]) -> None:
        self._keys = keys

    @classmethod
    async def for_versions(cls, keys: Keys, team_id: UUID, versions: set[int]) -> "Opener":
        """Raises KeyUnavailableError, DamagedError."""
        return cls({version: _key(await keys.team_key(team_id, version)) for version in versions})

    def open(self, text: SealedText, kind: type[T], *place: UUID | str) -> T:
        """The value that `seal_text` was given. Raises DamagedError."""
        plain = unseal(self._keys[text.key_version], Sealed(text.sealed), bind("decision", *place))
        return msgspec.json.decode(plain, type=kind)


def _key(key: TeamKey) -> SecretKey:
    return derive(key.key, "decisions")

"""Decisions' texts as the database keeps them: encrypted, each bound to its row."""

from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import msgspec

from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import DamagedError, bind, seal, unseal
from coreo_results.keys.service import DECISIONS, FIRST_VERSION, Keys

T = TypeVar("T")


@dataclass(frozen=True)
class SealedText:
    """What a row holds: the ciphertext, and the version of the team's key that its key first followed from."""

    key_version: int
    sealed: bytes


def seal_text(key: SecretKey, value: object, *place: UUID | str) -> SealedText:
    """The value encrypted under `decision_key`. `place`: what it is, whose, and which; it opens nowhere else."""
    context = bind("decision", *place)
    return SealedText(FIRST_VERSION, seal(key, msgspec.json.encode(value), context))


async def decision_key(keys: Keys, team_id: UUID) -> SecretKey:
    """The team's key of decisions. Raises KeyUnavailableError, DamagedError."""
    return await keys.team_secret(team_id, DECISIONS)


class Opener:
    """Opens texts of one team."""

    def __init__(self, key: SecretKey | None) -> None:
        self._key = key

    @classmethod
    async def for_versions(cls, keys: Keys, team_id: UUID, versions: set[int]) -> "Opener":
        """For texts of these key versions: none ask for no key. Raises KeyUnavailableError, DamagedError."""
        if versions - {FIRST_VERSION}:
            raise DamagedError("a decision is under a key that there never was")
        return cls(await decision_key(keys, team_id) if versions else None)

    def open(self, text: SealedText, kind: type[T], *place: UUID | str) -> T:
        """The value that `seal_text` was given. Raises DamagedError."""
        return msgspec.json.decode(self._opened(text, *place), type=kind)

    def check(self, text: SealedText, *place: UUID | str) -> None:
        """Whether it opens. Raises DamagedError."""
        self._opened(text, *place)

    def _opened(self, text: SealedText, *place: UUID | str) -> bytes:
        if self._key is None:
            raise ValueError("this opener was made for no texts")
        return unseal(self._key, Sealed(text.sealed), bind("decision", *place))

"""The worker's sealing keys: what the api seals for one of them, this worker alone can open, and not for long.

A key is made every four minutes and exists in this process's memory alone, in a bytearray that is overwritten soon
after the key's announcement has ended. So a message that somebody kept opens nowhere a few minutes later.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coreo_shared.contracts.onboarding import (
    MAX_SEALING_KEY_SECONDS,
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    SealingKey,
)
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import Signer
from coreo_shared.crypto.sealing import public_key_of
from coreo_shared.ids import new_id
from coreo_shared.observability.logs import get_logger

ROTATION_SECONDS: Final = 240.0
GRACE_SECONDS: Final = 30.0  # a key outlives its announcement by so much, for clocks that differ
_ISSUER: Final = "coreo-worker"
_KEY_BYTES: Final = 32
_RANDOM: Final = Path("/dev/urandom")
_log = get_logger(__name__)


@dataclass
class _Key:
    id: str
    private: bytearray = field(repr=False)
    announcement: str = field(repr=False)
    made_at: float  # on the clock that only goes forward


class SealingKeys:
    """This worker's keys; there is always a fresh one. `signer` has the pool's fleet key.

    `clock` gives Unix seconds, for others to read; `ticks` decides when a key goes, as nobody can set it back.
    """

    def __init__(
        self,
        signer: Signer,
        worker_id: str,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signer = signer
        self._worker_id = worker_id
        self._clock = clock
        self._ticks = ticks
        self._keys = [self._make()]

    def announcement(self) -> str:
        """A fresh key, as `RegisterWorker.sealing_key` has it."""
        self.turn()
        return self._keys[-1].announcement

    def holding(self, ids: Iterable[str]) -> dict[str, bytearray]:
        """The private keys (32 bytes each) that are still there, by id: the very ones that will be overwritten."""
        self._drop()
        wanted = set(ids)
        return {key.id: key.private for key in self._keys if key.id in wanted}

    def turn(self) -> bool:
        """Does what is due by now. Whether there is a new key to announce."""
        self._drop()
        if self._keys and self._ticks() - self._keys[-1].made_at < ROTATION_SECONDS:
            return False
        self._keys.append(self._make())
        _log.info("sealing_key_made", keys=len(self._keys))
        return True

    def due_in(self) -> float:
        """Seconds until `turn` has something to do."""
        if not self._keys:
            return 0.0
        drop = self._keys[0].made_at + MAX_SEALING_KEY_SECONDS + GRACE_SECONDS
        return max(0.0, min(drop, self._keys[-1].made_at + ROTATION_SECONDS) - self._ticks())

    async def run(
        self, announce: Callable[[], Awaitable[None]], *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Turns and announces until it is cancelled."""
        while True:
            await pause(self.due_in())
            if self.turn():
                await announce()

    def _drop(self) -> None:
        oldest = self._ticks() - MAX_SEALING_KEY_SECONDS - GRACE_SECONDS
        for key in [key for key in self._keys if key.made_at <= oldest]:
            key.private[:] = bytes(_KEY_BYTES)
            self._keys.remove(key)

    def _make(self) -> _Key:
        private = bytearray(_KEY_BYTES)
        with _RANDOM.open("rb", buffering=0) as source:
            if source.readinto(private) != _KEY_BYTES:
                raise OSError("the system's source of randomness gave too little")
        now = int(self._clock())
        claims = SealingKey(
            iss=_ISSUER,
            aud=SEALING_KEY_AUDIENCE,
            jti=str(new_id()),
            iat=now,
            exp=now + MAX_SEALING_KEY_SECONDS,
            pool=Pool.ONBOARD,
            worker_id=self._worker_id,
            public_key=public_key_of(X25519PrivateKey.from_private_bytes(private)),
        )
        return _Key(claims.jti, private, self._signer.sign(claims, typ=SEALING_KEY_TYPE), self._ticks())

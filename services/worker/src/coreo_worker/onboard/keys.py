"""A worker's sealing keys: in its memory alone, fresh every few minutes, gone soon after they were last announced.

What was sealed for a key that is gone can be opened by nobody, whoever keeps a copy of the message.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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
from coreo_shared.crypto.sealing import generate_sealing_key, public_key_of

ROTATE_SECONDS: Final = 240.0
_KEPT_SECONDS: Final = 60.0  # after its announcement's end: for a message that is on its way
_ISSUER: Final = "coreo-worker"


@dataclass(frozen=True)
class _Held:
    private: X25519PrivateKey = field(repr=False)
    announcement: str
    expires_at: float


class SealingKeys:
    """`signer` holds the pool's fleet key; `clock` gives Unix seconds."""

    def __init__(self, signer: Signer, worker_id: str, *, clock: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._worker_id = worker_id
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self.rotate()

    @property
    def announcement(self) -> str:
        """The newest key's public half, signed: contracts.onboarding.SealingKey."""
        return next(reversed(self._held.values())).announcement

    def rotate(self) -> None:
        """A fresh key; those that are past their time are dropped."""
        now = self._clock()
        self._drop_old(now)
        private, key_id = generate_sealing_key(), secrets.token_hex(16)
        claims = SealingKey(
            iss=_ISSUER,
            aud=SEALING_KEY_AUDIENCE,
            jti=key_id,
            iat=int(now),
            exp=int(now) + MAX_SEALING_KEY_SECONDS,
            pool=Pool.ONBOARD,
            worker_id=self._worker_id,
            public_key=public_key_of(private),
        )
        announcement = self._signer.sign(claims, typ=SEALING_KEY_TYPE)
        self._held[key_id] = _Held(private, announcement, now + MAX_SEALING_KEY_SECONDS)

    def holding(self, key_ids: Iterable[str]) -> dict[str, bytes]:
        """The private keys among these that are here, as 32 raw bytes each."""
        self._drop_old(self._clock())
        return {key_id: self._held[key_id].private.private_bytes_raw() for key_id in key_ids if key_id in self._held}

    async def keep_fresh(self) -> None:
        """Rotates until it is cancelled."""
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            self.rotate()

    def _drop_old(self, now: float) -> None:
        self._held = {key_id: held for key_id, held in self._held.items() if now < held.expires_at + _KEPT_SECONDS}

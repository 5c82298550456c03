"""Seals that one worker alone can open: HPKE (RFC 9180, base mode, X25519, HKDF-SHA256, AES-256-GCM).

A seal is bound to its context: opened with any other, it does not open. It says nothing about who made it; the job
that carries it is signed.
"""

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.onboarding import SealContext

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_KEY_BYTES = 32


class SealError(Exception):
    """The seal does not open: another key, another context, or not what was sealed."""


def generate_sealing_key() -> X25519PrivateKey:
    """A fresh private key. It exists in this process alone."""
    return X25519PrivateKey.generate()


def public_key_of(private: X25519PrivateKey) -> str:
    """The public half, as `SealingKey.public_key` has it."""
    return _to_text(private.public_key().public_bytes_raw())


def seal(plaintext: bytes, public_key: str, context: SealContext) -> str:
    """The sealed bytes as base64url without padding. Raises ValueError when that is no public key."""
    raw = _from_text(public_key)
    if len(raw) != _KEY_BYTES:
        raise ValueError("expected an X25519 public key: 32 bytes in base64url")
    return _to_text(_SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(raw), encode_json(context)))


def open_seal(sealed: str, private: X25519PrivateKey, context: SealContext) -> bytes:
    """What was sealed. Raises SealError."""
    try:
        return _SUITE.decrypt(_from_text(sealed), private, encode_json(context))
    except (InvalidTag, ValueError):
        raise SealError("the seal does not open") from None


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)

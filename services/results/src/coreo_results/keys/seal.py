"""Authenticated encryption that commits to its key: AES-256-GCM under a key derived afresh for every message.

A sealed message is: version (1 byte), salt (32), commitment (32), ciphertext and tag (16 more than the plaintext).
HKDF-SHA256 (RFC 5869) of the key and the salt gives cipher key, nonce and commitment, as the AWS Encryption SDK does
(its message format 2.0): a fresh salt makes a fresh nonce, so no counter is kept, and as plain GCM opens under more
than one key with a suitable ciphertext, the commitment is checked before anything is decrypted.
"""

import hmac
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coreo_results.keys.material import KEY_BYTES, Sealed, SecretKey

VERSION = 1
_SALT = 32
_COMMITMENT = 32
_NONCE = 12
_TAG = 16
OVERHEAD = 1 + _SALT + _COMMITMENT + _TAG


class DamagedError(Exception):
    """The ciphertext was changed, cut, moved to another place, or belongs to another key. Nothing of it is used."""


def seal(key: SecretKey, plaintext: bytes, context: bytes) -> Sealed:
    """`plaintext` encrypted; it opens only with the same key and context (see `bind`)."""
    salt = os.urandom(_SALT)
    cipher_key, nonce, commitment = _message_keys(key, salt)
    return Sealed(b"".join((bytes([VERSION]), salt, commitment, AESGCM(cipher_key).encrypt(nonce, plaintext, context))))


def unseal(key: SecretKey, sealed: bytes, context: bytes) -> bytes:
    """The plaintext. Raises DamagedError."""
    if len(sealed) < OVERHEAD or sealed[0] != VERSION:
        raise DamagedError("not a sealed message of a known version")
    salt, stored, ciphertext = sealed[1:33], sealed[33:65], sealed[65:]
    cipher_key, nonce, commitment = _message_keys(key, salt)
    if not hmac.compare_digest(commitment, stored):
        raise DamagedError("the message was sealed with another key, or was changed")
    try:
        return AESGCM(cipher_key).decrypt(nonce, ciphertext, context)
    except InvalidTag:
        raise DamagedError("the message was changed, or belongs elsewhere") from None


def derive(key: SecretKey, purpose: str) -> SecretKey:
    """A key for one purpose, independent of those for others and of every sealed message."""
    return SecretKey(_hkdf(key, b"", b"coreo derive 1 " + purpose.encode(), KEY_BYTES))


def bind(purpose: str, *parts: UUID | str | int) -> bytes:
    """Associated data: the purpose and parts in an encoding no two different lists share (lengths before values)."""
    encoded = [f"coreo {purpose}".encode(), *(_encode(part) for part in parts)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _encode(part: UUID | str | int) -> bytes:
    if isinstance(part, UUID):
        return b"u" + part.bytes
    return f"i{part}".encode() if isinstance(part, int) else b"s" + part.encode()


def _message_keys(key: SecretKey, salt: bytes) -> tuple[bytes, bytes, bytes]:
    derived = _hkdf(key, salt, b"coreo seal 1", KEY_BYTES + _NONCE + _COMMITMENT)
    return derived[:KEY_BYTES], derived[KEY_BYTES : KEY_BYTES + _NONCE], derived[KEY_BYTES + _NONCE :]


def _hkdf(key: SecretKey, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key.reveal())

"""Types for key material and ciphertext that cannot be printed, logged or pickled by accident."""

import hmac
import os
from typing import NoReturn

KEY_BYTES = 32


class SecretKey:
    """A 256-bit key. `reveal()` is the one way to its bytes."""

    __slots__ = ("_material",)

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._material = bytes(material)

    @classmethod
    def generate(cls) -> "SecretKey":
        """A fresh random key."""
        return cls(os.urandom(KEY_BYTES))

    def reveal(self) -> bytes:
        """The key's bytes, for a cipher."""
        return self._material

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretKey) and hmac.compare_digest(self._material, other._material)

    def __hash__(self) -> NoReturn:
        raise TypeError("key material is no dictionary key")

    def __reduce__(self) -> NoReturn:
        raise TypeError("key material is not pickled")


class Sealed(bytes):
    """Ciphertext made by `keys.seal` or a root key."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<encrypted>"

    __str__ = __repr__

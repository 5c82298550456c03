"""Team tokens: `coreo_` and 256 random bits. Only their SHA-256 is stored: with so much randomness no salt or slow
hash would add anything, and equal hashes can be looked up by an index without telling much by timing."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field

_TOKEN = re.compile(r"coreo_[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; `text` is shown to its owner once."""

    text: str = field(repr=False)
    hash: bytes


def new_token() -> NewToken:
    """A fresh token."""
    text = f"coreo_{secrets.token_urlsafe(32)}"
    return NewToken(text, _hash(text))


def hash_of(presented: str) -> bytes | None:
    """The hash by which a presented token is found; None for what cannot be one."""
    return _hash(presented) if _TOKEN.fullmatch(presented) else None


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

"""External ids: ours alone to make, 128 random bits, one for a cloud account and never used again."""

import secrets

_BYTES = 16


def new_external_id() -> str:
    """32 hexadecimal digits."""
    return secrets.token_hex(_BYTES)

"""Templates as jobs carry them, and what of a preview people approve. Pure."""

import hashlib
import zlib

import msgspec

from coreo_shared.contracts.deploys import MAX_TEMPLATE_BYTES, Preview


class TemplateError(ValueError):
    """The bytes are no packed template."""


def pack(text: str) -> bytes:
    """The template's text as a DeploySpec has it."""
    return zlib.compress(text.encode(), level=9)


def unpack(packed: bytes) -> str:
    """The text that `pack` was given, MAX_TEMPLATE_BYTES at most. Raises TemplateError."""
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(packed, MAX_TEMPLATE_BYTES + 1)
        if len(text) > MAX_TEMPLATE_BYTES or not opened.eof or opened.unused_data:
            raise TemplateError("the packed template is too long or cut off")
        return text.decode()
    except (zlib.error, UnicodeDecodeError):
        raise TemplateError("the packed template is damaged") from None


def preview_hash(preview: Preview) -> str:
    """SHA-256 in hex of what the preview would do to which state of the stack.

    Made twice of the same change set and stack it is the same, whatever `hash`, `made_at`, the order of changes, and
    what Coreo itself says of them (gates, findings, notes).
    """
    content = (
        "coreo preview 1",
        preview.operation,
        preview.account_id,
        preview.region,
        preview.stack_name,
        preview.stack_arn,
        preview.stack_updated_at,
        preview.change_set_arn,
        sorted(msgspec.json.encode(change).decode() for change in preview.changes),
    )
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

"""Reads the keys that a customer posts. No part of the body becomes a string that could live on or be repeated.

The body is parsed where it lies: the secret stays in its bytes until it is copied into a `Secret`, and the body is
overwritten as soon as it has been taken apart.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from fastapi import Request

from coreo_api.bootstrap.secret import Secret
from coreo_api.grants.grant import ROLE_NAME
from coreo_api.grants.schemas import MAX_CHOSEN
from coreo_shared.contracts.base import MalformedMessageError, decode_json
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import invalid

MAX_BODY = 16 * 1024
ROLE = "CloudCoreoAssumedRole"
_KEY_ID = re.compile(r"[A-Z0-9]{16,128}", re.ASCII)  # IAM API reference, AccessKey
_TEMPORARY = "ASIA"  # IAM user guide, "Understanding unique ID prefixes"
_MAX_TOKEN = 8 * 1024
_NULL: Final = msgspec.Raw(b"null")
_ESCAPES = {ord(each): ord(each) for each in '"\\/'}
_UNICODE_ESCAPE = re.compile(rb"u00([0-9a-fA-F]{2})")


class KeysLevel(StrEnum):
    """How much the role shall allow."""

    FULL = "full"  # everything but iam:CreateUser
    AUDIT = "audit"  # SecurityAudit, AWS's own policy
    EXACT = "exact"  # what the chosen plans, rule sets and rules need


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, the secrets aside."""

    access_key_id: str
    account_id: str | None = None
    role_name: str = ROLE
    level: KeysLevel = KeysLevel.FULL
    plan_ids: tuple[UUID, ...] = ()
    rule_sets: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


class _Posted(Wish, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret_access_key: msgspec.Raw
    session_token: msgspec.Raw = _NULL


@dataclass(frozen=True)
class PostedKeys:
    """A wish and its secrets, which are gone when the request is."""

    wish: Wish
    secret: Secret = field(repr=False)
    session_token: Secret | None = field(repr=False)

    def wipe(self) -> None:
        """Overwrites the secrets."""
        self.secret.wipe()
        if self.session_token is not None:
            self.session_token.wipe()


@asynccontextmanager
async def posted_keys(request: Request) -> AsyncIterator[PostedKeys]:
    """What the body says, for as long as the block lasts. Raises Problem, which names the field and nothing else."""
    with Secret(MAX_BODY) as buffer:
        keys = take_apart(memoryview(buffer.data)[: await _read(request, buffer)])
    try:
        yield keys
    finally:
        keys.wipe()


async def _read(request: Request, buffer: Secret) -> int:
    """How many bytes the body has; they are in the buffer."""
    size = 0
    async for chunk in request.stream():
        end = size + len(chunk)
        if end > MAX_BODY:
            raise Problem(413, "body_too_large", f"The body may have {MAX_BODY} bytes at most.")
        buffer.data[size:end] = chunk
        size = end
    return size


def take_apart(body: memoryview) -> PostedKeys:
    """The keys in a body of JSON. Raises Problem."""
    try:
        posted = decode_json(body, _Posted)
    except MalformedMessageError as error:
        field_name = f"body.{error.field}" if error.field else "body"
        raise Problem(
            422, "invalid", f"Not valid: {field_name}.", errors=(FieldError(field_name, error.problem),)
        ) from None
    _check(posted)
    secret = _secret("body.secret_access_key", posted.secret_access_key, 16, 128)
    try:
        token = _session_token(posted)
    except Problem:
        secret.wipe()
        raise
    wish = msgspec.structs.asdict(posted)
    del wish["secret_access_key"], wish["session_token"]
    return PostedKeys(Wish(**wish), secret, token)


def _check(posted: _Posted) -> None:
    if not _KEY_ID.fullmatch(posted.access_key_id):
        raise invalid("body.access_key_id", "expected an access key's id: 16 to 128 capital letters and digits")
    if not re.fullmatch(ROLE_NAME, posted.role_name):
        raise invalid("body.role_name", "a role's name has 1 to 64 letters, digits or any of _+=,.@-")
    for name in ("plan_ids", "rule_sets", "rules"):
        chosen = getattr(posted, name)
        if chosen and posted.level is not KeysLevel.EXACT:
            raise invalid(f"body.{name}", "goes with the level exact")
        if len(chosen) > MAX_CHOSEN:
            raise invalid(f"body.{name}", f"{MAX_CHOSEN} at most")


def _session_token(posted: _Posted) -> Secret | None:
    name = "body.session_token"
    is_temporary = posted.access_key_id.startswith(_TEMPORARY)
    if memoryview(posted.session_token) == memoryview(_NULL):
        if is_temporary:
            raise invalid(name, "a temporary key (ASIA…) comes with a session token: send that too")
        return None
    if not is_temporary:
        raise invalid(name, "only a temporary key (ASIA…) has a session token: leave it out")
    return _secret(name, posted.session_token, 16, _MAX_TOKEN)


def _secret(name: str, raw: msgspec.Raw, least: int, most: int) -> Secret:
    """A JSON string of visible ASCII characters as a secret of its own. Raises Problem."""
    view = memoryview(raw)
    if len(view) < 2 or view[0] != ord('"'):
        raise invalid(name, "must be a string")
    with Secret(len(view) - 2) as scratch:
        size = _unescape(view[1:-1], scratch)
        if size is None or not all(0x21 <= byte <= 0x7E for byte in scratch.data[:size]):
            raise invalid(name, "must have visible characters only, without spaces and line ends")
        if not least <= size <= most:
            raise invalid(name, f"must have {least} to {most} characters")
        secret = Secret(size)
        secret.data[:] = memoryview(scratch.data)[:size]
    return secret


def _unescape(text: memoryview, into: Secret) -> int | None:
    """How many characters the inside of a JSON string has, once its escapes are undone; None if any is beyond ASCII."""
    size = position = 0
    while position < len(text):
        byte, step = text[position], 1
        if byte == ord("\\"):
            byte, step = _escaped(text[position + 1 : position + 6])
        if byte > 0x7F:
            return None
        into.data[size] = byte
        size += 1
        position += step
    return size


def _escaped(text: memoryview) -> tuple[int, int]:
    """The character that an escape stands for (or one that is not allowed), and how long the escape is."""
    if text[0] in _ESCAPES:
        return text[0], 2
    found = _UNICODE_ESCAPE.match(text)
    return (int(found[1], 16), 6) if found else (0xFF, 2)

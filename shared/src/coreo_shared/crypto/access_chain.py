"""The hash chain of a team's access record, for who writes it and for who verifies it, offline too.

An entry's hash is the SHA-256 (FIPS 180-4) of `coreo access 1`, a line feed, and the entry without `hash` as JSON with
its keys in order, no spaces, and letters as they are, in UTF-8. `previous` is one of those fields, so that no entry can
be changed, taken out, put in or moved without all later hashes changing.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

_PREFIX = b"coreo access 1\n"
FIRST_PREVIOUS = "0" * 64
_FIELDS = frozenset(
    ("team_id", "seq", "at", "actor_id", "actor", "action", "object_kind", "object_id", "detail", "previous")
)


class BrokenChainError(Exception):
    """The entries are not the record as it was written. The text says where."""


def entry_hash(entry: Mapping[str, Any]) -> str:
    """The hash, in hex, of an entry as JSON has it. Raises BrokenChainError where fields are missing or too many."""
    fields = {name: value for name, value in entry.items() if name != "hash"}
    if set(fields) != _FIELDS:
        raise BrokenChainError(f"entry {entry.get('seq')}: it does not have the fields of an entry")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(_PREFIX + text.encode("utf-8", "surrogatepass")).hexdigest()


def check_chain(
    entries: Iterable[Mapping[str, Any]], *, after: tuple[int, str] = (0, FIRST_PREVIOUS)
) -> tuple[int, str]:
    """The head (number and hash) of entries in order, which go on from `after`. Raises BrokenChainError."""
    seq, previous = after
    team: object = None
    for entry in entries:
        found = entry.get("seq")
        if found != seq + 1:
            raise BrokenChainError(f"entry {seq + 1} is missing: {found} stands in its place")
        team = entry.get("team_id") if team is None else team
        if entry.get("team_id") != team:
            raise BrokenChainError(f"entry {found} is another team's")
        if entry.get("previous") != previous:
            raise BrokenChainError(f"entry {found} does not follow the entry before it")
        if entry.get("hash") != entry_hash(entry):
            raise BrokenChainError(f"entry {found} was changed")
        seq, previous = found, str(entry["hash"])
    return seq, previous

"""Whether two policy documents say the same, as IAM reads them."""

import json
from collections.abc import Hashable
from typing import Any
from urllib.parse import unquote


def is_same_policy(encoded: str, wanted: dict[str, Any]) -> bool:
    """Whether a document as IAM answers it (JSON, URL-encoded by RFC 3986) says what `wanted` says.

    IAM keeps no order in lists of principals, and does not tell a list of one from its element (IAM user guide, "IAM
    JSON policy elements"); in no list of a policy does the order matter. Whatever else differs, differs.
    """
    try:
        found = json.loads(unquote(encoded, errors="strict"), object_pairs_hook=_unique)
        return isinstance(found, dict) and _meaning(found) == _meaning(wanted)
    except (ValueError, RecursionError):
        return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a name that comes twice: nobody can tell which of them counts."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _meaning(value: Any) -> Hashable:
    if isinstance(value, dict):
        return ("object", frozenset((name, _meaning(each)) for name, each in value.items()))
    if isinstance(value, list):
        each = frozenset(_meaning(item) for item in value)
        return next(iter(each)) if len(each) == 1 else ("list", each)
    return (type(value).__name__, value)  # True is not 1

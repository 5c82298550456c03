"""The hash chain of the access record: its format is fixed, as customers keep files of it."""

from typing import Any

import pytest

from coreo_shared.crypto.access_chain import FIRST_PREVIOUS, BrokenChainError, check_chain, entry_hash

ENTRY: dict[str, Any] = {
    "team_id": "0199c3f2-8a1b-7000-8000-000000000001",
    "seq": 1,
    "at": "2026-01-31T12:00:00.000001+00:00",
    "actor_id": "0199c3f2-8a1b-7000-8000-000000000002",
    "actor": "Zoë",
    "action": "DELETE",
    "object_kind": "run",
    "object_id": "0199c3f2-8a1b-7000-8000-000000000003",
    "detail": {"runs": 1, "a": None, "b": True},
    "previous": FIRST_PREVIOUS,
}


def test_the_hash_is_that_of_the_documented_bytes() -> None:
    """Made with: printf 'coreo access 1\\n' and the entry by `jq -cSj 'del(.hash)'`, through sha256sum."""
    assert entry_hash(ENTRY) == "e9508ca2c55f92c99d2a978e77d9124b17595b90330937bf39f52ffd71947bb5"
    assert entry_hash(ENTRY | {"hash": "whatever"}) == entry_hash(ENTRY)


def test_a_chain_goes_on_from_a_head() -> None:
    first = ENTRY | {"hash": entry_hash(ENTRY)}
    second = ENTRY | {"seq": 2, "previous": first["hash"]}
    second["hash"] = entry_hash(second)
    assert check_chain([]) == (0, FIRST_PREVIOUS)
    assert check_chain([first, second]) == (2, second["hash"])
    assert check_chain([second], after=(1, first["hash"])) == (2, second["hash"])
    for wrong in ([second], [first, first], [second, first], [first, second | {"team_id": "another"}]):
        with pytest.raises(BrokenChainError):
            check_chain(wrong)
    with pytest.raises(BrokenChainError):
        check_chain([second], after=(1, FIRST_PREVIOUS))

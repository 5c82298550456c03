"""The table of a cloud account's states: what it takes to be CONNECTED, and what has no place."""

import pytest

from coreo_api.accounts.external_ids import new_external_id
from coreo_api.accounts.states import OF_VERDICT, TRANSITIONS, VERIFIABLE, AccountState, Change, next_state

S, C = AccountState, Change
ALL = [(state, change) for state in S for change in C]


def test_nothing_but_a_proof_connects() -> None:
    connecting = {(state, change) for (state, change), after in TRANSITIONS.items() if after is S.CONNECTED}
    assert connecting == {(state, C.PROVEN) for state in VERIFIABLE}


def test_every_verdict_has_its_state() -> None:
    after = {verdict: next_state(S.VERIFYING, change) for verdict, change in OF_VERDICT.items()}
    assert after == {verdict: S(verdict) for verdict in ("CONNECTED", "INSECURE", "UNREACHABLE", "UNVERIFIED")}


@pytest.mark.parametrize("state", [state for state in S if state not in VERIFIABLE])
def test_a_verdict_on_an_account_without_a_role_has_no_place(state: AccountState) -> None:
    assert {next_state(state, change) for change in OF_VERDICT.values()} == {None}


def test_while_a_role_is_being_made_neither_keys_nor_a_role_are_taken() -> None:
    assert next_state(S.BOOTSTRAPPING, C.POST_KEYS) is None
    assert next_state(S.BOOTSTRAPPING, C.SET_ROLE) is None
    for change in (C.BOOTSTRAPPED, C.BOOTSTRAP_REFUSED, C.BOOTSTRAP_EXPIRED, C.BACK_TO_ROLE):
        assert [state for state in S if next_state(state, change) is not None] == [S.BOOTSTRAPPING]


def test_every_account_can_be_disconnected_and_come_back() -> None:
    assert {next_state(state, C.DISCONNECT) for state in S} == {S.DISCONNECTED}
    assert next_state(S.DISCONNECTED, C.SET_ROLE) is S.VERIFYING
    assert next_state(S.DISCONNECTED, C.POST_KEYS) is S.BOOTSTRAPPING


def test_every_state_is_reached_from_the_first() -> None:
    reached = {S.PENDING}
    while more := {after for (state, _), after in TRANSITIONS.items() if state in reached} - reached:
        reached |= more
    assert reached == set(S)


def test_external_ids_are_128_random_bits() -> None:
    made = {new_external_id() for _ in range(100)}
    assert len(made) == 100
    assert {len(bytes.fromhex(each)) for each in made} == {16}

"""Where a cloud account stands, and what may happen to it: nothing else writes a state."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class AccountState(StrEnum):
    """How far the way into the account is proven to work, and to be closed to others."""

    PENDING = "PENDING"  # no role yet
    BOOTSTRAPPING = "BOOTSTRAPPING"  # a worker makes the role with requests signed by the customer's keys
    VERIFYING = "VERIFYING"  # a role that nobody has tried
    CONNECTED = "CONNECTED"  # proven: the one state in which plans run
    INSECURE = "INSECURE"  # the role lets in who does not bring its external id
    UNREACHABLE = "UNREACHABLE"  # the role refuses Coreo, or is gone
    UNVERIFIED = "UNVERIFIED"  # neither is proven; tried again by itself
    EXPIRED = "EXPIRED"  # a bootstrap that nobody finished in time
    DISCONNECTED = "DISCONNECTED"  # left alone, as somebody asked


class Change(StrEnum):
    """What can happen to a cloud account."""

    POST_KEYS = "post_keys"
    BOOTSTRAPPED = "bootstrapped"
    BOOTSTRAP_REFUSED = "bootstrap_refused"
    BOOTSTRAP_EXPIRED = "bootstrap_expired"
    BACK_TO_ROLE = "back_to_role"  # no role was made, and there is one from before
    SET_ROLE = "set_role"
    PROVEN = "proven"
    FOUND_INSECURE = "found_insecure"
    FOUND_UNREACHABLE = "found_unreachable"
    NOT_PROVEN = "not_proven"
    DISCONNECT = "disconnect"


S, C = AccountState, Change
VERIFIABLE: Final = (S.VERIFYING, S.CONNECTED, S.INSECURE, S.UNREACHABLE, S.UNVERIFIED)
OF_VERDICT: Final[Mapping[str, Change]] = MappingProxyType(
    {
        "CONNECTED": C.PROVEN,
        "INSECURE": C.FOUND_INSECURE,
        "UNREACHABLE": C.FOUND_UNREACHABLE,
        "UNVERIFIED": C.NOT_PROVEN,
    }
)
TRANSITIONS: Final[Mapping[tuple[AccountState, Change], AccountState]] = MappingProxyType(
    {(state, C.POST_KEYS): S.BOOTSTRAPPING for state in S if state is not S.BOOTSTRAPPING}
    | {(state, C.SET_ROLE): S.VERIFYING for state in S if state is not S.BOOTSTRAPPING}
    | {(state, C.DISCONNECT): S.DISCONNECTED for state in S}
    | {(S.BOOTSTRAPPING, C.BOOTSTRAPPED): S.VERIFYING}
    | {(S.BOOTSTRAPPING, C.BOOTSTRAP_REFUSED): S.PENDING}
    | {(S.BOOTSTRAPPING, C.BOOTSTRAP_EXPIRED): S.EXPIRED}
    | {(S.BOOTSTRAPPING, C.BACK_TO_ROLE): S.VERIFYING}
    | {(state, C.PROVEN): S.CONNECTED for state in VERIFIABLE}
    | {(state, C.FOUND_INSECURE): S.INSECURE for state in VERIFIABLE}
    | {(state, C.FOUND_UNREACHABLE): S.UNREACHABLE for state in VERIFIABLE}
    | {(state, C.NOT_PROVEN): S.UNVERIFIED for state in VERIFIABLE}
)


def next_state(state: AccountState, change: Change) -> AccountState | None:
    """Where the change leads; None where it has no place, as for a report that comes after a disconnect."""
    return TRANSITIONS.get((state, change))

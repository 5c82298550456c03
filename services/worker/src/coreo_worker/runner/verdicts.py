"""What a verification's observations prove: pure functions from what AWS did to checks, and from checks to a verdict.

An attempt that was neither let in nor denied proves nothing, and what is not proven never makes an account CONNECTED.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome, VerifyReport
from coreo_worker.aws.inside import SIMULATE_ACTION, Simulated
from coreo_worker.aws.sts import Refusal

Verdict = Literal["CONNECTED", "INSECURE", "UNREACHABLE", "UNVERIFIED"]

_NEGATIVE: Final = (CheckName.WITHOUT_EXTERNAL_ID, CheckName.WRONG_EXTERNAL_ID)
_POSITIVE: Final = (CheckName.WITH_EXTERNAL_ID, CheckName.ACCOUNT)
_NAMED_ACTIONS: Final = 5
_SHOWN_TRUST: Final = "Put the trust policy shown with this cloud account on the role"

# The customer's matters besides a denial (STS API reference, AssumeRole).
_REFUSALS: Final = {
    "AccessDenied": "AWS did not let Coreo assume {role}. Check that the role exists and that its trust policy is the "
    "one shown with this cloud account, then verify it again.",
    "RegionDisabledException": "STS is not activated in the region Coreo works from. Activate it in the account's "
    "settings (IAM, Account settings, STS), then verify it again.",
    "ValidationError": "AWS does not take {role} for a role. Give this cloud account the ARN of its role again.",
    "ParamValidationError": "AWS does not take {role} for a role. Give this cloud account the ARN of its role again.",
}
_LET_IN: Final = {
    CheckName.WITHOUT_EXTERNAL_ID: "The role lets Coreo in without the external id, so that another customer of Coreo "
    f"could have Coreo work in this account. {_SHOWN_TRUST}: its condition must be StringEquals on sts:ExternalId.",
    CheckName.WRONG_EXTERNAL_ID: "The role lets Coreo in with an external id that is not its own, so that another "
    f"customer of Coreo could have Coreo work in this account. {_SHOWN_TRUST}: its condition must be StringEquals on "
    "sts:ExternalId, without wildcards.",
}
_KEPT_OUT: Final = {
    CheckName.WITHOUT_EXTERNAL_ID: "The role refuses who brings no external id.",
    CheckName.WRONG_EXTERNAL_ID: "The role refuses who brings a wrong external id.",
}


@dataclass(frozen=True)
class Attempt:
    """An AssumeRole: let in when there is no refusal."""

    refusal: Refusal | None = None


def entry_check(attempt: Attempt, role_arn: str) -> Check:
    """Whether the role lets Coreo in with the external id."""
    if attempt.refusal is None:
        return _check(CheckName.WITH_EXTERNAL_ID, CheckOutcome.PASSED, "The role lets Coreo in with the external id.")
    known = _REFUSALS.get(attempt.refusal.code)
    if known is not None:
        return _check(CheckName.WITH_EXTERNAL_ID, CheckOutcome.FAILED, known.format(role=role_arn))
    return _check(CheckName.WITH_EXTERNAL_ID, CheckOutcome.UNKNOWN, _unproven("AssumeRole", attempt.refusal))


def account_check(found: str | Refusal | None, expected: str) -> Check:
    """Whether the session is in the account; `found` is None where there was no session to ask with."""
    if found is None:
        return _check(CheckName.ACCOUNT, CheckOutcome.UNKNOWN, "There was no session to ask with which account it is.")
    if isinstance(found, Refusal):
        return _check(CheckName.ACCOUNT, CheckOutcome.UNKNOWN, _unproven("GetCallerIdentity", found))
    if found == expected:
        return _check(CheckName.ACCOUNT, CheckOutcome.PASSED, f"The role is in account {expected}.")
    return _check(
        CheckName.ACCOUNT,
        CheckOutcome.FAILED,
        f"The role leads into account {found}, not into {expected}. Give this cloud account a role of its own account.",
    )


def negative_check(name: CheckName, attempt: Attempt, *, entry: Check) -> Check:
    """Whether the role keeps out who must stay out. A denial proves that only of a role that let the right one in."""
    if attempt.refusal is None:
        return _check(name, CheckOutcome.FAILED, _LET_IN[name])
    if not attempt.refusal.is_denial:
        return _check(name, CheckOutcome.UNKNOWN, _unproven("AssumeRole", attempt.refusal))
    if entry.outcome is CheckOutcome.PASSED:
        return _check(name, CheckOutcome.PASSED, _KEPT_OUT[name])
    return _check(name, CheckOutcome.UNKNOWN, "AWS refused, which proves nothing as the right external id got nowhere.")


def permissions_check(found: Simulated | Refusal | None, wanted: Sequence[str]) -> Check:
    """Whether the role allows the actions; `found` is None where nobody could be asked."""
    name = CheckName.PERMISSIONS
    if not wanted:
        return _check(name, CheckOutcome.PASSED, "No plan needs any permission in this account yet.")
    if found is None:
        return _check(name, CheckOutcome.UNKNOWN, "There was no session to ask with what the role may do.")
    if isinstance(found, Simulated):
        return _check(name, *_simulated(found))
    if not found.is_denial:
        return _check(name, CheckOutcome.UNKNOWN, _unproven("SimulatePrincipalPolicy", found))
    text = f"The role may not ask what it may do. To have its permissions checked, allow it {SIMULATE_ACTION}."
    return _check(name, CheckOutcome.UNKNOWN, text)


def _simulated(found: Simulated) -> tuple[CheckOutcome, str]:
    if found.denied:
        text = f"The role lacks permissions that plans need: {_some(found.denied)}. Add them to its policy."
        return CheckOutcome.FAILED, text
    if found.conditional:
        text = f"Whether the role allows {_some(found.conditional)} depends on conditions in its policies."
        return CheckOutcome.UNKNOWN, text
    return CheckOutcome.PASSED, "The role has the permissions that plans need."


def verdict_of(checks: Sequence[Check]) -> tuple[Verdict, str | None]:
    """The verdict, and the sentence that says why it is not CONNECTED. A check that is not there is not passed."""
    made = {check.name: check for check in checks}
    for name in _NEGATIVE:
        if name in made and made[name].outcome is CheckOutcome.FAILED:
            return "INSECURE", made[name].detail
    for name in _POSITIVE:
        if name in made and made[name].outcome is CheckOutcome.FAILED:
            return "UNREACHABLE", made[name].detail
    for name in (*_POSITIVE, *_NEGATIVE):
        if name not in made:
            return "UNVERIFIED", "A part of the verification was not made. This is a fault in Coreo."
        if made[name].outcome is not CheckOutcome.PASSED:
            return "UNVERIFIED", made[name].detail
    return "CONNECTED", None


def report_of(checks: Sequence[Check], missing_actions: Sequence[str] = ()) -> VerifyReport:
    """The report of these checks."""
    verdict, reason = verdict_of(checks)
    return VerifyReport(verdict=verdict, reason=reason, checks=list(checks), missing_actions=list(missing_actions))


def _check(name: CheckName, outcome: CheckOutcome, detail: str) -> Check:
    return Check(name=name, outcome=outcome, detail=detail)


def _unproven(call: str, refusal: Refusal) -> str:
    return f"AWS answered {call} with {refusal.code}, which proves nothing. Coreo verifies the role again by itself."


def _some(actions: Sequence[str]) -> str:
    more = len(actions) - _NAMED_ACTIONS
    named = ", ".join(actions[:_NAMED_ACTIONS])
    return f"{named} and {more} more" if more > 0 else named

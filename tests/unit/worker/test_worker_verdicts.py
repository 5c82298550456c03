"""What a verification's observations prove, in full: every outcome of every part."""

import itertools

import pytest

from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome
from coreo_worker.aws.inside import Simulated
from coreo_worker.aws.sts import Refusal
from coreo_worker.runner.verdicts import (
    Attempt,
    account_check,
    entry_check,
    negative_check,
    permissions_check,
    report_of,
    verdict_of,
)

ROLE = "arn:aws:iam::123456789012:role/CoreoAudit"
PASSED, FAILED, UNKNOWN = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.UNKNOWN
STS_PARTS = (
    CheckName.WITH_EXTERNAL_ID,
    CheckName.ACCOUNT,
    CheckName.WITHOUT_EXTERNAL_ID,
    CheckName.WRONG_EXTERNAL_ID,
)
NEGATIVE = STS_PARTS[2:]
IN, DENIED = Attempt(), Attempt(Refusal("AccessDenied"))
PROVES_NOTHING = ["Throttling", "ServiceUnavailable", "InternalFailure", "ReadTimeoutError", "ExpiredToken", "Unknown"]


def check(name: CheckName, outcome: CheckOutcome) -> Check:
    return Check(name=name, outcome=outcome, detail=f"{name} {outcome}")


@pytest.mark.parametrize("outcomes", list(itertools.product(CheckOutcome, repeat=5)))
def test_every_combination_has_its_verdict(outcomes: tuple[CheckOutcome, ...]) -> None:
    entry, account, without, wrong, _permissions = outcomes
    if FAILED in (without, wrong):
        expected = "INSECURE"
    elif FAILED in (entry, account):
        expected = "UNREACHABLE"
    elif (entry, account, without, wrong) == (PASSED, PASSED, PASSED, PASSED):
        expected = "CONNECTED"
    else:
        expected = "UNVERIFIED"
    report = report_of([check(*pair) for pair in zip(CheckName, outcomes, strict=True)])
    assert report.verdict == expected
    assert (report.reason is None) == (expected == "CONNECTED")


@pytest.mark.parametrize("missing", STS_PARTS)
def test_a_part_that_was_not_made_is_not_passed(missing: CheckName) -> None:
    checks = [check(name, PASSED) for name in CheckName]
    assert verdict_of(checks) == ("CONNECTED", None)
    assert verdict_of([each for each in checks if each.name is not missing])[0] == "UNVERIFIED"


def test_the_reason_is_that_of_the_worst_part() -> None:
    outcomes = dict.fromkeys(CheckName, FAILED)
    checks = [check(name, outcome) for name, outcome in outcomes.items()]
    assert verdict_of(checks) == ("INSECURE", "without_external_id failed")
    assert verdict_of(checks[:2]) == ("UNREACHABLE", "with_external_id failed")


def test_the_right_id_gets_in_or_is_refused() -> None:
    assert entry_check(IN, ROLE).outcome is PASSED
    refused = entry_check(DENIED, ROLE)
    assert (refused.outcome, ROLE in refused.detail) == (FAILED, True)


@pytest.mark.parametrize("code", ["ValidationError", "ParamValidationError", "RegionDisabledException"])
def test_what_the_customer_must_change_is_a_refusal(code: str) -> None:
    assert entry_check(Attempt(Refusal(code)), ROLE).outcome is FAILED


@pytest.mark.parametrize("code", [*PROVES_NOTHING, "PackedPolicyTooLarge", "AccessDeniedException"])
def test_trouble_proves_nothing_of_the_right_id(code: str) -> None:
    found = entry_check(Attempt(Refusal(code)), ROLE)
    assert (found.outcome, code in found.detail) == (UNKNOWN, True)


@pytest.mark.parametrize("name", NEGATIVE)
@pytest.mark.parametrize("entry", CheckOutcome)
def test_whoever_gets_in_against_the_rules_is_a_hole_whatever_else(name: CheckName, entry: CheckOutcome) -> None:
    found = negative_check(name, IN, entry=check(CheckName.WITH_EXTERNAL_ID, entry))
    assert (found.outcome, "trust policy" in found.detail) == (FAILED, True)


@pytest.mark.parametrize("name", NEGATIVE)
@pytest.mark.parametrize(("entry", "expected"), [(PASSED, PASSED), (FAILED, UNKNOWN), (UNKNOWN, UNKNOWN)])
def test_a_denial_proves_something_only_of_a_role_that_lets_the_right_one_in(
    name: CheckName, entry: CheckOutcome, expected: CheckOutcome
) -> None:
    assert negative_check(name, DENIED, entry=check(CheckName.WITH_EXTERNAL_ID, entry)).outcome is expected


@pytest.mark.parametrize("name", NEGATIVE)
@pytest.mark.parametrize(
    "code", [*PROVES_NOTHING, "ValidationError", "AccessDeniedException", "MalformedPolicyDocument"]
)
def test_only_a_denial_proves_a_negative_test(name: CheckName, code: str) -> None:
    found = negative_check(name, Attempt(Refusal(code)), entry=check(CheckName.WITH_EXTERNAL_ID, PASSED))
    assert (found.outcome, code in found.detail) == (UNKNOWN, True)


def test_the_account_is_the_stated_one_another_or_unknown() -> None:
    assert account_check("123456789012", "123456789012").outcome is PASSED
    other = account_check("999999999999", "123456789012")
    assert (other.outcome, "999999999999" in other.detail) == (FAILED, True)
    assert account_check(Refusal("Throttling"), "123456789012").outcome is UNKNOWN
    assert account_check(Refusal("AccessDenied"), "123456789012").outcome is UNKNOWN
    assert account_check(None, "123456789012").outcome is UNKNOWN


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        (Simulated(), PASSED, "has the permissions"),
        (Simulated(denied=("s3:A",)), FAILED, "s3:A"),
        (Simulated(denied=("s3:A",), conditional=("s3:B",)), FAILED, "s3:A"),
        (Simulated(conditional=("s3:B",)), UNKNOWN, "s3:B depends on conditions"),
        (Refusal("AccessDenied"), UNKNOWN, "allow it iam:SimulatePrincipalPolicy"),
        (Refusal("Throttling"), UNKNOWN, "Throttling"),
        (Refusal("NoSuchEntity"), UNKNOWN, "NoSuchEntity"),
        (None, UNKNOWN, "no session"),
    ],
)
def test_permissions_are_missing_only_when_iam_says_so(
    found: Simulated | Refusal | None, outcome: CheckOutcome, words: str
) -> None:
    made = permissions_check(found, ["s3:A", "s3:B"])
    assert (made.outcome, words in made.detail) == (outcome, True)


def test_nothing_wanted_is_nothing_missing() -> None:
    assert permissions_check(None, []).outcome is PASSED


def test_many_missing_actions_are_counted() -> None:
    made = permissions_check(Simulated(denied=tuple("abcdefg")), ["a"])
    assert "a, b, c, d, e and 2 more" in made.detail

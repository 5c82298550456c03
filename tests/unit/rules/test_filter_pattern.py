"""CloudWatch filter patterns mean what they match, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_shared.rules.filter_pattern import SAMPLES, PatternError, catches, parse_pattern

CALL = {"eventName": "CreateTrail", "userIdentity": {"type": "Root"}, "resources": [{"ARN": "a"}], "readOnly": False}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("", True),
        ("{ $.eventName = CreateTrail }", True),
        ('{ $.eventName = "CreateTrail" }', True),
        ("{$.eventName=Create*}", True),
        ("{$.eventName = *Trail && $.userIdentity.type = Root}", True),
        ("{ ($.eventName = X) || ($.userIdentity.type = Root) }", True),
        ("{ $.eventName = X || $.eventName = CreateTrail && $.userIdentity.type = User }", False),
        ("{ ($.eventName = CreateTrail || $.eventName = X) && $.userIdentity.type = User }", False),
        ("{ $.eventName != CreateTrail }", False),
        ("{ $.errorCode != AccessDenied }", False),  # nothing holds of what is not there
        ("{ $.errorCode NOT EXISTS }", True),
        ("{ $.errorCode EXISTS }", False),
        ("{ $.readOnly IS FALSE }", True),
        ("{ $.readOnly = false }", True),
        ("{ $.readOnly IS NULL }", False),
        ("{ $.resources[0].ARN = a }", True),
        ("{ $.resources[1].ARN = a }", False),
        ("{ $.eventName = createtrail }", False),  # the case counts
        ("CreateTrail", False),  # a pattern for text
    ],
)
def test_pattern_matches_as_cloudwatch_does(pattern: str, *, matches: bool) -> None:
    assert parse_pattern(pattern)(CALL) is matches


@pytest.mark.parametrize(
    "pattern",
    ["{", "{}", "{ $.a }", "{ $.a = }", "{ ($.a = b }", "{ $.a = b ) }", "{ $.a > 3 }", "{ $.a = %x% }", "{ a = b }"],
)
def test_what_is_not_understood_is_said_to_be(pattern: str) -> None:
    if pattern == "{":
        assert parse_pattern(pattern)(CALL) is False
        return
    with pytest.raises(PatternError):
        parse_pattern(pattern)


def test_deep_nesting_and_length_are_refused() -> None:
    with pytest.raises(PatternError):
        parse_pattern("{ " + "(" * 500 + "$.a = b" + ")" * 500 + " }")
    with pytest.raises(PatternError):
        parse_pattern("{ $.a = " + "b" * 5_000 + " }")


BENCHMARK = {
    "unauthorized-calls": '{($.errorCode = "*UnauthorizedOperation") || ($.errorCode = "AccessDenied*")}',
    "sign-in-without-mfa": '{ ($.eventName = "ConsoleLogin") && ($.additionalEventData.MFAUsed != "Yes") && '
    '($.userIdentity.type = "IAMUser") && ($.responseElements.ConsoleLogin = "Success") }',
    "root-use": '{ $.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS && '
    '$.eventType != "AwsServiceEvent" }',
    "sign-in-failures": '{ ($.eventName = ConsoleLogin) && ($.errorMessage = "Failed authentication") }',
    "key-deletion": "{($.eventSource = kms.amazonaws.com) && "
    "(($.eventName=DisableKey)||($.eventName=ScheduleKeyDeletion))}",
}


@pytest.mark.parametrize("matter", sorted(SAMPLES))
def test_benchmarks_own_patterns_catch_their_matter_and_no_other(matter: str) -> None:
    names = " || ".join(f"($.eventName = {event['eventName']})" for event in SAMPLES[matter])
    pattern = BENCHMARK.get(matter, f"{{ {names} }}")

    assert catches(pattern, matter)
    assert [other for other in SAMPLES if catches(pattern, other)] == [matter]


def test_filter_that_lacks_one_event_does_not_catch() -> None:
    assert not catches("{ $.eventName = CreateVpc }", "vpc-changes")
    assert catches("{ $.eventSource = ec2.amazonaws.com }", "vpc-changes")


@given(st.text("ab*", max_size=9), st.text("abc", max_size=9))
def test_a_star_is_any_text(wanted: str, text: str) -> None:
    event = {"eventName": text}
    assert parse_pattern(f'{{ $.eventName = "{wanted}" }}')(event) is _fits(wanted, text)


def _fits(wanted: str, text: str) -> bool:
    """By trying all there is."""
    if not wanted:
        return not text
    if wanted[0] == "*":
        return any(_fits(wanted[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return text[:1] == wanted[0] and _fits(wanted[1:], text[1:])


@pytest.mark.timeout(20)
def test_many_stars_take_no_longer_than_one() -> None:
    for stars in ("*" * 1_000, "*e" * 500, "*e*" * 300):
        test = parse_pattern(f'{{ $.eventName = "{stars}X" }}')
        assert test({"eventName": "e" * 200}) is False
        assert test({"eventName": "e" * 600 + "X"}) is True

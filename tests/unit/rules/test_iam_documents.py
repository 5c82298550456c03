"""Session policies and required policies."""

import json
import random

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.iam_policy import pattern_covers
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from coreo_shared.rules.policy import (
    MAX_SESSION_POLICY,
    PolicyTooLargeError,
    required_policy,
    session_policies,
    session_policy,
)

_CATALOGUE = load_catalogue()
_ALL = needs_of(_CATALOGUE, _CATALOGUE.rules).actions | REGION_ACTIONS
_CIS = needs_of(_CATALOGUE, _CATALOGUE.rule_sets["cis-aws-7.0"]).actions | REGION_ACTIONS
_VERBS = ("Describe", "List", "Get")
_NOUNS = ("Bucket", "Instance", "Volume", "Snapshot", "Policy", "Role", "Cluster", "Table", "Stream", "Domain", "Key")
_PARTS = ("Configuration", "Status", "Attributes", "Tags", "Logging", "Encryption", "Versions", "Permissions")


def _many(count: int) -> set[str]:
    rng = random.Random(count)  # noqa: S311  an example, not a secret
    services = ("ec2", "s3", "iam", "rds", "kms", "lambda", "dynamodb", "secretsmanager")
    names = [
        f"{service}:{verb}{noun}{part}" for service in services for verb in _VERBS for noun in _NOUNS for part in _PARTS
    ]
    return set(rng.sample(names, count))


def _allowed(document: str) -> list[str]:
    [statement] = json.loads(document)["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Allow", "*")
    actions: list[str] = statement["Action"]
    return actions


def test_newest_benchmark_fits_without_widening() -> None:
    policy = session_policy(_CIS)

    assert len(policy.document) <= MAX_SESSION_POLICY
    assert policy.widened == ()
    assert _allowed(policy.document) == sorted(_CIS)


def test_whole_catalogue_is_too_much_for_one_session() -> None:
    """Its plans are refused with this error; the required policy of the role has no such bound."""
    with pytest.raises(PolicyTooLargeError, match="split it"):
        session_policy(_ALL)


@pytest.mark.parametrize("count", [1, 40, 80, 150, 400, 1_000])
def test_session_policy_fits_and_covers_every_action(count: int) -> None:
    actions = _many(count)
    policy = session_policy(actions)
    allowed = _allowed(policy.document)

    assert len(policy.document) <= MAX_SESSION_POLICY
    assert all(any(pattern_covers(pattern, action) for pattern in allowed) for action in actions)
    assert set(policy.widened) == set(allowed) - actions


@pytest.mark.parametrize("count", [80, 400, 1_000])
def test_wildcards_stay_within_a_service_and_name_a_verb(count: int) -> None:
    policy = session_policy(_many(count))

    assert policy.widened
    actions = _many(count)
    for pattern in policy.widened:
        service, _, name = pattern.partition(":")
        assert service
        assert name.endswith("*")
        assert name.startswith(_VERBS)
        assert sum(action.startswith(pattern[:-1]) for action in actions) > 1


def test_narrow_beginnings_are_joined_first() -> None:
    """What begins alike for longest gives way; nothing else is touched once that is enough."""
    alike = {f"ec2:DescribeInstance{part}{noun}" for part in _PARTS for noun in _NOUNS[:4]}
    others = {f"iam:{verb}{noun}" for verb in _VERBS for noun in _NOUNS}

    assert len(session_policy(alike | others).document) <= MAX_SESSION_POLICY
    assert all(pattern.startswith("ec2:DescribeInstance") for pattern in session_policy(alike | others).widened)
    assert others <= set(_allowed(session_policy(alike | others).document))


def test_order_of_actions_does_not_matter() -> None:
    actions = sorted(_many(400))

    assert session_policy(actions) == session_policy(reversed(actions))


def test_wildcards_never_take_in_actions_that_hand_out_data() -> None:
    """`s3:GetObject*` would save most here, and would let the session read every object."""
    tempting = {f"s3:GetObject{noun}{part.lower()}" for part in _PARTS for noun in _NOUNS[:3]}
    others = {f"ec2:Describe{noun}{part.lower()}" for part in _PARTS for noun in _NOUNS}

    policy = session_policy(tempting | others)

    assert policy.widened
    assert not any(pattern_covers(pattern, "s3:GetObject") for pattern in _allowed(policy.document))


def test_action_that_hands_out_data_is_allowed_when_asked_for() -> None:
    assert "s3:GetObject" in _allowed(session_policy({"s3:GetObject"}).document)


def test_what_cannot_fit_is_an_error() -> None:
    with pytest.raises(PolicyTooLargeError, match="split it"):
        session_policy({f"service{number}:DescribeThings" for number in range(200)})


def test_empty_selection_is_a_policy_all_the_same() -> None:
    assert _allowed(session_policy([]).document) == []


def test_required_policy_lists_actions_by_service() -> None:
    document = required_policy(
        ["s3:GetBucketAcl", "ec2:DescribeRegions", "s3:GetBucketAcl", "access-analyzer:ListAnalyzers"]
    )

    assert document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "CoreoAccessAnalyzer",
                "Effect": "Allow",
                "Action": ["access-analyzer:ListAnalyzers"],
                "Resource": "*",
            },
            {"Sid": "CoreoEc2", "Effect": "Allow", "Action": ["ec2:DescribeRegions"], "Resource": "*"},
            {"Sid": "CoreoS3", "Effect": "Allow", "Action": ["s3:GetBucketAcl"], "Resource": "*"},
        ],
    }


def test_session_and_required_policy_are_the_same_computation() -> None:
    required = {action for statement in required_policy(_CIS)["Statement"] for action in statement["Action"]}

    assert required == set(_allowed(session_policy(_CIS).document)) == set(_CIS)


def test_what_one_session_cannot_hold_is_spread_over_several_by_service() -> None:
    """The whole catalogue: each action in the session of the service that is asked, none widened, none twice."""
    by_service = needs_of(load_catalogue(), load_catalogue().rules).actions_by_service
    policies = session_policies(by_service)
    assert 1 < len(policies) <= 8
    named = [service for policy in policies for service in policy.services]
    assert policies[0].services == ()
    assert len(named) == len(set(named))
    everything: set[str] = set()
    for policy in policies:
        allowed = set(_allowed(policy.document))
        assert len(policy.document) <= MAX_SESSION_POLICY
        assert policy.widened == ()
        served = policy.services or tuple(set(by_service) - set(named))
        assert allowed == frozenset().union(*(by_service[service] for service in served))
        everything |= allowed
    assert everything == needs_of(load_catalogue(), load_catalogue().rules).actions


def test_what_one_session_can_hold_is_not_spread() -> None:
    (policy,) = session_policies({"s3": frozenset({"s3:GetBucketAcl"}), "iam": frozenset({"iam:ListUsers"})})
    assert policy == session_policy(["s3:GetBucketAcl", "iam:ListUsers"])


@pytest.mark.parametrize("rule_set", sorted(load_catalogue().rule_sets))
def test_every_rule_set_can_be_run(rule_set: str) -> None:
    catalogue = load_catalogue()
    needed = needs_of(catalogue, catalogue.rule_sets[rule_set])
    assert session_policies(needed.actions_by_service)


def test_one_service_with_more_than_a_session_holds_is_still_refused() -> None:
    actions = frozenset(f"one:W{'x' * 50}{number}" for number in range(60))
    with pytest.raises(PolicyTooLargeError):
        session_policies({"one": actions, "two": frozenset({"two:List"})})

"""Patterns and what suppressions fit: against plain models, on anything hypothesis thinks of."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_results.chunks.columns import to_columns
from coreo_results.suppressions.globs import Glob
from coreo_results.suppressions.matching import Rule, Selection, covers
from coreo_results.suppressions.validation import check_expiry, check_matchers, check_narrow, check_words
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.ids import new_id
from coreo_shared.rules.tags import tags_in
from coreo_shared.web import Problem
from tests.support.results import make_finding

FAIL, PASS = FindingStatus.FAIL, FindingStatus.PASS


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("abc", "Abc", False),
        ("", "", True),
        ("*", "", True),
        ("*", "anything", True),
        ("arn:aws:s3:::logs-*", "arn:aws:s3:::logs-2026", True),
        ("arn:aws:s3:::logs-*", "arn:aws:s3:::my-logs-2026", False),
        ("*-logs", "audit-logs", True),
        ("ab*ba", "aba", False),  # the ends must not share a letter
        ("ab*ba", "abba", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a**c", "ac", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("a?", "ab", False),
    ],
)
def test_patterns(pattern: str, text: str, *, fits: bool) -> None:
    assert Glob(pattern).fits(text) is fits


@given(st.text("ab*", max_size=12), st.text("ab", max_size=16))
def test_a_pattern_fits_what_the_regular_expression_of_it_fits(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL)
    assert Glob(pattern).fits(text) is (expected is not None)


@given(st.text(max_size=20).filter(lambda text: "*" not in text), st.text(max_size=20))
def test_a_pattern_without_a_star_fits_itself_alone(pattern: str, text: str) -> None:
    glob = Glob(pattern)
    assert glob.is_exact
    assert glob.fits(text) is (pattern == text)


def test_no_pattern_makes_a_text_expensive() -> None:
    """As a backtracking expression this would take longer than the universe has."""
    glob, text = Glob("*a" * 255 + "*b"), "a" * 2048
    started = time.perf_counter()
    for _ in range(100):
        assert not glob.fits(text)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("evidence", "tags"),
    [
        ({"Tags": [{"Key": "env", "Value": "dev"}, {"Key": "x", "Value": ""}]}, {"env": "dev", "x": ""}),
        ({"Tags": {"env": "dev", "n": 1}}, {"env": "dev"}),
        ({"tags": [{"key": "env", "value": "dev"}]}, {"env": "dev"}),
        ({"TagList": [{"Key": "env", "Value": "dev"}], "Name": "db"}, {"env": "dev"}),
        ({"Service[].tags[]": [{"key": "env", "value": "dev"}]}, {"env": "dev"}),
        ({"CopyTags": {"env": "dev"}, "TagsEnabled": [{"Key": "env", "Value": "dev"}]}, {}),
        ({"Cluster.tags": {"env": "dev"}}, {"env": "dev"}),
        ({"Tags": None}, {}),
        ({"Tags": ["env", {"Key": 1, "Value": "x"}, {"Key": "y"}]}, {}),
        ({"Name": "b"}, {}),
        ([], {}),
        (None, {}),
    ],
)
def test_tags_in_evidence(evidence: Any, tags: dict[str, str]) -> None:
    assert tags_in(evidence) == tags


def rule(**fields: Any) -> Rule:
    return Rule(**{"id": new_id(), "version": 1, "reason": "x", **fields})


def test_rule_and_region_decide_for_whole_groups() -> None:
    all_s3, in_eu, everywhere = rule(rule_id="s3-*"), rule(rule_id="*", region="eu-west-1"), rule(resource="x")
    groups = [("s3-public", "us-east-1"), ("s3-public", "eu-west-1"), ("ec2-open", "eu-west-1")]
    assert covers([all_s3, in_eu, everywhere], groups) == {
        ("s3-public", "us-east-1"): [all_s3, everywhere],
        ("s3-public", "eu-west-1"): [all_s3, in_eu, everywhere],
        ("ec2-open", "eu-west-1"): [in_eu, everywhere],
    }


_NAMES = st.sampled_from(["logs-1", "logs-2", "web", "arn:web", "arn:logs"])
_PATTERNS = st.sampled_from(["logs-1", "logs-*", "arn:*", "*", "*web", "none"])
_TAGS = st.sampled_from([{}, {"env": "dev"}, {"env": "prod"}])


@given(
    st.lists(
        st.builds(
            rule,
            rule_id=st.sampled_from([None, "a", "b", "*"]),
            resource=st.none() | _PATTERNS,
            tag=st.sampled_from([None, "env=dev"]),
            region=st.sampled_from([None, "eu-west-1"]),
        ),
        max_size=6,
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from([FAIL, FAIL, PASS]),
            st.sampled_from(["eu-west-1", "us-east-1"]),
            _NAMES,
            st.none() | _NAMES,
            _TAGS,
        ),
        max_size=20,
    ),
)
def test_a_selection_finds_what_trying_each_on_each_finds(rules: list[Rule], found: list[tuple[Any, ...]]) -> None:
    selective = [each for each in rules if each.is_selective]
    findings = [
        make_finding(
            number,
            rule_id=name,
            status=status,
            region=region,
            resource_id=id_,
            resource_arn=arn,
            evidence={"Tags": tags},
        )
        for number, (name, status, region, id_, arn, tags) in enumerate(found)
    ]
    columns = to_columns(findings)
    expected: dict[Any, set[int]] = {}
    for position in range(len(findings)):
        finding = columns.finding_at(position)
        names = {finding.resource_id, finding.resource_arn} - {None}
        for each in selective:
            if (
                finding.status is FAIL
                and (each.rule_id is None or Glob(each.rule_id).fits(finding.rule_id))
                and each.region in {None, finding.region}
                and (each.resource is None or any(Glob(each.resource).fits(name) for name in names if name))
                and (each.tag is None or b'"env":"dev"' in bytes(finding.evidence))
            ):
                expected.setdefault(each.id, set()).add(position)
    hits = Selection(selective).in_chunk(columns)
    assert {key: set(places) for key, places in hits.items()} == expected
    assert all(places == sorted(set(places)) for places in hits.values())


@pytest.mark.parametrize(
    ("matchers", "field"),
    [
        ({"rule_id": "no spaces"}, "rule_id"),
        ({"rule_id": ""}, "rule_id"),
        ({"resource": "*"}, "resource"),
        ({"resource": "***"}, "resource"),
        ({"resource": "a\nb"}, "resource"),
        ({"resource": "x" * 513}, "resource"),
        ({"tag": "env"}, "tag"),
        ({"tag": "=dev"}, "tag"),
        ({"region": "EU"}, "region"),
    ],
)
def test_what_is_no_pattern_is_refused_by_field_without_its_value(matchers: dict[str, str], field: str) -> None:
    known: dict[str, str | None] = dict.fromkeys(("rule_id", "resource", "tag", "region"))
    with pytest.raises(Problem) as caught:
        check_matchers(**{**known, **matchers})
    assert [error.field for error in caught.value.errors] == [f"body.{field}"]
    value = matchers[field]
    assert len(value) < 4 or value not in caught.value.detail


def test_a_suppression_of_everything_is_refused() -> None:
    for rule_id in (None, "*", "**"):
        with pytest.raises(Problem):
            check_narrow(rule_id, None, None)
        check_narrow(rule_id, "bucket-*", None)
    check_narrow("s3-*", None, None)


@pytest.mark.parametrize("expires_at", [timedelta(seconds=-1), timedelta(days=732)])
def test_an_expiry_is_ahead_and_at_most_two_years(expires_at: timedelta) -> None:
    with pytest.raises(Problem):
        check_expiry(datetime.now(UTC) + expires_at)
    check_expiry(datetime.now(UTC) + timedelta(days=730))
    check_expiry(None)


@pytest.mark.parametrize(("reason", "author"), [("", "me"), ("   ", "me"), ("x" * 1001, "me"), ("why", "")])
def test_reason_and_author_are_there(reason: str, author: str) -> None:
    with pytest.raises(Problem):
        check_words(reason, author)

"""Rules that teams write: checked like the catalogue's, under names of their own, and never slow to refuse."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.catalogue.packs import MAX_ERRORS, MAX_RULES, PREFIX, PackError, read_pack, with_packs
from coreo_shared.rules.needs import needs_of

CATALOGUE = load_catalogue()
RULE: dict[str, Any] = {
    "id": "bucket-name",
    "title": "Buckets have no temporary names",
    "resource": "aws.s3.bucket",
    "severity": "low",
    "rationale": "Temporary buckets have to be removed after some days.",
    "fail_when": {"Name": {"matches": "^tmp-"}},
    "message": "{Name} has a temporary name",
    "remediation": {"console": "Remove it."},
    "evidence": ["Name"],
}
CASES = {
    "bucket-name": [
        {"name": "temporary", "expect": "FAIL", "item": {"Name": "tmp-x"}},
        {"name": "other", "expect": "PASS", "item": {"Name": "web"}},
    ]
}


def pack(**changes: Any) -> str:
    return json.dumps({"pack": "acme", "rules": [RULE], "cases": CASES} | changes)  # which is YAML too


def problems_of(text: str) -> list[str]:
    with pytest.raises(PackError) as caught:
        read_pack(text, CATALOGUE, "acme.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_pack_gives_its_rules_names_that_no_other_can_have() -> None:
    read = read_pack(pack(), CATALOGUE)
    assert list(read.rules) == ["x-acme-bucket-name"]
    assert read.failing_cases() == []
    assert len(read.digest) == 64
    assert not [name for name in CATALOGUE.rules if name.startswith(PREFIX)]


def test_rules_of_a_pack_stand_beside_the_catalogues_and_change_it_not() -> None:
    before = dict(CATALOGUE.rules)
    merged = with_packs(CATALOGUE, [read_pack(pack(), CATALOGUE)])
    assert set(merged.rules) - set(CATALOGUE.rules) == {"x-acme-bucket-name"}
    assert merged.controls["x-acme-bucket-name"] == {}
    assert dict(CATALOGUE.rules) == before
    assert needs_of(merged, ["x-acme-bucket-name"]).actions >= {"s3:ListAllMyBuckets"}


def test_two_packs_never_take_each_others_place() -> None:
    """Names have no hyphen, so that x-a-b-c is the rule b-c of a, and no other."""
    assert "pack" in problems_of(pack(pack="a-b"))[0]


def test_case_that_is_judged_otherwise_is_told() -> None:
    cases = {"bucket-name": [CASES["bucket-name"][0] | {"expect": "PASS"}]}
    assert read_pack(pack(cases=cases), CATALOGUE).failing_cases() == [
        "x-acme-bucket-name: temporary: should be PASS, is FAIL"
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pack": "Acme"}, "acme.yaml:1: pack: must be 2 to 30"),
        ({"rules": []}, "rules: there is no rule"),
        ({"rules": [RULE] * (MAX_RULES + 1)}, f"rules: more than {MAX_RULES} rules"),
        ({"rules": [RULE, RULE]}, "rules.1.id: another rule has this id"),
        ({"rules": [RULE | {"fail_when": {"Nam": {"equals": "x"}}}]}, "rules.0.fail_when"),
        ({"rules": [RULE | {"fail_when": {"Name": {"looks_like": "x"}}}]}, "rules.0.fail_when"),
        ({"rules": [RULE | {"resource": "aws.s3.bukket"}]}, "did you mean aws.s3.bucket?"),
        ({"rules": [RULE | {"id": "../etc"}]}, "rules.0.id"),
        ({"rules": [RULE | {"severity": "worst"}]}, "rules.0.severity"),
        ({"rules": [RULE | {"controls": {"cis-aws-5": ["1.1"]}}]}, "rules.0.controls.cis-aws-5: no such framework"),
        ({"rules": [RULE | {"controls": {"cis-aws-5.0": ["99.1"]}}]}, "rules.0.controls.cis-aws-5.0.0"),
        ({"rules": [RULE | {"objectives": ["fun"]}]}, "rules.0.objectives.0"),
        ({"rules": ["bucket-name"]}, "rules.0"),
        ({"cases": {"bucket-nam": []}}, "cases.bucket-nam: the pack has no such rule; did you mean bucket-name?"),
        (
            {"cases": {"bucket-name": [{"name": "x", "expect": "FAIL", "item": {"Nam": "x"}}]}},
            "cases.bucket-name.0.item",
        ),
        ({"extra": 1}, "does not belong here"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_field(changes: dict[str, Any], said: str) -> None:
    (problem,) = problems_of(pack(**changes))
    assert problem.startswith("acme.yaml:")
    assert said in problem


def test_all_rules_that_are_wrong_are_told_at_once_and_not_too_many() -> None:
    wrong = [RULE | {"id": f"rule-{number}", "severity": "worst"} for number in range(MAX_ERRORS + 10)]
    assert len(problems_of(pack(rules=wrong[:3]))) == 3
    assert len(problems_of(pack(rules=wrong))) == MAX_ERRORS


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: "[" * 100_000, id="nesting"),
        pytest.param(lambda: "a: &a [1]\nb: " + "[*a, *a]" * 1_000, id="aliases"),
        pytest.param(lambda: "x" * 300_000, id="size"),
        pytest.param(lambda: "\x00\x01", id="control characters"),
        pytest.param(
            lambda: pack(rules=[RULE | {"fail_when": {"Name": {"matches": "(a{1,900}){1,900}"}}}]), id="regex"
        ),
        pytest.param(lambda: pack(rules=[RULE | {"fail_when": _nested(300)}]), id="conditions"),
        pytest.param(
            lambda: pack(rules=[RULE | {"fail_when": {"or": [{"Name": {"equals": "x"}}] * 20_000}}]), id="breadth"
        ),
        pytest.param(lambda: pack(rules=[{"id": "a-b"}] * MAX_RULES), id="many errors"),
    ],
)
def test_hostile_pack_is_refused_within_a_second(make: Callable[[], str]) -> None:
    text = make()
    started = time.process_time()
    assert problems_of(text)
    assert time.process_time() - started < 1.0


def _nested(depth: int) -> Any:
    found: Any = {"Name": {"equals": "x"}}
    for _ in range(depth):
        found = {"not": found}
    return found

"""What `coreo scan` and `coreo rules` do around the engine: choosing rules, keeping findings, writing files."""

import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.scan.outputs import targets_of, write
from coreo_cli.scan.selection import Selection, choose
from coreo_cli.scan.spool import Spool
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports import SUFFIXES, Format
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from tests.support.cli import Cli
from tests.support.exports import finding, odd_findings, subject

CATALOGUE = load_catalogue()
PACK = """
pack: acme
rules:
  - id: bucket-name
    title: Buckets have no temporary names
    resource: aws.s3.bucket
    severity: low
    rationale: Temporary buckets have to be removed after some days.
    fail_when: {Name: {matches: "^tmp-"}}
    message: "{Name} has a temporary name"
    remediation: {console: Remove it.}
cases:
  bucket-name:
    - {name: temporary, expect: FAIL, item: {Name: tmp-x}}
"""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Without a login."""
    for name in ("COREO_URL", "COREO_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_without_options_all_rules_are_meant() -> None:
    assert choose(CATALOGUE, Selection()) == sorted(CATALOGUE.rules)


def test_options_that_name_rules_add_up_and_the_others_leave_some_out() -> None:
    named = Selection(rules=["iam-root-mfa", "s3-bucket-v*"], frameworks=["cis-aws-5.0"])
    chosen = choose(CATALOGUE, named)
    assert {"iam-root-mfa", "s3-bucket-versioning"} <= set(chosen)
    of_s3 = choose(CATALOGUE, Selection(rules=named.rules, frameworks=named.frameworks, services=["s3"]))
    assert set(of_s3) == {rule for rule in chosen if _service(rule) == "s3"}
    severe = choose(CATALOGUE, Selection(severities=[Severity.CRITICAL], skipped=["iam-*"]))
    assert severe
    assert all(CATALOGUE.rules[rule].severity is Severity.CRITICAL for rule in severe)
    assert not [rule for rule in severe if rule.startswith("iam-")]


def _service(rule: str) -> str:
    return CATALOGUE.resource_types[CATALOGUE.rules[rule].resource].service


def test_an_alias_of_another_tool_finds_the_rule() -> None:
    rule = next(rule for rule in CATALOGUE.rules.values() if rule.definition.aliases)
    assert rule.id in choose(CATALOGUE, Selection(aliases=[rule.definition.aliases[0]]))


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(rules=["s3-bucket-versionin"]), "--rule: there is no 's3-bucket-versionin'; did you mean"),
        (Selection(rule_sets=["basline"]), "--rule-set"),
        (Selection(frameworks=["cis-aws-5"]), "--framework: there is no 'cis-aws-5'; did you mean cis-aws-5.0?"),
        (Selection(aliases=["prowler:x"]), "--alias"),
        (Selection(services=["s4"]), "--service"),
        (Selection(resources=["aws.s3.bucke"]), "--resource: there is no 'aws.s3.bucke'; did you mean aws.s3.bucket?"),
        (Selection(rules=["iam-root-mfa"], services=["s3"]), "No rule is left"),
    ],
)
def test_what_is_not_there_is_named_with_its_option(selection: Selection, said: str) -> None:
    with pytest.raises(UsageMistakeError, match=r".") as caught:
        choose(CATALOGUE, selection)
    assert caught.value.problem.startswith(said)


def test_spool_gives_all_findings_in_an_order_that_no_order_of_coming_changes() -> None:
    findings = odd_findings()
    orders = []
    for seed in range(3):
        shuffled = random.Random(seed).sample(findings, len(findings))  # noqa: S311  an order, no secret
        with Spool() as spool:
            for start in range(0, len(shuffled), 7):
                spool.add(shuffled[start : start + 7])
            orders.append(list(spool))
            assert len(spool) == len(findings)
            assert list(spool.only(FindingStatus.PASS)) == [one for one in spool if one.status is FindingStatus.PASS]
    assert orders[0] == orders[1] == orders[2]
    assert sorted(orders[0], key=lambda one: one.fingerprint) == findings
    ranks = [(one.status is not FindingStatus.FAIL, -one.severity.rank) for one in orders[0]]
    assert [rank for rank in ranks if not rank[0]] == sorted(rank for rank in ranks if not rank[0])
    assert not any(earlier[0] > later[0] for earlier, later in itertools.pairwise(ranks))


def test_spool_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Spool() as spool:
        spool.add([finding(1)])
        assert list(tmp_path.iterdir()) == []  # even while it is used


@pytest.mark.parametrize("format_", Format)
def test_endings_say_the_format(format_: Format, tmp_path: Path) -> None:
    (target,) = targets_of([tmp_path / f"Report.x{SUFFIXES[format_].upper()}"])
    assert target.format is format_


def test_an_ending_without_format_and_a_folder_that_is_not_there_are_told_first(tmp_path: Path) -> None:
    with pytest.raises(UsageMistakeError, match=r"ending of report\.pdf says no format"):
        targets_of([tmp_path / "report.pdf"])
    with pytest.raises(CliError, match="nothing can be written to the folder"):
        targets_of([tmp_path / "none" / "report.html"])
    (tmp_path / "x.html").mkdir()
    with pytest.raises(CliError, match="is a folder"):
        targets_of([tmp_path / "x.html"])


def test_a_report_that_cannot_be_finished_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text("before")

    def breaking() -> Iterator[Finding]:
        yield finding(1)
        raise LookupError

    with pytest.raises(LookupError):
        write(targets_of([path])[0], breaking(), subject(), CATALOGUE)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_has_the_rights_of_files_made_the_usual_way(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(targets_of([tmp_path / "a.csv"])[0], [finding(1)], subject(), CATALOGUE)
    finally:
        os.umask(before)
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o640


def test_permissions_are_those_of_the_calls_and_no_others(coreo: Cli, alone: Path) -> None:
    done = coreo("rules", "permissions", "--framework", "cis-aws-5.0")
    allowed = {action for statement in done.json["Statement"] for action in statement["Action"]}
    rules = CATALOGUE.select([], ["cis-aws-5.0"])
    assert allowed == needs_of(CATALOGUE, rules).actions | REGION_ACTIONS
    lines = coreo("rules", "permissions", "--framework", "cis-aws-5.0", "--actions").out.splitlines()
    assert lines == sorted(allowed)


def test_a_policy_that_iam_does_not_take_is_split(coreo: Cli, alone: Path) -> None:
    whole = coreo("rules", "permissions")
    assert "6,144 in a managed one" in whole.err
    parts = []
    for number in itertools.count(1):
        done = coreo("rules", "permissions", "--part", str(number))
        if done.code:
            break
        parts.append(done.json)
    assert "--part: the policy has" in done.err
    assert all(len(json.dumps(part, separators=(",", ":"))) <= 6_144 for part in parts)
    actions = [action for part in parts for statement in part["Statement"] for action in statement["Action"]]
    assert sorted(actions) == coreo("rules", "permissions", "--actions").out.splitlines()
    assert "Part 1 of 1" in coreo("rules", "permissions", "--service", "s3", "--part", "1").err
    assert coreo("rules", "permissions", "--part", "1", "--actions").code == 2


def test_rules_are_found_by_service_framework_and_other_tools_names(coreo: Cli, alone: Path) -> None:
    found = coreo("rules", "list", "--service", "s3", "--framework", "cis-aws-5.0", "-o", "json").json
    assert {rule["id"] for rule in found} >= {"s3-bucket-plain-http", "s3-bucket-mfa-delete"}
    assert {rule["resource"].split(".")[1] for rule in found} == {"s3"}
    shown = coreo("rules", "show", "prowler:s3_bucket_object_versioning", "-o", "json")
    assert shown.json["id"] == "s3-bucket-versioning"
    missing = coreo("rules", "show", "prowler:s3_bucket_object_versionin")
    assert missing.code == 1
    assert "Did you mean prowler:s3_bucket_object_versioning" in missing.err


def test_parameters_are_listed_with_types_and_defaults(coreo: Cli, alone: Path) -> None:
    rows = coreo("rules", "parameters", "--rule", "ec2-security-group-open-unauthorized-port", "-o", "json").json
    assert [(row["rule"], row["parameter"], row["type"], row["default"]) for row in rows] == [
        ("ec2-security-group-open-unauthorized-port", "authorized_ports", "integers", [80, 443])
    ]
    listed = coreo("rules", "parameters")
    assert "ec2-instance-tags.required_tags" in listed.out
    assert coreo("rules", "parameters", "--rule", "iam-root-mfa").out == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("*.required_tag=[]", "did you mean required_tags"),
        ("*.required_tags=Owner", "must be a list of at most 500, for ec2-instance-tags"),
        ("ec2-instance-imdsv2.days=1", "the scan has no rule"),
    ],
)
def test_a_parameter_that_does_not_fit_ends_the_scan_before_it_begins(
    coreo: Cli, alone: Path, value: str, said: str
) -> None:
    done = coreo("scan", "--rule", "ec2-instance-*", "--param", value)
    assert done.code == 2
    assert said in done.err


def test_without_a_login_rules_are_those_of_the_release(coreo: Cli, alone: Path) -> None:
    listed = coreo("rules", "list", "--severity", "critical", "-o", "json")
    assert "not logged in" in listed.err
    assert {rule["id"] for rule in listed.json} == {
        rule.id for rule in CATALOGUE.rules.values() if rule.severity is Severity.CRITICAL
    }
    shown = coreo("rules", "show", "iam-root-mfa", "--local", "-o", "json").json
    assert shown["controls"]["cis-aws-5.0"] == ["1.4"]
    assert coreo("rules", "show", "iam-root-mfaa").code == 1
    assert len(coreo("rules", "sets", "-o", "json").json) == len(CATALOGUE.rule_sets)


def test_own_rules_are_checked_tested_and_asked_for(coreo: Cli, alone: Path) -> None:
    good, bad = alone / "acme.yaml", alone / "bad.yaml"
    good.write_text(PACK)
    bad.write_text(PACK.replace("Name: {matches", "Nam: {matches"))
    linted = coreo("rules", "lint", str(good), str(bad))
    assert linted.code == 1
    assert "x-acme-bucket-name" in linted.out
    assert "bad.yaml:9: rules.0.fail_when" in linted.err
    assert coreo("rules", "lint", str(good)).code == 0
    assert coreo("rules", "test", str(good)).code == 0
    good.write_text(PACK.replace("expect: FAIL", "expect: PASS"))
    failed = coreo("rules", "test", str(good))
    assert failed.code == 1
    assert "x-acme-bucket-name: temporary: should be PASS, is FAIL" in failed.out
    policy = coreo("rules", "permissions", "--pack", str(good), "--actions")
    assert "s3:ListAllMyBuckets" in policy.out.splitlines()
    assert coreo("rules", "lint", str(alone / "none.yaml")).code == 1


def test_the_releases_own_cases_hold(coreo: Cli, alone: Path) -> None:
    done = coreo("rules", "test", "--rule", "s3-*")
    assert (done.code, done.out) == (0, "")
    assert "0 failed" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--service", "s4"], "--service"),
        (["--regions", "eu-west-9"], "--regions: AWS has no region 'eu-west-9'; did you mean"),
        (["--output", "x.pdf"], "--output"),
        (["--format", "pdf"], "'pdf' is not one of"),
        (["--rule", "iam-root-mfa", "--param", "s3-bucket-versioning.x=1"], "--param: the scan has no rule"),
        (["--param", "nonsense"], "--param is written RULE.PARAMETER=VALUE"),
        (["--fail-on", "worst"], "'worst' is not one of"),
    ],
)
def test_mistakes_are_told_before_aws_is_asked(
    coreo: Cli, alone: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = coreo("scan", *words)
    assert done.code == 2
    assert said in done.err
    assert json.dumps(done.out) == '""'

"""`coreo run export`: all findings of a run, in each format, with the team's decisions and its own rules."""

import json
from pathlib import Path
from typing import Any

import pytest

from coreo_shared.exports import SUFFIXES, Format
from tests.support.cli import Cli, ScriptedApi, a_finding, a_plan, a_run, an_account, problem
from tests.unit.cli.test_cli_scan import PACK

ACCOUNT = an_account(role_arn="arn:aws-us-gov:iam::210987654321:role/CoreoAudit", state="CONNECTED")
RUN = a_run(cloud_account_id=ACCOUNT["id"], plan_revision=2)
FINDINGS = f"/v1/runs/{RUN['id']}/findings"
COMPLIANCE = f"/v1/runs/{RUN['id']}/compliance"
REVISIONS = f"/v1/plans/{RUN['plan_id']}/revisions"
LIFE: dict[str, Any] = {
    "change": "NEW",
    "previous_status": None,
    "first_seen": "2026-01-31T12:01:05Z",
    "first_run_id": RUN["id"],
    "suppression_id": None,
    "suppression_reason": None,
    "rule_severity": None,
}
OWN = a_finding(
    rule_id="x-acme-bucket-name", resource_id="tmp-1", resource_arn="arn:aws:s3:::tmp-1", fingerprint="1" * 32
)
SUPPRESSED = a_finding(status="SUPPRESSED", fingerprint="2" * 32) | {"suppression_reason": "A public website."}
UNKNOWN = a_finding(
    status="NOT_EVALUATED",
    reason="AWS denied it.",
    missing_actions=["s3:GetEncryptionConfiguration"],
    fingerprint="3" * 32,
)
PASSED = a_finding(status="PASS", region="us-gov-east-1", fingerprint="4" * 32)


def answer_of(*, met: bool, expired: bool = False) -> dict[str, Any]:
    return {"met": met, "text": "t", "expired": expired}


@pytest.fixture
def run(scripted_api: ScriptedApi) -> dict[str, Any]:
    """The latest run, of a plan with a rule pack; its findings come in two pages."""
    scripted_api.lists("/v1/runs", RUN)
    scripted_api.on("GET", f"/v1/cloud-accounts/{ACCOUNT['id']}", ACCOUNT)
    first = {"items": [OWN | LIFE, LIFE | SUPPRESSED], "total": 4, "next_cursor": "more"}
    scripted_api.on("GET", FINDINGS, first, {"items": [UNKNOWN | LIFE, PASSED | LIFE], "total": 4, "next_cursor": None})
    controls = [
        {"id": "1.1", "rules": {}, "answer": answer_of(met=True)},
        {"id": "1.2", "rules": {}, "answer": answer_of(met=True, expired=True)},
        {"id": "3.1", "rules": {"iam-root-mfa": {"failed": 0}, "guardduty-off": None}, "answer": None},
    ]
    scripted_api.on("GET", COMPLIANCE, {"controls": controls})
    spec = a_plan()["spec"]
    scripted_api.lists(
        REVISIONS,
        {"revision": 3, "spec": spec},
        {"revision": 2, "spec": spec | {"rule_packs": ["acme@4", "gone@1"]}},
    )
    scripted_api.on("GET", "/v1/rule-packs/acme/source", {"source": PACK})
    scripted_api.on("GET", "/v1/rule-packs/gone/source", problem(404, "not_found", "There is no such pack."))
    return RUN


@pytest.mark.usefixtures("run")
def test_every_format_is_written_with_all_findings(coreo: Cli, tmp_path: Path, scripted_api: ScriptedApi) -> None:
    files = {format_: tmp_path / f"run{ending}" for format_, ending in SUFFIXES.items()}
    done = coreo("run", "export", *(word for file in files.values() for word in ("-o", str(file))))
    assert done.code == 0, done.err
    assert "4 findings of run" in done.err
    lines = [json.loads(line) for line in files[Format.JSONL].read_text().splitlines()]
    assert {line["fingerprint"][0] for line in lines} == {"1", "2", "3", "4"}
    assert {line["partition"] for line in lines} == {"aws-us-gov"}
    assert len(json.loads(files[Format.OCSF].read_text())) == 4
    assert "<!doctype html>" in files[Format.HTML].read_text()
    asked = scripted_api.sent("GET", FINDINGS)
    assert [request.url.params.get("cursor") for request in asked] == [None, "more"]
    assert asked[0].url.params["limit"] == "1000"
    assert asked[0].url.params.get_list("status") == ["PASS", "FAIL", "NOT_EVALUATED", "SUPPRESSED"]


@pytest.mark.usefixtures("run")
def test_rules_of_a_pack_have_their_titles_and_suppressions_their_reasons(
    coreo: Cli, scripted_api: ScriptedApi
) -> None:
    document = coreo("run", "export", "--format", "json").json
    by_fingerprint = {row["fingerprint"][0]: row for row in document["findings"]}
    assert by_fingerprint["1"]["title"] == "Buckets have no temporary names"
    assert by_fingerprint["2"]["reason"] == "A public website."
    assert dict(scripted_api.sent("GET", "/v1/rule-packs/acme/source")[0].url.params) == {"version": "4"}
    assert document["subject"]["complete"] is True


@pytest.mark.usefixtures("run")
def test_sarif_says_why_a_failure_is_suppressed(coreo: Cli) -> None:
    (run,) = coreo("run", "export", "-f", "sarif").json["runs"]
    (suppressed,) = [result for result in run["results"] if "suppressions" in result]
    assert suppressed["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "A public website."}
    ]
    assert "website" not in suppressed["message"]["text"]


@pytest.mark.usefixtures("run")
def test_the_report_counts_what_people_answered_and_what_ran(coreo: Cli, scripted_api: ScriptedApi) -> None:
    page = coreo("run", "export", "--framework", "cis-aws-5.0", "-f", "html").out
    assert dict(scripted_api.sent("GET", COMPLIANCE)[0].url.params) == {"framework": "cis-aws-5.0"}
    assert "1 answered: met" in page  # that which has expired is open again
    assert "iam-root-mfa" not in page
    assert "Rules <b>3</b>" in page  # two with findings, and the one that ran and found nothing


def test_a_run_that_is_not_whole_says_so(coreo: Cli, scripted_api: ScriptedApi, run: dict[str, Any]) -> None:
    scripted_api.lists("/v1/runs", run | {"state": "RUNNING", "ended_at": None})
    scripted_api.on("GET", REVISIONS, problem(404, "not_found", "There is no such plan."))
    done = coreo("run", "export", "-f", "json")
    assert done.json["subject"]["complete"] is False
    assert "there may be more to come" in done.err


def test_what_drifted_is_written_and_no_framework_is_asked_about(
    coreo: Cli, tmp_path: Path, scripted_api: ScriptedApi, run: dict[str, Any]
) -> None:
    scripted_api.lists("/v1/runs", run | {"kind": "deploy", "deploy": {"action": "drift"}})
    drifted = a_finding(rule_id="drift-resource", resource_id="web-Role", resource_arn=None)
    scripted_api.on("GET", FINDINGS, {"items": [drifted | LIFE], "total": 1, "next_cursor": None})
    files = [tmp_path / f"drift{ending}" for ending in SUFFIXES.values()]
    done = coreo("run", "export", *(part for file in files for part in ("--output", str(file))))
    assert done.code == 0, done.err
    assert "web-Role" in (tmp_path / "drift.html").read_text()
    assert scripted_api.sent("GET", COMPLIANCE) == []
    refused = coreo("run", "export", "--framework", "soc-2", "--format", "csv")
    assert (refused.code, "leave out --framework" in refused.err) == (2, True)


def test_bad_choices_are_refused_before_anything_is_asked(
    coreo: Cli, scripted_api: ScriptedApi, tmp_path: Path
) -> None:
    for words, said in (
        ((), "--output report.html"),
        (("-o", str(tmp_path / "report.pdf")), "says no format"),
        (("-o", str(tmp_path / "not" / "there.html")), "nothing can be written to the folder"),
    ):
        done = coreo("run", "export", *words)
        assert done.code != 0
        assert said in done.err
    assert scripted_api.requests == []

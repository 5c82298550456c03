"""`coreo findings`: for people, as JSON, as CSV."""

import csv
import io
import json
from typing import Any

import httpx
import pytest

from tests.support.cli import Cli, ScriptedApi, a_finding, a_run, problem

RUN = a_run("PARTIAL")
PATH = f"/v1/runs/{RUN['id']}/findings"
UNKNOWN = a_finding(
    status="NOT_EVALUATED",
    severity="medium",
    rule_id="cloudtrail-not-logging",
    resource_id="main",
    message="main could not be judged",
    reason="AccessDenied.",
    missing_actions=["cloudtrail:GetTrailStatus"],
)
HOSTILE = a_finding(severity="low", resource_id="=cmd|'/c calc'!A1", message="[red]\x1b[2J\u202egnp.exe[/red]")


@pytest.fixture
def findings(scripted_api: ScriptedApi) -> list[dict[str, Any]]:
    """What the latest run has found."""
    found = [a_finding(severity="critical"), a_finding(), UNKNOWN, HOSTILE]
    scripted_api.lists("/v1/runs", RUN)
    scripted_api.lists("/v1/plans")
    scripted_api.lists("/v1/cloud-accounts")
    scripted_api.lists(PATH, *found)
    return found


@pytest.mark.usefixtures("findings")
def test_people_get_sections_by_severity_with_what_is_wrong(coreo: Cli) -> None:
    done = coreo("findings")
    assert done.code == 0
    sections = [line for line in done.out.splitlines() if line and not line.startswith(" ")]
    assert sections == ["CRITICAL  1 finding", "HIGH  1 finding", "MEDIUM  1 finding", "LOW  1 finding"]
    assert "acme-logs has no default encryption" in done.out
    assert "main could not be judged. AccessDenied. Allow: cloudtrail:GetTrailStatus" in done.out


@pytest.mark.usefixtures("findings")
def test_names_of_resources_cannot_act_on_the_terminal(coreo: Cli) -> None:
    for done in (coreo("findings"), coreo("findings", "-o", "json"), coreo("findings", "-o", "csv")):
        assert "\x1b" not in done.out
        assert "\u202e" not in done.out
    assert r"[red]\x1b[2J\u202egnp.exe[/red]" in coreo("findings").out


def test_json_is_one_array_with_nothing_lost(coreo: Cli, findings: list[dict[str, Any]]) -> None:
    assert coreo("findings", "--output", "json").json == findings


def test_the_environment_may_choose_the_output(
    coreo: Cli, findings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREO_OUTPUT", "json")
    assert coreo("findings").json == findings
    assert coreo("run", "list").json == [RUN]
    assert coreo("run", "list", "-o", "table").out.startswith("RUN")


def test_all_as_json_is_lines_over_all_pages(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs", RUN)
    pages: list[dict[str, Any]] = [
        {"items": [a_finding(resource_id="a"), a_finding(resource_id="b")], "total": 3, "next_cursor": "more"},
        {"items": [a_finding(resource_id="c")], "total": 3, "next_cursor": None},
    ]
    scripted_api.on("GET", PATH, *pages)
    done = coreo("findings", "--all", "-o", "json")
    assert [json.loads(line)["resource_id"] for line in done.out.splitlines()] == ["a", "b", "c"]
    assert [request.url.params.get("cursor") for request in scripted_api.sent("GET", PATH)] == [None, "more"]
    assert done.err == ""


def test_csv_has_a_header_and_no_formulas(coreo: Cli, findings: list[dict[str, Any]]) -> None:
    rows = list(csv.DictReader(io.StringIO(coreo("findings", "-o", "csv").out)))
    assert len(rows) == len(findings)
    assert rows[0]["resource_arn"] == "arn:aws:s3:::acme-logs"
    assert rows[2]["missing_actions"] == "cloudtrail:GetTrailStatus"
    assert rows[0]["reason"] == ""
    assert rows[3]["resource_id"] == "'=cmd|'/c calc'!A1"


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_an_answer_that_is_cut_short_says_so(coreo: Cli, scripted_api: ScriptedApi, output: str) -> None:
    scripted_api.lists("/v1/runs", RUN)
    scripted_api.lists("/v1/plans")
    scripted_api.lists("/v1/cloud-accounts")
    scripted_api.on("GET", PATH, {"items": [a_finding()], "total": 7, "next_cursor": "more"})
    done = coreo("findings", "--limit", "1", "-o", output)
    assert "1 of 7 findings" in done.err
    assert "--all" in done.err


@pytest.mark.usefixtures("findings")
def test_filters_reach_the_api(coreo: Cli, scripted_api: ScriptedApi) -> None:
    coreo(
        *("findings", "latest", "--status", "pass", "--status", "FAIL", "--severity", "High", "--rule", "r1", "--rule"),
        *("r2", "--region", "global", "--resource", "arn:aws:s3:::acme-logs", "--limit", "7"),
    )
    parameters = scripted_api.sent("GET", PATH)[0].url.params
    assert parameters.multi_items() == [
        ("status", "PASS"),
        ("status", "FAIL"),
        ("severity", "high"),
        ("rule_id", "r1"),
        ("rule_id", "r2"),
        ("region", "global"),
        ("resource", "arn:aws:s3:::acme-logs"),
        ("limit", "7"),
    ]


@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        ([], ["FAIL", "NOT_EVALUATED"]),
        (["--status", "not_evaluated"], ["NOT_EVALUATED"]),
        (["--status", "PASS", "--status", "all"], ["PASS", "FAIL", "NOT_EVALUATED", "SUPPRESSED"]),
    ],
)
@pytest.mark.usefixtures("findings")
def test_what_could_not_be_evaluated_is_shown_unless_said_otherwise(
    coreo: Cli, scripted_api: ScriptedApi, options: list[str], statuses: list[str]
) -> None:
    coreo("findings", *options)
    assert scripted_api.sent("GET", PATH)[0].url.params.get_list("status") == statuses


@pytest.mark.parametrize(
    "options", [["--status", "BAD"], ["--severity", "bad"], ["--limit", "0"], ["--output", "xml"], ["a", "b"]]
)
def test_wrong_options_are_refused(coreo: Cli, scripted_api: ScriptedApi, options: list[str]) -> None:
    done = coreo("findings", *options)
    assert done.code == 2
    assert "coreo findings --help" in done.err
    assert scripted_api.requests == []


def test_a_run_at_work_may_have_more_to_come(coreo: Cli, scripted_api: ScriptedApi) -> None:
    run = a_run("RUNNING")
    scripted_api.lists("/v1/runs", run)
    scripted_api.lists("/v1/plans")
    scripted_api.lists("/v1/cloud-accounts")
    scripted_api.lists(f"/v1/runs/{run['id']}/findings")
    done = coreo("findings")
    assert done.out == ""
    assert "No findings of this kind." in done.err
    assert f"coreo run watch {run['id']}" in done.err
    assert coreo("findings", "-o", "json").json == []


def test_findings_are_counted_by_rule(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs", RUN)
    low = {"rule_id": "a", "severity": "low", "by_status": {"PASS": 5}}
    high = {"rule_id": "b", "severity": "high", "by_status": {"FAIL": 2, "PASS": 1}}
    scripted_api.lists(f"/v1/runs/{RUN['id']}/rules", low, high)
    _, first, second = coreo("findings", "--by-rule").out.splitlines()
    assert first.split() == ["high", "b", "1", "2", "-", "-"]
    assert second.split() == ["low", "a", "5", "-", "-", "-"]
    assert coreo("findings", "--by-rule", "-o", "json").json == [low, high]


def test_findings_by_rule_are_no_csv(coreo: Cli, scripted_api: ScriptedApi) -> None:
    assert coreo("findings", "--by-rule", "-o", "csv").code == 2
    assert scripted_api.requests == []


def test_findings_that_cannot_be_read_now_can_be_later(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs", RUN)
    refusal = problem(503, "results_unavailable", "The findings cannot be read just now.", retry_after="60")
    scripted_api.on("GET", PATH, refusal)
    done = coreo("findings")
    assert done.code == 1
    assert "cannot be read just now" in done.err
    assert "Try again" in done.err


def test_requests_carry_the_filters_on_every_page(coreo: Cli, scripted_api: ScriptedApi) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        assert request.url.params.get_list("status") == ["PASS"]
        cursor = request.url.params.get("cursor")
        body = {"items": [a_finding()], "total": 2, "next_cursor": "more" if cursor is None else None}
        return httpx.Response(200, json=body)

    scripted_api.lists("/v1/runs", RUN)
    scripted_api.on("GET", PATH, page)
    assert len(coreo("findings", "--status", "PASS", "-o", "csv", "--all").out.splitlines()) == 3


def test_changes_since_the_run_before_are_counted_and_listed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    run = {"id": "0199c3f2-8a1b-7000-8000-000000000009", "state": "SUCCEEDED"}
    counts = {"new": 3, "changed": 1, "unchanged": 20, "resolved": 2, "not_seen": 0}
    view = {"run_id": run["id"], "previous_run_id": None, "counts": counts}
    scripted_api.lists("/v1/runs", run)
    scripted_api.on("GET", f"/v1/runs/{run['id']}/changes", view, view, view | {"counts": None})
    done = coreo("run", "changes")
    assert [line.split()[0] for line in done.out.splitlines()] == ["3", "1", "20", "2", "0"]
    assert "none before it" in done.err
    assert coreo("run", "changes", "-o", "json").json == view
    assert "nothing is known yet" in coreo("run", "changes").err


def test_findings_are_filtered_by_change_whatever_their_status(coreo: Cli, scripted_api: ScriptedApi) -> None:
    run = {"id": "0199c3f2-8a1b-7000-8000-000000000009", "state": "SUCCEEDED"}
    scripted_api.lists("/v1/runs", run)
    scripted_api.lists(f"/v1/runs/{run['id']}/findings")
    scripted_api.lists(f"/v1/runs/{run['id']}/resolved")
    assert coreo("findings", "--change", "new", "--change", "RESOLVED", "-o", "json").json == []
    asked = scripted_api.requests[-1].url.params
    assert asked.get_list("change") == ["NEW", "RESOLVED"]
    assert set(asked.get_list("status")) == {"PASS", "FAIL", "NOT_EVALUATED", "SUPPRESSED"}
    assert coreo("findings", "--resolved", "-o", "json").json == []
    assert scripted_api.requests[-1].url.path.endswith("/resolved")
    assert coreo("findings", "--resolved", "--severity", "high").code == 2

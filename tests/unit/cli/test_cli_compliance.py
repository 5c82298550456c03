"""`coreo compliance` and `coreo control`: what is asked of the api, and what is shown."""

from typing import Any

from tests.support.cli import Cli, ScriptedApi, problem

RUN: dict[str, Any] = {"id": "0199c3f2-8a1b-7000-8000-000000000009", "state": "SUCCEEDED"}
ACCOUNT: dict[str, Any] = {
    "id": "0199c3f2-8a1b-7000-8000-000000000001",
    "name": "production",
    "account_id": "210987654321",
    "state": "CONNECTED",
}
ANSWER: dict[str, Any] = {
    "framework": "cis-aws-5.0",
    "control": "1.1",
    "met": True,
    "text": "Looked at.",
    "evidence_url": None,
    "expires_at": None,
    "by_name": "first",
    "answered_at": "2026-06-01T12:00:00+00:00",
    "replaced_at": None,
}
VIEW: dict[str, Any] = {
    "framework": "cis-aws-5.0",
    "title": "CIS AWS Foundations Benchmark 5.0",
    "run_id": RUN["id"],
    "cloud_account_id": ACCOUNT["id"],
    "complete": False,
    "pass_rate": 0.5,
    "by_status": {"PASS": 1, "FAIL": 1, "MANUAL_DONE": 1, "NOT_RUN": 0},
    "controls": [
        {"id": "1.4", "title": "Root has MFA", "status": "PASS", "rules": {}, "answer": None},
        {
            "id": "1.5",
            "title": "No root keys",
            "status": "FAIL",
            "rules": {
                "iam-root-access-key": {"passed": 0, "failed": 2, "not_evaluated": 0, "suppressed": 0},
                "x": None,
            },
            "answer": None,
        },
        {"id": "1.1", "title": "Contacts", "status": "MANUAL_DONE", "rules": {}, "answer": ANSWER},
    ],
}
CONTROL = f"/v1/cloud-accounts/{ACCOUNT['id']}/controls/cis-aws-5.0/1.1"


def test_run_is_shown_control_by_control(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs", RUN)
    scripted_api.on("GET", f"/v1/runs/{RUN['id']}/compliance", VIEW)
    done = coreo("compliance", "--framework", "cis-aws-5.0")
    assert dict(scripted_api.requests[-1].url.params) == {"framework": "cis-aws-5.0"}
    rows = done.out.splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["1.4", "1.5", "1.1"]
    assert "fail" in rows[2]
    assert " 2 " in rows[2]
    assert "first: Looked at." in rows[3]
    assert "50 % pass, of 3 controls: 1 pass, 1 fail, 1 answered: met." in done.err
    assert "has not read everything" in done.err
    failed = coreo("compliance", "--framework", "cis-aws-5.0", "--status", "fail", "-o", "json")
    assert [control["id"] for control in failed.json["controls"]] == ["1.5"]


def test_without_a_framework_all_are_listed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/frameworks", {"id": "cis-aws-5.0", "title": "CIS", "controls": 63, "manual": 26})
    done = coreo("compliance")
    assert done.out.splitlines()[1].split() == ["cis-aws-5.0", "63", "26", "CIS"]


def test_framework_that_is_not_there_is_said_so(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs", RUN)
    refused = problem(422, "invalid", "no framework of this name; did you mean cis-aws-5.0?", ("query.framework", "no"))
    scripted_api.on("GET", f"/v1/runs/{RUN['id']}/compliance", refused)
    done = coreo("compliance", "--framework", "cis")
    assert done.code != 0
    assert "framework" in done.err


def test_answer_is_sent_and_said_again(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts", ACCOUNT)
    scripted_api.on("PUT", CONTROL, ANSWER | {"expires_at": "2027-06-01T12:00:00+00:00"})
    words = ["control", "answer", "production", "cis-aws-5.0", "1.1", "--met", "--text", "Looked at."]
    done = coreo(*words, "--expires", "365d", "--evidence", "https://wiki.example.com")
    assert done.out.startswith("cis-aws-5.0 1.1: met, until 2027-06-01")
    sent = scripted_api.body("PUT", CONTROL)
    assert (sent["met"], sent["text"], sent["evidence_url"]) == (True, "Looked at.", "https://wiki.example.com")
    assert sent["expires_at"].startswith("20")
    assert coreo(*words, "--expires", "soon").code == 2


def test_answer_says_whether_it_is_met(coreo: Cli, scripted_api: ScriptedApi) -> None:
    done = coreo("control", "answer", "production", "cis-aws-5.0", "1.1", "--text", "x")
    assert done.code == 2
    assert "--met" in done.err
    assert scripted_api.requests == []


def test_answers_are_listed_and_taken_back(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts", ACCOUNT)
    scripted_api.lists(
        f"/v1/cloud-accounts/{ACCOUNT['id']}/controls", ANSWER, ANSWER | {"replaced_at": "2026-06-02T12:00:00+00:00"}
    )
    rows = coreo("control", "list", "production", "--replaced").out.splitlines()
    assert dict(scripted_api.requests[-1].url.params)["replaced"] == "true"
    assert [row.split()[2] for row in rows[1:]] == ["met", "replaced"]
    scripted_api.on("DELETE", CONTROL, None)
    assert coreo("control", "remove", "production", "cis-aws-5.0", "1.1", "--yes").code == 0
    assert len(scripted_api.sent("DELETE", CONTROL)) == 1

"""`coreo suppression` and `coreo severity`: what is sent, and what is shown."""

from typing import Any

from tests.support.cli import Cli, ScriptedApi

ID = "0199c3f2-8a1b-7000-8000-000000000007"
ACCOUNT: dict[str, Any] = {
    "id": "0199c3f2-8a1b-7000-8000-000000000001",
    "name": "production",
    "account_id": "210987654321",
    "state": "CONNECTED",
}
SUPPRESSION: dict[str, Any] = {
    "id": ID,
    "rule_id": "s3-*",
    "resource": "arn:aws:s3:::website-*",
    "tag": None,
    "region": None,
    "cloud_account_id": None,
    "reason": "Public websites.",
    "author": "first",
    "changed_by": None,
    "created_at": "2026-06-01T12:00:00+00:00",
    "updated_at": "2026-06-01T12:00:00+00:00",
    "expires_at": None,
    "live": True,
}
OVERRIDE: dict[str, Any] = {
    "id": ID,
    "rule_id": "s3-bucket-versioning",
    "severity": "low",
    "cloud_account_id": None,
    "reason": "We keep backups.",
    "author": "first",
    "updated_at": "2026-06-01T12:00:00+00:00",
}


def test_suppression_is_sent_with_what_was_said_alone(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts", ACCOUNT)
    scripted_api.on("POST", "/v1/suppressions", SUPPRESSION)
    words = ["suppression", "add", "--rule", "s3-*", "--reason", "Public websites."]
    done = coreo(*words, "--account", "production", "--expires", "90d")
    assert done.out == f"{ID}: rule s3-*, resource arn:aws:s3:::website-*\n"
    sent = scripted_api.body("POST", "/v1/suppressions")
    assert sent.pop("expires_at").startswith("20")
    assert sent == {"rule_id": "s3-*", "reason": "Public websites.", "cloud_account_id": ACCOUNT["id"]}


def test_suppression_says_what_and_why(coreo: Cli, scripted_api: ScriptedApi) -> None:
    nothing = coreo("suppression", "add", "--reason", "x", "--region", "eu-west-1")
    assert (nothing.code, "--rule, --resource or --tag" in nothing.err) == (2, True)
    assert coreo("suppression", "add", "--rule", "s3-*").code == 2
    assert coreo("suppression", "add", "--rule", "s3-*", "--reason", "x", "--expires", "soon").code == 2
    assert scripted_api.requests == []


def test_suppressions_are_listed_shown_and_taken_away(coreo: Cli, scripted_api: ScriptedApi) -> None:
    expired = SUPPRESSION | {"expires_at": "2026-06-02T12:00:00+00:00", "live": False}
    scripted_api.lists("/v1/suppressions", SUPPRESSION, expired)
    rows = coreo("suppression", "list").out.splitlines()
    assert "never" in rows[1]
    assert "expired" in rows[2]
    scripted_api.on("GET", f"/v1/suppressions/{ID}", expired)
    shown = coreo("suppression", "show", ID).out
    assert "no: it has expired" in shown
    assert "by first" in shown
    scripted_api.on("DELETE", f"/v1/suppressions/{ID}", None)
    assert coreo("suppression", "remove", ID, "--yes").code == 0
    assert len(scripted_api.sent("DELETE", f"/v1/suppressions/{ID}")) == 1


def test_severity_is_set_listed_and_taken_away(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("PUT", "/v1/severity-overrides", OVERRIDE)
    done = coreo("severity", "set", "s3-bucket-versioning", "LOW", "--reason", "We keep backups.")
    assert done.out == f"{ID}: s3-bucket-versioning is low.\n"
    assert scripted_api.body("PUT", "/v1/severity-overrides") == {
        "rule_id": "s3-bucket-versioning",
        "severity": "low",
        "reason": "We keep backups.",
    }
    scripted_api.lists("/v1/severity-overrides", OVERRIDE)
    assert "s3-bucket-versioning" in coreo("severity", "list").out
    scripted_api.on("DELETE", f"/v1/severity-overrides/{ID}", None)
    assert coreo("severity", "remove", ID, "--yes").code == 0
    assert coreo("severity", "set", "s3-bucket-versioning", "worst", "--reason", "x").code == 2

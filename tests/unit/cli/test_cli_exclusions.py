"""`coreo custody exclude` and what belongs to it: what is asked, what is shown, what is believed."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coreo_shared.contracts.exclusions import RECEIPT_TYPE, Display, ExclusionStep, Receipt, Tombstone
from coreo_shared.contracts.terms import ObjectKind
from coreo_shared.crypto.jose import Signer, generate_key, public_jwk
from tests.support.cli import Cli, ScriptedApi, a_plan, a_run

RUN, PLAN = a_run(), a_plan()
ID = "0199c3f2-8a1b-7000-8000-0000000000e1"
PENDING: dict[str, Any] = {
    "id": ID,
    "scope": "run",
    "scope_id": RUN["id"],
    "display": "keep",
    "reason": None,
    "requested_at": "2026-06-01T12:00:00+00:00",
    "requested_by": "ann",
    "state": "PENDING",
    "runs": 1,
    "done": [{"step": "intent", "at": "2026-06-01T12:00:01+00:00"}],
    "remaining": [step.value for step in ExclusionStep if step is not ExclusionStep.INTENT],
    "problem": "the vault is away",
}
DONE = PENDING | {"state": "DONE", "done": [], "remaining": [], "problem": None}
KEY = generate_key("custody-1")
RECEIPT = Receipt(
    version=1,
    exclusion_id=UUID(ID),
    team_id=UUID(int=1),
    scope=ObjectKind.RUN,
    scope_id=UUID(RUN["id"]),
    display=Display.KEEP,
    reason="asked by legal",
    requested_at="2026-06-01T12:00:00+00:00",
    requested_by="Zoë",
    runs=1,
    runs_sha256="0" * 64,
    run_ids=[UUID(RUN["id"])],
    intent=Tombstone(seq=6, sha256="2" * 64),
    tombstones=[Tombstone(seq=7, sha256="1" * 64)],
    backups_deleted=1,
    display_rekeyed=1,
    display_deleted=0,
    key_destroyed=3,
    key_now=4,
    steps=[],
    issued_at="2026-06-01T12:00:09+00:00",
    by="results-1",
)


def signed(key: dict[str, Any] = KEY, typ: str = RECEIPT_TYPE) -> str:
    return Signer(key).sign(RECEIPT, typ=typ)


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A file with the published keys."""
    path = tmp_path / "coreo-custody.jwks"
    path.write_text(json.dumps({"keys": [public_jwk(generate_key("custody-2")), public_jwk(KEY)]}))
    return str(path)


def test_what_is_asked_for_is_asked_about_first_and_watched_to_its_end(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs", RUN)
    scripted_api.on("GET", f"/v1/runs/{RUN['id']}", RUN)
    scripted_api.on("POST", "/v1/exclusions", PENDING)
    assert coreo("custody", "exclude", "--run", RUN["id"]).code == 2  # nobody to ask
    assert coreo("custody", "exclude", "--yes").code == 2
    assert coreo("custody", "exclude", "--run", "latest", "--plan", "nightly", "--yes").code == 2
    assert not scripted_api.sent("POST", "/v1/exclusions")
    done = coreo("custody", "exclude", "--run", RUN["id"], "--reason", "asked by legal", "--yes")
    assert scripted_api.body("POST", "/v1/exclusions") == {
        "scope": "run",
        "scope_id": RUN["id"],
        "display": "keep",
        "reason": "asked by legal",
    }
    assert "exclusion pending" in done.out
    assert done.out.count("remains") == 6
    assert "the vault is away" in done.out
    scripted_api.on("GET", f"/v1/exclusions/{ID}", DONE)
    done = coreo("custody", "exclude", "--run", RUN["id"], "--watch", "--yes")
    assert "DONE" in done.out
    assert f"coreo custody receipt {ID}" in done.err


def test_of_a_plan_and_of_an_account_that_is_not_listed_any_more(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/plans", PLAN)
    scripted_api.on("POST", "/v1/exclusions", DONE)
    assert coreo("custody", "exclude", "--plan", "nightly", "--delete-results", "--yes").code == 0
    assert scripted_api.body("POST", "/v1/exclusions") == {
        "scope": "plan",
        "scope_id": PLAN["id"],
        "display": "delete",
    }
    assert coreo("custody", "exclude", "--account", ID, "--yes").code == 0
    body = json.loads(scripted_api.sent("POST", "/v1/exclusions")[-1].content)
    assert (body["scope"], body["scope_id"]) == ("cloud_account", ID)


def test_they_are_listed_and_shown(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/exclusions", PENDING)
    assert "PENDING" in coreo("custody", "exclusions").out
    assert coreo("custody", "exclusions", "-o", "json").json[0]["id"] == ID
    scripted_api.on("GET", f"/v1/exclusions/{ID}", PENDING)
    assert "what was asked is in the log of the backups" in coreo("custody", "exclusions", ID).out
    assert coreo("custody", "exclusions", "x").code == 1


def test_receipt_and_keys_are_written_as_they_are(coreo: Cli, scripted_api: ScriptedApi, tmp_path: Path) -> None:
    scripted_api.on("GET", f"/v1/exclusions/{ID}/receipt", {"receipt": signed()})
    scripted_api.on("GET", "/v1/custody/keys", {"keys": [public_jwk(KEY)]})
    for name, command in (("receipt", ("receipt", ID)), ("keys", ("keys",))):
        (tmp_path / name).write_text(coreo("custody", *command).out)
    done = coreo("custody", "verify", str(tmp_path / "receipt"), "--keys", str(tmp_path / "keys"))
    assert (done.code, "signed by key custody-1" in done.out) == (0, True)


def test_a_receipt_is_checked_without_api(coreo: Cli, scripted_api: ScriptedApi, keys: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.jws"
    path.write_text(signed() + "\n")
    done = coreo("custody", "verify", str(path), "--keys", keys)
    assert done.code == 0, done.err
    for words in ("asked by legal", "up to 3 destroyed; 4 now", f"run {RUN['id']}", "Zoë"):
        assert words in done.out
    said = coreo("custody", "verify", str(path), "--keys", keys, "-o", "json").json
    assert (said["key"], said["receipt"]["runs"]) == ("custody-1", 1)
    assert not scripted_api.requests


@pytest.mark.parametrize(
    ("receipt", "why"),
    [
        (lambda: signed(generate_key("custody-1")), "its signature is wrong"),
        (lambda: signed(generate_key("other")), "none of the given public keys"),
        (lambda: signed(typ="coreo-custody-log+jwt"), "of another kind"),
        (lambda: signed()[:-2], "not to be believed"),
        (lambda: signed().replace(".", ".e", 1), "not to be believed"),
        (lambda: "", "no signed statement"),
    ],
)
def test_what_is_not_to_be_believed_is_not(coreo: Cli, keys: str, tmp_path: Path, receipt: Any, why: str) -> None:
    path = tmp_path / "receipt.jws"
    path.write_text(receipt())
    done = coreo("custody", "verify", str(path), "--keys", keys)
    assert (done.code, done.out) == (1, "")
    assert why in done.err


def test_keys_that_are_none_are_named(coreo: Cli, tmp_path: Path) -> None:
    for name, content in (("receipt", signed()), ("keys", "{}")):
        (tmp_path / name).write_text(content)
    done = coreo("custody", "verify", str(tmp_path / "receipt"), "--keys", str(tmp_path / "keys"))
    assert (done.code, "--keys" in done.err) == (1, True)

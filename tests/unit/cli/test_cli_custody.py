"""`coreo custody`, `coreo plan custody`, `delete-results`: what is sent, what is shown, what is asked first."""

import json
from pathlib import Path
from typing import Any

import pytest

from coreo_shared.crypto.access_chain import FIRST_PREVIOUS, entry_hash
from tests.support.cli import Cli, ScriptedApi, a_plan, a_run, problem
from tests.support.custody import BACKUPS

TEAM_ID = "0199c3f2-8a1b-7000-8000-00000000000a"
SETTINGS: dict[str, Any] = {
    "display_days": 90,
    "backup_days": 1826,
    "backups": True,
    "keep_counts": True,
    "updated_at": None,
}
PLAN = a_plan()
OF_PLAN: dict[str, Any] = {"plan_id": PLAN["id"], "display_days": None, "backup": True, "updated_at": None}
OF_PLAN["team"] = SETTINGS


def record(count: int) -> list[dict[str, Any]]:
    """A record, oldest first."""
    entries: list[dict[str, Any]] = []
    for seq in range(1, count + 1):
        entry: dict[str, Any] = {
            "team_id": TEAM_ID,
            "seq": seq,
            "at": f"2026-06-01T12:00:{seq:02}.000000+00:00",
            "actor_id": None,
            "actor": "Zoë's laptop",
            "action": "READ_FINDINGS",
            "object_kind": "run",
            "object_id": TEAM_ID,
            "detail": {"runs": 1},
            "previous": entries[-1]["hash"] if entries else FIRST_PREVIOUS,
        }
        entries.append(entry | {"hash": entry_hash(entry)})
    return entries


def test_settings_are_shown_in_words(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/custody/settings", SETTINGS | {"backups": False, "keep_counts": False})
    shown = coreo("custody", "settings", "show").out
    assert "90 days" in shown
    assert "go with the results" in shown
    assert coreo("custody", "settings", "show", "-o", "json").json["backups"] is False


def test_backups_are_shown_and_begun(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/custody/backups", BACKUPS)
    scripted_api.on("POST", "/v1/custody/backups", BACKUPS)
    shown = coreo("custody", "backups", "show").out
    assert all(words in shown for words in ("3 runs, 40 findings", "1 run", "never"))
    assert coreo("custody", "backups", "run", "-o", "json").json["due"] == 1
    scripted_api.on("POST", "/v1/custody/backups", problem(409, "no_backups", "There are none."))
    assert coreo("custody", "backups", "run").code == 1


def test_settings_are_sent_as_far_as_they_were_said(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/custody/settings", SETTINGS)
    scripted_api.on("PATCH", "/v1/custody/settings", SETTINGS | {"display_days": 30})
    words = ["custody", "settings", "set", "--display-days", "30", "--no-backups"]
    assert coreo(*words).code == 2  # nobody there to ask
    done = coreo(*words, "--yes")
    assert "30 days" in done.out
    assert scripted_api.body("PATCH", "/v1/custody/settings") == {"display_days": 30, "backups": False}
    assert coreo("custody", "settings", "set").code == 2
    assert coreo("custody", "settings", "set", "--display-days", "0").code == 2
    assert coreo("custody", "settings", "set", "--display-days", "1827").code == 2


@pytest.mark.parametrize(("days", "is_asked"), [("30", True), ("90", False), ("120", False)])
def test_whoever_shortens_the_time_is_asked_first(
    coreo: Cli,
    scripted_api: ScriptedApi,
    days: str,
    is_asked: bool,  # noqa: FBT001  a case
) -> None:
    scripted_api.on("GET", "/v1/custody/settings", SETTINGS)
    scripted_api.on("PATCH", "/v1/custody/settings", SETTINGS)
    done = coreo.on_terminal("custody", "settings", "set", "--display-days", days, keys="n\n")
    assert ("days ago, for good?" in done.err) is is_asked
    assert bool(scripted_api.sent("PATCH", "/v1/custody/settings")) is not is_asked


def test_a_plan_has_settings_of_its_own(coreo: Cli, scripted_api: ScriptedApi) -> None:
    path = f"/v1/plans/{PLAN['id']}/custody"
    scripted_api.lists("/v1/plans", PLAN)
    scripted_api.on("GET", path, OF_PLAN)
    assert "90 days (the team's)" in coreo("plan", "custody", "show", "nightly").out
    scripted_api.on("PATCH", path, OF_PLAN | {"display_days": 7, "backup": False})
    shown = coreo("plan", "custody", "set", "nightly", "--display-days", "7", "--no-backup", "--yes").out
    assert "7 days (its own)" in shown
    assert scripted_api.body("PATCH", path) == {"display_days": 7, "backup": False}
    coreo("plan", "custody", "set", PLAN["id"], "--as-team")
    assert json.loads(scripted_api.sent("PATCH", path)[-1].content) == {"display_days": None}
    assert coreo("plan", "custody", "set", "nightly", "--as-team", "--display-days", "7").code == 2
    assert coreo("plan", "custody", "set", "nightly").code == 2


def test_results_are_deleted_only_by_who_is_sure(coreo: Cli, scripted_api: ScriptedApi) -> None:
    run = a_run()
    scripted_api.on("GET", f"/v1/runs/{run['id']}", run)
    scripted_api.on("DELETE", f"/v1/runs/{run['id']}/results", {"runs": 1}, {"runs": 0})
    scripted_api.lists("/v1/plans", PLAN)
    scripted_api.on("DELETE", f"/v1/plans/{PLAN['id']}/results", {"runs": 3})
    for words in (["run", "delete-results", run["id"]], ["plan", "delete-results", "nightly"]):
        refused = coreo(*words)
        assert (refused.code, "--yes" in refused.err) == (2, True)
        assert coreo.on_terminal(*words, keys="n\n").code == 1
    assert not [each for each in scripted_api.requests if each.method == "DELETE"]
    assert coreo("run", "delete-results", run["id"], "--yes").out == f"Deleted the results of {run['id']}.\n"
    assert coreo("run", "delete-results", run["id"], "--yes").out == "They were gone already.\n"
    assert coreo("plan", "delete-results", "nightly", "-y").out == "Deleted the results of 3 runs.\n"
    assert coreo("plan", "delete-results", PLAN["id"], "-y", "-o", "json").json == {"runs": 3}  # of a removed one too


def test_a_run_at_work_keeps_its_results(coreo: Cli, scripted_api: ScriptedApi) -> None:
    run = a_run("RUNNING")
    scripted_api.on("GET", f"/v1/runs/{run['id']}", run)
    scripted_api.on("DELETE", f"/v1/runs/{run['id']}/results", problem(409, "run_at_work", "It has not ended."))
    done = coreo("run", "delete-results", run["id"], "--yes")
    assert (done.code, "coreo run cancel" in done.err) == (1, True)


def test_a_run_says_what_became_of_its_results(coreo: Cli, scripted_api: ScriptedApi) -> None:
    gone = {"at": "2026-06-01T12:00:00Z", "why": "requested", "by": "ann"}
    run = a_run(results_gone=gone, backup=False)
    scripted_api.on("GET", f"/v1/runs/{run['id']}", run)
    for path in ("plans", "cloud-accounts"):
        scripted_api.lists(f"/v1/{path}")
    shown = coreo("run", "show", run["id"])
    assert "deleted on 2026-06-01" in shown.out
    assert "as ann asked" in shown.out
    assert "never: so was said" in shown.out
    assert "coreo findings" not in shown.err
    detail = "The results of this run expired on 2026-06-01."
    scripted_api.on("GET", f"/v1/runs/{run['id']}/findings", problem(410, "results_expired", detail))
    done = coreo("findings", run["id"])
    assert (done.code, detail in done.err, "coreo custody settings show" in done.err) == (1, True, True)


def test_a_run_is_started_with_the_wish_for_no_backup(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/plans", PLAN)
    path = f"/v1/plans/{PLAN['id']}/runs"
    scripted_api.on("POST", path, {"group_id": "x", "runs": [a_run("QUEUED")]})
    coreo("run", "start", "nightly", "--no-backup")
    assert scripted_api.body("POST", path) == {"backup": False}


def test_the_record_is_listed_and_filtered(coreo: Cli, scripted_api: ScriptedApi) -> None:
    run = a_run()
    scripted_api.lists("/v1/runs", run)
    scripted_api.lists("/v1/tokens", {"id": TEAM_ID, "name": "ci"})
    scripted_api.lists("/v1/custody/access", *reversed(record(2)))
    words = ["--run", "latest", "--token", "ci", "--action", "read_findings"]
    rows = coreo("custody", "access", "list", *words).out.splitlines()
    assert rows[1].split()[0] == "2"
    assert "Zoë's laptop" in rows[1]
    sent = dict(scripted_api.sent("GET", "/v1/custody/access")[0].url.params)
    assert {name: sent[name] for name in ("object_id", "token_id", "action")} == {
        "object_id": run["id"],
        "token_id": TEAM_ID,
        "action": "READ_FINDINGS",
    }
    assert coreo("custody", "access", "list", "--run", "latest", "--plan", "nightly").code == 2
    account = {"id": TEAM_ID, "name": "production", "account_id": "210987654321"}
    scripted_api.lists("/v1/cloud-accounts", account)
    coreo("custody", "access", "list", "--account", "production")
    assert scripted_api.sent("GET", "/v1/custody/access")[-1].url.params["object_id"] == TEAM_ID


def test_the_record_is_verified_from_the_api_and_from_a_file(
    coreo: Cli, scripted_api: ScriptedApi, tmp_path: Path
) -> None:
    entries = record(5)
    scripted_api.lists("/v1/custody/access", *reversed(entries))
    done = coreo("custody", "access", "verify")
    assert done.out.splitlines()[1] == f"Head: 5:{entries[-1]['hash']}"
    lines = coreo("custody", "access", "list", "--all", "-o", "json").out
    array = coreo("custody", "access", "list", "-o", "json").out
    scripted_api.requests.clear()
    for text in (lines, array):
        file = tmp_path / "access"
        file.write_text(text)
        for known in ([], ["--known", f"3:{entries[2]['hash']}"], ["--known", f"5:{entries[4]['hash']}"]):
            assert coreo("custody", "access", "verify", str(file), *known).code == 0
        found = coreo("custody", "access", "verify", str(file), "-o", "json").json
        assert found == {"entries": 5, "head": f"5:{entries[4]['hash']}"}
        assert "cut off" in coreo("custody", "access", "verify", str(file), "--known", f"6:{'0' * 64}").err
        assert "another one" in coreo("custody", "access", "verify", str(file), "--known", f"4:{'0' * 64}").err
        assert coreo("custody", "access", "verify", str(file), "--known", "4").code == 2
    assert scripted_api.requests == []


def test_every_change_to_the_record_is_found(coreo: Cli, tmp_path: Path) -> None:
    def said(entries: list[Any]) -> tuple[int, str]:
        file = tmp_path / "access.jsonl"
        file.write_text("\n".join(json.dumps(each) for each in entries))
        done = coreo("custody", "access", "verify", str(file))
        return done.code, done.err

    for name in record(1)[0]:
        changed = record(4)
        changed[1] = changed[1] | {name: "x"}
        assert said(changed)[0] == 1, name
    whole = record(4)
    forged = whole[1] | {"actor": "somebody"}
    forged["hash"] = entry_hash(forged)
    for wrong, words in (
        (whole[1:], "entry 1 is missing"),
        ([*whole[:1], *whole[2:]], "entry 2 is missing"),
        ([*whole[:2], whole[1], *whole[2:]], "entry 3 is missing"),
        ([whole[0], forged, *whole[2:]], "entry 3 does not follow"),
        ([whole[0] | {"more": 1}, *whole[1:]], "entry 1: it does not have the fields"),
        ([1], "not the access record"),
        ([{"seq": "1"}], "something else"),
    ):
        code, err = said(wrong)
        assert (code, words in err) == (1, True), (words, err)
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    assert coreo("custody", "access", "verify", str(tmp_path / "bad")).code == 1

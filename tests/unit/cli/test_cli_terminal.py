"""What is drawn: widths, colours, bars, and nothing of it on a pipe."""

import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.support.cli import Cli, ScriptedApi, a_finding, a_plan, a_run, a_task, a_verify_report, an_account, over, sse

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-9]|4[0-9]|9[0-7])(?:;[0-9]+)*m")
LONG = "arn:aws:iam::210987654321:policy/a-policy-with-a-name-that-is-really-quite-long-for-a-policy"
WIDE = "生产环境"
REASON = f"The role {LONG} does not let Coreo in: give it the trust policy of the cloud account."
ACCOUNT = f"{WIDE} production of the whole of Europe"
PLAN = "every night, and every night"


@pytest.fixture
def estate(scripted_api: ScriptedApi) -> dict[str, Any]:
    """Things with long and wide names."""
    report = a_verify_report("UNREACHABLE", REASON, with_external_id="failed", permissions="unknown")
    last = report | {"id": "x", "ended_at": "2026-01-31T12:00:00Z"}
    account = an_account(name=ACCOUNT, role_arn=LONG, state="UNREACHABLE", reason=REASON, last_verification=last)
    plan = a_plan(name=PLAN, cloud_account_ids=[account["id"]])
    counts = {"by_status": {"FAIL": 3, "NOT_EVALUATED": 2}, "failed_by_severity": {"critical": 1, "low": 2}}
    run = a_run("PARTIAL", plan_id=plan["id"], cloud_account_id=account["id"], counts=counts, reason="Too little room.")
    scripted_api.lists("/v1/cloud-accounts", account)
    entries = [over(a_task(by=ACCOUNT), report), a_task("renamed", state=None)]
    scripted_api.lists(f"/v1/cloud-accounts/{account['id']}/history", *entries)
    scripted_api.lists("/v1/plans", plan)
    scripted_api.lists("/v1/runs", run)
    findings = [
        a_finding(severity="critical", resource_id=LONG, message=f"{LONG} allows all actions on all resources"),
        a_finding(severity="critical", resource_id=WIDE),
        a_finding(
            severity="low", status="NOT_EVALUATED", reason="AccessDenied.", missing_actions=["s3:GetBucketPolicy"]
        ),
    ]
    scripted_api.lists(f"/v1/runs/{run['id']}/findings", *findings)
    return run


SHOWN = {
    ("findings",): (LONG, LONG, " allows all actions on all resources", WIDE, "Allow: s3:GetBucketPolicy"),
    ("run", "list"): (PLAN, ACCOUNT, "PARTIAL", "1 critical, 2 low"),
    ("run", "show"): (PLAN, ACCOUNT, "PARTIAL", "1 critical, 2 low", "Too little room."),
    ("plan", "list"): (PLAN, "when asked to"),
    ("account", "list"): (ACCOUNT, LONG),
    ("account", "show", "210987654321"): (ACCOUNT, LONG, REASON, "✗✓✓✓?", "What AWS said about with_external_id."),
    ("account", "history", "210987654321"): (ACCOUNT, REASON, "verification", "UNREACHABLE", "renamed"),
    ("run", "watch"): (ACCOUNT, "PARTIAL", "1 critical, 2 low failed", "Too little room."),
}


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("command", SHOWN, ids=" ".join)
@pytest.mark.usefixtures("estate")
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(
    coreo: Cli, command: tuple[str, ...], columns: int
) -> None:
    drawn = ESCAPE.sub("", coreo.on_terminal(*command, columns=columns).out)
    for line in drawn.splitlines():
        assert cell_len(line) <= columns, line
    # Texts are broken within cells, so letters are counted.
    assert Counter("".join(SHOWN[command])) - Counter(drawn) <= Counter({" ": 1_000})


@pytest.mark.parametrize("command", SHOWN, ids=" ".join)
@pytest.mark.usefixtures("estate")
def test_colours_are_for_terminals_without_no_color(
    coreo: Cli, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = coreo(*command)
    assert "\x1b" not in piped.out + piped.err
    in_colour = coreo.on_terminal(*command)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = coreo.on_terminal(*command)
    assert not COLOUR.search(plain.out)
    lines = [[line.rstrip() for line in ESCAPE.sub("", done.out).splitlines()] for done in (plain, in_colour)]
    assert lines[0] == lines[1]
    if command != ("plan", "list"):
        assert COLOUR.search(in_colour.out)


@pytest.mark.usefixtures("estate")
def test_on_a_pipe_a_row_is_a_line(coreo: Cli) -> None:
    for command in (["run", "list"], ["plan", "list"], ["account", "list"]):
        assert len(coreo(*command).out.splitlines()) == 2
    (row,) = [line for line in coreo("findings").out.splitlines() if LONG in line]
    assert "allows all actions" in row
    assert all(line == line.rstrip() for line in coreo("findings").out.splitlines())


@pytest.mark.usefixtures("estate")
def test_errors_are_red_on_terminals_only(coreo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert coreo("run", "show", "nope").err.startswith("Error: There is no run")
    assert "\x1b[31m" in coreo.on_terminal("run", "show", "nope").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert coreo.on_terminal("run", "show", "nope").err.startswith("Error: There is no run")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_bars_show_units_and_fit(coreo: Cli, scripted_api: ScriptedApi, estate: dict[str, Any], columns: int) -> None:
    queued = estate | {"state": "QUEUED", "units_done": 0, "units_total": None, "ended_at": None}
    at_work = queued | {"state": "RUNNING", "units_done": 30, "units_total": 40, "attempt": 2}
    scripted_api.lists("/v1/runs", queued)
    scripted_api.on("GET", f"/v1/runs/{estate['id']}/events", sse((1, queued), (2, at_work), (3, estate)))
    done = coreo.on_terminal("run", "watch", columns=columns)
    assert done.code == 3
    frames = [ESCAPE.sub("", frame) for frame in re.split(r"[\r\n]+", done.err)]
    assert any("40/40 units" in frame for frame in frames)
    assert max(cell_len(frame) for frame in frames if "units" in frame) <= columns - 2
    assert "40/40" not in done.out
    assert "\x1b[?25h" in done.err  # the cursor is shown again


def test_without_a_terminal_bars_are_lines_without_repetition(
    coreo: Cli, scripted_api: ScriptedApi, estate: dict[str, Any]
) -> None:
    at_work = estate | {"state": "RUNNING", "units_total": 100, "ended_at": None}
    events = [(number, at_work | {"units_done": number}) for number in range(100)]
    scripted_api.lists("/v1/runs", at_work | {"units_done": 0})
    scripted_api.on("GET", f"/v1/runs/{estate['id']}/events", sse(*events, (100, estate)))
    lines = [line for line in coreo("run", "watch").err.splitlines() if "units" in line]
    assert len(lines) == 11
    assert "RUNNING  10/100 units  1 critical, 2 low" in lines[1]


def test_test_names_are_wide() -> None:
    """The names above do take two columns a character: else the widths would prove little."""
    assert all(unicodedata.east_asian_width(character) == "W" for character in WIDE)


def test_results_and_words_about_them_stay_in_order_in_one_file(tmp_path: Path) -> None:
    code = "from coreo_cli.output import note, write_line; write_line('first'); note('second'); write_line('third')"
    both = tmp_path / "both"
    with both.open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, stderr=file, check=True)
    assert both.read_text().split() == ["first", "second", "third"]

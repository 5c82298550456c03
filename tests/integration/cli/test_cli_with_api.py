"""The installed `coreo` command against the real api: plans, runs, findings, tokens."""

import asyncio
import json
import os
import pty
import signal
from uuid import UUID

import httpx

from coreo_embedded.processes import free_port
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, RunState, Severity
from tests.support.api import VERIFIED
from tests.support.cli_process import Served, finish, read_until, until_written

ROLE = "arn:aws:iam::210987654321:role/CoreoAudit"
COUNTS = Counts(by_status={FindingStatus.FAIL: 2}, failed_by_severity={Severity.HIGH: 2})


def a_finding(number: int, status: FindingStatus = FindingStatus.FAIL) -> Finding:
    return Finding(
        fingerprint=f"{number:032x}",
        rule_id="s3-bucket-unencrypted",
        status=status,
        severity=Severity.HIGH,
        resource_type="aws.s3.bucket",
        resource_id=f"bucket-{number}",
        resource_arn=f"arn:aws:s3:::bucket-{number}",
        region="eu-west-1",
        message=f"bucket-{number} has no default encryption",
    )


async def test_the_whole_way_from_login_to_findings(served: Served) -> None:
    await served.log_in()
    added = await served.coreo("account", "add", "production", "--account-id", "210987654321", "-o", "json")
    assert added.json["state"] == "PENDING"
    following = await served.begin("account", "set-role", "production", "--role-arn", ROLE, "-o", "json")
    await served.report("verify", VERIFIED)
    role = await finish(following)
    assert (role.code, role.json["state"]) == (0, "CONNECTED"), role.err
    made = await served.coreo(
        *("plan", "create", "--name", "weekly", "--account", added.json["id"][:13], "--rule-set", "baseline"),
        *("--region", "eu-west-1", "--every", "7d", "--param", "iam-password-policy-length.min_length=16"),
    )
    assert made.code == 0, made.err
    policy = await served.coreo("plan", "policy", "weekly")
    assert policy.json["Version"] == "2012-10-17"

    watching = await served.begin("run", "start", "weekly", "--watch", "--fail-on", "critical")
    (run,) = await served.runs()
    served.api.results.findings[UUID(run["id"])] = [a_finding(1), a_finding(2, FindingStatus.NOT_EVALUATED)]
    served.tell(run, 2, RunState.CLAIMED)
    served.tell(run, 3, RunState.RUNNING, units_done=1, units_total=2)
    served.tell(run, 4, RunState.PARTIAL, units_done=2, units_total=2, counts=COUNTS)
    done = await finish(watching)
    assert done.code == 3, done.err
    assert done.out.startswith("PARTIAL  production  2 high failed")
    assert f"coreo findings {run['id'][:13]}" in done.err

    assert [line[0] for line in (await served.coreo("findings")).out.splitlines() if line] == ["H", " ", " "]
    found = await served.coreo("findings", "--all", "-o", "json")
    assert [json.loads(line)["resource_id"] for line in found.out.splitlines()] == ["bucket-1", "bucket-2"]
    report = served.folder / "report.html"
    exported = await served.coreo("run", "export", "--format", "jsonl", "--output", str(report))
    assert exported.code == 0, exported.err
    rows = [json.loads(line) for line in exported.out.splitlines()]
    assert {(row["resource_id"], row["account_id"]) for row in rows} == {
        ("bucket-1", "210987654321"),
        ("bucket-2", "210987654321"),
    }
    assert "This report is not complete" in report.read_text()
    listed = await served.coreo("run", "list", "--plan", "weekly", "--state", "PARTIAL", "-o", "json")
    assert [each["id"] for each in listed.json] == [run["id"]]


async def test_refusals_name_the_options(served: Served) -> None:
    account = await served.coreo("account", "add", "a", "--account-id", "111111111111")
    assert account.code == 1
    assert "--account-id: This is Coreo's own AWS account" in account.err
    plan = await served.coreo(
        *("plan", "create", "--name", "n", "--rule", "iam-root-mfa", "--rule", "iam-root-mfaa"),
        *("--cron", "61 * * * *", "--time-zone", "Mars/Base"),
    )
    assert plan.code == 1
    assert "--cron: " in plan.err
    assert "--time-zone: not an IANA time zone" in plan.err
    rule = await served.coreo("plan", "create", "--name", "n", "--rule", "iam-root-mfa", "--rule", "iam-root-mfaa")
    assert "--rule (2nd): no rule of this name; did you mean iam-root-mfa" in rule.err
    assert "Request id: " in rule.err


async def test_another_teams_things_are_not_there(served: Served) -> None:
    other = await served.api.team("other")
    account = await other.add_account()
    done = await served.coreo("account", "show", account["id"])
    assert done.code == 1
    assert done.err.startswith(f"Error: There is no cloud account '{account['id']}'.")


async def test_tokens_are_made_used_and_revoked(served: Served) -> None:
    token = (await served.coreo("token", "create", "--name", "ci", "--expires", "90d")).out.strip()
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as http:
        assert (await http.get("/v1/team")).status_code == 200
        assert (await served.coreo("token", "revoke", "ci")).code == 0
        assert (await http.get("/v1/team")).status_code == 401
    last = await served.coreo("token", "revoke", "first token")
    assert last.code == 1
    assert "only valid token" in last.err


async def test_a_start_sent_again_with_its_key_starts_nothing_new(served: Served) -> None:
    await served.plan_of("210987654321")
    first = await served.coreo("run", "start", "weekly", "--idempotency-key", "mine", "-o", "json")
    again = await served.coreo("run", "start", "weekly", "--idempotency-key", "mine", "-o", "json")
    assert first.json["group_id"] == again.json["group_id"]
    await served.runs(1)


async def test_a_group_is_watched_and_canceled(served: Served) -> None:
    await served.plan_of("210987654321", "310987654321")
    watching = await served.begin("run", "start", "weekly", "--watch", "-o", "json")
    first, second = await served.runs(2)
    served.tell(first, 2, RunState.SUCCEEDED, units_done=1, units_total=1)
    await until_written(watching, "SUCCEEDED")
    canceled = await served.coreo("run", "cancel", second["id"], "-o", "json")
    assert canceled.json["cancel_requested"]
    served.tell(second, 2, RunState.CANCELED, reason="Canceled on request.")
    done = await finish(watching)
    assert done.code == 4
    assert {run["id"]: run["state"] for run in done.json["runs"]} == {
        first["id"]: "SUCCEEDED",
        second["id"]: "CANCELED",
    }


async def test_ctrl_c_ends_the_watching_and_not_the_run(served: Served) -> None:
    await served.plan_of("210987654321")
    watching = await served.begin("run", "start", "weekly", "--watch")
    (run,) = await served.runs()
    await until_written(watching, "QUEUED")
    watching.send_signal(signal.SIGINT)
    done = await finish(watching)
    assert (done.code, done.out) == (130, "")
    assert f"coreo run watch {run['id']}" in done.err
    assert "Traceback" not in done.err
    assert (await served.runs())[0]["state"] == "QUEUED"


async def test_on_a_terminal_bars_are_drawn(served: Served) -> None:
    await served.plan_of("210987654321")
    await served.coreo("run", "start", "weekly")
    (run,) = await served.runs()
    terminal, stderr = pty.openpty()
    try:
        watching = await served.begin("run", "watch", stderr=stderr)
        served.tell(run, 2, RunState.RUNNING, units_done=1, units_total=4)
        drawn = await asyncio.to_thread(read_until, terminal, "1/4 units")
        served.tell(run, 3, RunState.SUCCEEDED, units_done=4, units_total=4)
        drawn += await asyncio.to_thread(read_until, terminal, "4/4 units")
        async with asyncio.timeout(30):
            out, _ = await watching.communicate()
    finally:
        os.close(stderr)
        os.close(terminal)
    assert watching.returncode == 0
    assert "━" in drawn
    assert out.decode().startswith("SUCCEEDED  production")


async def test_a_reader_that_goes_away_is_no_error(served: Served) -> None:
    await served.plan_of("210987654321")
    await served.coreo("run", "start", "weekly")
    (run,) = await served.runs()
    served.api.results.findings[UUID(run["id"])] = [a_finding(number) for number in range(2_000)]
    process = await served.begin("findings", "--all", "-o", "json")
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]  # what `| head -1` does
    assert process.stderr is not None
    async with asyncio.timeout(30):
        err = (await process.stderr.read()).decode()
        await process.wait()
    assert "Traceback" not in err
    assert process.returncode == 1


async def test_with_nobody_there_it_says_where_and_how_to_start_one(served: Served) -> None:
    served.url = f"http://127.0.0.1:{free_port()}"
    done = await served.coreo("team")
    assert done.code == 1
    assert "(connection refused)" in done.err
    assert "make demo" in done.err

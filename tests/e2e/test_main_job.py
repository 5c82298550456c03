"""From a request at the api to findings, through every part, each a process with its own rights."""

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from coreo_embedded.stack import Process
from tests.support.stack import (
    RULE_SET,
    SOME_REGIONS,
    Site,
    findings_of,
    get_run,
    items_of,
    plan_for,
    start_run,
    until,
    until_ended,
    until_run,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytestmark = pytest.mark.timeout(180)
WORKER_CALLS = {
    ("sqs", "ReceiveMessage"),
    ("sqs", "DeleteMessage"),
    ("sqs", "ChangeMessageVisibility"),
    ("sts", "AssumeRole"),
}


async def test_run_finds_exactly_what_was_planted(site: Site, http: httpx.AsyncClient, worker: Process) -> None:
    before = len(site.stack.simulator.requests)
    run_id = await start_run(http, await plan_for(http, site))
    run = await until_ended(http, run_id)
    assert (run["state"], run["reason"], run["attempt"]) == ("SUCCEEDED", None, 1)
    assert run["units_done"] == run["units_total"] > 100
    assert await findings_of(http, run_id) == site.expected
    requests = site.stack.simulator.requests[before:]
    calls = {(request.role, request.service, request.operation) for request in requests}
    by_role: dict[str | None, set[tuple[str, str]]] = {}
    for role, service, operation in calls:
        by_role.setdefault(role, set()).add((service, operation))
    names = {name: arn.rpartition("/")[2] for name, arn in site.stack.deployment.role_arns.items()}
    assert by_role[names["api"]] == {("sqs", "SendMessage")}
    assert by_role[names["worker-audit"]] <= WORKER_CALLS
    assert names["results"] not in by_role  # its root key is a file here


async def test_local_scan_finds_what_the_service_finds(site: Site, http: httpx.AsyncClient, worker: Process) -> None:
    """Every field of every finding, evidence and fingerprints included."""
    run_id = await start_run(http, await plan_for(http, site))
    scanned = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from coreo_cli.main import run; run()", "scan", "--rule-set", RULE_SET),
        *("--format", "jsonl", "--quiet", "--account-id", site.estate.account_id),
        env=_shell(site),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(scanned.communicate(), 90)
    assert scanned.returncode == 0
    assert (await until_ended(http, run_id))["state"] == "SUCCEEDED"
    by_scan = [json.loads(line) for line in out.decode().splitlines()]
    by_service = await items_of(http, run_id)
    assert len(by_scan) == len(by_service) > 100
    assert sorted(map(_compared, by_scan)) == sorted(map(_compared, by_service))


def _shell(site: Site) -> dict[str, str]:
    keys = site.stack.simulator.root_credentials(site.estate.account_id)
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token or "",
        "AWS_ENDPOINT_URL": site.stack.simulator.endpoint_url,
    }


def _compared(finding: dict[str, Any]) -> str:
    """Without what only one of the two tells, and without what may change between two looks at an account."""
    names = ("fingerprint", "rule_id", "status", "severity", "resource_type", "resource_id", "resource_arn", "region")
    more = ("message", "evidence", "reason", "missing_actions")
    return json.dumps({name: finding[name] for name in (*names, *more)}, sort_keys=True)


async def test_own_rules_are_tried_in_an_account(site: Site, http: httpx.AsyncClient, worker: Process) -> None:
    """A pack, from its text to findings, through every part."""
    rule = {
        "id": "bucket-canary",
        "title": "Buckets hold no payroll",
        "resource": "aws.s3.bucket",
        "severity": "low",
        "rationale": "Payroll belongs to another account than this one.",
        "fail_when": {"Name": {"matches": "^payroll-"}},
        "message": "{Name} looks like payroll",
        "remediation": {"console": "Move it."},
    }
    source = json.dumps({"pack": "acme", "rules": [rule]})
    assert (await http.post("/v1/rule-packs", json={"source": source})).status_code == 201
    before = len(site.stack.simulator.requests)
    body = {"cloud_account_id": site.account["id"], "regions": list(SOME_REGIONS)}
    run_id = (await http.post("/v1/rule-packs/acme/dry-run", json=body)).json()["id"]
    assert (await until_ended(http, run_id))["state"] == "SUCCEEDED"
    failed = [item for item in await items_of(http, run_id) if item["status"] == "FAIL"]
    assert [(item["rule_id"], item["resource_id"]) for item in failed] == [("x-acme-bucket-canary", site.estate.canary)]
    asked = {request.operation for request in site.stack.simulator.requests[before:] if request.service == "s3"}
    assert asked <= {"ListBuckets", "GetBucketLocation"}


async def test_session_is_narrowed_to_the_plan(site: Site, http: httpx.AsyncClient, worker: Process) -> None:
    before = len(site.stack.simulator.requests)
    run_id = await start_run(http, await plan_for(http, site, rules=["s3-bucket-versioning"]))
    assert (await until_ended(http, run_id))["state"] == "SUCCEEDED"
    (assumed,) = [
        request
        for request in site.stack.simulator.requests[before:]
        if request.operation == "AssumeRole" and request.parameters["RoleArn"] == site.estate.role_arn
    ]
    assert assumed.parameters["ExternalId"] == site.account["external_id"]
    actions = json.loads(assumed.parameters["Policy"])["Statement"]
    allowed = {action for statement in _list(actions) for action in _list(statement["Action"])}
    assert allowed == {f"s3:{name}" for name in ("GetBucketLocation", "GetBucketVersioning", "ListAllMyBuckets")} | {
        "ec2:DescribeRegions"
    }


async def test_worker_has_no_listening_socket_during_a_run(
    site: Site, http: httpx.AsyncClient, worker: Process
) -> None:
    run_id = await start_run(http, await plan_for(http, site, regions=SOME_REGIONS))
    parent = psutil.Process(worker.pid)

    async def child() -> psutil.Process | None:
        return next(iter(parent.children()), None)

    inspected = [parent, await until(child, what="the run's child")]
    looks = 0
    while (await get_run(http, run_id))["ended_at"] is None:
        for process in inspected:
            with contextlib.suppress(psutil.NoSuchProcess):  # the child has just ended
                assert _listening(process) == []
                looks += 1
    assert looks > 4
    assert _listening(psutil.Process(site.api.pid)) != []  # the look does see listening sockets


async def test_nothing_in_the_database_files_shows_a_resource(
    site: Site, http: httpx.AsyncClient, worker: Process
) -> None:
    run_id = await start_run(http, await plan_for(http, site, regions=SOME_REGIONS))
    await until_ended(http, run_id)
    assert any(finding.resource_id == site.estate.canary for finding in await findings_of(http, run_id))
    site.stack.postgres.run_script(_checkpoint(site))
    needles = [site.estate.canary.encode(), site.estate.canary.encode("utf-16-le")]
    data = site.stack.directory / "postgres"
    seen, account_seen = [], False
    for path in data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            seen += [path for needle in needles if needle in content]
            account_seen = account_seen or site.estate.account_id.encode() in content
    assert seen == []
    assert account_seen  # the scan does see what is stored in clear


async def test_denied_service_leaves_the_rest_evaluated(site: Site, http: httpx.AsyncClient, worker: Process) -> None:
    plan_id = await plan_for(http, site, regions=SOME_REGIONS)
    with site.stack.simulator.fault(kind="deny", service="rds"):
        run_id = await start_run(http, plan_id)
        run = await until_ended(http, run_id)
    assert run["state"] == "PARTIAL"
    found = await findings_of(http, run_id)
    unread = [finding for finding in found if finding.status == "NOT_EVALUATED"]
    assert unread
    assert all(finding.rule_id.startswith("rds-") for finding in unread)
    assert {f for f in found if not f.rule_id.startswith("rds-")} == {
        f for f in site.expected_in(SOME_REGIONS) if not f.rule_id.startswith("rds-")
    }
    page = (await http.get(f"/v1/runs/{run_id}/findings", params={"status": "NOT_EVALUATED"})).json()
    assert {action for item in page["items"] for action in item["missing_actions"]} == {"rds:DescribeDBInstances"}


async def test_queue_that_is_down_delays_a_run_and_loses_nothing(
    site: Site, http: httpx.AsyncClient, worker: Process
) -> None:
    plan_id = await plan_for(http, site, rules=["s3-bucket-versioning"])
    with site.stack.simulator.fault(kind="unavailable", service="sqs", operation="SendMessage") as fault:
        run_id = await start_run(http, plan_id)

        async def tried() -> bool | None:
            return True if fault.hits >= 2 else None

        await until(tried, what="second try")
        assert (await get_run(http, run_id))["state"] == "QUEUED"
    assert (await until_ended(http, run_id))["state"] == "SUCCEEDED"


async def test_cancel_ends_a_run_that_is_under_way(site: Site, http: httpx.AsyncClient, worker: Process) -> None:
    plan_id = await plan_for(http, site, regions=SOME_REGIONS)
    with site.stack.simulator.fault(kind="delay", service="ec2", operation="DescribeInstances", seconds=20):
        run_id = await start_run(http, plan_id)
        await until_run(http, run_id, lambda run: run["units_done"] > 0)
        assert (await http.post(f"/v1/runs/{run_id}/cancel")).status_code == 202
        run = await until_ended(http, run_id)
    assert run["state"] == "CANCELED"


async def test_job_without_our_signature_causes_no_call(site: Site, worker: Process) -> None:
    sqs: SQSClient = site.stack.simulator.root_client("sqs", site.stack.deployment.account_id)
    url = site.stack.deployment.queue_urls["audit"]
    before = len(site.stack.simulator.requests)
    bodies = ["{}", "not a job", "eyJhbGciOiJub25lIn0.e30.", json.dumps({"role_arn": site.estate.role_arn})]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    role = site.stack.deployment.role_arns["worker-audit"].rpartition("/")[2]

    async def deleted() -> bool | None:
        done = [r for r in site.stack.simulator.requests[before:] if r.role == role and r.operation == "DeleteMessage"]
        return True if len(done) == len(bodies) else None

    await until(deleted, what="deletion of forged jobs")
    of_worker = {r.operation for r in site.stack.simulator.requests[before:] if r.role == role}
    assert of_worker <= {"ReceiveMessage", "DeleteMessage"}
    events = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    refused = [event for event in events if event["event"] == "job_refused"]
    assert len(refused) == len(bodies)


def _listening(process: psutil.Process) -> list[Any]:
    return [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _checkpoint(site: Site) -> Any:
    script = site.stack.directory / "checkpoint.sql"
    script.write_text("CHECKPOINT;")
    return script

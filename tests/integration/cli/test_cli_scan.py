"""`coreo scan` as people run it: a process of its own, credentials from its environment, a simulated account."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coreo_embedded.deploy import Deployment
from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.simulator import Simulator
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of

pytestmark = pytest.mark.timeout(180)
ACCOUNT = "222222220077"  # no other test uses it
SOME_REGIONS = "eu-west-1,us-east-1,ap-southeast-2"


@pytest.fixture(scope="module")
def estate(aws: Simulator, deployment: Deployment) -> Estate:
    """The planted account."""
    trust = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": deployment.role_arns["worker-audit"]},
            "Action": "sts:AssumeRole",
        },
    }
    return seed(aws, ACCOUNT, trust, "CoreoAudit")


def environment(aws: Simulator, **more: str) -> dict[str, str]:
    """What a shell has in which somebody works on the account."""
    keys = aws.root_credentials(ACCOUNT)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token or "",
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from coreo_cli.main import run; run()", "scan", *words]


def scan(aws: Simulator, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*words), env=environment(aws, **more), capture_output=True, text=True, timeout=120, check=False
    )


def rules_of(estate: Estate) -> list[str]:
    return [word for rule in estate.rules for word in ("--rule", rule)]


def found_in(lines: str) -> list[Expected]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    return sorted(
        Expected(
            rule_id=row["rule_id"],
            status=FindingStatus(row["status"]),
            resource_id=row["resource_id"],
            region=row["region"],
        )
        for row in rows
    )


def test_scan_finds_exactly_what_was_planted(aws: Simulator, estate: Estate, tmp_path: Path) -> None:
    """Also in every file, whose number of failures is that of the findings."""
    files = [tmp_path / f"report{ending}" for ending in (".html", ".csv", ".sarif", ".ocsf.json", ".junit.xml")]
    outputs = [word for file in files for word in ("--output", str(file))]
    done = scan(aws, *rules_of(estate), "--format", "jsonl", *outputs)
    assert done.returncode == 0, done.stderr
    assert found_in(done.stdout) == sorted(estate.expected)
    assert f"Scanning account {ACCOUNT}" in done.stderr
    assert f"{sum(one.status == 'FAIL' for one in estate.expected)} failed" in done.stderr
    assert all(file.stat().st_size > 1_000 for file in files)
    assert len(json.loads((tmp_path / "report.ocsf.json").read_text())) == len(estate.expected)
    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in files}  # nothing half written is left


def test_scan_asks_aws_for_nothing_that_its_permissions_do_not_name(aws: Simulator, estate: Estate) -> None:
    before = len(aws.requests)
    done = scan(aws, "--rule", "s3-bucket-versioning", "--format", "none")
    assert done.returncode == 0, done.stderr
    asked = {f"{request.service}:{request.operation}" for request in aws.requests[before:]}
    allowed = needs_of(load_catalogue(), ["s3-bucket-versioning"]).actions | REGION_ACTIONS
    assert asked - {"sts:GetCallerIdentity", "s3:ListBuckets"} <= allowed
    assert "s3:ListAllMyBuckets" in allowed  # the name that IAM has for s3:ListBuckets


@pytest.mark.parametrize(("severity", "code"), [("critical", 5), ("high", 5)])
def test_exit_code_says_that_something_severe_failed(aws: Simulator, estate: Estate, severity: str, code: int) -> None:
    done = scan(aws, *rules_of(estate), "--regions", SOME_REGIONS, "--fail-on", severity, "--format", "none")
    assert done.returncode == code


def test_exit_code_is_zero_where_what_failed_is_less_severe(aws: Simulator, estate: Estate) -> None:
    done = scan(aws, "--rule", "s3-bucket-versioning", "--fail-on", "critical", "--format", "none")
    assert (done.returncode, done.stdout) == (0, "")
    assert "failed" in done.stderr


def test_what_could_not_be_read_is_told_and_fails_the_command(aws: Simulator, estate: Estate) -> None:
    with aws.fault(kind="deny", service="s3", operation="GetBucketVersioning"):
        done = scan(aws, "--rule", "s3-bucket-versioning")
        allowed = scan(aws, "--rule", "s3-bucket-versioning", "--allow-unknown")
    assert (done.returncode, allowed.returncode) == (3, 0)
    assert "could not be judged" in done.stderr
    assert "allow s3:GetBucketVersioning" in done.stderr


def test_credentials_that_aws_does_not_take_end_the_scan_with_advice(aws: Simulator, estate: Estate) -> None:
    with aws.fault(kind="deny", service="sts", operation="GetCallerIdentity"):
        done = scan(aws, "--rule", "s3-bucket-versioning")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Error: AWS does not take the credentials" in done.stderr
    assert "aws sso login" in done.stderr


def test_no_credentials_are_said_to_be_missing(aws: Simulator, tmp_path: Path) -> None:
    missing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "HOME": str(tmp_path)}
    done = scan(aws, "--rule", "s3-bucket-versioning", **missing)
    assert done.returncode == 1
    assert "Error: No AWS credentials were found." in done.stderr


def test_a_profile_that_is_not_there_is_said_to_be_missing(aws: Simulator, tmp_path: Path) -> None:
    done = scan(aws, "--rule", "s3-bucket-versioning", "--profile", "nobody", HOME=str(tmp_path))
    assert done.returncode == 1
    assert "no such profile" in done.stderr


def test_an_account_that_is_another_is_not_scanned(aws: Simulator, estate: Estate) -> None:
    before = len(aws.requests)
    done = scan(aws, "--rule", "s3-bucket-versioning", "--account-id", "999999999999")
    assert done.returncode == 1
    assert f"of account {ACCOUNT}, not 999999999999" in done.stderr
    assert {request.operation for request in aws.requests[before:]} == {"GetCallerIdentity"}


def test_aws_that_does_not_answer_is_told(aws: Simulator) -> None:
    done = scan(aws, "--rule", "s3-bucket-versioning", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "AWS cannot be reached" in done.stderr


def test_ctrl_c_reports_what_was_found_until_then(aws: Simulator, estate: Estate, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    rules = [rule for rule in estate.rules if rule.startswith(("s3-bucket-versioning", "ec2-"))][:8]
    words = [word for rule in rules for word in ("--rule", rule)] + ["--output", str(report), "--regions", "eu-west-1"]
    with aws.fault(kind="delay", service="ec2", seconds=60):
        process = subprocess.Popen(
            command(*words, "--rule", "s3-bucket-versioning"),
            env=environment(aws),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            until = iter(process.stderr.readline, "")
            seen = next(line for line in until if "1/" in line or "units" in line)
            assert seen
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    assert process.returncode == 130
    assert "the report is not whole" in err
    assert json.loads(report.read_text())["subject"]["complete"] is False

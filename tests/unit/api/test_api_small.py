"""Tokens, retries, settings, cursors: what needs neither database nor network."""

import hashlib
import json
import re
import sys
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_api.dispatch.retries import retry_delay
from coreo_api.pages import PageQuery, cursor_of
from coreo_api.plans.schemas import AuditSpec
from coreo_api.plans.specs import resolve
from coreo_api.settings import ApiSettings
from coreo_api.teams.tokens import hash_of, new_token
from coreo_shared.catalogue import load_catalogue
from coreo_shared.crypto.jose import generate_key, public_jwk
from coreo_shared.settings import load_settings
from coreo_shared.web import Problem


def test_token_is_prefixed_random_and_found_by_its_hash() -> None:
    token, other = new_token(), new_token()
    assert token.text.startswith("coreo_")
    assert len(token.text) == len("coreo_") + 43  # 256 bits
    assert token.text != other.text
    assert token.hash == hash_of(token.text) == hashlib.sha256(token.text.encode()).digest()


def test_token_does_not_print() -> None:
    token = new_token()
    assert token.text not in repr(token)


@pytest.mark.parametrize(
    "text", ["", "coreo_", "coreo_" + "a" * 42, "coreo_" + "a" * 44, "Coreo_" + "a" * 43, "coreo_" + "ä" * 43]
)
def test_what_cannot_be_a_token_has_no_hash(text: str) -> None:
    assert hash_of(text) is None
    assert hash_of("coreo_" + "a" * 43 + "\n") is None


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (7, 30), (8, 30), (1_000_000, 30)])
def test_delay_doubles_up_to_half_a_minute(failures: int, seconds: float) -> None:
    assert retry_delay(failures, 0) == seconds
    assert retry_delay(failures, 1) == seconds / 2


@given(st.uuids())
def test_cursor_leads_back_to_the_id(value: UUID) -> None:
    assert PageQuery(cursor=cursor_of(value)).before == value


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_+/=-]{22}", fullmatch=True))
def test_a_made_up_cursor_is_refused_or_an_id(text: str) -> None:
    query = PageQuery(cursor=text)
    if re.fullmatch(r"[A-Za-z0-9_-]{21}[AQgw]", text):
        assert isinstance(query.before, UUID)
    else:
        with pytest.raises(Problem, match="Not a cursor") as refused:
            _ = query.before
        assert refused.value.errors[0].field == "query.cursor"


def settings_environment() -> dict[str, str]:
    return {
        "COREO_DATABASE_URL": "postgresql+asyncpg://coreo_api:hunter2@127.0.0.1/coreo_api",
        "COREO_SYSTEM_DATABASE_URL": "postgresql+asyncpg://coreo_api_system:hunter2@127.0.0.1/coreo_api",
        "COREO_RESULTS_URL": "http://127.0.0.1:8081/",
        "COREO_SIGNING_JWK": json.dumps(generate_key()),
        "COREO_QUEUE_URL_AUDIT": "http://127.0.0.1:4566/111111111111/coreo-audit",
        "COREO_QUEUE_URL_DEPLOY": "http://127.0.0.1:4566/111111111111/coreo-deploy",
        "COREO_QUEUE_URL_ONBOARD": "http://127.0.0.1:4566/111111111111/coreo-onboard",
        "COREO_ONBOARD_FLEET_JWKS": json.dumps({"keys": [public_jwk(generate_key())]}),
        "COREO_AWS_ACCOUNT_ID": "111111111111",
        "AWS_REGION": "eu-central-1",
    }


def test_settings_are_read_and_print_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COREO_LOG_LEVEL", "warning")
    settings = load_settings(ApiSettings)
    assert settings.log_level == "WARNING"
    assert settings.results_url == "http://127.0.0.1:8081"
    assert settings.aws_region == "eu-central-1"
    assert settings.job_ttl_seconds == 6 * 3600
    assert settings.team_max_active_runs == 50
    shown = repr(settings) + str(settings)
    assert "hunter2" not in shown
    assert '"d"' not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COREO_AWS_ACCOUNT_ID", "11111111111"),
        ("COREO_AWS_ACCOUNT_ID", "111111111111\n"),
        ("COREO_PARTITION", "aws-mars"),
        ("COREO_SIGNING_JWK", "not json but a canary"),
        ("COREO_SIGNING_JWK", '{"kty": "canary"}'),
        ("COREO_SIGNING_JWK", json.dumps(public_jwk(generate_key("canary")))),
        ("COREO_RESULTS_URL", "canary"),
        ("COREO_JOB_TTL_SECONDS", "0"),
        ("COREO_VERIFY_INTERVAL_SECONDS", "59"),
        ("COREO_QUEUE_URL_DEPLOY", "canary"),
        ("COREO_QUEUE_URL_ONBOARD", "canary"),
        ("COREO_ONBOARD_FLEET_JWKS", '{"keys": [{"kty": "canary"}]}'),
        ("COREO_DATABASE_URL", ""),
        ("COREO_LOG_LEVEL", "canary"),
    ],
)
def test_wrong_setting_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    for each, good in settings_environment().items():
        monkeypatch.setenv(each, good)
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        load_settings(ApiSettings)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{name}: ")
    assert "canary" not in said


@pytest.mark.parametrize("named", ["AUDIT", "DEPLOY", "ONBOARD"])
def test_one_worker_role_without_the_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    for each, good in settings_environment().items():
        monkeypatch.setenv(each, good)
    monkeypatch.setenv(f"COREO_{named}_WORKER_ROLE_ARN", "arn:aws:iam::111111111111:role/worker")
    with pytest.raises(SystemExit):
        load_settings(ApiSettings)
    assert capsys.readouterr().err.startswith("COREO_ONBOARD_WORKER_ROLE_ARN: ")


def test_only_the_queue_port_imports_the_sdk() -> None:
    folder = Path(sys.modules["coreo_api"].__path__[0])
    users = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.py")
        if any(name in file.read_text() for name in ("import boto", "from boto", "aiobotocore"))
    }
    assert users == {"dispatch/sqs.py"}


def test_a_value_for_every_rule_reaches_the_job_as_one_for_each() -> None:
    """Workers know rules' own parameters alone."""
    spec = AuditSpec(
        rules=("ec2-instance-tags", "iam-root-mfa", "s3-bucket-tags"),
        parameters={"*": {"required_tags": ["Team"]}, "s3-bucket-tags": {"required_tags": ["Owner"]}},
    )
    assert resolve(load_catalogue(), spec).parameters == {
        "ec2-instance-tags": {"required_tags": ["Team"]},
        "s3-bucket-tags": {"required_tags": ["Owner"]},
    }

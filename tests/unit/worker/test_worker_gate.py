"""Only what the api signed for this pool is a job."""

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from coreo_shared.contracts.jobs import job_audience
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import generate_key, public_jwk
from coreo_worker.runner.gate import JobGate, JobRefusedError
from tests.support.worker import EXTERNAL_ID, Jobs


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def gate(jobs: Jobs) -> JobGate:
    return JobGate([public_jwk(jobs.tokens.api_jwk)], Pool.AUDIT)


def refusal(gate: JobGate, body: str) -> str:
    with pytest.raises(JobRefusedError) as refused:
        gate.admit(body, message_id="m1")
    return refused.value.code


def encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_what_the_api_signed_for_this_pool_is_admitted(gate: JobGate, jobs: Jobs) -> None:
    job = jobs.make()
    assert gate.admit(jobs.sign(job), message_id="m1") == job
    assert gate.refused == {}


def test_what_others_signed_or_the_api_for_others_is_refused(gate: JobGate, jobs: Jobs) -> None:
    now = int(time.time())
    own, stranger = jobs.tokens.api_jwk, generate_key()
    impostor = generate_key(str(own["kid"]))
    cases: dict[str, str] = {
        "expired": jobs.sign(jobs.make(exp=now - 1)),
        "not_yet_valid": jobs.sign(jobs.make(iat=now + 600)),
        "wrong_audience": jobs.sign(jobs.make(aud=job_audience(Pool.DEPLOY))),
        "wrong_issuer": jobs.sign(jobs.make(iss="coreo-worker")),
        "wrong_type": jobs.sign(jobs.make(), typ="JWT"),
        "unknown_key": jobs.sign(jobs.make(), key=stranger),
        "bad_signature": jobs.sign(jobs.make(), key=impostor),
        "unknown_version": jobs.sign(jobs.make(version=2)),
        "unreadable": jobs.sign({"version": 1, "from": "tomorrow"}),
        "malformed": "hello",
    }
    for code, body in cases.items():
        assert refusal(gate, body) == code
    assert gate.refused == dict.fromkeys(cases, 1)


def test_an_edited_job_is_refused(gate: JobGate, jobs: Jobs) -> None:
    header, _, signature = jobs.sign(jobs.make()).split(".")
    edited = encoded(msgspec.to_builtins(jobs.make()))
    assert refusal(gate, f"{header}.{edited}.{signature}") == "bad_signature"


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256", "kid": "k", "typ": "coreo-job+jwt"}, [], "x", 7])
def test_other_algorithms_and_headers_are_refused(gate: JobGate, jobs: Jobs, header: Any) -> None:
    assert refusal(gate, f"{encoded(header)}.{encoded(msgspec.to_builtins(jobs.make()))}.") == "malformed"


@given(st.text() | st.builds(".".join, st.lists(st.text(alphabet="eyJhbGciOiJFZERTQSJ9-_", max_size=60), max_size=4)))
def test_no_text_does_more_than_be_refused(body: str) -> None:
    gate = JobGate([public_jwk(generate_key("k"))], Pool.AUDIT)
    assert refusal(gate, body) in {"malformed", "wrong_type", "unknown_key", "bad_signature"}


def test_the_log_tells_of_a_refusal_and_not_of_what_was_sent(gate: JobGate, jobs: Jobs) -> None:
    body = jobs.sign(jobs.make(exp=0))
    with capture_logs() as logs:
        refusal(gate, body)
    assert [(entry["event"], entry["security_event"], entry["message_id"]) for entry in logs] == [
        ("job_refused", "expired", "m1")
    ]
    assert all(secret not in str(logs) for secret in (body, EXTERNAL_ID))

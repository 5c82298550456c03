"""Bodies that are wrong: the field is named, the value never repeated, nothing stored."""

from typing import Any

import msgspec
import pytest

from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.results import MAX_CHUNK_BYTES
from coreo_shared.contracts.terms import Pool
from tests.support.results import ResultsService, make_chunk, make_finding

DEEP = b'{"fence":' + b"[" * 20_000 + b"]" * 20_000 + b"}"


@pytest.mark.parametrize(
    ("word", "body", "field"),
    [
        ("claim", b"", "body"),
        ("claim", b"SECRET", "body"),
        ("claim", b"\xff", "body"),
        ("claim", {}, "body.worker_id"),
        ("claim", {"worker_id": 1}, "body.worker_id"),
        ("claim", {"worker_id": ""}, "body.worker_id"),
        ("claim", {"worker_id": "SECRET\0"}, "body.worker_id"),
        ("claim", {"worker_id": "SECRET" * 100}, "body.worker_id"),
        ("claim", {"worker_id": "w", "SECRET": 1}, "body"),
        ("claim", b'{"worker_id":"\\ud800"}', "body"),
        ("heartbeat", b'{"fence":NaN}', "body"),
        ("heartbeat", {"fence": "SECRET"}, "body.fence"),
        ("heartbeat", {"fence": 1, "units_total": -1}, "body.units_total"),
        ("heartbeat", {"fence": 1, "units_total": 2**40}, "body.units_total"),
        ("heartbeat", DEEP, "body.fence"),
        ("finish", {"fence": 1, "outcome": "SECRET"}, "body.outcome"),
        ("finish", {"fence": 1, "outcome": "failed"}, "body.reason"),
        ("finish", {"fence": 1, "outcome": "failed", "reason": "SECRET\0"}, "body.reason"),
        ("release", {"fence": 1}, "body.reason"),
        ("release", {"fence": 1, "reason": "x" * 3000}, "body.reason"),
    ],
)
async def test_a_bad_body_is_named_by_field_and_not_repeated(
    service: ResultsService, word: str, body: Any, field: str
) -> None:
    run = service.run()
    answer = await run.say(word, body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "SECRET" not in answer.text
    assert (await service.events())["events"] == []


async def test_a_fence_beyond_any_is_stale(service: ResultsService) -> None:
    run = service.run()
    await run.claimed()
    assert (await run.say("heartbeat", {"fence": 2**70})).json()["code"] == "stale_fence"


async def test_a_run_id_that_is_none_is_named(service: ResultsService) -> None:
    answer = await service.call("GET", "/runs/SECRET/findings", service.tokens.team(service.run().team_id))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "path.run_id")
    assert "SECRET" not in answer.text


@pytest.mark.parametrize(
    "evidence",
    [
        {"x": msgspec.msgpack.Ext(5, b"SECRET")},
        {"x": {None: "SECRET"}},
        {"x": msgspec.Raw(b"\x91" * 100_000 + b"\x90")},
        {"x": msgspec.Raw(b"\xa1\xff")},
        {"x": msgspec.Raw(b"\x91" * 700 + b"\x90")},
    ],
)
async def test_evidence_that_json_cannot_say_is_refused_and_never_breaks_a_reader(
    service: ResultsService, evidence: dict[str, Any]
) -> None:
    run = service.run()
    chunk = make_chunk(await run.claimed(), [make_finding(evidence=evidence)])

    answer = await run.put(encode_msgpack(chunk))

    assert answer.status_code in {204, 422}, answer.text
    assert "SECRET" not in answer.text
    read = await run.findings()
    assert (read.status_code, read.json()["total"]) == (200, 1 if answer.status_code == 204 else 0)


async def test_bodies_have_limits(service: ResultsService) -> None:
    run = service.run()
    await run.claimed()
    large = await run.put(b"\0" * (MAX_CHUNK_BYTES + 1))
    long = await run.say("release", b" " * 70_000)
    assert [(answer.status_code, answer.json()["code"]) for answer in (large, long)] == [(413, "body_too_large")] * 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"started_at": "SECRET"}, "body.started_at"),
        ({"started_at": "2026-01-01T00:00:00"}, "body.started_at"),
        ({"host": "SECRET\n"}, "body.host"),
        ({"current_runs": ["SECRET"]}, "body.current_runs.0"),
        ({"rejected_jobs": {"SECRET\0": 1}}, "body.rejected_jobs"),
        ({"rejected_jobs": {"x": "SECRET"}}, "body.rejected_jobs"),
        ({"version": ""}, "body.version"),
    ],
)
async def test_a_bad_report_of_a_worker_is_named(service: ResultsService, change: dict[str, Any], field: str) -> None:
    report = {"worker_id": "w", "pool": "audit", "version": "1", "host": "h", "started_at": "2026-01-01T00:00:00Z"}
    answer = await service.call("POST", "/workers", service.tokens.fleet(Pool.AUDIT, "w"), {**report, **change})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert "SECRET" not in answer.text

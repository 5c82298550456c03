"""Reading findings: order, filters, pages; and what happens when the database was tampered with."""

import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from coreo_results.chunks import sealing
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, RunClient, make_chunk, make_finding


@pytest.fixture
async def admin(results_database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    url = make_url(results_database.url("postgres")).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    yield connection
    await connection.close()


async def filled(service: ResultsService) -> tuple[RunClient, list[tuple[str, Finding]]]:
    """A run of 3 units with 2 chunks each, and its findings with their units."""
    chosen = random.Random(7)  # noqa: S311  test data
    run = service.run()
    fence = await run.claimed()
    everything: list[tuple[str, Finding]] = []
    for unit in ("aws.s3.bucket@global", "aws.ec2.instance@eu-west-1", "aws.iam.user@global"):
        for index in range(2):
            findings = [
                make_finding(
                    len(everything) + number,
                    rule_id=chosen.choice(["rule-a", "rule-b", "rule-c"]),
                    severity=chosen.choice(list(Severity)),
                    status=chosen.choice(list(FindingStatus)),
                    region=chosen.choice(["eu-west-1", "us-east-1"]),
                    resource_id=f"bucket-{chosen.randrange(20)}",
                )
                for number in range(40)
            ]
            everything += [(unit, finding) for finding in findings]
            await run.stored(make_chunk(fence, findings, unit=unit, index=index, final=index == 1))
    return run, everything


async def all_pages(run: RunClient, limit: int, **filters: Any) -> list[dict[str, Any]]:
    """The findings of all pages, none longer than the limit."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await run.findings(limit=limit, **filters, **cursor)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert 0 < len(page["findings"]) <= limit or page["total"] == 0
        found += page["findings"]
        assert page["total"] >= len(found)
        if page["next_cursor"] is None:
            assert page["total"] == len(found)
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("limit", [1, 7, 100, 240])
async def test_pages_give_every_finding_once_worst_first(service: ResultsService, limit: int) -> None:
    run, everything = await filled(service)

    found = await all_pages(run, limit)

    assert sorted(item["fingerprint"] for item in found) == sorted(finding.fingerprint for _, finding in everything)
    ranks = [(-Severity(item["severity"]).rank, item["rule_id"]) for item in found]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    "filters",
    [
        {"status": ["FAIL"]},
        {"status": ["FAIL", "PASS"], "severity": ["critical", "low"]},
        {"rule_id": ["rule-b", "rule-z"], "region": ["us-east-1"]},
        {"resource": "bucket-3"},
        {"resource": "arn:aws:s3:::bucket-5"},
        {"resource": "bucket-3", "status": ["FAIL"], "rule_id": ["rule-a"]},
        {"resource": "bucket-unknown"},
        {"region": ["nowhere-1"]},
    ],
)
async def test_filters_let_through_what_they_say(service: ResultsService, filters: dict[str, Any]) -> None:
    run, everything = await filled(service)

    found = await all_pages(run, 9, **filters)

    def passes(finding: Finding) -> bool:
        resource = filters.get("resource")
        named = resource is None or resource in {finding.resource_id, finding.resource_arn}
        fields: dict[str, str] = {"status": finding.status, "severity": finding.severity}
        fields |= {"rule_id": finding.rule_id, "region": finding.region}
        return named and all(value in filters.get(field, [value]) for field, value in fields.items())

    expected = sorted(finding.fingerprint for _, finding in everything if passes(finding))
    assert sorted(item["fingerprint"] for item in found) == expected


async def test_a_page_decrypts_only_the_chunks_it_touches(
    service: ResultsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = service.run()
    fence = await run.claimed()
    for index in range(10):
        rule = {"rule_id": f"rule-{index}"}
        findings = [make_finding(index * 10 + number, **rule) for number in range(10)]
        await run.stored(make_chunk(fence, findings, index=index, final=index == 9))
    opened: list[int] = []

    def spy(place: sealing.ChunkPlace, *rest: Any) -> Any:
        opened.append(place.index)
        return sealing.unseal_chunk(place, *rest)

    monkeypatch.setattr("coreo_results.findings.pages.unseal_chunk", spy)
    page = (await run.findings(limit=15)).json()
    assert (sorted(opened), page["total"]) == ([0, 1], 100)
    opened.clear()
    await run.findings(limit=15, cursor=page["next_cursor"])
    assert sorted(opened) == [1, 2]
    opened.clear()
    await run.rules()
    assert opened == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 1001}, "query.limit"),
        ({"limit": "SECRET"}, "query.limit"),
        ({"status": "SECRET"}, "query.status.0"),
        ({"severity": ["low", "SECRET"]}, "query.severity.1"),
        ({"cursor": "SECRET"}, "query.cursor"),
        ({"rule_id": "SECRET\0"}, "query.rule_id.0"),
        ({"resource": ""}, "query.resource"),
        ({"statsu": "SECRET"}, "query.statsu"),
    ],
)
async def test_a_bad_parameter_is_named_and_not_repeated(
    service: ResultsService, parameters: dict[str, Any], field: str
) -> None:
    run = service.run()
    await run.claimed()
    answer = await run.findings(**parameters)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert "SECRET" not in answer.text


async def test_a_cursor_is_good_for_its_run_and_filters_alone(service: ResultsService) -> None:
    one, _ = await filled(service)
    two, _ = await filled(service)
    cursor = (await one.findings(limit=5, status="FAIL")).json()["next_cursor"]

    assert (await one.findings(limit=9, status="FAIL", cursor=cursor)).status_code == 200
    for answer in (
        await one.findings(cursor=cursor),
        await one.findings(status="PASS", cursor=cursor),
        await two.findings(status="FAIL", cursor=cursor),
        await service.run(one.team_id).findings(cursor=cursor),
    ):
        assert answer.status_code in {404, 422}
        if answer.status_code == 422:
            assert answer.json()["errors"][0]["field"] == "query.cursor"


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE chunks SET sealed = set_byte(sealed, 80, get_byte(sealed, 80) # 1)",
        "UPDATE chunks SET sealed = substr(sealed, 1, length(sealed) - 1)",
        "UPDATE chunks SET sealed = o.sealed FROM chunks o WHERE o.chunk_index <> chunks.chunk_index",
        "UPDATE chunks SET final = NOT final",
        "DELETE FROM run_totals WHERE true",
        "UPDATE run_totals SET findings = findings + 1",
        "UPDATE finding_groups SET status = 'PASS'",
        "UPDATE finding_groups SET severity_order = 4",
        "UPDATE finding_groups SET rule_id = 'other'",
        "UPDATE finding_groups SET region = 'other'",
        "UPDATE finding_groups SET findings = findings + 1",
        "UPDATE finding_groups SET first = first + 100",
    ],
)
async def test_a_tampered_database_gives_an_error_and_no_guess(
    service: ResultsService, admin: asyncpg.Connection, tampering: str
) -> None:
    run = service.run()
    fence = await run.claimed()
    for index in range(2):
        findings = [make_finding(0), make_finding(1, status=FindingStatus.NOT_EVALUATED)]
        await run.stored(make_chunk(fence, findings, index=index, final=index == 1))
    assert (await run.findings()).status_code == 200

    await admin.execute(tampering)
    answer = await run.findings()

    assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")
    assert "bucket" not in answer.text


async def test_keys_swapped_between_runs_open_nothing(service: ResultsService, admin: asyncpg.Connection) -> None:
    one = service.run()
    two = service.run(one.team_id)
    for run in (one, two):
        await run.stored(make_chunk(await run.claimed()))
    await admin.execute("UPDATE run_keys SET wrapped = o.wrapped FROM run_keys o WHERE o.run_id <> run_keys.run_id")
    service.app.state.services.findings._keys._run_keys._entries.clear()  # as after a restart

    answer = await one.findings()

    assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")

"""Suppressions and severities of teams: what they make of a run's findings, when, and for whom."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from coreo_results.chunks import sealing
from coreo_results.suppressions.globs import Glob
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.decisions import (
    Decision,
    DecisionPage,
    OverridePage,
    SeverityOverride,
    Suppression,
    SuppressionPage,
)
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.ids import new_id
from tests.support.postgres import ServiceDatabase
from tests.support.results import CLOUD_ACCOUNT, ResultsService, RunClient, make_chunk, make_finding

FAIL, PASS = FindingStatus.FAIL, FindingStatus.PASS
RULE = "s3-bucket-public"


class TeamDecisions:
    """A team that decides."""

    def __init__(self, service: ResultsService, team: UUID | None = None) -> None:
        self.service, self.team = service, team or new_id()

    async def call(self, method: str, path: str, body: object = None, **parameters: Any) -> Any:
        token = self.service.tokens.team(self.team)
        return await self.service.call(method, path, token, body, params=parameters or None)

    async def suppress(self, **fields: Any) -> Suppression:
        answer = await self.call("POST", "/suppressions", {"reason": "known", "author": "ann", **fields})
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, Suppression)

    async def change(self, suppression: Suppression, **fields: Any) -> Suppression:
        answer = await self.call("PATCH", f"/suppressions/{suppression.id}", {"author": "bob", **fields})
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, Suppression)

    async def remove(self, suppression: Suppression) -> None:
        answer = await self.call("DELETE", f"/suppressions/{suppression.id}", author="bob")
        assert answer.status_code == 204, answer.text

    async def set_severity(self, rule_id: str, severity: str, **fields: Any) -> SeverityOverride:
        body = {"rule_id": rule_id, "severity": severity, "reason": "ours", "author": "ann", **fields}
        answer = await self.call("PUT", "/severity-overrides", body)
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, SeverityOverride)

    async def log(self, **parameters: Any) -> list[Decision]:
        answer = await self.call("GET", "/decisions", **parameters)
        return decode_json(answer.content, DecisionPage).items

    async def run(self, findings: list[Finding], *, ended: bool = True, account: UUID = CLOUD_ACCOUNT) -> RunClient:
        client = self.service.run(self.team)
        client.token = self.service.tokens.run(self.team, client.run_id, cloud_account_id=account)
        fence = await client.claimed()
        half = len(findings) // 2
        await client.stored(make_chunk(fence, findings[:half], final=False))
        await client.stored(make_chunk(fence, findings[half:], index=1))
        if ended:
            await client.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        return client


@pytest.fixture
def team(service: ResultsService) -> TeamDecisions:
    return TeamDecisions(service)


async def statuses(run: RunClient, **filters: Any) -> dict[str, str]:
    answer = await run.findings(limit=1000, **filters)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["findings"])
    return {item["resource_id"]: item["status"] for item in answer.json()["findings"]}


async def counts(run: RunClient) -> dict[str, Any]:
    answer = await run.service.call("GET", f"/runs/{run.run_id}/counts", run.team_token)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def buckets(number: int, **changes: Any) -> list[Finding]:
    return [make_finding(each, **changes) for each in range(number)]


async def test_a_suppression_shows_from_when_it_is_made_until_it_is_removed(team: TeamDecisions) -> None:
    run = await team.run(buckets(4))
    assert set((await statuses(run)).values()) == {"FAIL"}
    made = await team.suppress(resource="bucket-1", reason="a public website")
    assert await statuses(run, status="SUPPRESSED") == {"bucket-1": "SUPPRESSED"}
    assert set(await statuses(run, status="FAIL")) == {"bucket-0", "bucket-2", "bucket-3"}
    (item,) = (await run.findings(status="SUPPRESSED", full="true")).json()["findings"]
    assert (item["suppression_id"], item["suppression_reason"]) == (str(made.id), "a public website")
    assert await counts(run) == {"by_status": {"FAIL": 3, "SUPPRESSED": 1}, "failed_by_severity": {"high": 3}}
    (rule,) = (await run.rules()).json()["rules"]
    assert rule["by_status"] == {"FAIL": 3, "SUPPRESSED": 1}
    await team.remove(made)
    assert set((await statuses(run)).values()) == {"FAIL"}
    assert await counts(run) == {"by_status": {"FAIL": 4}, "failed_by_severity": {"high": 4}}
    # What the run found stays what it found.
    assert (await run.last_event())["counts"] == {"by_status": {"FAIL": 4}, "failed_by_severity": {"high": 4}}


@pytest.mark.parametrize(
    ("matchers", "suppressed"),
    [
        ({"rule_id": RULE}, {0, 1, 2, 3}),
        ({"rule_id": "s3-*"}, {0, 1, 2, 3}),
        ({"rule_id": "ec2-*"}, set()),
        ({"rule_id": "s3-*", "region": "us-east-1"}, {3}),
        ({"resource": "bucket-1"}, {1}),
        ({"resource": "arn:aws:s3:::bucket-2"}, {2}),
        ({"resource": "arn:aws:s3:::bucket-*"}, {0, 1, 2, 3}),
        ({"resource": "bucket-*", "rule_id": "ec2-*"}, set()),
        ({"tag": "env=dev"}, {2}),
        ({"tag": "env=prod"}, set()),
        ({"tag": "env=dev", "resource": "bucket-1"}, set()),
        ({"resource": "bucket-*", "cloud_account_id": str(CLOUD_ACCOUNT)}, {0, 1, 2, 3}),
        ({"resource": "bucket-*", "cloud_account_id": str(UUID(int=77))}, set()),
        ({"rule_id": "s3-*", "cloud_account_id": str(UUID(int=77))}, set()),
    ],
)
async def test_what_a_suppression_fits(team: TeamDecisions, matchers: dict[str, str], suppressed: set[int]) -> None:
    tagged = make_finding(2, evidence={"Tags": [{"Key": "env", "Value": "dev"}]})
    run = await team.run([*buckets(2), tagged, make_finding(3, region="us-east-1"), make_finding(4, status=PASS)])
    await team.suppress(**matchers)
    shown = await statuses(run)
    assert {name for name, status in shown.items() if status == "SUPPRESSED"} == {f"bucket-{n}" for n in suppressed}
    assert shown["bucket-4"] == "PASS"
    assert (await counts(run))["by_status"].get("SUPPRESSED", 0) == len(suppressed)


async def test_expiry_shows_without_anybody_doing_anything(
    team: TeamDecisions, results_database: ServiceDatabase
) -> None:
    run = await team.run(buckets(2))
    expires_at = datetime.now(UTC) + timedelta(days=1)
    by_resource = await team.suppress(resource="bucket-0", expires_at=expires_at.isoformat())
    await team.suppress(rule_id=RULE, region="eu-west-1", expires_at=expires_at.isoformat())
    assert by_resource.live
    assert set((await statuses(run)).values()) == {"SUPPRESSED"}
    url = make_url(results_database.url("postgres")).set(drivername="postgresql")
    admin = await asyncpg.connect(url.render_as_string(hide_password=False))
    await admin.execute("UPDATE suppressions SET expires_at = now() - interval '1 second'")
    await admin.close()
    assert set((await statuses(run)).values()) == {"FAIL"}
    answer = await team.call("GET", f"/suppressions/{by_resource.id}")
    assert answer.json()["live"] is False


async def test_a_change_of_what_it_fits_shows_at_once(team: TeamDecisions) -> None:
    run = await team.run(buckets(3))
    made = await team.suppress(resource="bucket-0")
    assert await statuses(run, status="SUPPRESSED") == {"bucket-0": "SUPPRESSED"}
    changed = await team.change(made, resource="bucket-*")
    assert (changed.reason, changed.author, changed.changed_by) == ("known", "ann", "bob")
    assert len(await statuses(run, status="SUPPRESSED")) == 3
    await team.change(made, region="us-east-1")
    assert await statuses(run, status="SUPPRESSED") == {}
    await team.change(made, region=None, resource="bucket-2", reason="other")
    assert await statuses(run, status="SUPPRESSED") == {"bucket-2": "SUPPRESSED"}
    await team.change(made, cloud_account_id=str(new_id()))
    assert await statuses(run, status="SUPPRESSED") == {}
    answer = await team.call("PATCH", f"/suppressions/{made.id}", {"author": "x", "resource": None})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.rule_id")


async def test_an_ended_run_is_looked_through_once(team: TeamDecisions, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await team.run(buckets(3))
    looked: list[int] = []
    unseal = sealing.unseal_chunk

    def spy(*arguments: Any) -> Any:
        looked.append(1)
        return unseal(*arguments)

    monkeypatch.setattr("coreo_results.suppressions.lens.unseal_chunk", spy)
    made = await team.suppress(resource="bucket-0")
    for _ in range(3):
        await counts(run)
    assert len(looked) == 2  # its two chunks
    await team.change(made, reason="another reason", expires_at=None)
    await counts(run)
    assert len(looked) == 2
    await team.suppress(resource="bucket-1")
    await asyncio.gather(*(counts(run) for _ in range(3)))
    assert 4 <= len(looked) <= 8
    await team.change(made, resource="bucket-2")
    await counts(run)
    assert len(await statuses(run, status="SUPPRESSED")) == 2


async def test_a_run_at_work_is_looked_at_again_as_it_grows(team: TeamDecisions) -> None:
    await team.suppress(resource="bucket-*")
    run = await team.run(buckets(2), ended=False)
    assert len(await statuses(run, status="SUPPRESSED")) == 2
    await run.stored(make_chunk(1, [make_finding(7)], unit="aws.other@global"))
    assert len(await statuses(run, status="SUPPRESSED")) == 3
    await run.say("finish", {"fence": 1, "outcome": "completed", "units_total": 2})
    assert await counts(run) == {"by_status": {"SUPPRESSED": 3}, "failed_by_severity": {}}


async def test_severities_of_the_team_decide_order_filter_and_counts(team: TeamDecisions) -> None:
    findings = [make_finding(0, rule_id="a", severity=Severity.LOW), make_finding(1, rule_id="b")]
    run = await team.run(findings)
    there = await team.run(findings, account=new_id())
    assert list(await statuses(run)) == ["bucket-1", "bucket-0"]
    await team.set_severity("a", "critical", cloud_account_id=str(CLOUD_ACCOUNT))
    everywhere = await team.set_severity("a", "info")
    assert list(await statuses(run)) == ["bucket-0", "bucket-1"]
    assert list(await statuses(run, severity="critical")) == ["bucket-0"]
    assert await statuses(run, severity="low") == {}
    assert (await counts(run))["failed_by_severity"] == {"critical": 1, "high": 1}
    assert (await counts(there))["failed_by_severity"] == {"info": 1, "high": 1}
    items = (await run.findings(full="true")).json()["findings"]
    assert [(item["severity"], item.get("rule_severity")) for item in items] == [("critical", "low"), ("high", None)]
    assert [rule["severity"] for rule in (await run.rules()).json()["rules"]] == ["critical", "high"]
    again = await team.set_severity("a", "medium", reason="other")
    assert again.id == everywhere.id
    page = decode_json((await team.call("GET", "/severity-overrides")).content, OverridePage)
    assert {(item.severity, item.reason) for item in page.items} == {("critical", "ours"), ("medium", "other")}
    assert (await team.call("DELETE", f"/severity-overrides/{again.id}", author="bob")).status_code == 204
    assert (await counts(there))["failed_by_severity"] == {"low": 1, "high": 1}


async def test_another_teams_decisions_never_apply_and_cannot_be_touched(
    team: TeamDecisions, service: ResultsService
) -> None:
    run = await team.run(buckets(2))
    other = TeamDecisions(service)
    theirs = [await other.suppress(resource="bucket-*"), await other.suppress(rule_id="*", resource="*0")]
    override = await other.set_severity(RULE, "info")
    assert set((await statuses(run)).values()) == {"FAIL"}
    assert (await counts(run))["failed_by_severity"] == {"high": 2}
    assert (await team.call("GET", "/suppressions")).json()["items"] == []
    assert (await team.call("GET", "/severity-overrides")).json()["items"] == []
    assert await team.log() == []
    for path in (f"/suppressions/{theirs[0].id}", f"/severity-overrides/{override.id}"):
        random_path = f"{path.rsplit('/', 1)[0]}/{new_id()}"
        for method, body, query in (
            ("GET", None, {}),
            ("PATCH", {"author": "x"}, {}),
            ("DELETE", None, {"author": "x"}),
        ):
            if method == "PATCH" and "severity" in path:
                continue
            answer, unknown = (
                await team.call(method, path, body, **query),
                await team.call(method, random_path, body, **query),
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert {**answer.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert len((await other.call("GET", "/suppressions")).json()["items"]) == 2


async def test_the_log_says_who_did_what(team: TeamDecisions) -> None:
    made = await team.suppress(resource="bucket-1", reason="first")
    await team.change(made, reason="second")
    override = await team.set_severity(RULE, "low")
    await team.remove(made)
    entries = await team.log()
    assert [(each.action, each.kind, each.author, each.details["reason"]) for each in reversed(entries)] == [
        ("ADDED", "suppression", "ann", "first"),
        ("CHANGED", "suppression", "bob", "second"),
        ("ADDED", "severity", "ann", "ours"),
        ("REMOVED", "suppression", "bob", "second"),
    ]
    assert {each.subject for each in entries} == {str(made.id), str(override.id)}
    assert entries[0].details["resource"] == "bucket-1"
    assert len(await team.log(kind="severity")) == 1
    first = decode_json((await team.call("GET", "/decisions", limit=3)).content, DecisionPage)
    rest = await team.log(before=str(first.next_before))
    assert [*first.items, *rest] == entries


async def test_pages_of_suppressions_newest_first(team: TeamDecisions) -> None:
    made = [await team.suppress(resource=f"bucket-{number}") for number in range(5)]
    first = decode_json((await team.call("GET", "/suppressions", limit=3)).content, SuppressionPage)
    answer = await team.call("GET", "/suppressions", before=str(first.next_before))
    rest = decode_json(answer.content, SuppressionPage)
    assert [*first.items, *rest.items] == made[::-1]
    assert rest.next_before is None


async def test_there_is_an_end_to_the_number_of_suppressions(
    team: TeamDecisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coreo_results.suppressions.service.MAX_SUPPRESSIONS", 3)
    bodies = [{"reason": "x", "author": "a", "resource": f"r-{number}"} for number in range(6)]
    answers = await asyncio.gather(*(team.call("POST", "/suppressions", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 3
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"too_many_suppressions"}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/suppressions", {"resource": "x", "author": "a"}, "body.reason"),
        ("POST", "/suppressions", {"resource": "x", "reason": "  ", "author": "a"}, "body.reason"),
        ("POST", "/suppressions", {"reason": "x", "author": "a"}, "body.rule_id"),
        ("POST", "/suppressions", {"resource": "x", "reason": "x", "author": "a", "regin": "x"}, "body"),
        ("POST", "/suppressions", {"resource": "x", "reason": "x", "author": "a", "expires_at": "2020-01-01"}, None),
        ("PUT", "/severity-overrides", {"rule_id": "a b", "severity": "low", "reason": "x", "author": "a"}, None),
        ("PUT", "/severity-overrides", {"rule_id": "a", "severity": "worst", "reason": "x", "author": "a"}, None),
    ],
)
async def test_bad_input_is_refused(
    team: TeamDecisions, method: str, path: str, body: dict[str, Any], field: str | None
) -> None:
    answer = await team.call(method, path, body)
    assert answer.status_code == 422, answer.text
    assert "worst" not in answer.text
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field


async def test_decisions_are_sealed_in_the_database(team: TeamDecisions, results_database: ServiceDatabase) -> None:
    await team.suppress(resource="canary-resource-91b2", reason="canary-reason-91b2", tag="canary-91b2=x")
    await team.set_severity(RULE, "low", reason="canary-reason-91b2")
    url = make_url(results_database.url("postgres")).set(drivername="postgresql")
    admin = await asyncpg.connect(url.render_as_string(hide_password=False))
    rows = []
    for table in ("suppressions", "severity_overrides", "decisions"):
        query = f"SELECT t::text AS whole, encode(sealed, 'escape') AS sealed FROM {table} t"
        rows += [str(row) for row in await admin.fetch(query)]
    # A suppression moved to another row opens nothing.
    await admin.execute(
        "INSERT INTO suppressions SELECT team_id, $1, version, cloud_account_id, expires_at, created_at, updated_at,"
        " key_version, sealed FROM suppressions",
        new_id(),
    )
    await admin.close()
    assert len(rows) == 4
    assert not any("canary" in row for row in rows)
    answer = await team.call("GET", "/suppressions")
    assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")


async def test_purging_an_account_forgets_what_was_suppressed_in_it(team: TeamDecisions) -> None:
    run = await team.run(buckets(2))
    await team.suppress(resource="bucket-0", cloud_account_id=str(CLOUD_ACCOUNT))
    kept = await team.suppress(resource="bucket-1")
    assert len(await statuses(run, status="SUPPRESSED")) == 2
    assert (await team.call("DELETE", f"/cloud-accounts/{CLOUD_ACCOUNT}/results")).status_code == 204
    items = decode_json((await team.call("GET", "/suppressions")).content, SuppressionPage).items
    assert [item.id for item in items] == [kept.id]


async def test_pages_and_counts_agree_with_a_model_for_random_decisions(team: TeamDecisions) -> None:
    chosen = random.Random(5)  # noqa: S311  test data
    rules, regions = ["a-1", "a-2", "b-1"], ["eu-west-1", "us-east-1"]
    findings = [
        make_finding(
            number,
            rule_id=chosen.choice(rules),
            region=chosen.choice(regions),
            status=chosen.choice([FAIL, FAIL, PASS, FindingStatus.NOT_EVALUATED]),
            severity=Severity.HIGH,
        )
        for number in range(120)
    ]
    run = await team.run(findings)
    matchers = [
        {"rule_id": "a-*", "region": "us-east-1"},
        {"resource": "bucket-1*"},
        {"resource": "*7", "rule_id": "b-1"},
        {"resource": "bucket-42", "region": "eu-west-1"},
    ]
    for each in matchers:
        await team.suppress(**each)
    await team.set_severity("a-2", "low")

    def shown(finding: Finding) -> str:
        fits = any(
            Glob(each.get("rule_id", "*")).fits(finding.rule_id)
            and each.get("region", finding.region) == finding.region
            and Glob(each.get("resource", "*")).fits(finding.resource_id)
            for each in matchers
        )
        return "SUPPRESSED" if finding.status is FAIL and fits else str(finding.status)

    expected = {finding.resource_id: shown(finding) for finding in findings}
    for limit in (1, 7, 1000):
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await run.findings(limit=limit, **cursor)).json()
            found += page["findings"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert {item["resource_id"]: item["status"] for item in found} == expected
        assert len(found) == len(findings)
        severities = [Severity(item["severity"]).rank for item in found]
        assert severities == sorted(severities, reverse=True)
    for status in ("FAIL", "SUPPRESSED", "PASS"):
        wanted = {name for name, each in expected.items() if each == status}
        assert set(await statuses(run, status=status)) == wanted
        assert (await counts(run))["by_status"][status] == len(wanted)
        assert set(await statuses(run, status=status, resource="bucket-17")) == wanted & {"bucket-17"}

"""A run from claim to findings, over HTTP, on PostgreSQL."""

from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.results import FindingPage
from coreo_shared.contracts.terms import FindingStatus, Severity
from tests.support.results import ResultsService, make_chunk, make_finding


async def test_what_a_worker_stores_is_what_the_api_reads(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    findings = [make_finding(number, evidence={"n": number, "text": "ä\n"}) for number in range(3)]

    await run.stored(make_chunk(fence, findings))
    finished = await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})

    assert finished.json() == {"run_id": str(run.run_id), "state": "SUCCEEDED", "reason": None}
    page = decode_json((await run.findings()).content, FindingPage)
    assert page == FindingPage(findings=findings, total=3, next_cursor=None)


async def test_events_tell_the_run_from_claim_to_end(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    await run.say("heartbeat", {"fence": fence, "units_total": 1})
    await run.stored(make_chunk(fence))
    await run.say("finish", {"fence": fence, "outcome": "completed"})

    events = (await service.events())["events"]

    assert [(event["version"], event["state"]) for event in events] == [
        (1, "CLAIMED"),
        (2, "RUNNING"),
        (3, "RUNNING"),
        (4, "SUCCEEDED"),
    ]
    assert events[-1]["counts"] == {"by_status": {"FAIL": 1}, "failed_by_severity": {"high": 1}}
    assert (events[-1]["units_done"], events[-1]["units_total"], events[-1]["attempt"]) == (1, 1, 1)
    assert events[-1]["team_id"] == str(run.team_id)


async def test_a_finding_that_could_not_be_evaluated_makes_the_run_partial(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    unknown = make_finding(status=FindingStatus.NOT_EVALUATED, reason="denied", missing_actions=["s3:GetBucketAcl"])
    await run.stored(make_chunk(fence, [make_finding(1, status=FindingStatus.PASS), unknown]))

    finished = await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})

    assert finished.json()["state"] == "PARTIAL"
    assert "1 findings are NOT_EVALUATED" in finished.json()["reason"]


async def test_a_unit_that_was_planned_but_not_stored_makes_the_run_partial(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    await run.stored(make_chunk(fence))

    finished = await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 2})

    assert finished.json()["state"] == "PARTIAL"


async def test_rules_are_counted_by_status_most_severe_first(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    low = {"rule_id": "a-rule", "severity": Severity.LOW}
    findings = [make_finding(0), make_finding(1), make_finding(2, status=FindingStatus.PASS), make_finding(3, **low)]
    await run.stored(make_chunk(fence, findings))

    rules = (await run.rules()).json()["rules"]

    assert rules == [
        {"rule_id": "s3-bucket-public", "severity": "high", "by_status": {"FAIL": 2, "PASS": 1}},
        {"rule_id": "a-rule", "severity": "low", "by_status": {"FAIL": 1}},
    ]

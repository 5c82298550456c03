"""The life of findings over several runs of a plan: new, changed, resolved, not seen; first seen when."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from coreo_results.life.changes import change_of
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.life import Change, ChangeCounts, ResolvedPage, RunChanges
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.ids import new_id
from tests.support.results import CLOUD_ACCOUNT, PLAN, ResultsService, RunClient, make_chunk, make_finding

PASS, FAIL, UNKNOWN = FindingStatus.PASS, FindingStatus.FAIL, FindingStatus.NOT_EVALUATED
UNIT = "aws.s3.bucket@global"
RULE = "s3-bucket-public"
Known = dict[int, FindingStatus]


def found(number: int, status: FindingStatus, **changes: Any) -> Finding:
    return make_finding(number, status=status, **changes)


def unlisted(unit: str = UNIT) -> Finding:
    """What the engine says in place of resources that it could not list."""
    return make_finding(10**6, status=UNKNOWN, resource_id=unit, resource_arn=None, reason="AccessDenied")


class Plan:
    """A plan of a team, whose runs are made one after the other."""

    def __init__(self, service: ResultsService, *, plan: UUID = PLAN, account: UUID = CLOUD_ACCOUNT) -> None:
        self.service = service
        self.team = new_id()
        self.plan, self.account = plan, account

    def sibling(self, **ids: UUID) -> "Plan":
        """Another plan of the team, or the same in another account."""
        other = Plan(self.service, **{"plan": self.plan, "account": self.account, **ids})
        other.team = self.team
        return other

    async def run(
        self, units: dict[str, list[Finding]], *, rules: list[str] | None = None, end: str = "completed"
    ) -> RunClient:
        """A run that ends with these findings by unit."""
        client = self.service.run(self.team)
        claims = {"plan_id": self.plan, "cloud_account_id": self.account}
        client.token = self.service.tokens.run(self.team, client.run_id, **claims)
        answer = await client.say("claim", {"worker_id": "w", "rules": rules or [RULE]})
        assert answer.status_code == 200, answer.text
        fence = answer.json()["fence"]
        for unit, findings in units.items():
            await client.stored(make_chunk(fence, findings, unit=unit))
        ended = await client.say("finish", {"fence": fence, "outcome": end, "reason": "x", "units_total": len(units)})
        assert ended.status_code == 200, ended.text
        return client


async def changes(run: RunClient) -> RunChanges:
    answer = await run.service.call("GET", f"/runs/{run.run_id}/changes", run.team_token)
    assert answer.status_code == 200, answer.text
    return decode_json(answer.content, RunChanges)


async def resolved(run: RunClient, **parameters: Any) -> ResolvedPage:
    answer = await run.service.call("GET", f"/runs/{run.run_id}/resolved", run.team_token, params=parameters)
    assert answer.status_code == 200, answer.text
    return decode_json(answer.content, ResolvedPage)


async def listed(run: RunClient, **parameters: Any) -> dict[str, dict[str, Any]]:
    """Findings by resource."""
    answer = await run.findings(full="true", limit=1000, **parameters)
    assert answer.status_code == 200, answer.text
    return {item["resource_id"]: item for item in answer.json()["findings"]}


async def test_a_first_run_finds_only_what_is_new(service: ResultsService) -> None:
    run = await Plan(service).run({UNIT: [found(1, FAIL), found(2, PASS)]})
    said = await changes(run)
    assert (said.previous_run_id, said.counts) == (None, ChangeCounts(new=2))
    items = await listed(run)
    assert {item["change"] for item in items.values()} == {"NEW"}
    assert all("previous_status" not in item for item in items.values())
    assert {item["first_run_id"] for item in items.values()} == {str(run.run_id)}


async def test_the_next_run_is_held_against_it(service: ResultsService) -> None:
    plan = Plan(service)
    first = await plan.run({UNIT: [found(1, FAIL), found(2, FAIL), found(3, PASS), found(4, FAIL)]})
    began = (await listed(first))["bucket-1"]["first_seen"]
    second = await plan.run({UNIT: [found(1, FAIL), found(2, PASS), found(3, FAIL), found(5, FAIL)]})

    said = await changes(second)
    assert said.previous_run_id == first.run_id
    assert said.counts == ChangeCounts(new=1, unchanged=1, changed=1, resolved=2, not_seen=0)
    items = await listed(second)
    assert {name: (item["change"], item.get("previous_status")) for name, item in items.items()} == {
        "bucket-1": ("UNCHANGED", "FAIL"),
        "bucket-2": ("RESOLVED", "FAIL"),
        "bucket-3": ("CHANGED", "PASS"),
        "bucket-5": ("NEW", None),
    }
    assert (items["bucket-1"]["first_seen"], items["bucket-1"]["first_run_id"]) == (began, str(first.run_id))
    assert items["bucket-5"]["first_seen"] > began
    page = await resolved(second)
    assert {(item.resource_id, item.gone, item.failed_run_id) for item in page.findings} == {
        ("bucket-2", False, first.run_id),
        ("bucket-4", True, first.run_id),
    }
    assert {item.status for item in page.findings} == {FAIL}
    assert page.total == 2
    # What the first run says of itself stays true.
    assert (await changes(first)).counts == ChangeCounts(new=4)


@pytest.mark.parametrize("change", list(Change))
async def test_findings_are_filtered_by_change_with_the_other_filters(service: ResultsService, change: Change) -> None:
    plan = Plan(service)
    await plan.run({UNIT: [found(1, FAIL), found(2, FAIL), found(3, PASS)]})
    second = await plan.run({UNIT: [found(1, FAIL), found(2, PASS), found(3, FAIL), found(4, FAIL), found(5, PASS)]})
    expected = {
        Change.NEW: {"bucket-4", "bucket-5"},
        Change.UNCHANGED: {"bucket-1"},
        Change.CHANGED: {"bucket-3"},
        Change.RESOLVED: {"bucket-2"},
    }[change]
    assert set(await listed(second, change=change)) == expected
    failed = await second.findings(change=change, status="FAIL")
    assert {item["resource_id"] for item in failed.json()["findings"]} == expected & {
        "bucket-1",
        "bucket-3",
        "bucket-4",
    }
    assert failed.json()["total"] == len(failed.json()["findings"])
    assert set(await listed(second, change=change, resource="bucket-4")) == expected & {"bucket-4"}


async def test_pages_of_a_change_give_each_finding_once(service: ResultsService) -> None:
    plan = Plan(service)
    await plan.run({UNIT: [found(number, FAIL) for number in range(0, 40, 2)]})
    second = await plan.run({UNIT: [found(number, FAIL) for number in range(40)]})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await second.findings(change="NEW", limit=7, **cursor)).json()
        seen += [item["resource_id"] for item in page["findings"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(seen) == sorted(f"bucket-{number}" for number in range(1, 40, 2))
    other = await second.findings(change="UNCHANGED", limit=7, **cursor)
    assert other.status_code == 422


@pytest.mark.parametrize("why", ["not stored", "not listed", "rule not run"])
async def test_what_this_run_says_nothing_of_is_neither_resolved_nor_lost(service: ResultsService, why: str) -> None:
    plan = Plan(service)
    first = await plan.run({UNIT: [found(1, FAIL)]})
    blind = {
        "not stored": plan.run({}, end="failed"),
        "not listed": plan.run({UNIT: [unlisted()]}),
        "rule not run": plan.run({UNIT: [found(9, PASS, rule_id="other")]}, rules=["other"]),
    }
    for each, work in blind.items():
        if each != why:
            work.close()
    second = await blind[why]
    said = (await changes(second)).counts
    assert said is not None
    assert (said.resolved, said.not_seen) == (0, 1)
    assert (await resolved(second)).total == 0

    third = await plan.run({UNIT: [found(1, FAIL)]})
    item = (await listed(third))["bucket-1"]
    assert (item["change"], item["first_run_id"]) == ("UNCHANGED", str(first.run_id))


async def test_a_unit_listed_in_part_resolves_what_it_judged_but_loses_nothing(service: ResultsService) -> None:
    plan = Plan(service)
    await plan.run({UNIT: [found(1, FAIL), found(2, FAIL)]})
    second = await plan.run({UNIT: [found(1, PASS), unlisted()]})
    said = (await changes(second)).counts
    assert said == ChangeCounts(new=1, resolved=1, not_seen=1)
    assert [item.resource_id for item in (await resolved(second)).findings] == ["bucket-1"]


async def test_what_could_not_be_judged_in_between_is_resolved_when_it_passes(service: ResultsService) -> None:
    plan = Plan(service)
    first = await plan.run({UNIT: [found(1, FAIL)]})
    second = await plan.run({UNIT: [found(1, UNKNOWN)]})
    assert (await changes(second)).counts == ChangeCounts(changed=1)
    third = await plan.run({UNIT: [found(1, PASS)]})
    (item,) = (await resolved(third)).findings
    assert (item.failed_run_id, item.status, item.gone) == (first.run_id, FAIL, False)
    fourth = await plan.run({UNIT: [found(1, PASS)]})
    assert (await changes(fourth)).counts == ChangeCounts(unchanged=1)


async def test_a_resource_that_comes_back_is_new_but_was_seen_before(service: ResultsService) -> None:
    plan = Plan(service)
    first = await plan.run({UNIT: [found(1, FAIL)]})
    assert (await changes(await plan.run({UNIT: []}))).counts == ChangeCounts(resolved=1)
    assert (await changes(await plan.run({UNIT: []}))).counts == ChangeCounts()
    item = (await listed(await plan.run({UNIT: [found(1, FAIL)]})))["bucket-1"]
    assert (item["change"], item["first_run_id"]) == ("NEW", str(first.run_id))


async def test_a_worker_that_does_not_name_its_rules_resolves_only_by_rules_that_found_something(
    service: ResultsService,
) -> None:
    plan = Plan(service)
    await plan.run({UNIT: [found(1, FAIL), found(2, FAIL, rule_id="rule-b")]}, rules=[RULE, "rule-b"])
    run = service.run(plan.team)
    fence = await run.claimed()
    await run.stored(make_chunk(fence, [found(3, PASS)]))
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
    assert (await changes(run)).counts == ChangeCounts(new=1, resolved=1, not_seen=1)


async def test_the_same_resource_seen_from_two_regions_is_one(service: ResultsService) -> None:
    plan = Plan(service)
    units = ("aws.cloudtrail.trail@eu-west-1", "aws.cloudtrail.trail@us-east-1")
    await plan.run({unit: [found(1, FAIL)] for unit in units})
    half = await plan.run({units[0]: [found(1, FAIL)], units[1]: [found(1, PASS)]})
    assert (await changes(half)).counts == ChangeCounts(unchanged=2)  # it fails still
    assert (await resolved(half)).total == 0
    whole = await plan.run({unit: [found(1, PASS)] for unit in units})
    assert (await resolved(whole)).total == 1


async def test_other_plans_accounts_and_teams_have_lives_of_their_own(service: ResultsService) -> None:
    plan = Plan(service)
    first = await plan.run({UNIT: [found(1, FAIL)]})
    for other in (plan.sibling(plan=new_id()), plan.sibling(account=new_id()), Plan(service)):
        run = await other.run({UNIT: [found(2, FAIL)]})
        assert await changes(run) == RunChanges(run_id=run.run_id, previous_run_id=None, counts=ChangeCounts(new=1))
        answer = await service.call("GET", f"/runs/{first.run_id}/changes", service.tokens.team(new_id()))
        assert answer.status_code == 404
    assert (await changes(await plan.run({UNIT: [found(1, FAIL)]}))).counts == ChangeCounts(unchanged=1)


async def test_a_run_at_work_has_no_changes_yet(service: ResultsService) -> None:
    run = service.run()
    await run.stored(make_chunk(await run.claimed(), [found(1, FAIL)]))
    assert await changes(run) == RunChanges(run_id=run.run_id, previous_run_id=None, counts=None)
    (item,) = (await listed(run)).values()
    assert not {"change", "first_seen"} & set(item)
    assert await listed(run, change="NEW") == {}
    assert (await resolved(run)).total == 0


async def test_runs_are_compared_in_the_order_in_which_they_ended_and_once(service: ResultsService) -> None:
    plan = Plan(service)
    runs = [await plan.run({UNIT: [found(number, FAIL)]}) for number in range(4)]
    with capture_logs() as logs:
        said = await asyncio.gather(*(changes(run) for run in reversed(runs)), changes(runs[-1]))
    compared = [log["run_id"] for log in logs if log["event"] == "run_compared"]
    assert compared == [str(run.run_id) for run in runs]
    assert said[0].previous_run_id == runs[2].run_id
    assert said[0].counts == ChangeCounts(new=1, resolved=1)


async def test_the_background_compares_what_nobody_asks_for(service: ResultsService) -> None:
    plans = [Plan(service) for _ in range(3)]
    for plan in plans:
        await plan.run({UNIT: [found(1, FAIL)]})
    canceled = service.run()
    await canceled.stored(make_chunk(await canceled.claimed(), [found(1, FAIL)], final=False))
    with capture_logs() as logs:
        await service.app.state.services.life_keeper.compare_due()
        await service.app.state.services.life_keeper.compare_due()
    assert len([log for log in logs if log["event"] == "run_compared"]) == 3


async def test_a_run_that_cannot_be_compared_holds_up_no_other_team(
    service: ResultsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await Plan(service).run({UNIT: []}), await Plan(service).run({UNIT: []})
    keeper, life = service.app.state.services.life_keeper, service.app.state.services.life
    ensure = life.ensure

    async def trips(team_id: UUID, run_id: UUID) -> None:
        if run_id == bad.run_id:
            raise RuntimeError("a bug")
        await ensure(team_id, run_id)

    monkeypatch.setattr(life, "ensure", trips)
    with capture_logs() as logs:
        await keeper.compare_due()
    assert [(log["event"], log["run_id"]) for log in logs] == [
        ("run_not_compared", str(bad.run_id)),
        ("run_compared", str(good.run_id)),
    ]


async def test_purging_the_cloud_account_forgets_the_life_of_its_findings(service: ResultsService) -> None:
    plan = Plan(service)
    first, second = await plan.run({UNIT: [found(1, FAIL)]}), await plan.run({UNIT: []})
    assert (await resolved(second)).total == 1
    other = plan.sibling(account=new_id())
    await other.run({UNIT: [found(1, FAIL)]})
    token = service.tokens.team(plan.team)
    answer = await service.call("DELETE", f"/cloud-accounts/{plan.account}/results", token)
    assert answer.status_code == 204
    for run in (first, second):
        for path in ("changes", "resolved"):
            gone = await service.call("GET", f"/runs/{run.run_id}/{path}", token)
            assert (gone.status_code, gone.json()["code"]) == (410, "results_purged")
    item = (await listed(third := await plan.run({UNIT: [found(1, FAIL)]})))["bucket-1"]
    assert (item["change"], item["first_run_id"]) == ("NEW", str(third.run_id))
    assert (await changes(await other.run({UNIT: [found(1, FAIL)]}))).counts == ChangeCounts(unchanged=1)


async def test_a_purge_before_the_comparison_leaves_nothing_to_compare(service: ResultsService) -> None:
    plan = Plan(service)
    await plan.run({UNIT: [found(1, FAIL)]})
    await service.call("DELETE", f"/cloud-accounts/{plan.account}/results", service.tokens.team(plan.team))
    with capture_logs() as logs:
        await service.app.state.services.life_keeper.compare_due()
    assert [log["event"] for log in logs] == []


async def test_pages_of_what_is_resolved(service: ResultsService) -> None:
    plan = Plan(service)
    severities = list(Severity)
    findings = [found(n, FAIL, severity=severities[n % 5], rule_id=f"rule-{n % 3}") for n in range(23)]
    rules = [f"rule-{n}" for n in range(3)]
    await plan.run({UNIT: findings}, rules=rules)
    second = await plan.run({UNIT: []}, rules=rules)
    whole = await resolved(second, limit=1000)
    assert {item.fingerprint for item in whole.findings} == {finding.fingerprint for finding in findings}
    ranks = [(-item.severity.rank, item.rule_id) for item in whole.findings]
    assert ranks == sorted(ranks)
    pages = [await resolved(second, limit=4)]
    while pages[-1].next_cursor is not None:
        pages.append(await resolved(second, limit=4, cursor=pages[-1].next_cursor))
    assert [item for page in pages for item in page.findings] == whole.findings
    assert {page.total for page in pages} == {23}
    third = await plan.run({UNIT: []}, rules=rules)
    for cursor in ("x", pages[0].next_cursor):
        answer = await service.call(
            "GET", f"/runs/{third.run_id}/resolved", third.team_token, params={"cursor": cursor}
        )
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.cursor")


async def test_the_statement_agrees_with_a_model_over_many_random_runs(service: ResultsService) -> None:
    """Statuses, vanishing resources and units that are not there, in any order."""
    chosen = random.Random(11)  # noqa: S311  test data
    plan = Plan(service)
    status: Known = {}
    still_open: set[int] = set()
    for _ in range(12):
        units = {f"type-{n}@global": chosen.random() < 0.8 for n in range(3)}
        now = {n: chosen.choice([PASS, FAIL, UNKNOWN]) for n in range(30) if chosen.random() < 0.7}
        now = {n: each for n, each in now.items() if units[f"type-{n % 3}@global"]}
        whole = {unit for unit, is_there in units.items() if is_there}
        run = await plan.run(
            {unit: [found(n, each) for n, each in now.items() if f"type-{n % 3}@global" == unit] for unit in whole}
        )
        items = await listed(run)
        expected = {f"bucket-{n}": change_of(each, status.get(n), was_open=n in still_open) for n, each in now.items()}
        assert {name: item["change"] for name, item in items.items()} == expected
        gone = {n for n in status if n not in now and f"type-{n % 3}@global" in whole}
        passed = {n for n in now if expected[f"bucket-{n}"] is Change.RESOLVED}
        ended = {f"bucket-{n}" for n in (gone & still_open) | passed}
        assert {item.resource_id for item in (await resolved(run, limit=1000)).findings} == ended
        counts = (await changes(run)).counts
        assert counts is not None
        status = {n: each for n, each in {**status, **now}.items() if n not in gone}
        assert counts.not_seen == len(set(status) - set(now))
        assert counts.resolved == len(ended)
        still_open = (still_open - gone - {n for n, each in now.items() if each is PASS}) | {
            n for n, each in now.items() if each is FAIL
        }

"""How runs stand against frameworks, with what people answered; unknown is never a pass."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from coreo_shared.contracts.terms import RunState
from tests.support.api import Api, ApiFactory, Team, VirtualClock, ok, problem, until

FRAMEWORK = "cis-aws-5.0"
MANUAL = "1.1"
ANSWER = {"met": True, "text": "Looked at in the yearly review."}


def by_id(view: Any) -> dict[str, Any]:
    return {control["id"]: control for control in view["controls"]}


@asynccontextmanager
async def ended_run(api: Api, team: Team, counts: dict[str, dict[str, int]], *, done: int = 5) -> AsyncIterator[Any]:
    """A run of the framework's rules that found this; the api works on for as long as it is looked at."""
    account = await team.add_account(role=f"Role-{team.id.hex[-12:]}")
    async with api.running():
        (run,) = await team.start(await team.add_plan(account["id"], spec={"rule_sets": [FRAMEWORK]}))
        api.results.rules[UUID(run["id"])] = [
            {"rule_id": name, "severity": "high", "by_status": by_status} for name, by_status in counts.items()
        ]
        api.results.emit(run, team.id, 1, RunState.PARTIAL, units_done=done, units_total=5)

        async def over() -> bool:
            return (await team.show(run))["ended_at"] is not None

        await until(over)
        yield run


async def stands(team: Team, run: Any, framework: str = FRAMEWORK) -> Any:
    return ok(await team.http.get(f"/v1/runs/{run['id']}/compliance", params={"framework": framework}))


async def put(team: Team, account_id: str, body: Any, control: str = MANUAL, status: int = 200) -> Any:
    answer = await team.http.put(f"/v1/cloud-accounts/{account_id}/controls/{FRAMEWORK}/{control}", json=body)
    return ok(answer, status)


async def test_each_control_is_judged_by_its_rules(api: Api) -> None:
    team = await api.team()
    counts = {
        "iam-root-mfa": {"PASS": 1},
        "iam-root-access-key": {"FAIL": 1},
        "iam-password-policy-length": {"NOT_EVALUATED": 1},
    }
    async with ended_run(api, team, counts) as run:
        view = await stands(team, run)
        controls = by_id(view)
        named = {rule: next(name for name, control in controls.items() if rule in control["rules"]) for rule in counts}
        assert controls[named["iam-root-mfa"]]["status"] == "PASS"
        assert controls[named["iam-root-access-key"]]["status"] == "FAIL"
        assert controls[named["iam-password-policy-length"]]["status"] == "NOT_EVALUATED"
        assert controls[MANUAL]["status"] == "MANUAL_OPEN"
        assert view["complete"] is True
        assert view["pass_rate"] == 0.5
        assert sum(view["by_status"].values()) == len(view["controls"]) == 63
        assert controls[named["iam-root-access-key"]]["rules"]["iam-root-access-key"]["failed"] == 1


async def test_rule_without_findings_says_nothing_while_the_run_has_not_read_all(api: Api) -> None:
    team = await api.team()
    async with ended_run(api, team, {"iam-root-mfa": {"PASS": 1}}, done=4) as run:
        view = await stands(team, run)
        assert view["complete"] is False
        assert view["by_status"]["NOT_APPLICABLE"] == 0
        assert view["by_status"]["NOT_RUN"] > 20


async def test_answer_of_a_person_counts_until_it_expires(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    async with ended_run(api, team, {}) as run:
        account_id = run["cloud_account_id"]
        expiry = (clock.now + timedelta(days=30)).isoformat()
        made = await put(
            team, account_id, ANSWER | {"expires_at": expiry, "evidence_url": "https://wiki.example.com/x"}
        )
        assert made["control"] == MANUAL
        assert made["by_name"]
        control = by_id(await stands(team, run))[MANUAL]
        assert control["status"] == "MANUAL_DONE"
        assert control["answer"]["text"] == ANSWER["text"]
        await put(team, account_id, {"met": False, "text": "Not any more."})
        assert by_id(await stands(team, run))[MANUAL]["status"] == "FAIL"
        await put(team, account_id, ANSWER | {"expires_at": expiry})
        clock.now += timedelta(days=31)
        control = by_id(await stands(team, run))[MANUAL]
        assert control["status"] == "MANUAL_OPEN"
        assert control["answer"]["expired"] is True


async def test_answers_are_listed_with_those_that_were_replaced(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    url = f"/v1/cloud-accounts/{account['id']}/controls"
    await put(team, account["id"], ANSWER)
    await put(team, account["id"], {"met": False, "text": "No."})
    assert [each["met"] for each in ok(await team.http.get(url))["items"]] == [False]
    every = ok(await team.http.get(f"{url}?replaced=true&framework={FRAMEWORK}"))["items"]
    assert [each["met"] for each in every] == [False, True]
    assert every[1]["replaced_at"] is not None
    assert (await team.http.delete(f"{url}/{FRAMEWORK}/{MANUAL}")).status_code == 204
    problem(await team.http.delete(f"{url}/{FRAMEWORK}/{MANUAL}"), 404)
    assert ok(await team.http.get(url))["items"] == []
    assert ok(await team.http.get(f"{url}?framework=cis-aws-3.0&replaced=true"))["items"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"text": "  "}, "body.text"),
        ({"text": "x\x00"}, "body.text"),
        ({"text": "x" * 4_001}, "body.text"),
        ({"evidence_url": "http://wiki.example.com"}, "body.evidence_url"),
        ({"evidence_url": "javascript:alert(1)"}, "body.evidence_url"),
        ({"evidence_url": "https://user:word@example.com"}, "body.evidence_url"),
        ({"evidence_url": "https://exa mple.com"}, "body.evidence_url"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "body.expires_at"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "body.expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "body.expires_at"),
        ({"met": "perhaps"}, "body.met"),
        ({"author": "me"}, "body.author"),
    ],
)
async def test_answer_that_is_not_right_is_refused_by_field(api: Api, changes: dict[str, Any], field: str) -> None:
    team = await api.team()
    account = await team.add_account()
    url = f"/v1/cloud-accounts/{account['id']}/controls/{FRAMEWORK}/{MANUAL}"
    problem(await team.http.put(url, json=ANSWER | changes), 422, field)
    assert ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/controls"))["items"] == []


async def test_only_controls_that_are_there_and_manual_can_be_answered(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    url = f"/v1/cloud-accounts/{account['id']}/controls"
    problem(await team.http.put(f"{url}/{FRAMEWORK}/99.9", json=ANSWER), 404)
    problem(await team.http.put(f"{url}/cis-aws-9.0/1.1", json=ANSWER), 404)
    problem(await team.http.put(f"{url}/{FRAMEWORK}/1.4", json=ANSWER), 422, "path.control")


async def test_framework_that_is_not_there_is_named(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    path = f"/v1/runs/{run['id']}/compliance"
    problem(await team.http.get(path), 422, "query.framework")
    answer = problem(await team.http.get(path, params={"framework": "cis-aws-5"}), 422, "query.framework")
    assert "did you mean cis-aws-5.0?" in answer["detail"]
    assert (await stands(team, run))["by_status"]["NOT_RUN"] > 30  # no worker has taken it yet
    names = {each["id"]: each for each in ok(await team.http.get("/v1/frameworks"))["items"]}
    assert names[FRAMEWORK]["controls"] == 63
    assert names[FRAMEWORK]["manual"] == 26


async def test_another_teams_answers_do_not_count(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    account = await owner.add_account()
    url = f"/v1/cloud-accounts/{account['id']}/controls"
    problem(await stranger.http.put(f"{url}/{FRAMEWORK}/{MANUAL}", json=ANSWER), 404)
    problem(await stranger.http.get(url), 404)
    await put(owner, account["id"], ANSWER)
    problem(await stranger.http.delete(f"{url}/{FRAMEWORK}/{MANUAL}"), 404)
    async with ended_run(api, stranger, {}) as run:
        assert by_id(await stands(stranger, run))[MANUAL]["answer"] is None

"""What becomes of a cloud account over time, and the history that tells of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.dispatch.onboarding import Onboarding
from coreo_api.dispatch.projector import apply
from coreo_api.dispatch.purges import Purges
from coreo_api.results import ResultsUnavailableError
from coreo_shared.contracts.onboarding import DiscoveredAccount, DiscoverReport, DiscoverSpec, VerifyReport
from coreo_shared.contracts.terms import Pool, RunState
from tests.support.api import OWN_ACCOUNT, VERIFIED, Api, ApiFactory, Team, VirtualClock, ok, problem

INSECURE = VerifyReport(verdict="INSECURE", reason="It lets anybody in.", checks=[])
UNREACHABLE = VerifyReport(verdict="UNREACHABLE", reason="It refuses Coreo.", checks=[])


def path_of(account: Any) -> str:
    return f"/v1/cloud-accounts/{account['id']}"


async def show(team: Team, account: Any) -> Any:
    return ok(await team.http.get(path_of(account)))


async def history_of(team: Team, account: Any) -> list[Any]:
    """Oldest first."""
    entries: list[Any] = ok(await team.http.get(f"{path_of(account)}/history", params={"limit": 100}))["items"]
    return entries[::-1]


async def test_history_says_what_was_done_and_by_whom(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    colleague = ok(await team.http.post("/v1/tokens", json={"name": "colleague"}), 201)
    theirs = api.client(colleague["token"])
    ok(await theirs.patch(path_of(account), json={"name": "production EU"}))
    ok(await theirs.patch(path_of(account), json={"name": "production EU"}))  # changes nothing
    ok(await theirs.post(f"{path_of(account)}/external-id/rotate"))
    assert (await team.http.delete(f"/v1/tokens/{colleague['id']}")).status_code == 204
    assert (await team.http.delete(f"{path_of(account)}/external-id/next")).status_code == 204
    ok(await team.http.post(f"{path_of(account)}/disconnect", json={"results": "keep"}))
    entries = await history_of(team, account)
    assert [(entry["kind"], entry["by"]) for entry in entries] == [
        ("created", "first token"),
        ("role_set", "first token"),
        ("verify", "first token"),
        ("renamed", "colleague"),  # who is gone is still named
        ("rotate", "colleague"),
        ("rotate_canceled", "first token"),
        ("disconnect", "first token"),
    ]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert [entry["verdict"] for entry in entries if entry["state"]] == ["CONNECTED"]


async def test_history_pages_without_gap_or_repeat_and_belongs_to_its_account(api: Api) -> None:
    team = await api.team()
    account, other = await team.add_account(role="One"), await team.add_account(role="Two")
    seen, cursor = [], None
    while True:
        parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = ok(await team.http.get(f"{path_of(account)}/history", params=parameters))
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[::-1] == await history_of(team, account)
    entry = seen[0]
    assert ok(await team.http.get(f"{path_of(account)}/history/{entry['id']}")) == entry
    problem(await team.http.get(f"{path_of(other)}/history/{entry['id']}"), 404)


async def test_the_external_id_is_replaced_with_an_overlap(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    old = account["external_id"]
    rotating = ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))
    new = rotating["next_external_id"]
    assert (rotating["external_id"], rotating["state"]) == (old, "CONNECTED")
    assert len(new) == 32 != old
    accepted = rotating["trust_policy"]["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"]
    assert accepted == [old, new]
    assert problem(await team.http.post(f"{path_of(account)}/external-id/rotate"), 409)["code"] == "rotation_under_way"

    ok(await team.http.post(f"{path_of(account)}/verify"), 202)  # verifications go on with the old one
    await Onboarding(api.context, api.onboard_queue).step()
    assert api.onboard_queue.jobs(Pool.ONBOARD)[-1].target.external_id == old
    await team.report(account, VERIFIED)
    entry = ok(await team.http.post(f"{path_of(account)}/external-id/confirm"), 202)
    assert entry["kind"] == "confirm"
    await Onboarding(api.context, api.onboard_queue).step()
    assert api.onboard_queue.jobs(Pool.ONBOARD)[-1].target.external_id == new
    shown = await team.report(account, VERIFIED)
    assert (shown["external_id"], shown["next_external_id"], shown["state"]) == (new, None, "CONNECTED")
    assert shown["last_verification"]["id"] == entry["id"]
    assert old not in str(shown)
    assert problem(await team.http.post(f"{path_of(account)}/external-id/confirm"), 409)["code"] == "no_rotation"
    (run,) = await team.start(await team.add_plan(account["id"]))
    await Dispatcher(api.context, api.queue).step()
    (job,) = api.queue.jobs()
    assert (str(job.run_id), job.target.external_id) == (run["id"], new)


async def test_a_next_external_id_that_the_role_does_not_know_changes_nothing(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    rotating = ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))
    for report in (UNREACHABLE, VerifyReport(verdict="UNVERIFIED", reason="Throttled.", checks=[]), None):
        ok(await team.http.post(f"{path_of(account)}/external-id/confirm"), 202)
        shown = await team.report(account, report)
        for field in ("state", "external_id", "next_external_id", "reason", "next_verification_at"):
            assert shown[field] == rotating[field]
        assert shown["last_verification"]["verdict"] == "CONNECTED"
    assert [entry["verdict"] for entry in await history_of(team, account) if entry["kind"] == "confirm"] == [
        "UNREACHABLE",
        "UNVERIFIED",
        None,
    ]


async def test_a_role_that_is_found_insecure_while_its_external_id_is_replaced_is_insecure(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    rotating = ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))
    ok(await team.http.post(f"{path_of(account)}/external-id/confirm"), 202)
    shown = await team.report(account, INSECURE)
    assert (shown["state"], shown["reason"]) == ("INSECURE", "It lets anybody in.")
    assert shown["external_id"] == rotating["external_id"]


async def test_a_rotation_is_canceled_unless_it_is_being_confirmed(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    path = f"{path_of(account)}/external-id/next"
    assert problem(await team.http.delete(path), 409)["code"] == "no_rotation"
    first = ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))["next_external_id"]
    ok(await team.http.post(f"{path_of(account)}/external-id/confirm"), 202)
    assert problem(await team.http.delete(path), 409)["code"] == "task_under_way"
    assert problem(await team.http.post(f"{path_of(account)}/verify"), 409)["code"] == "task_under_way"
    await team.report(account, UNREACHABLE)
    assert (await team.http.delete(path)).status_code == 204
    assert (await show(team, account))["next_external_id"] is None
    again = ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))["next_external_id"]
    assert again != first  # none is ever used again


async def test_a_rotation_cannot_be_confirmed_without_a_role(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))
    said = problem(await team.http.post(f"{path_of(account)}/external-id/confirm"), 409)
    assert said["code"] == "account_without_role"


async def test_confirming_a_role_that_another_team_has_proven_blocks_nothing(api: Api) -> None:
    owner, team = await api.team("owner"), await api.team()
    await owner.add_account(role="Taken")
    account = await team.add_account(role=None)
    ok(await team.http.put(f"{path_of(account)}/role", json={"role_arn": "arn:aws:iam::210987654321:role/Taken"}))
    await team.report(account, VERIFIED)
    ok(await team.http.post(f"{path_of(account)}/external-id/rotate"))
    ok(await team.http.post(f"{path_of(account)}/external-id/confirm"), 202)
    shown = await team.report(account, VERIFIED)
    assert (shown["state"], shown["verifying"]) == ("UNVERIFIED", False)


async def disconnect(team: Team, account: Any, results: str) -> Any:
    return ok(await team.http.post(f"{path_of(account)}/disconnect", json={"results": results}))


async def test_disconnecting_leaves_the_account_alone_and_says_how_to_remove_the_role(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    ok(await team.http.post(f"{path_of(account)}/verify"), 202)
    left = await disconnect(team, account, "keep")
    shown = left["cloud_account"]
    assert (shown["state"], shown["role_arn"], shown["verifying"]) == ("DISCONNECTED", None, False)
    assert (shown["reason"], shown["next_verification_at"]) == (None, None)
    assert "aws iam delete-role --role-name CoreoAudit" in left["commands"]
    assert [entry["state"] for entry in await history_of(team, account)][-2:] == ["CANCELED", None]
    for route in ("verify", "external-id/confirm"):
        problem(await team.http.post(f"{path_of(account)}/{route}"), 409)
    problem(await team.http.post(f"{path_of(account)}/discover", json={"drafts": True}), 409)
    await Onboarding(api.context, api.onboard_queue).step()
    assert not api.onboard_queue.messages
    await Purges(api.context).step()
    assert not api.results.purges
    assert (await disconnect(team, account, "keep"))["commands"] == []  # nothing is left

    ok(await team.http.put(f"{path_of(account)}/role", json={"role_arn": account["role_arn"]}))
    back = await team.report(account, VERIFIED)
    assert (back["state"], back["external_id"]) == ("CONNECTED", account["external_id"])


async def test_an_account_with_runs_at_work_is_not_disconnected(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    (run,) = await team.start(await team.add_plan(account["id"]))
    answer = await team.http.post(f"{path_of(account)}/disconnect", json={"results": "purge"})
    assert problem(answer, 409)["code"] == "runs_at_work"
    assert (await show(team, account))["state"] == "CONNECTED"
    async with api.context.system_database.transaction() as connection:
        ended = api.results.emit(run, team.id, 9, RunState.SUCCEEDED)
        await apply(connection, [ended], timedelta(hours=6), api.context.clock())
    await disconnect(team, account, "keep")


async def test_results_are_destroyed_where_that_was_asked_for(api: Api) -> None:
    team, other = await api.team(), await api.team("other")
    account, kept = await team.add_account(role="Mine"), await other.add_account(role="Kept")
    await disconnect(other, kept, "keep")
    await disconnect(team, account, "purge")
    purges = Purges(api.context)
    while await purges.step() == 0.0:
        pass
    assert api.results.purges == [(team.id, UUID(account["id"]))]
    assert [(entry["kind"], entry["state"]) for entry in await history_of(team, account)][-2:] == [
        ("disconnect", None),
        ("purge", "SUCCEEDED"),
    ]


async def test_a_purge_waits_for_the_results_service_and_new_tasks_wait_for_it(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api = make_api(clock=clock)
    team = await api.team()
    account = await team.add_account()
    await disconnect(team, account, "purge")
    ok(await team.http.put(f"{path_of(account)}/role", json={"role_arn": account["role_arn"]}))
    purges, onboarding = Purges(api.context), Onboarding(api.context, api.onboard_queue)
    api.results.down = True
    with pytest.raises(ResultsUnavailableError):
        await purges.step()
    api.results.down, api.results.refusal = False, (409, {"code": "runs_at_work", "detail": "A run has not ended."})
    assert (await purges.step(), await purges.step() > 0) == (0.0, True)
    await onboarding.step()
    assert not api.onboard_queue.messages  # a connected account could have new results
    api.results.refusal = None
    clock.now += timedelta(seconds=15)
    await purges.step()
    assert len(api.results.purges) == 1
    await onboarding.step()
    assert len(api.onboard_queue.messages) == 1


async def test_findings_that_were_destroyed_are_gone_and_not_an_error_of_ours(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    api.results.refusal = (410, {"code": "results_purged", "detail": "Purged."})
    for route in ("findings", "rules", "changes", "resolved"):
        assert problem(await team.http.get(f"/v1/runs/{run['id']}/{route}"), 410)["code"] == "results_purged"


def organization(*accounts: tuple[str, str, str]) -> DiscoverReport:
    """Of (account id, name, status)."""
    found = [DiscoveredAccount(account_id=id_, name=name, status=status) for id_, name, status in accounts]
    return DiscoverReport(organization_id="o-abc", management_account_id="222222222222", accounts=found)


async def discover(team: Team, manager: Any, report: DiscoverReport, *, drafts: bool = True) -> Any:
    """The entry of a discovery that found this."""
    entry = ok(await team.http.post(f"{path_of(manager)}/discover", json={"drafts": drafts}), 202)
    await team.report(manager, report)
    return ok(await team.http.get(f"{path_of(manager)}/history/{entry['id']}"))


async def accounts_of(team: Team) -> dict[str, Any]:
    page = ok(await team.http.get("/v1/cloud-accounts", params={"limit": 200}))
    return {account["account_id"]: account for account in page["items"]}


async def test_active_accounts_of_an_organization_become_drafts(api: Api) -> None:
    team = await api.team()
    manager = await team.add_account(account_id="222222222222")
    there = await team.add_account(role=None, account_id="333333333333")
    report = organization(
        ("222222222222", "management", "ACTIVE"),
        ("333333333333", "known already", "ACTIVE"),
        ("444444444444", "payments", "ACTIVE"),
        ("555555555555", "left behind", "SUSPENDED"),
        ("666666666666", "closing", "PENDING_CLOSURE"),
        ("777777777777", "  bell\u0007 " + "x" * 200, "ACTIVE"),
        ("888888888888", "\u0007", "ACTIVE"),
        (OWN_ACCOUNT, "Coreo itself", "ACTIVE"),
    )
    entry = await discover(team, manager, report, drafts=False)
    assert set(await accounts_of(team)) == {"222222222222", "333333333333"}
    assert [each["account_id"] for each in entry["report"]["accounts"]] == [each.account_id for each in report.accounts]
    for _ in range(2):  # again is no other
        entry = await discover(team, manager, report)
    found = await accounts_of(team)
    assert set(found) == {"222222222222", "333333333333", "444444444444", "777777777777", "888888888888"}
    assert found["333333333333"]["name"] == there["name"]
    draft = found["444444444444"]
    assert (draft["name"], draft["state"], draft["role_arn"]) == ("payments", "PENDING", None)
    assert found["777777777777"]["name"] == "bell " + "x" * 95
    assert found["888888888888"]["name"] == "888888888888"
    assert len({account["external_id"] for account in found.values()}) == len(found)
    (created,) = await history_of(team, draft)
    assert (created["kind"], created["by"]) == ("created", "first token")
    ok(await team.http.get(f"{path_of(draft)}/grant"))


async def test_accounts_that_left_the_organization_are_told_of_and_stay(api: Api) -> None:
    team = await api.team()
    manager = await team.add_account(account_id="222222222222")
    elsewhere = await team.add_account(role="Elsewhere", account_id="999999999999")
    by_hand = await team.add_account(role=None, account_id="333333333333")
    whole = [(each, f"a{each[0]}", "ACTIVE") for each in ("222222222222", "333333333333", "444444444444")]
    assert (await discover(team, manager, organization(*whole)))["report"]["moved_away"] == []
    draft = (await accounts_of(team))["444444444444"]
    entry = await discover(team, manager, organization(whole[0]))
    assert entry["report"]["moved_away"] == [
        {"cloud_account_id": by_hand["id"], "account_id": "333333333333", "name": "production"},
        {"cloud_account_id": draft["id"], "account_id": "444444444444", "name": "a4"},
    ]
    found = await accounts_of(team)
    assert set(found) == {"222222222222", "333333333333", "444444444444", elsewhere["account_id"]}
    assert found["444444444444"]["state"] == "PENDING"


async def test_a_discovery_that_may_not_list_says_so_and_makes_nothing(api: Api) -> None:
    team = await api.team()
    manager = await team.add_account(account_id="222222222222")
    entry = await discover(team, manager, DiscoverReport(problem="The role may not list the accounts."))
    assert (entry["state"], entry["reason"]) == ("SUCCEEDED", "The role may not list the accounts.")
    assert "moved_away" not in entry["report"]
    shown = await show(team, manager)
    assert (shown["state"], shown["verifying"]) == ("CONNECTED", False)


async def test_a_discovery_goes_through_the_accounts_proven_role(api: Api) -> None:
    team = await api.team()
    pending = await team.add_account(role=None)
    answer = await team.http.post(f"{path_of(pending)}/discover", json={"drafts": True})
    assert problem(answer, 409)["code"] == "account_not_connected"
    manager = await team.add_account()
    ok(await team.http.post(f"{path_of(manager)}/discover", json={}), 202)
    again = await team.http.post(f"{path_of(manager)}/discover", json={})
    assert problem(again, 409)["code"] == "task_under_way"
    assert int(again.headers["retry-after"]) > 0
    await Onboarding(api.context, api.onboard_queue).step()
    (job,) = api.onboard_queue.jobs(Pool.ONBOARD)
    assert isinstance(job.work, DiscoverSpec)
    assert job.target.role_arn == manager["role_arn"]

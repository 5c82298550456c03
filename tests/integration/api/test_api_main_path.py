"""From a cloud account to findings: what a customer does, against the real database."""

from uuid import UUID

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.jobs import AuditSpec
from coreo_shared.contracts.life import ChangeCounts, ResolvedPage, RunChanges
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, RunState, Severity
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from tests.support.api import OWN_ACCOUNT, VERIFIER, Api, ApiFactory, ok, problem, until


async def test_a_run_is_sent_and_its_end_and_findings_are_seen(api: Api) -> None:
    team = await api.team()
    async with api.running():
        account = await team.add_account()
        plan = await team.add_plan(account["id"])
        (run,) = await team.start(plan)
        assert run["state"] == "QUEUED"
        await until(lambda: api.queue.messages)
        job = api.queue.jobs()[0]
        assert (job.run_id, job.team_id) == (UUID(run["id"]), team.id)
        assert job.target.role_arn == account["role_arn"]
        assert job.target.external_id == account["external_id"]
        assert isinstance(job.work, AuditSpec)
        assert "ec2-security-group-open-ssh" in job.work.rules
        assert job.work.regions == ["all"]
        assert api.queue.messages[0].group == str(team.id)

        counts = Counts(by_status={FindingStatus.FAIL: 1}, failed_by_severity={Severity.HIGH: 1})
        api.results.emit(run, team.id, 7, RunState.SUCCEEDED, units_done=3, units_total=3, counts=counts)

        async def is_over() -> bool:
            return (await team.show(run))["ended_at"] is not None

        await until(is_over)
        shown = await team.show(run)
        assert shown["state"] == "SUCCEEDED"
        assert shown["units_done"] == shown["units_total"] == 3
        assert shown["counts"] == {"by_status": {"FAIL": 1}, "failed_by_severity": {"high": 1}}
        assert shown["dispatched_at"] is not None


async def test_the_job_carries_a_capability_for_its_run_alone(api: Api) -> None:
    team = await api.team()
    async with api.running():
        run = await team.started_run()
        await until(lambda: api.queue.messages)
    job = api.queue.jobs()[0]
    capability = VERIFIER.verify(job.run_token, RunCapability, typ=RUN_CAPABILITY_TYPE, audience=RESULTS_AUDIENCE)
    assert capability.run_id == UUID(run["id"])
    assert capability.team_id == team.id
    assert capability.account_id == job.target.account_id
    assert capability.exp >= job.exp + 24 * 3600 - 1


async def test_findings_pass_through_with_filters_and_the_teams_token(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    finding = Finding(
        fingerprint="0" * 32,
        rule_id="ec2-security-group-open-ssh",
        status=FindingStatus.FAIL,
        severity=Severity.HIGH,
        resource_type="aws.ec2.security_group",
        resource_id="sg-1",
        resource_arn=None,
        region="eu-west-1",
        message="open",
        evidence={"GroupName": "web"},
    )
    api.results.findings[UUID(run["id"])] = [finding]
    query: dict[str, str | int | list[str]] = {
        "status": ["FAIL", "PASS"],
        "severity": "high",
        "region": "eu-west-1",
        "limit": 10,
    }
    page = ok(await team.http.get(f"/v1/runs/{run['id']}/findings", params=query))
    assert page["items"][0]["evidence"] == {"GroupName": "web"}
    assert (page["total"], page["next_cursor"]) == (1, None)
    sent = api.results.requests[-1].url.params
    assert sent.get_list("status") == ["FAIL", "PASS"]
    assert sent["severity"] == "high"
    assert sent["limit"] == "10"
    token = api.results.tokens[-1]
    assert (token.scope, token.team_id) == ("team", team.id)
    assert token.exp - token.iat == 60


async def test_a_run_that_no_worker_has_taken_has_no_findings(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    assert ok(await team.http.get(f"/v1/runs/{run['id']}/findings")) == {"items": [], "total": 0, "next_cursor": None}
    assert ok(await team.http.get(f"/v1/runs/{run['id']}/rules")) == {"items": [], "next_cursor": None}


async def test_what_is_new_or_resolved_passes_through(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    path, run_id = f"/v1/runs/{run['id']}", UUID(run["id"])
    nothing = {"run_id": run["id"], "previous_run_id": None, "counts": None}
    assert ok(await team.http.get(f"{path}/changes")) == nothing
    assert ok(await team.http.get(f"{path}/resolved")) == {"items": [], "total": 0, "next_cursor": None}

    counts = ChangeCounts(new=1, resolved=2)
    api.results.kept[run_id, "changes"] = RunChanges(run_id=run_id, previous_run_id=run_id, counts=counts)
    assert ok(await team.http.get(f"{path}/changes"))["counts"] == {
        **dict.fromkeys(("unchanged", "changed", "not_seen"), 0),
        "new": 1,
        "resolved": 2,
    }
    api.results.kept[run_id, "resolved"] = ResolvedPage(findings=[], total=7, next_cursor="next")
    page = ok(await team.http.get(f"{path}/resolved", params={"limit": 3, "cursor": "c"}))
    assert page == {"items": [], "total": 7, "next_cursor": "next"}
    assert dict(api.results.requests[-1].url.params) == {"cursor": "c", "limit": "3"}
    await team.http.get(f"{path}/findings", params={"change": ["NEW", "CHANGED"]})
    assert api.results.requests[-1].url.params.get_list("change") == ["NEW", "CHANGED"]
    problem(await team.http.get(f"{path}/findings", params={"change": "OLD"}), 422, "query.change.0")


async def test_rules_of_a_run_are_counted(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    counts = [{"rule_id": "ec2-security-group-open-ssh", "severity": "high", "by_status": {"FAIL": 2, "PASS": 5}}]
    api.results.rules[UUID(run["id"])] = counts
    assert ok(await team.http.get(f"/v1/runs/{run['id']}/rules"))["items"] == counts


async def test_account_answers_with_what_the_customers_role_needs(api: Api) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    assert account["state"] == "PENDING"
    assert account["coreo_account_id"] == OWN_ACCOUNT
    assert len(account["external_id"]) == 32
    (statement,) = account["trust_policy"]["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{OWN_ACCOUNT}:root"}
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": account["external_id"]}}
    other = await team.add_account(role=None)
    assert other["external_id"] != account["external_id"]


async def test_trust_policy_names_the_worker_roles_when_they_are_known(make_api: ApiFactory) -> None:
    roles = [f"arn:aws:iam::{OWN_ACCOUNT}:role/coreo-worker-{pool}" for pool in ("audit", "deploy", "onboard")]
    api = make_api(audit_worker_role_arn=roles[0], deploy_worker_role_arn=roles[1], onboard_worker_role_arn=roles[2])
    account = await (await api.team()).add_account(role=None)
    assert account["trust_policy"]["Statement"][0]["Principal"] == {"AWS": roles}


async def test_a_proven_role_connects_the_account(api: Api) -> None:
    team = await api.team()
    account = await team.add_account()
    assert (account["state"], account["role_arn"]) == ("CONNECTED", "arn:aws:iam::210987654321:role/CoreoAudit")


async def test_required_policy_is_what_the_rules_read(api: Api) -> None:
    team = await api.team()
    plan = await team.add_plan(spec={"rules": ["ec2-security-group-open-ssh"], "regions": ["eu-west-1"]})
    policy = ok(await team.http.get(f"/v1/plans/{plan['id']}/required-policy"))
    assert "ec2:DescribeSecurityGroups" in policy["actions"]
    assert "ec2:DescribeRegions" not in policy["actions"]
    assert policy["policy"]["Statement"][0]["Action"] == policy["actions"]
    assert policy["session_policies"][0]["Statement"][0]["Resource"] == "*"
    everywhere = await team.add_plan(spec={"rules": ["ec2-security-group-open-ssh"]})
    policy = ok(await team.http.get(f"/v1/plans/{everywhere['id']}/required-policy"))
    assert "ec2:DescribeRegions" in policy["actions"]


async def test_new_spec_is_a_new_revision_and_the_old_one_stays(api: Api) -> None:
    team = await api.team()
    plan = await team.add_plan()
    path = f"/v1/plans/{plan['id']}"
    assert ok(await team.http.patch(path, json={"spec": plan["spec"], "name": "same"}))["revision"] == 1
    spec = {"rules": ["ec2-security-group-open-ssh"], "regions": ["eu-west-1", "eu-central-1"]}
    changed = ok(await team.http.patch(path, json={"spec": spec}))
    assert (changed["revision"], changed["name"]) == (2, "same")
    assert ok(await team.http.get(path)) == changed
    first_page = ok(await team.http.get(f"{path}/revisions", params={"limit": 1}))
    assert [each["revision"] for each in first_page["items"]] == [2]
    rest = ok(await team.http.get(f"{path}/revisions", params={"cursor": first_page["next_cursor"]}))
    assert [(each["revision"], each["spec"]) for each in rest["items"]] == [(1, plan["spec"])]
    assert rest["next_cursor"] is None


async def test_lists_page_newest_first_without_gap_or_repeat(api: Api) -> None:
    team = await api.team()
    made = [(await team.add_plan())["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = ok(await team.http.get("/v1/plans", params={"limit": 2} | ({"cursor": cursor} if cursor else {})))
        seen += [plan["id"] for plan in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(made, reverse=True)


async def test_runs_are_found_by_plan_account_group_and_state(api: Api) -> None:
    team = await api.team()
    first, second = await team.started_run(role="One"), await team.started_run(role="Two")
    for name in ("plan_id", "cloud_account_id", "group_id"):
        found = ok(await team.http.get("/v1/runs", params={name: first[name]}))["items"]
        assert [run["id"] for run in found] == [first["id"]]
    assert len(ok(await team.http.get("/v1/runs", params={"state": ["QUEUED", "FAILED"]}))["items"]) == 2
    assert ok(await team.http.get("/v1/runs", params={"state": "FAILED"}))["items"] == []
    assert {run["id"] for run in ok(await team.http.get("/v1/runs"))["items"]} == {first["id"], second["id"]}


async def test_catalogue_is_listed_and_shown(api: Api) -> None:
    team = await api.team()
    rules = ok(await team.http.get("/v1/rules", params={"severity": "high"}))["items"]
    assert {rule["severity"] for rule in rules} == {"high"}
    rule = ok(await team.http.get("/v1/rules/ec2-security-group-open-ssh"))
    assert "ec2:DescribeSecurityGroups" in rule["actions"]
    assert rule["remediation"]["console"]
    sets = ok(await team.http.get("/v1/rule-sets"))["items"]
    assert "ec2-security-group-open-ssh" in next(each for each in sets if each["id"] == "baseline")["rules"]
    one = ok(await team.http.get("/v1/rules", params={"limit": 1}))
    if one["next_cursor"] is not None:
        following = ok(await team.http.get("/v1/rules", params={"cursor": one["next_cursor"], "limit": 1}))
        assert following["items"][0]["id"] > one["items"][0]["id"]

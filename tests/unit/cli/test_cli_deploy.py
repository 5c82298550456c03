"""`coreo deploy …`: the directory and its lines, the table of changes, approving what was seen, exit codes."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from coreo_cli.deploy.yaml_lines import YamlError, read
from coreo_shared.ids import new_id
from tests.support.cli import Cli, ScriptedApi, a_deploy, a_plan, an_account, problem, sse

HASH = "ab" * 32
YAML = """\
plan: network
accounts: [production]
stack_name: network
regions: [eu-west-1]
template: template.yaml
parameters:
  Count: 012
  Flag: yes
drift_schedule: {rate_seconds: 86400}
"""
TEMPLATE = "Resources: {}\n"
DETAIL = {"attribute": "Properties", "name": "CidrBlock", "path": None, "recreation": "Always", "evaluation": "Static",
          "source": None, "cause": None, "before": "10.0.0.0/16", "after": "10.1.0.0/16"}  # fmt: skip


def change(action: str = "Add", logical_id: str = "Vpc", **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"action": action, "logical_id": logical_id, "physical_id": None, "type": "AWS::EC2::VPC"}
    known |= {"scope": [], "replacement": None, "policy_action": None, "details": [], "nested_change_set_arn": None}
    return known | fields


def preview(*changes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    known = {"kind": "preview", "hash": HASH, "operation": "update", "account_id": "210987654321",
             "region": "eu-west-1", "stack_name": "network", "changes": list(changes), "gates": [], "findings": [],
             "findings_passed": 0, "notes": []}  # fmt: skip
    return known | fields


class Scene:
    """A directory, a cloud account, and an api that has the directory's plan."""

    def __init__(self, api: ScriptedApi, directory: Path) -> None:
        self.api, self.directory = api, directory
        (directory / "coreo.yaml").write_text(YAML)
        (directory / "template.yaml").write_text(TEMPLATE)
        self.account = an_account()
        spec = {"stack_name": "network", "rule_sets": [], "rules": [], "regions": ["eu-west-1"], "parameters": {}}
        self.plan = a_plan(name="network", kind="deploy", spec=spec, lint=[])
        api.lists("/v1/cloud-accounts", self.account)
        api.lists("/v1/plans", self.plan)
        self.path = f"/v1/plans/{self.plan['id']}"
        api.on("PATCH", self.path, self.plan)

    def runs(self, *stages: dict[str, Any], action: str = "apply", **first: Any) -> dict[str, Any]:
        """Starting gives a run that goes through these stages; a stage without `state` is a stack event."""
        run = a_deploy("QUEUED", action, cloud_account_id=self.account["id"], **first)
        self.api.on("POST", f"{self.path}/runs", {"group_id": "g", "runs": [run]})
        told = [stage if "event_id" in stage else merged(run, stage) for stage in stages]
        self.api.on("GET", f"/v1/runs/{run['id']}/events", sse(*((f"{n}.0", each) for n, each in enumerate(told))))
        self.api.on("GET", f"/v1/runs/{run['id']}", told[-1])
        return run

    def document(self, run: dict[str, Any], name: str, content: dict[str, Any]) -> None:
        self.api.on("GET", f"/v1/runs/{run['id']}/{name}", content)


def merged(run: dict[str, Any], stage: dict[str, Any]) -> dict[str, Any]:
    deploy = run["deploy"] | stage.get("deploy", {})
    ended = {"ended_at": "2026-01-31T12:01:05Z"} if stage["state"] in {"SUCCEEDED", "FAILED", "ROLLED_BACK"} else {}
    return run | ended | stage | {"deploy": deploy}


def event(number: int, status: str = "CREATE_COMPLETE", reason: str | None = None) -> dict[str, Any]:
    return {"event_id": str(number), "at": "2026-01-31T12:00:30Z", "logical_id": f"Vpc{number}", "physical_id": None,
            "type": "AWS::EC2::VPC", "status": status, "reason": reason, "token": None, "stack_name": None}  # fmt: skip


@pytest.fixture
def scene(scripted_api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    directory = tmp_path / "network"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return Scene(scripted_api, directory)


WAITING = {"state": "AWAITING_APPROVAL", "deploy": {"documents": {"preview": 1}, "approval": {"hash": HASH}}}


def test_a_directory_makes_its_plan_and_keeps_it_up_to_date(coreo: Cli, scene: Scene) -> None:
    scene.runs({"state": "SUCCEEDED"}, action="preview")
    coreo("deploy", "preview")
    body = scene.api.body("PATCH", scene.path)
    assert body["cloud_account_ids"] == [scene.account["id"]]
    assert body["schedule"] == {"rate_seconds": 86400}
    assert body["spec"] == {
        "stack_name": "network",
        "regions": ["eu-west-1"],
        "template": TEMPLATE,
        "parameters": {"Count": "012", "Flag": "yes"},  # as they are written: CloudFormation takes texts
    }
    scene.api.lists("/v1/plans", a_plan(name="network"))  # an audit plan of that name is another thing
    scene.api.on(
        "POST", "/v1/plans", scene.plan | {"lint": [{"rule": "W2001", "line": 1, "column": 3, "message": "x"}]}
    )
    done = coreo("deploy", "apply")
    assert scene.api.body("POST", "/v1/plans") == body | {"name": "network", "kind": "deploy"}
    assert "template.yaml:1:3: W2001 x" in done.err


def test_what_only_looks_or_destroys_leaves_the_plan_as_it_is(coreo: Cli, scene: Scene) -> None:
    scene.runs({"state": "SUCCEEDED"}, action="drift")
    for action in ("drift", "destroy"):
        assert coreo("deploy", action).code == 0
    assert scene.api.sent("PATCH", scene.path) == []
    scene.api.lists("/v1/plans")
    assert "There is no deploy plan 'network' yet." in coreo("deploy", "drift").err


BAD_FILES = {
    "unknown name": ("plan: x\nregoins: [a]\n", "coreo.yaml:2: 'regoins' means nothing here; did you mean regions?"),
    "wrong kind": ("plan: [x]\naccounts: production\n", "coreo.yaml:2: accounts is a list of texts"),
    "missing": ("plan: x\n", "coreo.yaml:1: stack_name is missing"),
    "twice": ("plan: x\naccounts: [a]\nplan: y\n", "coreo.yaml:3: 'plan' is there twice"),
    "no YAML": ("plan: x\n  a: b: c\n", "coreo.yaml:2: not YAML:"),
    "no mapping": ("- plan\n", "coreo.yaml:1: expected names and values"),
    "both": (f"{YAML}template_url: https://x\n", "coreo.yaml:10: give template (a file) or template_url, and not both"),
    "no such file": (YAML.replace("template.yaml", "no.yaml"), "coreo.yaml:5: the file 'no.yaml' cannot be read"),
    "no date": ("accounts: [a]\nplan: 2024-99-99\n", "coreo.yaml:2: no value that YAML knows; a text goes into quotes"),
    "odd tag": ("accounts: [a]\nplan: !secret x\n", "coreo.yaml:2: no value that YAML knows"),
    "aliases": (
        "a: &a [x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 8)}]\n" for a, b in pairwise("abcdef")),
        "more than 20,000 values",
    ),
    "deep": ("plan: " + "[" * 30 + "]" * 30, "coreo.yaml:1: nested too deeply"),
}


@pytest.mark.parametrize("case", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_not_right_is_told_by_line(coreo: Cli, scene: Scene, case: tuple[str, str]) -> None:
    text, words = case
    (scene.directory / "coreo.yaml").write_text(text)
    done = coreo("deploy", "preview")
    assert done.code == 1
    assert words in done.err
    assert scene.api.requests == []


def test_a_huge_file_is_not_read() -> None:
    with pytest.raises(YamlError, match="longer than"):
        read("a: " + "x" * 70_000)


def test_what_the_api_refuses_is_told_by_file_and_line(coreo: Cli, scene: Scene) -> None:
    fields = (
        ("body.spec.template", "line 7, column 18: E3002 'Foo' was unexpected"),
        ("body.spec.parameters.Flag", "not one of its AllowedValues"),
        ("body.spec.parameters.Missing", "missing: it has no default"),
        ("body.spec.regions.0", "no region of this name"),
        ("body.schedule.rate_seconds", "too small"),
    )
    scene.api.on("PATCH", scene.path, problem(422, "invalid", "Not valid.", *fields))
    done = coreo("deploy", "preview")
    assert done.code == 1
    for line in (
        "template.yaml:7:18: E3002 'Foo' was unexpected",
        "coreo.yaml:8: parameters.Flag: not one of its AllowedValues",
        "coreo.yaml:6: parameters.Missing: missing: it has no default",
        "coreo.yaml:4: regions.0: no region of this name",
        "coreo.yaml:9: drift_schedule.rate_seconds: too small",
    ):
        assert line in done.err


def test_a_preview_shows_the_table_of_changes(coreo: Cli, scene: Scene) -> None:
    documents = {"documents": {"preview": 1}}
    run = scene.runs({"state": "RUNNING"}, {"state": "SUCCEEDED", "deploy": documents}, action="preview")
    shown = preview(
        change(),
        change("Modify", "Subnet", replacement="True", details=[DETAIL], policy_action="ReplaceAndDelete"),
        change("Modify", "Tags", replacement="False", scope=["Tags"]),
        change("Remove", "Old", physical_id="vpc-1"),
        gates=[{"resource_type": "AWS::EC2::*", "effect": "replace", "logical_id": "Subnet", "type": "AWS::EC2::Subnet",
                "allowed": False}],
        findings=[{"rule_id": "ec2-open", "status": "FAIL", "severity": "high", "logical_id": "Group", "type": "x",
                   "message": "is open", "reason": None}],
        findings_passed=3,
        notes=["A nested stack could not be looked into."],
    )  # fmt: skip
    scene.document(run, "preview", shown)
    done = coreo("deploy", "preview", "--watch")
    assert done.code == 0
    assert "changes the stack (1 to add, 1 to change, 1 to replace, 1 to remove)" in done.out
    rows = {line.split("  ")[0]: line for line in done.out.splitlines()}
    assert "yes" in rows["Modify (ReplaceAndDelete)"]
    assert "Properties.CidrBlock: 10.0.0.0/16 -> 10.1.0.0/16" in rows["Modify (ReplaceAndDelete)"]
    assert "Old (vpc-1)" in rows["Remove"]
    assert "Subnet (AWS::EC2::Subnet) would be replaced: REFUSED; let it pass once: --allow Subnet" in done.out
    assert "FAIL" in done.out
    assert "3 checks of rules on the template passed." in done.out
    assert "Note: A nested stack" in done.out
    as_json = coreo("deploy", "preview", "--watch", "-o", "json").json
    assert as_json["documents"][run["id"]]["hash"] == HASH


def test_on_a_terminal_an_apply_asks_and_goes_on(coreo: Cli, scene: Scene) -> None:
    waiting: dict[str, Any] = WAITING
    run = scene.runs(
        waiting, waiting, {"state": "APPLYING"}, event(1), event(2, "CREATE_FAILED", "Denied."),
        {"state": "SUCCEEDED", "deploy": {"documents": {"outputs": 1}}, "units_total": 2, "units_done": 2},
    )  # fmt: skip
    scene.document(run, "preview", preview(change()))
    outputs = {"outputs": [{"key": "Id", "value": "vpc-1", "export_name": None, "description": None}]}
    scene.document(run, "outputs", outputs)
    approve = f"/v1/runs/{run['id']}/approve"
    scene.api.on("POST", approve, {"run_id": run["id"], "state": "QUEUED", "reason": None})
    done = coreo.on_terminal("deploy", "apply", "--watch", keys="y\n", columns=120)
    assert done.code == 0
    (sent,) = scene.api.sent("POST", approve)
    assert sent.headers["if-match"] == f'"{HASH}"'
    assert "vpc-1" in done.out
    assert "CREATE_FAILED" in done.err  # above the bar
    assert "Vpc1" in done.err


@pytest.mark.parametrize(("keys", "arguments"), [("n\n", ()), ("", ("-o", "json"))])
def test_without_a_yes_nothing_is_approved_and_the_exit_code_says_that_it_waits(
    coreo: Cli, scene: Scene, keys: str, arguments: tuple[str, ...]
) -> None:
    run = scene.runs(WAITING)
    scene.document(run, "preview", preview(change()))
    done = coreo.on_terminal("deploy", "apply", "--watch", *arguments, keys=keys)
    assert done.code == 8
    assert scene.api.sent("POST", f"/v1/runs/{run['id']}/approve") == []
    if not arguments:
        assert f"coreo deploy approve {run['id']}" in done.err


def test_with_yes_a_pipe_approves_what_it_writes(coreo: Cli, scene: Scene) -> None:
    run = scene.runs(
        WAITING, WAITING, {"state": "ROLLED_BACK", "reason": "Vpc failed.", "deploy": {"documents": {"failure": 1}}}
    )
    scene.document(run, "preview", preview(change()))
    failure = {"code": "resource_failed", "message": "Vpc could not be made.", "denied_action": "ec2:CreateVpc",
               "first": event(1, "CREATE_FAILED", "Limit"), "others": [event(2, "CREATE_FAILED", "Canceled")],
               "advice": ["Ask AWS."]}  # fmt: skip
    scene.document(run, "failure", failure)
    scene.api.on("POST", f"/v1/runs/{run['id']}/approve", {"run_id": run["id"], "state": "QUEUED", "reason": None})
    done = coreo("deploy", "apply", "--watch", "--yes")
    assert done.code == 4
    assert len(scene.api.sent("POST", f"/v1/runs/{run['id']}/approve")) == 1
    lines = done.out.splitlines()
    assert any(line.startswith("ROLLED_BACK  production eu-west-1") for line in lines)
    assert "  First: Vpc1 (AWS::EC2::VPC) CREATE_FAILED: Limit" in lines
    assert "  Missing permission: ec2:CreateVpc" in lines
    assert coreo("deploy", "apply", "--yes").code == 2  # there is no preview yet that it could mean


def test_a_second_approver_is_waited_for(coreo: Cli, scene: Scene) -> None:
    run = scene.runs(WAITING)
    scene.document(run, "preview", preview(change()))
    path = f"/v1/runs/{run['id']}/approve"
    scene.api.on("POST", path, {"run_id": run["id"], "state": "AWAITING_APPROVAL", "reason": None})
    done = coreo("deploy", "apply", "--watch", "--yes")
    assert done.code == 8
    assert "Somebody else has to approve it too." in done.err
    assert len(scene.api.sent("POST", path)) == 1


def test_approving_is_of_what_was_seen(coreo: Cli, scene: Scene) -> None:
    run = scene.runs(WAITING)
    scene.document(run, "preview", preview(change()))
    path = f"/v1/runs/{run['id']}/approve"
    scene.api.on("POST", path, {"run_id": run["id"], "state": "QUEUED", "reason": None})
    scene.api.on("GET", f"/v1/runs/{run['id']}", run)
    assert coreo("deploy", "approve", run["id"]).code == 2  # a pipe, and nobody to ask
    done = coreo.on_terminal("deploy", "approve", run["id"], "--output", "json", keys="y\n")
    assert (done.code, done.out) == (2, "")  # a program reads it
    assert coreo("deploy", "approve", run["id"], "--hash", "0" * 64).code == 1
    assert scene.api.sent("POST", path) == []
    done = coreo("deploy", "approve", run["id"], "--hash", HASH)
    assert (done.code, "Approved" in done.out, "Vpc" in done.out) == (0, True, True)
    done = coreo.on_terminal("deploy", "approve", run["id"], keys="n\n")
    assert (done.code, "Nothing was changed." in done.err) == (1, True)
    scene.api.on("POST", path, problem(412, "hash_differs", "x"))
    assert "coreo deploy changes" in coreo("deploy", "approve", run["id"], "--yes").err
    scene.api.on("POST", path, problem(403, "scope_missing", "This token has not the scope approve."))
    assert "scope approve" in coreo("deploy", "approve", run["id"], "--yes").err


def test_who_approves_watches_on_while_the_api_has_not_heard_of_it(coreo: Cli, scene: Scene) -> None:
    run = scene.runs(WAITING, WAITING, {"state": "SUCCEEDED", "deploy": {"documents": {}}})
    scene.document(run, "preview", preview(change()))
    scene.api.on("GET", f"/v1/runs/{run['id']}", merged(run, WAITING))
    scene.api.on("POST", f"/v1/runs/{run['id']}/approve", {"run_id": run["id"], "state": "QUEUED", "reason": None})
    assert coreo("deploy", "approve", run["id"], "--yes", "--watch").code == 0


def test_rejecting_settling_and_reconciling(coreo: Cli, scene: Scene) -> None:
    run = scene.runs(WAITING)
    scene.api.on("GET", f"/v1/runs/{run['id']}", run)
    for word, arguments, body in (
        ("reject", ("--reason", "No."), {"reason": "No."}),
        ("settle", ("--outcome", "rolled_back", "--reason", "Seen."), {"outcome": "ROLLED_BACK", "reason": "Seen."}),
        ("reconcile", (), None),
    ):
        path = f"/v1/runs/{run['id']}/{word}"
        scene.api.on("POST", path, {"run_id": run["id"], "state": "CANCELED", "reason": None})
        assert coreo("deploy", word, run["id"], *arguments).code == 0
        (sent,) = scene.api.sent("POST", path)
        assert (json.loads(sent.content) if sent.content else None) == body


def test_an_unknown_outcome_has_an_exit_code_and_a_page(coreo: Cli, scene: Scene) -> None:
    run = scene.runs({"state": "OUTCOME_UNKNOWN", "reason": "No trace."})
    scene.api.on("GET", f"/v1/runs/{run['id']}", run)
    done = coreo("deploy", "apply", "--watch")
    assert done.code == 9
    assert f"coreo deploy outcome {run['id']}" in done.err
    page = {"run_id": run["id"], "state": "OUTCOME_UNKNOWN", "reason": "No trace.", "action": "apply",
            "stack_name": "network", "account_id": "210987654321", "region": "eu-west-1", "stack_arn": None,
            "change_set_arn": None, "token": run["id"], "console_url": "https://console", "advice": ["Look."],
            "checks": [{"question": "Did it begin?", "command": "aws cloudformation describe-stack-events"}],
            "verdicts": [
                {"seen": "It did.", "do": f'POST /v1/runs/{run["id"]}/settle {{"outcome": "SUCCEEDED"}}'},
                {"seen": "It is busy.", "do": f"POST /v1/runs/{run['id']}/reconcile: a worker looks again"},
            ]}  # fmt: skip
    scene.document(run, "outcome", page)
    out = coreo("deploy", "outcome", run["id"]).out
    assert "   aws cloudformation describe-stack-events" in out
    assert f"coreo deploy settle {run['id']} --outcome SUCCEEDED --reason TEXT" in out
    assert f"coreo deploy reconcile {run['id']}: a worker looks again" in out


def test_drift_is_told_by_resource(coreo: Cli, scene: Scene) -> None:
    ended = {"state": "SUCCEEDED", "counts": {"by_status": {"FAIL": 1, "PASS": 1}, "failed_by_severity": {"medium": 1}},
             "deploy": {"documents": {"drift": 1}}}  # fmt: skip
    run = scene.runs(ended, action="drift")
    resource: dict[str, Any] = {"logical_id": "Vpc", "physical_id": None, "type": "AWS::EC2::VPC", "status": "IN_SYNC"}
    resource |= {"reason": None, "differences": []}
    difference = {"path": "/Tags/0", "type": "NOT_EQUAL", "expected": "a", "actual": "b"}
    drifted = resource | {"logical_id": "Group", "status": "MODIFIED", "differences": [difference]}
    scene.document(run, "drift", {"stack_arn": "arn", "status": "DRIFTED", "resources": [resource, drifted]})
    done = coreo("deploy", "drift", "--watch")
    assert done.code == 0
    assert "/Tags/0: a -> b" in done.out
    assert "1 of 2 resources are in sync." in done.err
    assert coreo("deploy", "drift", "--watch", "--fail-on-drift").code == 5
    assert coreo("deploy", "drift", "--fail-on-drift").code == 2
    scene.document(run, "drift", {"stack_arn": "arn", "status": "IN_SYNC", "resources": [resource]})
    assert "1 of 1 resource is in sync." in coreo("deploy", "drift", "--watch").err


def test_the_queue_is_shown_and_changed(coreo: Cli, scene: Scene) -> None:
    runs = [a_deploy("QUEUED", target_id="t") for _ in range(3)]
    queue = {
        "target": {"id": "t", "stack_name": "network", "account_id": "210987654321", "region": "eu-west-1"},
        "runs": [
            {"run_id": run["id"], "plan_id": scene.plan["id"], "action": "apply", "state": "QUEUED",
             "movable": number > 0, "waits_for": "Its turn." if number else None, "created_at": run["created_at"]}
            for number, run in enumerate(runs)
        ],
    }  # fmt: skip
    scene.api.lists("/v1/deploy-targets", queue["target"])  # type: ignore[arg-type]  # it is one
    scene.api.on("GET", "/v1/deploy-targets/t/queue", queue)
    scene.api.on("POST", "/v1/deploy-targets/t/queue/reorder", queue)
    out = coreo("deploy", "queue").out
    assert [line.split()[1] for line in out.splitlines()[2:]] == [run["id"] for run in runs]
    assert "Its turn." in out
    scene.api.on("GET", f"/v1/runs/{runs[2]['id']}", runs[2])
    assert coreo("deploy", "queue", "--first", runs[2]["id"]).code == 0
    body = scene.api.body("POST", "/v1/deploy-targets/t/queue/reorder")
    assert body == {"run_ids": [runs[2]["id"], runs[1]["id"]]}
    scene.api.on("GET", f"/v1/runs/{runs[0]['id']}", runs[0])
    assert "does not wait for its turn any more" in coreo("deploy", "queue", "--first", runs[0]["id"]).err
    scene.api.lists("/v1/deploy-targets")
    assert "nobody waits" in coreo("deploy", "queue").err
    unknown = coreo("deploy", "queue", "none")
    assert (unknown.code, "No run was ever about a stack 'none'." in unknown.err) == (1, True)


def test_status_events_and_outputs(coreo: Cli, scene: Scene) -> None:
    one = a_deploy("FAILED", plan_id=scene.plan["id"], cloud_account_id=scene.account["id"], target_id="a")
    two = a_deploy(
        plan_id=scene.plan["id"], cloud_account_id=scene.account["id"], target_id="b", documents={"outputs": 1},
        region="us-east-1",
    )  # fmt: skip
    older = two | {"id": str(new_id()), "state": "FAILED"}
    scene.api.lists("/v1/runs", one, two, older)
    out = coreo("deploy", "status").out
    assert [line.split()[0] for line in out.splitlines()[1:]] == [one["id"], two["id"]]
    outputs = {"outputs": [{"key": "Id", "value": "vpc-1", "export_name": "x", "description": None}]}
    scene.document(two, "outputs", outputs)
    assert "vpc-1" in coreo("deploy", "outputs").out
    assert coreo("deploy", "outputs", "-o", "json").json[0]["run_id"] == two["id"]
    scene.api.on("GET", f"/v1/runs/{one['id']}", one)
    told = {"events": [event(1), event(2, "CREATE_FAILED", "Limit")], "next": 2, "total": 2}
    scene.document(one, "stack-events", told)
    assert len(coreo("deploy", "events", one["id"]).out.splitlines()) == 3
    assert [each["event_id"] for each in coreo("deploy", "events", one["id"], "--failed", "-o", "json").json] == ["2"]
    scene.document(one, "preview", preview(change()))
    assert HASH in coreo("deploy", "changes", one["id"]).err


def test_stack_events_are_asked_for_where_streams_do_not_get_through(coreo: Cli, scene: Scene) -> None:
    run = scene.runs({"state": "SUCCEEDED", "deploy": {"documents": {"events": 2}}})
    scene.api.on("GET", f"/v1/runs/{run['id']}/events", problem(404, "not_found", "x"))
    scene.document(run, "stack-events", {"events": [event(1), event(2)], "next": 2, "total": 2})
    done = coreo("deploy", "apply", "--watch")
    assert done.code == 0
    assert [line.split()[1] for line in done.err.splitlines() if line.startswith("CREATE_")] == ["Vpc1", "Vpc2"]


def test_init_starts_a_directory_and_overwrites_nothing(coreo: Cli, scripted_api: ScriptedApi, tmp_path: Path) -> None:
    directory = tmp_path / "new"
    where = ("--stack", "web", "--region", "eu-west-1", "--account", "a: b #c")
    done = coreo("deploy", "init", str(directory), *where)
    assert done.code == 0, done.err
    document = read((directory / "coreo.yaml").read_text()).data
    assert document["accounts"] == ["a: b #c"]
    assert (directory / "template.yaml").exists()
    again = coreo("deploy", "init", str(directory), *where)
    assert again.code == 1
    assert "nothing was overwritten" in again.err
    account = an_account(name="a: b #c")
    scripted_api.lists("/v1/cloud-accounts", account)
    scripted_api.on("POST", "/v1/plans/check", {"template": {"findings": [], "misfits": []}})
    assert coreo("deploy", "check", str(directory)).code == 0
    sent = scripted_api.body("POST", "/v1/plans/check")
    assert (sent["name"], sent["kind"], sent["cloud_account_ids"]) == ("web", "deploy", [account["id"]])
    assert set(sent["spec"]) >= {"stack_name", "regions", "template", "permissions", "gates"}
    wrong = {"findings": [{"level": "error", "rule": "E1", "line": 2, "column": 3, "message": "bad"}],
             "misfits": [{"field": "capabilities", "message": "the template needs CAPABILITY_IAM"}]}  # fmt: skip
    scripted_api.on("POST", "/v1/plans/check", {"template": wrong})
    done = coreo("deploy", "check", str(directory))
    assert done.code == 5
    assert "template.yaml:2:3: error: E1 bad" in done.out
    scripted_api.lists("/v1/cloud-accounts")
    done = coreo("deploy", "check", str(directory))
    assert (done.code, "There is no cloud account 'a: b #c'" in done.err) == (1, True)


def test_a_plan_by_its_name_needs_no_directory(
    coreo: Cli, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    scene.runs({"state": "SUCCEEDED"})
    assert coreo("deploy", "apply", "network", "--region", "eu-west-1", "--allow", "Vpc").code == 0
    assert scene.api.body("POST", f"{scene.path}/runs") == {
        "action": "apply",
        "regions": ["eu-west-1"],
        "allow": ["Vpc"],
    }
    assert scene.api.sent("PATCH", scene.path) == []
    done = coreo("deploy", "apply")
    assert "There is no coreo.yaml" in done.err
    scene.api.lists("/v1/plans", a_plan(name="nightly"))
    assert "is an audit plan" in coreo("deploy", "apply", "nightly").err


def test_an_audit_run_is_not_for_these_commands(coreo: Cli, scene: Scene) -> None:
    run = a_deploy() | {"deploy": None}
    scene.api.on("GET", f"/v1/runs/{run['id']}", run)
    for words in (("approve", run["id"], "--yes"), ("status", run["id"]), ("outcome", run["id"])):
        assert "audit plan" in coreo("deploy", *words).err

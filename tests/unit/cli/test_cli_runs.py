"""`coreo run …`: starting, watching, exit codes, Ctrl-C, listing, canceling."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from coreo_cli import watch
from coreo_cli.outcome import exit_code
from coreo_shared.contracts.terms import Severity
from tests.support.cli import Cli, ScriptedApi, a_plan, a_run, an_account, problem, sse

FAILED_HIGH = {"by_status": {"FAIL": 3, "PASS": 7}, "failed_by_severity": {"high": 1, "low": 2}}


class Scene:
    """A plan on two cloud accounts; starting it gives a run on each."""

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.accounts = [an_account(), an_account(name="staging", account_id="310987654321")]
        self.plan = a_plan(cloud_account_ids=[account["id"] for account in self.accounts])
        self.runs = [
            a_run("QUEUED", plan_id=self.plan["id"], cloud_account_id=account["id"], group_id="g")
            for account in self.accounts
        ]
        api.lists("/v1/plans", self.plan)
        api.lists("/v1/cloud-accounts", *self.accounts)
        self.start_path = f"/v1/plans/{self.plan['id']}/runs"
        api.on("POST", self.start_path, {"group_id": "g", "runs": self.runs})

    def ends(self, *states: str, **fields: Any) -> list[dict[str, Any]]:
        """Scripts the runs' streams to these final states."""
        ended = [
            a_run(state, **{key: run[key] for key in ("id", "plan_id", "cloud_account_id", "group_id")}) | fields
            for run, state in zip(self.runs, states, strict=True)
        ]
        for run, over in zip(self.runs, ended, strict=True):
            at_work = run | {"state": "RUNNING", "units_done": 10, "units_total": 40}
            self.api.on("GET", f"/v1/runs/{run['id']}/events", sse((1, run), (2, at_work), (3, over)))
        return ended


@pytest.fixture
def scene(scripted_api: ScriptedApi) -> Scene:
    return Scene(scripted_api)


def test_a_start_says_which_runs_and_how_to_watch_them(coreo: Cli, scene: Scene) -> None:
    done = coreo("run", "start", "nightly")
    assert done.code == 0
    assert done.out.splitlines() == ["Started 'nightly': 2 runs.", *(f"  {run['id']}  QUEUED" for run in scene.runs)]
    assert f"coreo run watch {scene.runs[0]['id']} --group" in done.err
    assert coreo("run", "start", "nightly", "-o", "json").json == {"group_id": "g", "runs": scene.runs}


def test_each_start_has_an_idempotency_key_of_its_own_or_the_given_one(coreo: Cli, scene: Scene) -> None:
    coreo("run", "start", "nightly")
    coreo("run", "start", "nightly")
    coreo("run", "start", "nightly", "--idempotency-key", "mine")
    keys = [request.headers["idempotency-key"] for request in scene.api.sent("POST", scene.start_path)]
    assert len(set(keys)) == 3
    assert keys[-1] == "mine"


def test_an_unknown_outcome_says_how_to_start_once_only(coreo: Cli, scene: Scene) -> None:
    scene.api.on("POST", scene.start_path, httpx.ReadTimeout("x"))
    done = coreo("run", "start", "nightly")
    (key,) = {request.headers["idempotency-key"] for request in scene.api.sent("POST", scene.start_path)}
    assert done.code == 1
    assert "not known whether the plan was started" in done.err
    assert f"--idempotency-key {key}" in done.err


def test_a_start_may_be_for_some_accounts(coreo: Cli, scene: Scene) -> None:
    coreo("run", "start", "nightly", "--account", "staging")
    assert scene.api.body("POST", scene.start_path) == {"cloud_account_ids": [scene.accounts[1]["id"]]}


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("account_not_connected", "coreo account show"),
        ("plan_disabled", "coreo plan update PLAN --enable"),
        ("no_targets", "coreo plan update PLAN --account"),
        ("plan_outdated", "coreo plan update PLAN --rule-set"),
    ],
)
def test_a_refused_start_names_the_command_that_helps(coreo: Cli, scene: Scene, code: str, command: str) -> None:
    scene.api.on("POST", scene.start_path, problem(409, code, "Do it with PUT /v1/….", title="x"))
    done = coreo("run", "start", "nightly")
    assert done.code == 1
    assert command in done.err


def test_watching_ends_with_state_counts_and_next_command(coreo: Cli, scene: Scene) -> None:
    counts = {"by_status": {"FAIL": 3, "PASS": 7, "NOT_EVALUATED": 2}, "failed_by_severity": {"high": 1, "low": 2}}
    scene.ends("SUCCEEDED", "PARTIAL", counts=counts, reason="Some could not be read.")
    done = coreo("run", "start", "nightly", "--watch")
    words = "1 high, 2 low failed; 7 passed; 2 not evaluated, in 1 min 5 s"
    assert done.out.splitlines() == [
        f"SUCCEEDED  production  {words}",
        "  Some could not be read.",
        f"PARTIAL  staging  {words}",
        "  Some could not be read.",
    ]
    assert "production  RUNNING  10/40 units" in done.err
    assert f"coreo findings {scene.runs[1]['id'][:13]}" in done.err
    assert "--status NOT_EVALUATED" in done.err


def test_watching_as_json_writes_the_end_alone_to_standard_output(coreo: Cli, scene: Scene) -> None:
    ended = scene.ends("SUCCEEDED", "SUCCEEDED")
    done = coreo("run", "start", "nightly", "--watch", "--output", "json")
    assert done.json == {"group_id": "g", "runs": ended}


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (("SUCCEEDED", "SUCCEEDED"), 0),
        (("SUCCEEDED", "PARTIAL"), 3),
        (("PARTIAL", "FAILED"), 4),
        (("SUCCEEDED", "EXPIRED"), 4),
        (("CANCELED", "SUCCEEDED"), 4),
    ],
)
def test_the_exit_code_is_of_the_worst_run(coreo: Cli, scene: Scene, states: tuple[str, str], code: int) -> None:
    scene.ends(*states)
    assert coreo("run", "start", "nightly", "--watch").code == code


@pytest.mark.parametrize(
    ("state", "fail_on", "code"),
    [
        ("SUCCEEDED", None, 0),
        ("SUCCEEDED", Severity.CRITICAL, 0),
        ("SUCCEEDED", Severity.HIGH, 5),
        ("SUCCEEDED", Severity.MEDIUM, 5),
        ("SUCCEEDED", Severity.INFO, 5),
        ("PARTIAL", Severity.HIGH, 5),
        ("PARTIAL", Severity.CRITICAL, 3),
        ("FAILED", Severity.HIGH, 4),
        ("A_STATE_OF_TOMORROW", None, 4),
    ],
)
def test_fail_on_counts_that_severity_and_worse(state: str, fail_on: Severity | None, code: int) -> None:
    assert exit_code([a_run(state, counts=FAILED_HIGH)], fail_on) == code


def test_fail_on_does_not_count_severities_without_failures() -> None:
    run = a_run(counts={"by_status": {"PASS": 1}, "failed_by_severity": {"critical": 0}})
    assert exit_code([run], Severity.INFO) == 0


def test_fail_on_reaches_the_exit_code(coreo: Cli, scene: Scene) -> None:
    scene.ends("SUCCEEDED", "SUCCEEDED", counts=FAILED_HIGH)
    assert coreo("run", "start", "nightly", "--watch", "--fail-on", "HIGH").code == 5


def test_fail_on_without_watching_is_refused(coreo: Cli, scene: Scene) -> None:
    assert coreo("run", "start", "nightly", "--fail-on", "high").code == 2
    assert scene.api.requests == []


def test_ctrl_c_says_that_the_run_goes_on_and_how_to_watch_or_cancel_it(
    coreo: Cli, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupted(*_: object) -> Iterator[Iterator[watch.Report]]:
        def reports() -> Iterator[watch.Report]:
            yield watch.RunSeen(scene.runs[0] | {"state": "RUNNING"})
            raise KeyboardInterrupt

        yield reports()

    monkeypatch.setattr(watch, "watching", interrupted)
    for done in (coreo("run", "start", "nightly", "--watch"), coreo.on_terminal("run", "start", "nightly", "--watch")):
        assert done.code == 130
        assert "The runs go on." in done.err
        assert f"coreo run watch {scene.runs[0]['id']} --group" in done.err
        assert f"coreo run cancel {scene.runs[0]['id']} --group" in done.err
        assert done.out == ""


def test_an_error_while_watching_says_that_the_work_goes_on(coreo: Cli, scene: Scene) -> None:
    for run in scene.runs:
        for path in (f"/v1/runs/{run['id']}", f"/v1/runs/{run['id']}/events"):
            scene.api.on("GET", path, problem(401, "unauthenticated", "No."))
    done = coreo("run", "start", "nightly", "--watch")
    assert done.code == 1
    assert f"the work goes on: coreo run watch {scene.runs[0]['id']} --group" in done.err
    assert "coreo login" in done.err


def test_the_latest_run_is_watched_when_none_is_named(coreo: Cli, scene: Scene) -> None:
    ended = scene.ends("SUCCEEDED", "FAILED")
    scene.api.lists("/v1/runs", scene.runs[0])
    done = coreo("run", "watch", "-o", "json")
    assert (done.code, done.json) == (0, ended[0])


def test_a_group_is_watched_by_one_of_its_runs(coreo: Cli, scene: Scene) -> None:
    scene.ends("SUCCEEDED", "FAILED")
    scene.api.lists("/v1/runs", *scene.runs)
    done = coreo("run", "watch", "--group")
    assert done.code == 4
    assert len(done.out.splitlines()) == 2
    assert scene.api.sent("GET", "/v1/runs")[-1].url.params["group_id"] == "g"


def test_watching_a_run_that_is_over_tells_how_it_ended(coreo: Cli, scene: Scene) -> None:
    scene.api.lists("/v1/runs", a_run("FAILED", reason="The role cannot be assumed."))
    done = coreo("run", "watch")
    assert done.code == 4
    assert "The role cannot be assumed." in done.out
    assert "coreo run show" in done.err


def test_a_run_is_shown(coreo: Cli, scene: Scene) -> None:
    run = a_run("RUNNING", plan_id=scene.plan["id"], attempt=2, units_done=3, cancel_requested=True)
    scene.api.on("GET", f"/v1/runs/{run['id']}", run)
    done = coreo("run", "show", run["id"])
    for words in ("RUNNING", "nightly, revision 1", "3 of ?", "asked for"):
        assert words in done.out
    assert f"coreo run watch {run['id']}" in done.err
    assert coreo("run", "show", run["id"], "-o", "json").json == run


def test_runs_are_listed_with_names_instead_of_ids(coreo: Cli, scene: Scene) -> None:
    scene.api.lists("/v1/runs", scene.runs[0] | {"counts": FAILED_HIGH}, a_run())
    header, first, second = coreo("run", "list").out.splitlines()
    assert header.split()[:5] == ["RUN", "PLAN", "ACCOUNT", "STATE", "STARTED"]
    assert "nightly" in first
    assert "1 high, 2 low" in first
    assert second.count("(removed)") == 2


def test_listing_takes_filters(coreo: Cli, scene: Scene) -> None:
    scene.api.lists("/v1/runs", a_run())
    done = coreo(
        *("run", "list", "--plan", "nightly", "--account", "staging", "--state", "failed", "--active"),
        *("--limit", "1", "-o", "json"),
    )
    assert len(done.json) == 1
    parameters = scene.api.sent("GET", "/v1/runs")[0].url.params
    active = ["QUEUED", "CLAIMED", "RUNNING", "AWAITING_APPROVAL", "APPLYING", "OUTCOME_UNKNOWN"]
    assert parameters.get_list("state") == ["FAILED", *active]
    assert (parameters["plan_id"], parameters["cloud_account_id"]) == (scene.plan["id"], scene.accounts[1]["id"])
    assert parameters["limit"] == "1"
    assert "--all" in done.err


def test_no_runs_say_how_to_start_one(coreo: Cli, scene: Scene) -> None:
    scene.api.lists("/v1/runs")
    assert "coreo run start" in coreo("run", "list").err


def test_a_run_is_canceled(coreo: Cli, scene: Scene) -> None:
    run = scene.runs[0]
    scene.api.on("GET", f"/v1/runs/{run['id']}", run)
    path = f"/v1/runs/{run['id']}/cancel"
    scene.api.on(
        "POST", path, run | {"state": "RUNNING"}, run | {"state": "CANCELED"}, problem(409, "run_over", "Over.")
    )
    assert coreo("run", "cancel", run["id"]).out == f"Canceling {run['id']}: RUNNING, ending.\n"
    assert coreo("run", "cancel", run["id"], "-o", "json").json["state"] == "CANCELED"
    refused = coreo("run", "cancel", run["id"])
    assert refused.code == 1
    assert "coreo run show" in refused.err


def test_a_group_is_canceled_but_for_what_is_over(coreo: Cli, scene: Scene) -> None:
    at_work, over = scene.runs[0], a_run("SUCCEEDED", group_id="g")
    scene.api.lists("/v1/runs", at_work, over)
    scene.api.on("POST", f"/v1/runs/{at_work['id']}/cancel", at_work)
    assert len(coreo("run", "cancel", "latest", "--group").out.splitlines()) == 1
    scene.api.lists("/v1/runs", over)
    assert "have ended already" in coreo("run", "cancel", "latest", "--group").err

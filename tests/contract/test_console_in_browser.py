"""The console in a browser, with the api and the results service as they are; the test plays the deploy workers.

Names are hostile throughout: what customers' accounts say is text, whatever it looks like.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from coreo_api.console import serving
from coreo_shared.contracts.deploys import Change, ChangeDetail, Failure, Output, Outputs, StackEvent
from coreo_shared.contracts.results import FinishRun, PutChunk
from coreo_shared.contracts.terms import FindingStatus, Severity
from tests.contract.test_api_and_results_deploys import STACK, World
from tests.support.api import Api, ApiFactory, ok, until
from tests.support.browser import browser
from tests.support.console import served
from tests.support.deploy_runs import DeployClient, make_events, make_preview
from tests.support.devtools import Page, opened_page, started_browser
from tests.support.results import ResultsService, RunClient, make_finding

pytestmark = pytest.mark.skipif(browser() is None, reason="there is no Chromium here: install one to run this")
HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
TURNED = "bucket\u202egnp.exe"


class Visit:
    """Somebody at the console, signed in with the team's first token."""

    def __init__(self, page: Page, world: World) -> None:
        self.page, self.world = page, world

    async def go(self, place: str, condition: str) -> None:
        """To a place, until the page has what is waited for."""
        await self.page.run(f"location.hash = {json.dumps(place)}")
        await self.page.until(condition)

    async def sees(self, *texts: str) -> None:
        """Waits until the page shows each of these."""
        for text in texts:
            await self.page.until(f"document.body.innerText.includes({json.dumps(text)})")

    async def check(self, *, refusals: int = 0) -> None:
        """Nothing acted but the console's own scripts, and nothing was refused but so many answers of the api."""
        assert self.page.said == []
        assert not [line for line in self.page.failed if not line.startswith("network: ")], self.page.failed
        assert len(self.page.failed) == refusals, self.page.failed
        assert await self.page.run("document.querySelectorAll('main img, main script, main iframe').length") == 0
        assert await self.page.run("document.title") != "hacked"
        fields = "[...document.querySelectorAll('input, select, textarea')]"
        assert await self.page.run(f"{fields}.filter((each) => each.labels.length === 0).length") == 0
        ids = "[...document.querySelectorAll('[id]')].map((each) => each.id)"
        assert await self.page.run(f"{ids}.length === new Set({ids}).size")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started_browser(tmp_path_factory.mktemp("profile")) as address:
        yield address


@asynccontextmanager
async def visiting(api: Api, service: ResultsService, chromium: str) -> AsyncIterator[Visit]:
    """A team's first token at the console of a running api."""
    async with served(api.app) as url, opened_page(chromium) as page:
        world = await World.make(api, service)
        await page.open(f"{url}/console/")
        await page.write("#token", world.team.token)
        await page.key("Enter")
        await page.until("document.querySelector('nav') !== null")
        yield Visit(page, world)


@pytest.fixture
async def visit(api: Api, service: ResultsService, chromium: str) -> AsyncIterator[Visit]:
    async with api.running(), visiting(api, service, chromium) as visit:
        yield visit


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    """The console's files alone, with no api behind them."""
    app = FastAPI()
    serving.add_console(app)
    async with served(app) as url, opened_page(chromium) as page:
        await page.open(f"{url}/console/")
        await page.until("document.getElementById('token') !== null")
        yield page


def hostile_preview(**changes: Any) -> Any:
    detail = ChangeDetail(attribute="Properties", name="Policy", path=HOSTILE, recreation="Always", before=HOSTILE)
    known = [
        Change(action="Add", logical_id="Bucket", type="AWS::S3::Bucket", physical_id=TURNED),
        Change(action="Modify", logical_id=HOSTILE, type=HOSTILE, replacement="True", details=[detail]),
    ]
    return make_preview(account_id="210987654321", **{"changes": known} | changes)


async def to_approval(world: World, run: str, preview: Any, job: int = 1) -> DeployClient:
    """The run waiting for people, with this preview."""
    worker = await world.worker(run, job)
    worker.preview = preview
    assert (await worker.put_document(preview)).status_code == 204
    assert (await worker.park(None)).status_code == 200
    return worker


async def test_a_change_is_seen_approved_and_followed_to_its_end(visit: Visit) -> None:
    page, world = visit.page, visit.world
    preview = hostile_preview()
    await visit.go(f"#/plans/{world.plan['id']}", "document.querySelector('main .button') !== null")
    await page.press("Apply", "main")
    await page.press("Apply", "dialog")
    await visit.sees("Apply network", "queued")
    run = (await page.run("location.hash")).removeprefix("#/runs/")
    await to_approval(world, run, preview)
    await visit.sees("waits for approval", "1 to add, 1 to replace", "Nobody has approved it yet", HOSTILE)
    assert "bucket\\u202egnp.exe" in await page.text()  # it is written out, and turns nothing

    await page.press("Approve", "main")
    assert await page.run("document.querySelector('dialog button[type=submit]').disabled")  # the name is not typed yet
    await page.key("Enter")
    await page.write("dialog input", "network")
    await page.key("Enter")
    await visit.sees("first token approved it")
    second = await world.worker(run, 2)
    second.preview = preview
    assert (await second.begin()).status_code == 200
    said = StackEvent(event_id="a", at=preview.made_at, logical_id="Bucket", type="AWS::S3::Bucket",
                      status="CREATE_IN_PROGRESS", reason=HOSTILE)  # fmt: skip
    await second.put_events(0, [said, *make_events(2)], done=1, total=4)
    await visit.sees("1 of 4 resources done", "CREATE_IN_PROGRESS", "applying")
    outputs = Outputs(stack_arn=STACK, stack_status="CREATE_COMPLETE", outputs=[Output(key="Id", value=HOSTILE)])
    await second.put_events(1, make_events(2, 2), done=4, total=4)
    await second.put_document(outputs)
    await world.finish(run, second, reason=None)
    await visit.sees("4 of 4 resources done", "All 5 stack events", "Outputs", "succeeded")
    await page.until("document.getElementById('live').textContent === 'Apply network: succeeded, 4 of 4 done.'")
    await visit.check()


async def test_another_preview_than_was_shown_is_not_approved_but_shown(visit: Visit) -> None:
    page, world = visit.page, visit.world
    world.plan = await World.plan_of(world.team, world.plan["cloud_account_ids"][0], stack_name="shop")
    run = await world.start("apply")
    before, after = make_preview(stack_name="shop"), hostile_preview(stack_name="shop")
    await to_approval(world, run, before)
    await visit.go(f"#/runs/{run}", "document.querySelector('#approve') !== null")
    await page.press("Approve", "main")
    ok(await world.approve(run, before.hash), 202)  # somebody else is quicker, and the stack has changed by then
    await to_approval(world, run, after, job=2)
    await page.press("Approve", "dialog")
    await visit.sees("This is another preview than before", after.hash[:12])
    await page.until("document.querySelector('dialog') === null")
    assert (await world.get(f"runs/{run}"))["deploy"]["approval"]["approved_by"] == []
    await page.press("Approve", "main")
    await page.write("dialog input", "shop")
    await page.press("Approve", "dialog")
    await page.until("document.querySelector('#approve') === null")
    assert (await world.worker(run, 3)).fence == 3  # now it goes on
    await visit.check(refusals=1)  # the 412


async def test_the_queue_is_reordered_and_an_unknown_outcome_is_settled(visit: Visit) -> None:
    page, world = visit.page, visit.world
    run = await world.start("apply")
    worker = await world.to_applying(run)
    one, two, three = [await world.start(action) for action in ("drift", "apply", "destroy")]
    target = (await world.get(f"runs/{run}"))["deploy"]["target_id"]
    await visit.go(f"#/stacks/{target}", f"document.querySelector('[data-run=\"{three}\"]') !== null")
    await page.run(f"document.querySelector('[data-run=\"{three}\"]').click()")
    await page.press("Let it go first", "dialog")
    await page.until(f"document.querySelector('[data-run=\"{three}\"]') === null")
    assert [each[0] for each in await world.queue(run)] == [run, three, one, two]

    lost = Failure(code="outcome_unknown", message="No answer.", stack_arn=STACK, advice=[HOSTILE])
    assert (await worker.put_document(lost)).status_code == 204
    await visit.go(f"#/runs/{run}", "document.querySelector('.steps') !== null")
    await world.finish(run, worker, "unknown", reason="AWS did not answer.")
    await visit.sees("Nobody can say what became of this", "The stack is locked", f"ClientRequestToken=='\"'\"'{run}")
    assert await page.run("document.querySelectorAll('.command button').length") >= 3
    await page.press("Settle as ROLLED_BACK", "main")
    await page.write("dialog textarea", "I looked: the stack is as it was.")
    await page.write("dialog input", "network")
    await page.press("Settle", "dialog")
    await visit.sees("rolled back", "Settled by a person: I looked: the stack is as it was.", "first token settled it")
    assert (await world.get(f"runs/{run}"))["state"] == "ROLLED_BACK"
    await visit.check()


async def test_findings_say_what_was_suppressed_and_what_could_not_be_judged(
    visit: Visit, api: Api, service: ResultsService
) -> None:
    page, world = visit.page, visit.world
    plan = await world.team.add_plan(world.plan["cloud_account_ids"][0], name=HOSTILE[:100])
    (run,) = await world.team.start(plan)
    await until(lambda: api.queue.messages)
    job = api.queue.jobs()[0]
    worker = RunClient(service, job.team_id, job.run_id)
    worker.token = job.run_token
    fence = await worker.claimed()
    unknown = {"status": FindingStatus.NOT_EVALUATED, "reason": HOSTILE, "missing_actions": ["s3:GetBucketPolicy"]}
    found = [
        make_finding(1, severity=Severity.CRITICAL, resource_id=HOSTILE, message=HOSTILE),
        make_finding(2),
        make_finding(3, **unknown),
        make_finding(4, status=FindingStatus.PASS, severity=Severity.LOW),
    ]
    await worker.stored(PutChunk(fence=fence, unit="aws.s3.bucket@global", index=0, final=True, findings=found))
    ok(await world.team.http.post("/v1/suppressions", json={"resource": "bucket-2", "reason": "a web site"}), 201)
    await worker.say("finish", FinishRun(fence=fence, outcome="completed", units_total=1))
    await world.reaches(run["id"], "PARTIAL")
    await visit.go(f"#/runs/{run['id']}", "document.querySelector('main .tags') !== null")
    await page.press("All findings of this run")
    await visit.sees("1 critical", "1 not evaluated", "1 suppressed", "1 pass", "Suppressed: a web site")
    await visit.sees("Missing: s3:GetBucketPolicy.", HOSTILE, "4 findings")
    await page.run(
        "(() => { const status = document.getElementById('status'); status.focus(); status.value = 'NOT_EVALUATED';"
        "status.dispatchEvent(new Event('change')); })()"
    )
    await visit.sees("1 finding")
    await page.until("document.querySelectorAll('tbody tr').length === 1")
    assert "status=NOT_EVALUATED" in await page.run("location.hash")
    await page.until("document.activeElement.id === 'status'")  # whoever chooses stays where they were
    await page.press("1 critical")
    await page.until("document.querySelectorAll('tbody tr').length === 1")
    await visit.sees("critical", HOSTILE)
    await visit.check()


async def test_a_bad_token_is_refused_and_a_good_one_goes_when_it_is_revoked(visit: Visit) -> None:
    page, world = visit.page, visit.world
    await page.press("Sign out")
    await page.write("#token", f"coreo_{'x' * 43}")
    await page.press("Sign in", "form")
    await visit.sees("Coreo knows no such token")
    made = ok(await world.team.http.post("/v1/tokens", json={"name": "looks", "scopes": ["read"]}), 201)
    await page.run("document.getElementById('token').value = ''")
    await page.write("#token", made["token"])
    await page.run("document.getElementById('keep').click()")
    await page.press("Sign in", "form")
    await visit.sees("as looks", "Waits for somebody")
    assert await page.text(".scopes") == "read"
    await visit.go(f"#/plans/{world.plan['id']}", "document.querySelectorAll('main .button').length >= 4")
    assert await page.run("[...document.querySelectorAll('main .buttons .button')].every((each) => each.disabled)")
    assert await page.run("document.cookie + JSON.stringify({...localStorage})") == "{}"
    await page.run("location.reload()")
    await visit.sees("as looks", "Drift check")  # this tab keeps it
    assert (await world.team.http.delete(f"/v1/tokens/{made['id']}")).status_code == 204
    await visit.go("#/runs", "document.getElementById('token') !== null")
    await visit.sees("This token is no longer valid")
    assert await page.run("sessionStorage.length") == 0


async def test_the_browser_itself_would_stop_what_a_mistake_let_through(page: Page) -> None:
    """And the other tests would hear of it: it is told where they look."""
    markup = "try { document.querySelector('main').innerHTML = '<b>x</b>'; 'made' } catch (error) { error.name }"
    assert await page.run(markup) == "TypeError"
    assert await page.run("try { setTimeout('1'); 'ran' } catch (error) { error.name }") in {"TypeError", "EvalError"}
    assert [line for line in page.failed if "Content Security Policy" in line or "ContentSecurityPolicy" in line]


async def test_without_its_guards_a_name_would_act(
    monkeypatch: pytest.MonkeyPatch, make_api: ApiFactory, service: ResultsService, chromium: str
) -> None:
    """Else the tests above would pass whatever the console does with names."""
    files = dict(serving.load_files())
    safe = "child instanceof Node ? child : document.createTextNode(plain(child))"
    text = files["core/dom.js"].content.decode()
    assert safe in text
    careless = text.replace(
        safe, "child instanceof Node ? child : document.createRange().createContextualFragment(child)"
    )
    files["core/dom.js"] = replace(files["core/dom.js"], content=careless.encode())
    monkeypatch.setattr(serving, "load_files", lambda: files)
    monkeypatch.setattr(serving, "HEADERS", {})
    api = make_api(results_transport=httpx.ASGITransport(service.app))
    async with api.running(), visiting(api, service, chromium) as visit:
        run = await visit.world.start("apply")
        await to_approval(visit.world, run, hostile_preview())
        await visit.go(f"#/runs/{run}", "document.title === 'hacked'")


async def test_a_broken_stream_goes_on_where_it_broke(page: Page) -> None:
    script = """(async () => {
      const { follow } = await import(new URL("core/events.js", location.href));
      const encoder = new TextEncoder();
      const stream = (pieces, ending) => new Response(new ReadableStream({ start(controller) {
        for (const piece of pieces) controller.enqueue(encoder.encode(piece));
        ending === "breaks" ? setTimeout(() => controller.error(new TypeError("broken")), 20) : controller.close();
      } }));
      const answers = [
        stream(["id: 1.1\\nevent: stack\\nda", 'ta: {"n": 1}\\n', '\\nid: 2.1\\nevent: run\\n',
          'data: {"n": 2}\\n\\nid: 9\\nda'],
          "breaks"),
        stream([": keep-alive\\r\\n\\r\\nid: 3.1\\r", '\\nevent: run\\r\\ndata: {"n":\\r\\ndata: 3}\\r\\n\\r\\n'],
          "ends"),
        new Response(null, { status: 204 }),
      ];
      const asked = [], heard = [], troubles = [];
      const api = { stream: async (path, last) => { asked.push(last); return answers.shift(); } };
      await follow(api, "x", { signal: new AbortController().signal, hear: (name, value) => heard.push([name, value.n]),
        trouble: (problem) => troubles.push(problem === null ? null : problem.message) });
      return { asked, heard, troubles };
    })()"""
    told = await page.run(script)
    assert told["asked"] == [None, "2.1", "3.1"]
    assert told["heard"] == [["stack", 1], ["run", 2], ["run", 3]]
    assert told["troubles"] == [None, "The connection broke.", None]


async def test_words_and_steps_say_what_is_so(page: Page) -> None:
    script = """(async () => {
      const at = (path) => import(new URL(path, location.href));
      const { ago, countsOf, duration, isDestructive, plain } = await at("core/text.js");
      const { stepOf } = await at("parts/steps.js");
      const change = (action, replacement = null) => ({ action, replacement });
      const gone = (operation, ...changes) => isDestructive({ operation, changes });
      const step = (state, more = {}, over = null) => stepOf({ state, attempt: 1, ended_at: over,
        deploy: { action: "apply", documents: {}, approved_by: [], ...more } });
      const seen = { documents: { preview: 1 } };
      return {
        durations: [0, 59, 61, 3_600, 90_061, -5].map(duration),
        ages: [ago("never"), ago(new Date(Date.now() - 7_300_000).toISOString())],
        plain: plain("a\\u202eb\\u0007\\tc\\u200b"),
        hidden: plain("pro\\u00add\\u3164\\u{e0041}\\ufe00\\u180e Zürich 生产"),
        counts: countsOf([change("Add"), change("Modify", "Conditional"), change("Modify", "False"), change("Retain")]),
        none: countsOf([]),
        gone: [gone("update", change("Add")), gone("update", change("Modify", "True")),
          gone("update", change("Remove")), gone("update", change("Dynamic")), gone("delete", change("Retain"))],
        steps: [step("QUEUED"), step("RUNNING"), step("AWAITING_APPROVAL", seen),
          step("QUEUED", { ...seen, approved_by: ["x"] }), step("APPLYING", seen), step("OUTCOME_UNKNOWN", seen),
          step("CANCELED", seen, "x"), step("SUCCEEDED", seen, "x")],
      };
    })()"""
    told = await page.run(script)
    assert told == {
        "durations": ["0 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h", "0 s"],
        "ages": ["never", "2 h ago"],
        "plain": "a\\u202eb\\u0007\tc\\u200b",
        "hidden": "pro\\u00add\\u3164\\ue0041\\ufe00\\u180e Zürich 生产",
        "counts": "1 to add, 1 to change, 1 to replace, 1 kept",
        "none": "no changes",
        "gone": [False, True, True, True, True],
        "steps": [1, 1, 2, 3, 3, 3, 2, 4],
    }

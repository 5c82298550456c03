"""Documents and stack events of deploys: stored once, read whole, opened nowhere else, gone with a purge."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from coreo_shared.contracts.base import decode_json, encode_json
from coreo_shared.contracts.deploys import (
    MAX_DOCUMENT_BYTES,
    Checkpoint,
    Document,
    Drift,
    DriftedResource,
    Failure,
    Output,
    Outputs,
    StackEvent,
    StackEventPage,
)
from coreo_shared.ids import new_id
from tests.support.deploy_runs import CHECKPOINT, DeployClient, make_events, make_preview
from tests.support.results import ResultsService, make_chunk

OUTPUTS = Outputs(stack_arn="a", stack_status="CREATE_COMPLETE", outputs=[Output(key="Vpc", value="vpc-1")])
DRIFTED = DriftedResource(logical_id="Bucket", physical_id=None, type="AWS::S3::Bucket", status="IN_SYNC")
DRIFT = Drift(stack_arn="a", status="IN_SYNC", resources=[DRIFTED], detected_at="2026-01-01T00:00:00+00:00")
FAILURE = Failure(code="resource_failed", message="x\ny", first=make_events(1)[0])
MOVED = "UPDATE run_documents d SET sealed = o.sealed FROM run_documents o WHERE"
OPEN_STATES = ("CLAIMED", "PARKED", "AWAITING_APPROVAL", "APPROVED", "APPLYING", "APPLYING_PARKED", "OUTCOME_UNKNOWN")


async def events(run: DeployClient, **parameters: Any) -> StackEventPage:
    answer = await run.read("stack-events", **parameters)
    assert answer.status_code == 200, answer.text
    return decode_json(answer.content, StackEventPage)


async def execute(service: ResultsService, run: DeployClient, statement: str, **values: Any) -> Any:
    """As the service itself might, were it broken."""
    async with service.app.state.services.database.transaction(run.team_id) as connection:
        return (await connection.execute(text(statement), values)).rowcount


async def test_a_document_is_read_as_it_was_put_last(service: ResultsService) -> None:
    run = await DeployClient(service).bring_to("CLAIMED")
    for document in (make_preview(), OUTPUTS, DRIFT, FAILURE):
        name = str(document.__struct_config__.tag)
        none = await run.read(f"documents/{name}")
        assert (none.status_code, none.json()["code"]) == (404, "no_document")
        for count in (1, 2):
            assert (await run.put_document(document)).status_code == 204
            assert (await run.view()).documents[name] == count
        answer = await run.read(f"documents/{name}")
        assert answer.headers["content-type"] == "application/json"
        assert msgspec.json.decode(answer.content, type=Document) == document
        theirs = await service.call("GET", f"/runs/{run.run_id}/documents/{name}", service.tokens.team(new_id()))
        assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    assert (await run.read("documents/checkpoint")).status_code == 422


async def test_events_are_stored_once_in_their_order_with_their_checkpoint(service: ResultsService) -> None:
    run = await DeployClient(service).bring_to("APPLYING")
    sizes = (3, 1, 500, 2)
    stored: list[StackEvent] = []
    for part, size in enumerate(sizes):
        fresh = make_events(size, len(stored))
        mark = Checkpoint(step="polled", parts=part + 1, newest_event=fresh[-1].event_id)
        for _ in range(2):  # said again, with whatever in it, it is stored once
            answer = await run.put_events(part, fresh, checkpoint=mark, done=part, total=9)
            assert answer.status_code == 204
        assert (await run.put_events(part, make_events(7), checkpoint=CHECKPOINT)).status_code == 204
        stored += fresh
    gap = await run.put_events(len(sizes) + 1, make_events(1))
    assert (gap.status_code, gap.json()["errors"][0]["field"]) == (422, "body.part")
    event = await run.event()
    assert event.deploy is not None
    assert (event.deploy.documents["events"], event.units_done, event.units_total) == (506, 3, 9)
    for after, limit in ((0, 100), (0, 1), (2, 3), (3, 1), (4, 1000), (503, 2), (505, 100), (506, 100), (9999, 5)):
        page = await events(run, after=after, limit=limit)
        expected = stored[after : after + limit]
        assert (page.events, page.next, page.total) == (expected, after + len(expected), 506)
    await run.park()
    claim = await run.take()
    assert claim.deploy is not None
    assert (claim.deploy.events_parts, claim.deploy.checkpoint) == (4, CHECKPOINT)  # the park's
    await run.put_events(4, make_events(1), checkpoint=Checkpoint(step="last"))
    await run.say("release", {"fence": run.fence, "reason": "draining"})
    claim = await run.take()
    assert claim.deploy is not None
    assert (claim.deploy.events_parts, claim.deploy.checkpoint) == (5, Checkpoint(step="last"))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE run_documents SET sealed = set_byte(sealed, 70, get_byte(sealed, 70) # 1)",
        "UPDATE run_documents SET sealed = substring(sealed FROM 1 FOR length(sealed) - 1)",
        f"{MOVED} o.run_id = d.run_id AND o.name <> d.name",
        f"{MOVED} o.run_id <> d.run_id AND (o.name, o.part) = (d.name, d.part)",
        f"{MOVED} o.run_id = d.run_id AND (o.name, d.name) = ('events', 'events') AND o.part <> d.part",
        "UPDATE run_documents SET items = items + 1 WHERE name = 'events'",
        "UPDATE run_documents SET first = first + 1 WHERE part = 1",
        "DELETE FROM run_documents WHERE part = 1",
    ],
)
async def test_what_was_changed_cut_or_moved_is_an_error(service: ResultsService, damage: str) -> None:
    run = await DeployClient(service).bring_to("APPLYING")
    other = await DeployClient(service, team_id=run.team_id).bring_to("APPLYING")
    for each in (run, other):
        for part in range(3):
            await each.put_events(part, make_events(2, 2 * part))
        assert len((await events(each)).events) == 6
    assert await execute(service, run, damage) > 0
    answers = [await run.read("stack-events"), await run.read("documents/preview"), await run.read("deploy")]
    touched = [answer for answer in answers if answer.status_code != 200]
    assert touched
    assert {(answer.status_code, answer.json()["code"]) for answer in touched} == {(500, "data_damaged")}


BAD_WORDS: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "park", {"resume_seconds": -1}, "body.resume_seconds"),
    ("POST", "park", {"resume_seconds": 3601}, "body.resume_seconds"),
    ("POST", "park", {}, "body.resume_seconds"),
    ("POST", "park", {"resume_seconds": 1, "await_approval": True}, "body.resume_seconds"),
    ("POST", "park", {"resume_seconds": 1, "reason": "SECRET\n"}, "body.reason"),
    ("POST", "park", {"resume_seconds": 1, "checkpoint": {"step": "SECRET" * 6000}}, "body.checkpoint"),
    ("POST", "park", {"resume_seconds": 1, "checkpoint": {"step": "x", "hash": "SECRET"}}, "body.checkpoint.hash"),
    ("POST", "begin-apply", {"hash": "SECRET"}, "body.hash"),
    ("POST", "refuse-cancel", {"reason": ""}, "body.reason"),
    ("PUT", "documents", {"document": {"kind": "SECRET"}}, "body.document.kind"),
    ("PUT", "documents", {"document": {"kind": "preview", "hash": "0" * 64}}, "body.document.operation"),
    ("PUT", "stack-events", {"part": 0, "events": []}, "body.events"),
    ("PUT", "stack-events", {"part": 0, "events": make_events(501)}, "body.events"),
    ("PUT", "stack-events", {"part": -1, "events": make_events(1)}, "body.part"),
    ("PUT", "stack-events", {"part": 0, "events": make_events(1), "done": -1}, "body.done"),
    ("POST", "finish", {"outcome": "unknown"}, "body.reason"),
    ("POST", "finish", {"outcome": "rolled_back", "reason": "SECRET\0"}, "body.reason"),
]


async def test_a_bad_word_is_named_by_field_and_not_repeated(service: ResultsService) -> None:
    run = await DeployClient(service).bring_to("APPLYING")
    before = await run.event()
    for method, path, body, field in BAD_WORDS:
        known: dict[str, Any] = {"fence": run.fence}
        if path in {"park", "begin-apply", "stack-events"}:
            known["checkpoint"] = {"step": "x"}
        answer = await service.call(method, f"/runs/{run.run_id}/{path}", run.token, {**known, **body})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), (path, body, answer.text)
        assert "SECRET" not in answer.text
    assert await run.event() == before


async def test_a_preview_has_its_own_hash_and_nothing_may_be_too_large(service: ResultsService) -> None:
    run = await DeployClient(service).bring_to("CLAIMED")
    wrong = encode_json({"fence": run.fence, "document": make_preview()}).replace(b"SecretBucket", b"AnotherThing")
    answer = await service.call("PUT", f"/runs/{run.run_id}/documents", run.token, wrong)
    assert answer.json()["errors"][0]["field"] == "body.document.hash"
    noted = make_preview(notes=["what Coreo says of it is no part of it"], made_at="2026-02-02T00:00:00+00:00")
    assert noted.hash == make_preview().hash
    large = await run.put_document(make_preview(notes=["x" * MAX_DOCUMENT_BYTES]))
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("where", [*OPEN_STATES, "SUCCEEDED"])
async def test_a_purge_takes_documents_with_it_once_nothing_may_be_added(service: ResultsService, where: str) -> None:
    account = new_id()
    run = await DeployClient(service, cloud_account_id=account).bring_to(where)
    answer = await service.call("DELETE", f"/cloud-accounts/{account}/results", run.team_token)
    if where in OPEN_STATES:
        assert (answer.status_code, answer.json()["code"]) == (409, "runs_at_work")
        return
    assert answer.status_code == 204
    for path in ("documents/preview", "stack-events", "deploy", "findings"):
        gone = await run.read(path)
        assert (gone.status_code, gone.json()["code"]) == (410, "results_purged"), path
    assert await execute(service, run, "SELECT 1 FROM run_documents") == 0
    assert (await run.event()).state == "SUCCEEDED"


async def test_audits_have_no_documents_and_no_words_of_deploys(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    await run.stored(make_chunk(fence))
    mark = {"fence": fence, "checkpoint": {"step": "x"}}
    for method, path, body in (
        ("POST", "park", {**mark, "resume_seconds": 1}),
        ("POST", "begin-apply", {**mark, "hash": "0" * 64}),
        ("POST", "refuse-cancel", {"fence": fence, "reason": "x"}),
        ("PUT", "documents", {"fence": fence, "document": OUTPUTS}),
        ("PUT", "stack-events", {**mark, "part": 0, "events": make_events(1)}),
    ):
        answer = await service.call(method, f"/runs/{run.run_id}/{path}", run.token, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_possible"), path
    for path, code in (("deploy", "not_found"), ("documents/preview", "no_document")):
        answer = await service.call("GET", f"/runs/{run.run_id}/{path}", run.team_token)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    event = await run.last_event()
    assert "deploy" not in event
    assert event["state"] == "RUNNING"

"""Deploy runs at the ledger: jobs that come twice, workers that die, people who decide at once, and what AWS did."""

import asyncio
from collections.abc import AsyncIterator
from itertools import product

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from coreo_results.ledger.sweeper import Sweeper
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.decisions import DecisionAction, DecisionPage
from coreo_shared.contracts.deploys import DeployAction, DeployStatus, DeployTerms, Resume
from coreo_shared.contracts.life import ChangeCounts, RunChanges
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.ids import new_id
from tests.support.deploy_runs import (
    APPROVER,
    CHECKPOINT,
    REQUESTER,
    SECOND,
    DeployClient,
    make_events,
    make_preview,
    make_terms,
)
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, make_chunk, make_finding

STATES = ("CLAIMED", "PARKED", "AWAITING_APPROVAL", "APPROVED", "APPLYING", "APPLYING_PARKED", "OUTCOME_UNKNOWN")


@pytest.fixture
async def admin(results_database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The database as its superuser: to make time pass, and to look."""
    url = make_url(results_database.url("postgres")).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    yield connection
    await connection.close()


async def pass_time(admin: asyncpg.Connection, run: DeployClient, seconds: float) -> None:
    """As if all that the run waits for had been so much earlier."""
    await admin.execute(
        "UPDATE runs SET lease_until = lease_until - make_interval(secs => $1),"
        " resume_at = resume_at - make_interval(secs => $1),"
        " approval_until = approval_until - make_interval(secs => $1) WHERE run_id = $2",
        seconds,
        run.run_id,
    )


def sweeper(service: ResultsService) -> Sweeper:
    swept: Sweeper = service.app.state.services.sweeper
    return swept


async def state(run: DeployClient) -> str:
    return (await run.event()).state


async def test_the_feed_tells_each_step_and_the_next_worker_what_the_last_one_left(service: ResultsService) -> None:
    run = DeployClient(service)
    claim = await run.take()
    assert claim.deploy is not None
    assert (claim.deploy.applying, claim.deploy.approvals, claim.deploy.checkpoint) == (False, 1, None)
    await run.park(30, reason="Waiting for the change set.")
    event = await run.event()
    assert (event.state, event.reason) == ("RUNNING", "Waiting for the change set.")
    assert event.deploy is not None
    assert event.deploy.resume is not None
    assert (event.deploy.action, event.deploy.target_id) == (DeployAction.APPLY, run.terms.target_id)
    assert (event.deploy.resume.ticket, event.deploy.resume.at > event.at) == (1, True)

    claim = await run.take()
    assert claim.deploy is not None
    assert (claim.attempt, claim.deploy.checkpoint) == (1, CHECKPOINT)
    assert (await run.view()).resume is None
    await run.put_document(run.preview)
    await run.park(None)
    view = await run.view()
    assert view.approval is not None
    assert (view.approval.hash, view.approval.needed, view.approval.approved_by) == (run.preview.hash, 1, [])
    assert view.resume is None

    assert (await run.approve()).json()["state"] == "QUEUED"
    view = await run.view()
    assert (view.approval, view.approved_by, view.resume is not None) == (None, [APPROVER], True)
    claim = await run.take()
    assert claim.deploy is not None
    assert (claim.deploy.approved_hash, claim.deploy.applying) == (run.preview.hash, False)
    for _ in range(2):
        assert (await run.begin(checkpoint={"step": "begun"})).json()["state"] == "APPLYING"
    assert (await run.park(5)).json()["state"] == "APPLYING"
    claim = await run.take()
    assert claim.deploy is not None
    assert (claim.deploy.applying, claim.cancel_requested) == (True, False)
    assert (await run.finish("completed", reason=None)).json()["state"] == "SUCCEEDED"
    status = decode_json((await run.read("deploy")).content, DeployStatus)
    assert (status.view, status.checkpoint) == (await run.view(), CHECKPOINT)


@pytest.mark.parametrize("where", [*STATES, "SUCCEEDED"])
async def test_of_jobs_that_come_twice_one_at_most_gets_the_run_in_any_state(
    service: ResultsService, where: str
) -> None:
    run = await DeployClient(service).bring_to(where)
    before = await run.event()
    # Everything that was ever sent comes again; and the newest job, where the feed asks for one, five times at once.
    newest = before.deploy.resume.ticket if before.deploy and before.deploy.resume else None
    for ticket in range(newest or 0):
        run.use_ticket(ticket)
        assert {(await run.claim()).json()["code"] for _ in range(2)} == {"job_superseded"}
    assert await run.event() == before
    run.use_ticket(newest if newest is not None else 99)
    answers = await asyncio.gather(*(run.claim(f"w{number}") for number in range(5)))
    codes = sorted(answer.json().get("code", "") for answer in answers)
    expected = {
        "CLAIMED": ["run_busy"] * 5,
        "APPLYING": ["run_busy"] * 5,
        "AWAITING_APPROVAL": ["job_superseded"] * 5,
        "OUTCOME_UNKNOWN": ["job_superseded"] * 5,
        "SUCCEEDED": ["run_over"] * 5,
    }
    assert codes == expected.get(where, ["", *["run_busy"] * 4])
    assert await state(run) == {"PARKED": "CLAIMED", "APPROVED": "CLAIMED"}.get(where, before.state)


@pytest.mark.parametrize("where", [*STATES, "ROLLED_BACK"])
async def test_a_worker_that_has_lost_the_run_can_do_nothing(
    service: ResultsService, admin: asyncpg.Connection, where: str
) -> None:
    run = await DeployClient(service).bring_to(where)
    lost = run.fence
    if where in {"CLAIMED", "APPLYING"}:  # its lease ran out, and another has it
        await pass_time(admin, run, 61)
        await run.take("other")
    before, rows = await run.event(), await admin.fetchval("SELECT count(*) FROM run_documents")
    answers = [
        await run.begin(fence=lost),
        await run.put_document(make_preview(), fence=lost),
        await run.put_events(0, make_events(1), fence=lost),
        await run.say("refuse-cancel", {"fence": lost, "reason": "x"}),
        await run.say("heartbeat", {"fence": lost}),
        await run.park(fence=lost - 1),
        await run.say("release", {"fence": lost - 1, "reason": "x"}),
        await run.finish("failed", fence=lost),
    ]
    assert {answer.status_code for answer in answers} == {409}
    assert {answer.json()["code"] for answer in answers} == {"run_over" if where == "ROLLED_BACK" else "stale_fence"}
    assert await run.event() == before
    assert await admin.fetchval("SELECT count(*) FROM run_documents") == rows


async def test_a_park_whose_answer_was_lost_is_said_again(service: ResultsService) -> None:
    for where, seconds in (("CLAIMED", 30.0), ("APPLYING", 30.0)):
        run = await DeployClient(service).bring_to(where)
        first = await run.park(seconds)
        view = await run.view()
        again = await run.park(seconds, checkpoint={"step": "never stored"})
        assert (again.status_code, again.json()) == (200, first.json())
        assert await run.view() == view
        claim = await run.take()
        assert claim.deploy is not None
        assert claim.deploy.checkpoint == CHECKPOINT


@pytest.mark.parametrize(("where", "begun"), [("CLAIMED", False), ("APPLYING", True)])
async def test_a_park_and_a_cancel_at_once(service: ResultsService, where: str, begun: bool) -> None:  # noqa: FBT001
    for _ in range(5):
        run = await DeployClient(service).bring_to(where)
        park, cancel = await asyncio.gather(run.park(300), run.cancel())
        assert (park.status_code, cancel.status_code) == (200, 200)
        if begun:  # the next worker hears of it, whichever came first, and AWS decides
            assert await state(run) == "APPLYING"
            assert (await run.take()).cancel_requested
        else:
            assert await state(run) == "CANCELED"


async def test_an_approval_and_an_end_at_once(service: ResultsService) -> None:
    ends = ("cancel", "reject", "cancel", "reject")
    for end in ends:
        run = await DeployClient(service).bring_to("AWAITING_APPROVAL")
        reject = {"approver_id": str(SECOND), "author": "ben", "reason": "no"}
        approve, other = await asyncio.gather(
            run.approve(), run.cancel() if end == "cancel" else run.decide("reject", reject)
        )
        codes = (approve.json().get("code"), other.json().get("code"))
        if approve.status_code == 200 and end == "reject":
            assert (codes, await state(run)) == ((None, "not_awaiting_approval"), "QUEUED")
        else:  # approved first or not: nothing has begun, so a cancel ends it
            assert await state(run) == "CANCELED"
            assert codes in {(None, None), ("not_awaiting_approval", None)}


async def test_who_approves_what_and_when(service: ResultsService, admin: asyncpg.Connection) -> None:
    run = await DeployClient(service).bring_to("AWAITING_APPROVAL")
    wrong = await run.approve(hash="f" * 64)
    assert (wrong.status_code, wrong.json()["code"]) == (412, "hash_differs")
    await pass_time(admin, run, 86_401)
    late = await run.approve()
    assert (late.status_code, late.json()["code"]) == (409, "approval_expired")
    assert await sweeper(service).sweep() == 1
    assert (await run.event()).reason == "Nobody approved this run in time. Start it again."
    over = await run.approve()
    assert (over.status_code, over.json()["code"]) == (409, "not_awaiting_approval")
    mine = await DeployClient(service, make_terms(requester_may_approve=False)).bring_to("AWAITING_APPROVAL")
    refused = await mine.approve(REQUESTER)
    assert (refused.status_code, refused.json()["code"]) == (403, "requester_may_not_approve")
    assert (await mine.approve()).json()["state"] == "QUEUED"
    other_team = await service.call(
        "POST",
        f"/runs/{mine.run_id}/approve",
        service.tokens.team(new_id()),
        {"hash": mine.preview.hash, "approver_id": str(APPROVER), "author": "x"},
    )
    assert other_team.status_code == 404


async def test_two_tokens_approve_however_often_and_at_once_they_say_so(service: ResultsService) -> None:
    run = await DeployClient(service, make_terms(approvals=2)).bring_to("AWAITING_APPROVAL")
    answers = await asyncio.gather(*(run.approve() for _ in range(5)))
    assert [answer.json()["state"] for answer in answers] == ["AWAITING_APPROVAL"] * 5
    view = await run.view()
    assert view.approval is not None
    assert view.approval.approved_by == [APPROVER]
    run.use_ticket(99)
    assert (await run.claim()).json()["code"] == "job_superseded"
    answers = await asyncio.gather(*(run.approve(by) for by in [APPROVER, SECOND] * 3))
    assert {answer.status_code for answer in answers} == {200}
    view = await run.view()
    assert (view.approved_by, view.resume and view.resume.ticket) == ([APPROVER, SECOND], 2)  # sent on once
    third = await run.approve(REQUESTER)
    assert third.json()["code"] == "not_awaiting_approval"


async def test_nothing_begins_but_what_was_approved(service: ResultsService) -> None:
    run = await DeployClient(service).bring_to("CLAIMED")
    assert (await run.park(None)).json()["code"] == "no_preview"
    await run.put_document(run.preview)
    assert (await run.begin()).json()["code"] == "not_approved"
    approved = await DeployClient(service).bring_to("APPROVED")
    await approved.take()
    assert (await approved.begin(hash="f" * 64)).json()["code"] == "not_approved"
    other = make_preview(stack_updated_at="2026-02-01T00:00:00+00:00")  # the stack was changed since
    await approved.put_document(other)
    for hash_ in (approved.preview.hash, other.hash):
        assert (await approved.begin(hash=hash_)).json()["code"] == "not_approved"
    # Whatever the next job's capability says, the terms are those of the first claim.
    lax = await DeployClient(service).bring_to("CLAIMED")
    await lax.put_document(lax.preview)
    await lax.park()
    lax.terms = make_terms(approvals=0)
    claim = await lax.take()
    assert claim.deploy is not None
    assert claim.deploy.approvals == 1
    assert (await lax.begin()).json()["code"] == "not_approved"
    automatic = DeployClient(service, make_terms(approvals=0))
    await automatic.take()
    await automatic.put_document(automatic.preview)
    assert (await automatic.park(None)).json()["state"] == "QUEUED"
    await automatic.take()
    assert (await automatic.begin()).json()["state"] == "APPLYING"


async def test_a_target_is_changed_by_one_run_at_a_time_and_locked_while_nobody_knows(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    team, terms = new_id(), make_terms()
    runs = [await DeployClient(service, terms, team_id=team).bring_to("APPROVED") for _ in range(4)]
    for run in runs:
        await run.take()
    answers = await asyncio.gather(*(run.begin() for run in runs))
    assert sorted(answer.json().get("code", "") for answer in answers) == ["", *["target_busy"] * 3]
    began = next(run for run, answer in zip(runs, answers, strict=True) if answer.status_code == 200)
    other = next(run for run in runs if run is not began)
    for elsewhere in (
        await DeployClient(service, make_terms(), team_id=team).bring_to("APPROVED"),
        await DeployClient(service, terms).bring_to("APPROVED"),  # another team's id
    ):
        await elsewhere.take()
        assert (await elsewhere.begin()).status_code == 200

    for _ in range(2):
        assert (await began.finish("unknown")).json()["state"] == "OUTCOME_UNKNOWN"
        assert (await other.begin()).json()["code"] == "target_busy"
        assert (await began.cancel()).json()["state"] == "OUTCOME_UNKNOWN"
        await pass_time(admin, began, 1_000_000)
        assert await sweeper(service).sweep() == 0
        for _ in range(2):
            assert (await began.decide("reconcile", {"author": "ann"})).json()["state"] == "APPLYING"
        assert (await other.begin()).json()["code"] == "target_busy"
        assert (await began.settle()).json()["code"] == "not_unknown"
        claim = await began.take()
        assert claim.deploy is not None
        assert claim.deploy.applying
    await began.finish("unknown")
    for _ in range(2):
        settled = await began.settle("ROLLED_BACK")
        assert settled.json()["state"] == "ROLLED_BACK"
    assert (await began.settle("SUCCEEDED")).json()["code"] == "not_unknown"
    assert (await other.begin()).json()["state"] == "APPLYING"
    # The index is a net under the check: nothing gets by it.
    third = next(run for run in runs if run not in {began, other})
    for taken in ("APPLYING", "OUTCOME_UNKNOWN"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await admin.execute("UPDATE runs SET state = $1 WHERE run_id = $2", taken, third.run_id)


async def test_what_people_decide_is_in_the_log_once_with_their_names(service: ResultsService) -> None:
    run = await DeployClient(service, make_terms(approvals=2)).bring_to("AWAITING_APPROVAL")
    for by in (APPROVER, APPROVER, SECOND, SECOND):
        await run.approve(by, author=f"token {by.int}")
    await run.take()
    await run.begin()
    await run.finish("unknown")
    for _ in range(2):
        await run.decide("reconcile", {"author": "cat"})
    await run.take()
    await run.finish("unknown")
    for _ in range(2):
        await run.settle("SUCCEEDED")
    rejected = await DeployClient(service, team_id=run.team_id).bring_to("AWAITING_APPROVAL")
    await rejected.decide("reject", {"approver_id": str(SECOND), "author": "dan", "reason": "not now"})
    answer = await service.call("GET", "/decisions", run.team_token, params={"kind": "deploy"})
    entries = decode_json(answer.content, DecisionPage).items[::-1]
    assert [(entry.action, entry.author, entry.subject) for entry in entries] == [
        (DecisionAction.APPROVED, "token 12", str(run.run_id)),
        (DecisionAction.APPROVED, "token 13", str(run.run_id)),
        (DecisionAction.RECONCILED, "cat", str(run.run_id)),
        (DecisionAction.SETTLED, "ben", str(run.run_id)),
        (DecisionAction.REJECTED, "dan", str(rejected.run_id)),
    ]
    assert entries[0].details == {"hash": run.preview.hash, "token": str(APPROVER)}
    assert entries[3].details == {"outcome": "SUCCEEDED", "reason": "I looked."}
    assert (await rejected.event()).reason == "Rejected: not now"


async def test_cancels_while_aws_works(service: ResultsService) -> None:
    run = await DeployClient(service).bring_to("APPLYING_PARKED")
    parked = (await run.view()).resume
    assert parked is not None
    assert (await run.cancel()).json()["state"] == "APPLYING"
    sooner = (await run.view()).resume
    assert isinstance(sooner, Resume)
    assert (sooner.ticket, sooner.at < parked.at) == (parked.ticket + 1, True)
    assert (await run.take()).cancel_requested
    refusal = {"fence": run.fence, "reason": "CloudFormation cannot cancel a creation."}
    for _ in range(2):
        assert (await run.say("refuse-cancel", refusal)).json()["state"] == "APPLYING"
    assert (await run.view()).cancel_refused == "CloudFormation cannot cancel a creation."
    assert (await run.say("heartbeat", {"fence": run.fence})).json()["cancel_requested"] is False
    await run.cancel()
    assert (await run.say("heartbeat", {"fence": run.fence})).json()["cancel_requested"] is True
    assert (await run.view()).cancel_refused is None
    assert (await run.finish("rolled_back")).json()["state"] == "ROLLED_BACK"


async def test_the_sweeper_ends_every_run_or_leaves_it_visibly_to_a_person(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    runs = {}
    for where in STATES:
        terms = make_terms(approval_seconds=60 if where == "APPROVED" else 86_400)
        runs[where] = await DeployClient(service, terms).bring_to(where)
    resumes = {where: (await run.view()).resume for where, run in runs.items()}
    waiting = runs["AWAITING_APPROVAL"]
    for round_ in range(5):
        for run in runs.values():
            await pass_time(admin, run, 901 if round_ else 961)  # a minute of lease first
        assert sum(await asyncio.gather(*(sweeper(service).sweep() for _ in range(3)))) > 0
        if round_ == 0:
            assert await state(waiting) == "AWAITING_APPROVAL"
            for where in ("PARKED", "APPROVED", "APPLYING", "APPLYING_PARKED"):
                resume, before = (await runs[where].view()).resume, resumes[where]
                assert resume is not None
                assert before is None or resume.ticket == before.ticket + 1
    assert {where: await state(run) for where, run in runs.items()} == {
        "CLAIMED": "FAILED",
        "PARKED": "FAILED",
        "AWAITING_APPROVAL": "AWAITING_APPROVAL",
        "APPROVED": "EXPIRED",
        "APPLYING": "OUTCOME_UNKNOWN",
        "APPLYING_PARKED": "OUTCOME_UNKNOWN",
        "OUTCOME_UNKNOWN": "OUTCOME_UNKNOWN",
    }
    await pass_time(admin, waiting, 86_400)
    assert await sweeper(service).sweep() == 1
    assert await state(waiting) == "EXPIRED"
    assert await sweeper(service).sweep() == 0


async def test_a_worker_that_dies_again_and_again_leaves_it_to_a_person(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    run = await DeployClient(service).bring_to("APPLYING")
    for _ in range(4):
        await pass_time(admin, run, 61)
        await run.take()
    await pass_time(admin, run, 61)
    assert (await run.claim()).json()["code"] == "job_superseded"
    event = await run.event()
    assert (event.state, "5 attempts" in str(event.reason)) == ("OUTCOME_UNKNOWN", True)
    await run.decide("reconcile", {"author": "ann"})
    assert (await run.take()).attempt == 1


@pytest.mark.parametrize(("deploy", "pool"), list(product((True, False), ("deploy", "audit"))))
async def test_deploys_and_no_others_have_terms(service: ResultsService, pool: str, deploy: bool) -> None:  # noqa: FBT001
    run = DeployClient(service)
    run.use_ticket(0, pool=pool, deploy=run.terms if deploy else None)
    answer = await run.claim()
    if deploy == (pool == "deploy"):
        assert answer.status_code == 200
        assert ("deploy" in answer.json()) is deploy  # workers of other pools hear nothing new
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_terms")


async def test_drift_has_a_life_beside_the_run_before_on_the_same_stack(service: ResultsService) -> None:
    team, account = new_id(), new_id()
    here, there = (make_terms(action=DeployAction.DRIFT, approvals=0) for _ in range(2))

    async def drift(terms: DeployTerms, region: str, *statuses: FindingStatus) -> tuple[DeployClient, RunChanges]:
        run = DeployClient(service, terms, team_id=team, cloud_account_id=account)
        claim = await run.say("claim", {"worker_id": "w", "rules": ["drift-resource"]})
        run.fence = claim.json()["fence"]
        found = [
            make_finding(
                number, status=status, rule_id="drift-resource", fingerprint=f"{region == 'eu-west-1':d}{number:031x}"
            )
            for number, status in enumerate(statuses)
        ]
        await run.stored(make_chunk(run.fence, found, unit=f"aws.cloudformation.stack@{region}"))
        ended = await run.finish("completed", units_total=1)
        assert ended.json()["state"] == ("PARTIAL" if FindingStatus.NOT_EVALUATED in statuses else "SUCCEEDED")
        answer = await run.read("changes")
        return run, decode_json(answer.content, RunChanges)

    first, changes = await drift(here, "eu-west-1", FindingStatus.PASS, FindingStatus.FAIL)
    assert changes.counts == ChangeCounts(new=2)
    _, changes = await drift(there, "us-east-1", FindingStatus.FAIL)
    assert (changes.previous_run_id, changes.counts) == (None, ChangeCounts(new=1, not_seen=2))
    _, changes = await drift(here, "eu-west-1", FindingStatus.FAIL, FindingStatus.PASS, FindingStatus.NOT_EVALUATED)
    assert (changes.previous_run_id, changes.counts) == (
        first.run_id,
        ChangeCounts(new=1, changed=1, resolved=1, not_seen=1),
    )
    applied = await DeployClient(service, team_id=team, cloud_account_id=account).bring_to("SUCCEEDED")
    assert (await applied.read("changes")).json()["counts"] is None  # it judges nothing

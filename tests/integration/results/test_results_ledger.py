"""Claims, fences, leases and ends of runs under parallel requests and dead workers."""

import asyncio

import asyncpg
import pytest

from coreo_results.ledger.sweeper import Sweeper
from tests.support.results import ResultsService, RunClient, make_chunk, make_finding


async def lapse(admin: asyncpg.Connection, run: RunClient, seconds: float = 1) -> None:
    """As if the run's lease had run out so long ago."""
    await admin.execute(
        "UPDATE runs SET lease_until = now() - make_interval(secs => $1) WHERE run_id = $2", seconds, run.run_id
    )


def sweeper(service: ResultsService) -> Sweeper:
    swept: Sweeper = service.app.state.services.sweeper
    return swept


async def test_of_ten_parallel_claims_one_wins_and_the_others_hear_when_to_come_back(service: ResultsService) -> None:
    run = service.run()

    answers = await asyncio.gather(*(run.claim(f"worker-{n}") for n in range(10)))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json()["code"] for answer in refused} == {"run_busy"}
    # Up to a second more than the lease: the winner's transaction may have started after the one that waited for it.
    assert all(1 <= int(answer.headers["retry-after"]) <= 61 for answer in refused)
    assert (await run.last_event())["version"] == 1


async def test_the_same_worker_cannot_claim_twice(service: ResultsService) -> None:
    run = service.run()
    await run.claimed("w")
    again = await run.claim("w")
    assert (again.status_code, again.json()["code"]) == (409, "run_busy")


async def test_ten_parallel_puts_of_a_chunk_store_it_once(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    chunk = make_chunk(fence, [make_finding(n) for n in range(50)])

    answers = await asyncio.gather(*(run.put(chunk) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {204}
    assert (await run.findings()).json()["total"] == 50
    event = await run.last_event()
    assert (event["units_done"], event["counts"]["by_status"]) == (1, {"FAIL": 50})


async def test_a_stale_fence_can_do_nothing(service: ResultsService, admin: asyncpg.Connection) -> None:
    run = service.run()
    old = await run.claimed("dead")
    await lapse(admin, run)
    new = await run.claimed("alive")
    assert new == old + 1

    refused = [
        await run.put(make_chunk(old)),
        await run.say("heartbeat", {"fence": old}),
        await run.say("finish", {"fence": old, "outcome": "completed", "units_total": 0}),
        await run.say("release", {"fence": old, "reason": "x"}),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(409, "stale_fence")}
    assert (await run.findings()).json()["total"] == 0
    await run.stored(make_chunk(new))


async def test_the_next_attempt_resumes_whole_units_and_drops_half_ones(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    run = service.run()
    fence = await run.claimed("dead")
    await run.stored(make_chunk(fence, [make_finding(1)], unit="a.b@global"))
    await run.stored(make_chunk(fence, [make_finding(2)], unit="c.d@global", final=False))
    await lapse(admin, run)

    answer = (await run.claim("alive")).json()

    assert (answer["units_done"], answer["attempt"]) == (["a.b@global"], 2)
    assert await admin.fetchval("SELECT count(*) FROM chunks") == 1
    assert await admin.fetchval("SELECT count(*) FROM finding_groups") == 1
    fence = answer["fence"]
    await run.stored(make_chunk(fence, [make_finding(1)], unit="a.b@global"))  # said again by mistake: stored once
    await run.stored(make_chunk(fence, [make_finding(2), make_finding(3)], unit="c.d@global"))
    done = await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 2})
    assert done.json()["state"] == "SUCCEEDED"
    assert (await run.findings()).json()["total"] == 3


async def test_only_whole_units_are_visible_whatever_the_order_of_their_chunks(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    for index in (2, 0):
        await run.stored(make_chunk(fence, [make_finding(index)], index=index, final=index == 2))
        assert (await run.findings()).json()["total"] == 0
        assert (await run.rules()).json() == {"rules": []}
    await run.stored(make_chunk(fence, [make_finding(1)], index=1, final=False))

    assert (await run.findings()).json()["total"] == 3
    assert (await run.last_event())["counts"]["by_status"] == {"FAIL": 3}


@pytest.mark.parametrize(
    ("first", "second"), [((0, True), (1, False)), ((1, False), (0, True)), ((1, True), (2, True))]
)
async def test_a_chunk_behind_the_final_one_is_refused(
    service: ResultsService, first: tuple[int, bool], second: tuple[int, bool]
) -> None:
    run = service.run()
    fence = await run.claimed()
    await run.stored(make_chunk(fence, index=first[0], final=first[1]))
    answer = await run.put(make_chunk(fence, index=second[0], final=second[1]))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.index")


async def test_one_attempt_too_many_fails_the_run_with_a_reason(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    run = service.run()
    for _ in range(5):
        await run.claimed()
        await lapse(admin, run)

    answer = await run.claim()

    assert (answer.status_code, answer.json()["code"]) == (409, "run_over")
    event = await run.last_event()
    assert event["state"] == "FAILED"
    assert "5 attempts" in event["reason"]


async def test_a_released_run_goes_to_the_next_worker_at_once(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed("w1")
    released = await run.say("release", {"fence": fence, "reason": "draining"})
    assert released.json()["state"] == "QUEUED"
    assert (await run.say("release", {"fence": fence, "reason": "draining"})).json() == released.json()
    assert (await run.put(make_chunk(fence))).json()["code"] == "stale_fence"
    assert await run.claimed("w2") == fence + 1


async def test_a_heartbeat_keeps_the_lease_and_makes_no_event(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    run = service.run()
    fence = await run.claimed()
    await lapse(admin, run)

    answer = await run.say("heartbeat", {"fence": fence})

    assert answer.json() == {"lease_seconds": 60.0, "cancel_requested": False}
    assert (await run.claim("other")).json()["code"] == "run_busy"
    assert (await run.last_event())["version"] == 1


async def test_a_finish_said_twice_gets_the_same_answer(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    word = {"fence": fence, "outcome": "failed", "reason": "The role cannot be assumed."}
    first, second = await run.say("finish", word), await run.say("finish", word)
    assert first.json() == second.json()
    assert first.json()["reason"] == "The role cannot be assumed."
    assert (await run.put(make_chunk(fence))).json()["code"] == "run_over"
    assert (await run.claim()).json()["code"] == "run_over"


async def test_a_run_never_claimed_is_canceled_at_once_and_can_never_be_claimed(service: ResultsService) -> None:
    run = service.run()
    assert (await run.cancel()).json()["state"] == "CANCELED"
    assert (await run.claim()).json()["code"] == "run_over"
    assert (await run.last_event())["reason"] == "Somebody asked."
    assert (await run.findings()).json() == {"findings": [], "total": 0, "next_cursor": None}


async def test_of_a_parallel_claim_and_cancel_the_run_ends_or_its_worker_hears_of_it(service: ResultsService) -> None:
    for _ in range(10):
        run = service.run()
        claim, cancel = await asyncio.gather(run.claim(), run.cancel())
        if claim.status_code == 200:
            beat = await run.say("heartbeat", {"fence": claim.json()["fence"]})
            assert beat.json()["cancel_requested"] is True
            assert cancel.json()["state"] == "CLAIMED"
        else:
            assert (claim.json()["code"], cancel.json()["state"]) == ("run_over", "CANCELED")


async def test_a_claimed_run_that_is_canceled_ends_when_its_worker_says_so(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    assert (await run.cancel()).json()["state"] == "CLAIMED"
    ended = await run.say("finish", {"fence": fence, "outcome": "canceled"})
    assert (ended.json()["state"], ended.json()["reason"]) == ("CANCELED", "Somebody asked.")


async def test_an_expiry_spares_a_run_that_was_taken(service: ResultsService) -> None:
    taken, waiting = service.run(), service.run()
    fence = await taken.claimed()
    assert (await taken.cancel("EXPIRED")).json()["state"] == "CLAIMED"
    assert (await waiting.cancel("EXPIRED")).json()["state"] == "EXPIRED"
    assert (await taken.say("heartbeat", {"fence": fence})).json()["cancel_requested"] is False


async def test_the_sweeper_ends_lost_and_canceled_runs_and_spares_the_others(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    lost, canceled, lapsed, live = (service.run() for _ in range(4))
    for run in (lost, canceled, lapsed, live):
        await run.claimed()
    await canceled.cancel()
    await lapse(admin, lost, 901)
    await lapse(admin, canceled)
    await lapse(admin, lapsed, 890)

    ended = await asyncio.gather(*(sweeper(service).sweep() for _ in range(3)))

    assert sum(ended) == 2
    assert [(await run.last_event())["state"] for run in (lost, canceled, lapsed, live)] == [
        "FAILED",
        "CANCELED",
        "CLAIMED",
        "CLAIMED",
    ]
    event = await lost.last_event()
    assert event["version"] == 2
    assert "worker-1 stopped reporting" in event["reason"]


async def test_the_sweeper_passes_by_a_run_that_somebody_is_changing(
    service: ResultsService, admin: asyncpg.Connection
) -> None:
    busy, lost = service.run(), service.run()
    for run in (busy, lost):
        await run.claimed()
        await lapse(admin, run, 1000)
    async with admin.transaction():
        await admin.execute("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", busy.run_id)
        assert await asyncio.wait_for(sweeper(service).sweep(), 5) == 1
    assert await sweeper(service).sweep() == 1

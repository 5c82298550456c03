"""The event feed: nothing is skipped, also when it commits late; long polls wake at once; the fleet's list."""

import asyncio
import time

import asyncpg
from sqlalchemy.engine import make_url

from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.results import EventPage
from coreo_shared.contracts.terms import Pool
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService


async def admin_of(database: ServiceDatabase) -> asyncpg.Connection:
    url = make_url(database.url("postgres")).set(drivername="postgresql")
    return await asyncpg.connect(url.render_as_string(hide_password=False))


async def test_an_event_that_commits_late_is_never_skipped(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    """The first run's change starts first and commits last; a reader that follows sees both."""
    late, early = service.run(), service.run()
    await late.claimed()
    start = (await service.events())["cursor"]
    admin = await admin_of(results_database)
    try:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute(
            "INSERT INTO run_events (team_id, run_id, version, state, attempt, units_done, counts)"
            " VALUES ($1, $2, 2, 'RUNNING', 1, 0, '{}')",
            late.team_id,
            late.run_id,
        )
        await early.claimed()  # later number, committed first
        held_back = await service.events(start)
        await transaction.commit()
        after = await service.events(held_back["cursor"], wait_seconds=5)
    finally:
        await admin.close()

    seen = [event["run_id"] for event in held_back["events"] + after["events"]]
    assert seen == [str(late.run_id), str(early.run_id)]


async def test_a_long_poll_wakes_when_the_transaction_that_hid_an_event_ends(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    run = service.run()
    admin = await admin_of(results_database)
    try:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("SELECT pg_current_xact_id()")
        await run.claimed()
        waiting = asyncio.create_task(service.events(wait_seconds=10))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        await transaction.commit()
        assert [event["run_id"] for event in (await asyncio.wait_for(waiting, 3))["events"]] == [str(run.run_id)]
    finally:
        await admin.close()


async def test_a_long_poll_wakes_at_once(service: ResultsService) -> None:
    cursor = (await service.events())["cursor"]
    waiting = asyncio.create_task(service.events(cursor, wait_seconds=20))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    run = service.run()
    started = time.monotonic()
    await run.claimed()
    page = await waiting
    assert [event["run_id"] for event in page["events"]] == [str(run.run_id)]
    assert time.monotonic() - started < 3  # nothing but the wake-up is so quick: the poll looks again after 5 s


async def test_an_empty_poll_ends_in_time_with_the_same_cursor(service: ResultsService) -> None:
    await service.run().claimed()
    cursor = (await service.events())["cursor"]
    assert await service.events(cursor, wait_seconds=0.1) == {"events": [], "cursor": cursor}


async def test_pages_of_the_feed_follow_each_other(service: ResultsService) -> None:
    runs = [service.run() for _ in range(5)]
    for run in runs:
        await run.claimed()
    seen, cursor = [], ""
    for _ in range(3):
        page = await service.events(cursor, limit=2)
        seen += [event["run_id"] for event in page["events"]]
        cursor = page["cursor"]
    assert seen == [str(run.run_id) for run in runs]


async def test_events_come_in_the_order_of_their_transactions_numbers_also_when_those_grow_a_digit(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    run = service.run()
    await run.claimed()  # version 1, in a transaction with a large number
    admin = await admin_of(results_database)
    try:
        for version, number in enumerate((9, 10, 99, 100, 101), start=2):
            await admin.execute(
                "INSERT INTO run_events (team_id, run_id, version, state, attempt, units_done, counts, xid)"
                " VALUES ($1, $2, $3, 'RUNNING', 1, 0, '{}', CAST($4::text AS xid8))",
                run.team_id,
                run.run_id,
                version,
                str(number),
            )
    finally:
        await admin.close()
    seen, cursor = [], ""
    while events := (page := await service.events(cursor, limit=2))["events"]:
        seen += [event["version"] for event in events]
        cursor = page["cursor"]
    assert seen == [2, 3, 4, 5, 6, 1]


async def test_a_reader_beside_many_writers_sees_every_version_in_order(service: ResultsService) -> None:
    runs = [service.run() for _ in range(20)]

    async def work(number: int) -> None:
        run = runs[number]
        fence = await run.claimed()
        for total in range(1, 6):
            await run.say("heartbeat", {"fence": fence, "units_total": total})

    async def follow() -> dict[str, list[int]]:
        seen: dict[str, list[int]] = {}
        cursor = ""
        while sum(len(versions) for versions in seen.values()) < 20 * 6:
            page = await service.events(cursor, wait_seconds=5, limit=7)
            assert page["events"], "the feed stopped"
            cursor = page["cursor"]
            for event in page["events"]:
                seen.setdefault(event["run_id"], []).append(event["version"])
        return seen

    seen, *_ = await asyncio.gather(follow(), *(work(number) for number in range(20)))
    assert seen == {str(run.run_id): [1, 2, 3, 4, 5, 6] for run in runs}


async def test_the_feed_is_a_contract(service: ResultsService) -> None:
    run = service.run()
    await run.claimed()
    answer = await service.call("GET", "/events", service.tokens.feed())
    event = decode_json(answer.content, EventPage).events[0]
    assert (event.run_id, event.team_id, event.at[-6:]) == (run.run_id, run.team_id, "+00:00")


async def test_a_cursor_that_is_none_is_named(service: ResultsService) -> None:
    for after in ("SECRET", "1", "1-", "-1-1", "99999999999999999999-1", "1-1\n"):
        answer = await service.call("GET", "/events", service.tokens.feed(), params={"after": after})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.after")
        assert "SECRET" not in answer.text


async def test_workers_report_are_listed_and_told_to_drain(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    report = {"worker_id": "w", "pool": "audit", "version": "1.0", "host": "h", "started_at": "2026-01-01T00:00:00Z"}
    token = service.tokens.fleet(Pool.AUDIT, "w")
    first = await service.call("POST", "/workers", token, report)
    assert first.json() == {"interval_seconds": 10.0, "drain": False}
    admin = await admin_of(results_database)
    await admin.execute("UPDATE workers SET drain = true, last_seen = now() - interval '1 minute'")
    before = await admin.fetchval("SELECT last_seen FROM workers")
    run = service.run()
    again = await service.call(
        "POST", "/workers", token, {**report, "current_runs": [str(run.run_id)], "rejected_jobs": {"expired": 2}}
    )
    assert again.json()["drain"] is True
    assert await admin.fetchval("SELECT last_seen FROM workers") > before

    workers = (await service.call("GET", "/workers", service.tokens.feed())).json()["workers"]

    assert len(workers) == 1
    assert workers[0]["current_runs"] == [str(run.run_id)]
    assert (workers[0]["pool"], workers[0]["rejected_jobs"], workers[0]["drain"]) == ("audit", {"expired": 2}, True)
    assert "last_seen" in workers[0]
    await admin.execute("UPDATE workers SET last_seen = now() - interval '2 days'")
    await service.app.state.services.sweeper.tidy()
    assert await admin.fetchval("SELECT count(*) FROM workers") == 0
    await admin.close()


async def test_old_events_go_but_the_newest_of_each_run_stays(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    run, idle = service.run(), service.run()
    fence = await run.claimed()
    await idle.claimed()
    await run.say("heartbeat", {"fence": fence, "units_total": 3})
    admin = await admin_of(results_database)
    await admin.execute("UPDATE run_events SET at = at - interval '8 days'")
    await admin.close()
    await run.say("heartbeat", {"fence": fence, "units_total": 4})

    await service.app.state.services.sweeper.tidy()

    left = {(event["run_id"], event["version"]) for event in (await service.events())["events"]}
    assert left == {(str(run.run_id), 3), (str(idle.run_id), 1)}

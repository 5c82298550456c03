"""A run's display copy gets another key: whoever reads or stores meanwhile goes on, and the old key opens nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from coreo_results.chunks.repository import ChunkRepository
from coreo_results.chunks.sealing import ChunkPlace, seal_chunk, unseal_chunk
from coreo_results.keys.errors import NoRunKeyError
from coreo_results.keys.seal import DamagedError
from coreo_results.ledger import states
from coreo_results.ledger.repository import RunRepository
from coreo_results.services import Services
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.ids import new_id
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    RunClient,
    Tokens,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    running,
)


@pytest.fixture
async def replicas(
    results_database: ServiceDatabase, tmp_path: Path
) -> AsyncIterator[tuple[ResultsService, ResultsService]]:
    """Two: one keys runs anew, the other has the old keys in its memory."""
    tokens = Tokens()
    settings = make_settings(results_database, tokens, make_root_key(tmp_path))
    async with running(settings) as one, running(settings) as two:
        yield ResultsService(one, tokens), ResultsService(two, tokens)


def services(service: ResultsService) -> Services:
    wired: Services = service.app.state.services
    return wired


async def rekeyed(service: ResultsService, run: RunClient) -> int:
    generation = await services(service).rekeying.run(run.team_id, run.run_id)
    assert generation is not None
    return generation


async def full(service: ResultsService) -> RunClient:
    """A run at work with chunks of two units, one of them not done."""
    run = service.run()
    fence = await run.claimed()
    for index in range(11):  # more than one batch
        findings = [make_finding(10 * index + number) for number in range(4)]
        await run.stored(make_chunk(fence, findings, index=index, final=index == 10))
    await run.stored(make_chunk(fence, [make_finding(500)], unit="a.b@global", final=False))
    return run


async def test_pages_filters_and_cursors_hold_while_another_replica_keys_the_run_anew(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, there = replicas
    run = await full(there)
    before = (await run.findings(limit=44)).json()
    first = (await run.findings(limit=30)).json()
    assert await rekeyed(here, run) == 2
    rest = await run.findings(limit=30, cursor=first["next_cursor"])
    assert first["findings"] + rest.json()["findings"] == before["findings"]
    assert await rekeyed(here, run) == 3
    one = await run.findings(resource="arn:aws:s3:::bucket-42")  # the hashes are under the new key too
    assert [item["resource_id"] for item in one.json()["findings"]] == ["bucket-42"]
    assert await rekeyed(here, run) == 4
    # A worker goes on, and its unit is whole in the end.
    await run.stored(make_chunk(1, [make_finding(501)], unit="a.b@global", index=1))
    assert (await run.findings(resource="bucket-501")).json()["total"] == 1
    assert (await run.findings(resource="bucket-500")).json()["total"] == 1


async def test_suppressions_and_resolved_findings_read_chunks_under_the_new_key(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, there = replicas
    old = there.run()
    for status, run in ((FindingStatus.FAIL, old), (FindingStatus.PASS, there.run(old.team_id))):
        answer = await run.say("claim", {"worker_id": "w", "rules": ["s3-bucket-public"]})
        fence = answer.json()["fence"]
        findings = [make_finding(0, status=status), make_finding(1, status=FindingStatus.FAIL)]
        await run.stored(make_chunk(fence, findings))
        await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        assert (await run.findings()).json()["total"] == 2  # there, the keys are in memory now
    for each in (old, run):
        await rekeyed(here, each)
    resolved = await there.call("GET", f"/runs/{run.run_id}/resolved", run.team_token)
    assert [item["resource_id"] for item in resolved.json()["findings"]] == ["bucket-0"]
    suppression = {"resource": "bucket-1", "reason": "known", "author": "ann"}
    assert (await there.call("POST", "/suppressions", run.team_token, suppression)).status_code == 200
    assert (await run.findings(status="SUPPRESSED")).json()["total"] == 1


async def test_the_old_key_opens_no_chunk_and_old_copies_do_not_open_under_the_new_one(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, there = replicas
    run = await full(there)
    wired = services(here)

    async def chunks() -> tuple[object, ...]:
        async with wired.database.transaction(run.team_id) as connection:
            stored = await ChunkRepository(connection).batch(run.team_id, run.run_id, ("", -1), 100)
            hashes = (await connection.execute(text("SELECT resource_hashes, tags FROM chunks ORDER BY 1"))).all()
        return stored, {tuple(row.resource_hashes) for row in hashes}, sorted(str(row.tags) for row in hashes)

    old_key = await wired.keys.run_key(run.team_id, run.run_id)
    old_chunks, old_hashes, old_tags = await chunks()
    await rekeyed(here, run)
    new_key = await wired.keys.run_key(run.team_id, run.run_id)
    new_chunks, new_hashes, new_tags = await chunks()
    assert isinstance(old_chunks, dict)
    assert isinstance(new_chunks, dict)
    assert len(new_chunks) == 12
    for place in new_chunks:
        for sealed, key in ((old_chunks[place], new_key), (new_chunks[place], old_key)):
            with pytest.raises(DamagedError):
                unseal_chunk(place, sealed, key)
        assert unseal_chunk(place, new_chunks[place], new_key) == unseal_chunk(place, old_chunks[place], old_key)
    assert not (old_hashes & new_hashes)  # type: ignore[operator]  # sets
    assert old_tags == new_tags


async def test_a_chunk_that_is_just_being_stored_is_waited_for_and_gets_the_new_key_too(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, _ = replicas
    run = here.run()
    chunk = make_chunk(await run.claimed())
    wired = services(here)
    key = await wired.keys.run_key(run.team_id, run.run_id)
    async with wired.database.transaction(run.team_id) as connection:
        held = await RunRepository(connection).lock(run.team_id, run.run_id)
        assert held is not None
        await ChunkRepository(connection).add(seal_chunk(run.team_id, run.run_id, chunk, key))
        keying = asyncio.create_task(rekeyed(here, run))
        assert not (await asyncio.wait({keying}, timeout=0.5))[0]
        await ChunkRepository(connection).mark_done(ChunkPlace(run.team_id, run.run_id, chunk.unit, 0, final=True), 1)
        counts = Counts(by_status={each.status: 1 for each in chunk.findings})
        await RunRepository(connection).save(states.unit_stored(states.progress(held, chunk.fence), counts))
    await keying
    assert (await run.findings()).json()["total"] == 1


async def test_a_damaged_chunk_stops_it_with_nothing_changed(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, there = replicas
    run = await full(there)
    wired = services(here)
    async with wired.database.transaction(run.team_id) as connection:
        await connection.execute(text("UPDATE chunks SET sealed = sealed || 'x' WHERE chunk_index = 9"))
    with pytest.raises(DamagedError):
        await wired.rekeying.run(run.team_id, run.run_id)
    assert (await run.findings(limit=20)).status_code == 200
    assert (await wired.keys.run_key(run.team_id, run.run_id)).generation == 1


async def test_real_damage_is_still_told_as_damage(replicas: tuple[ResultsService, ResultsService]) -> None:
    """A reader whose key is not the chunk's asks for a newer key, and does not ask for ever."""
    here, there = replicas
    run = await full(there)
    await rekeyed(here, run)
    async with services(here).database.transaction(run.team_id) as connection:
        await connection.execute(text("UPDATE chunks SET sealed = sealed || 'x'"))
    answer = await asyncio.wait_for(run.findings(), 10)
    assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")


async def test_a_run_without_a_key_has_nothing_to_key_anew_and_one_deleted_meanwhile_is_gone(
    replicas: tuple[ResultsService, ResultsService],
) -> None:
    here, there = replicas
    assert await services(here).rekeying.run(new_id(), new_id()) is None
    run = await full(there)
    await run.say("finish", {"fence": 1, "outcome": "failed", "reason": "x"})
    assert (await run.findings()).status_code == 200
    wired = services(there)
    key = await wired.keys.run_key(run.team_id, run.run_id)

    async def reads(read: object) -> None:
        async with wired.database.transaction(run.team_id) as connection:
            await wired.keys.confirm(connection, run.team_id, run.run_id, key)

    await wired.keys.with_run_key(run.team_id, run.run_id, reads)
    async with wired.database.transaction(run.team_id) as connection:
        await connection.execute(text("DELETE FROM run_keys"))
    assert await services(here).rekeying.run(run.team_id, run.run_id) is None
    with pytest.raises(NoRunKeyError):
        await wired.keys.with_run_key(run.team_id, run.run_id, reads)

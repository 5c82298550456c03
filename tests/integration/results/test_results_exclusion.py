"""Exclusion from backups that were made: no key that there still is opens what was copied away before."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest

from coreo_results.backups.log import entry_object
from coreo_results.backups.repository import BackupRepository
from coreo_results.exclusions.repository import ExclusionRepository
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_shared.contracts.exclusions import (
    ExclusionState,
    ExclusionStep,
)
from coreo_shared.contracts.terms import ObjectKind
from coreo_shared.ids import new_id
from tests.support.backups import rows
from tests.support.crashes import Crash, Crasher
from tests.support.deploy_runs import DeployClient
from tests.support.exclusions import Place
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import (
    CLOUD_ACCOUNT,
    PLAN,
    ResultsService,
    RunClient,
    Tokens,
    make_root_key,
    make_settings,
    running,
)


async def _nothing(*_: object, **__: object) -> None:
    return None


async def _says_rekeyed(*_: object, **__: object) -> str:
    return "rekeyed"


async def _passed_without_turnover(self: ExclusionWorker, team_id: UUID) -> None:
    for exclusion in await self._pending(team_id):
        async with self._database.transaction(team_id) as connection:
            await ExclusionRepository(connection, team_id).new_key(exclusion.id, None)
        await self._passed(team_id, exclusion.id, ExclusionStep.OLD_KEYS)


LEFT_OUT: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "nothing": (lambda _: None, set()),
    "the turnover": (
        lambda patch: patch.setattr(ExclusionWorker, "_turn_over", _passed_without_turnover),
        {"database", "documents", "backup"},
    ),
    "the new key of the readable copy": (
        lambda patch: patch.setattr(ExclusionWorker, "_display", _says_rekeyed),
        {"database", "documents"},
    ),
    "the end of the backup's key": (
        lambda patch: patch.setattr(BackupRepository, "drop_keys", _nothing),
        {"backup"},
    ),
}


@pytest.mark.parametrize("left_out", LEFT_OUT)
async def test_old_copies_of_everything_open_nothing_of_it_with_any_key_that_still_exists(
    place: Place, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each of the steps is needed: where it is left out, they do."""
    change, opens = LEFT_OUT[left_out]
    team, other = new_id(), new_id()
    doomed, kept, foreign = await place.ended(team, 1), await place.ended(team, 2), await place.ended(other, 3)
    deploys = [await DeployClient(place.service, team_id=team).bring_to("SUCCEEDED") for _ in range(2)]
    for each in (team, other):
        await place.back_up(each)
    before = await place.copies()
    all_runs = {(where, run.run_id) for run in (doomed, kept, foreign) for where in ("database", "backup")}
    all_runs |= {(where, run.run_id) for run in deploys for where in ("documents", "backup")}
    assert await place.readable(before) == all_runs  # the keys, and the way to try them, are the right ones

    change(monkeypatch)
    if left_out != "nothing":  # a service that is not told the truth by its own steps
        monkeypatch.setattr(ExclusionRepository, "left", _nothing)
    gone = (doomed.run_id, deploys[0].run_id)
    asked = [await place.exclude(team, "run", run_id) for run_id in gone]
    assert await place.work(team)
    assert {(await place.find(team, each.id)).state for each in asked} == {ExclusionState.DONE}
    expected = {entry for entry in all_runs if entry[1] not in gone or entry[0] in opens}
    assert await place.readable(before) == expected

    # All are there to be read as they were.
    for run in (doomed, kept, foreign):
        assert (await run.findings()).json()["total"] == 1
    for deploy in deploys:
        assert (await deploy.read("documents/preview")).status_code == 200


async def test_how_far_it_is_can_be_seen_and_in_the_end_there_is_a_receipt(
    place: Place, databases: Databases, results_database: ServiceDatabase
) -> None:
    team = new_id()
    doomed = [await place.ended(team, number) for number in (1, 2)]
    kept = await place.ended(team, 3, plan_id=new_id())
    await place.back_up(team)
    asked = await place.exclude(team, "plan", PLAN, reason="asked by legal")
    assert (asked.state, asked.runs, asked.done, asked.remaining) == (
        *(ExclusionState.PENDING, 2, []),
        list(ExclusionStep),
    )
    assert await place.exclude(team, "plan", PLAN, reason="said again") == asked
    token = place.service.tokens.team(team)
    answer = await place.service.call("GET", f"/exclusions/{asked.id}/receipt", token)
    assert (answer.status_code, answer.json()["code"]) == (409, "exclusion_pending")
    # Runs of the plan that end from now on get no backup, whatever becomes of this.
    later = await place.ended(team, 4)
    await place.back_up(team)

    assert await place.work(team)
    done = await place.find(team, asked.id)
    assert (done.state, [each.step for each in done.done], done.remaining) == (
        *(ExclusionState.DONE, list(ExclusionStep)),
        [],
    )
    receipt = await place.receipt(team, asked.id)
    ids = sorted(run.run_id for run in doomed)
    assert (receipt.run_ids, receipt.runs, receipt.backups_deleted, receipt.display_rekeyed) == (ids, 2, 2, 2)
    assert (receipt.requested_by, receipt.reason, receipt.scope) == ("ann", "asked by legal", ObjectKind.PLAN)
    assert (receipt.key_destroyed, receipt.key_now) == (1, 2)
    assert receipt.runs_sha256 == hashlib.sha256("".join(f"{each}\n" for each in ids).encode()).hexdigest()
    for tombstone in receipt.tombstones:
        stored = place.directory / "backups" / entry_object(team, tombstone.seq)
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == tombstone.sha256
    objects = [path.name[:36] for path in (place.directory / "backups").rglob("*.bin")]
    assert objects == [str(kept.run_id)]
    snapshots = list((place.directory / "ledger").rglob("*.jws"))
    assert len(snapshots) == 2  # that of the turnover, and that of the receipt
    entries = (await place.service.call("GET", "/access", token, params={"action": "EXCLUDE"})).json()["items"]
    assert [(entry["actor"], entry["object_kind"], entry["detail"]["runs"]) for entry in entries] == [
        ("ann", "plan", 2)
    ] * 2
    page = (await place.service.call("GET", "/exclusions", token)).json()
    assert [item["id"] for item in page["items"]] == [str(asked.id)]
    # A new question is a new exclusion: there is a run more.
    assert (await place.exclude(team, "plan", PLAN, display="delete")).runs == 3
    assert await place.work(team)
    for run in (*doomed, later):
        assert (await run.findings()).json()["code"] == "results_deleted"

    # Everything is lost but stores and vault: nothing of it comes back, and the receipts do.
    installation = place.installation
    with databases.empty("coreo_results") as empty:
        assert (await installation.restore(empty)).restored[team].runs == 1
        async with installation.serving(empty) as service:
            again = Place(service, installation, empty)
            assert await again.receipt(team, asked.id) == receipt
            assert (await service.run(team, kept.run_id).findings()).json()["total"] == 1
            fence = await service.run(team, ids[0]).claimed()  # a message that was on its way for long
            await service.run(team, ids[0]).say("finish", {"fence": fence, "outcome": "failed", "reason": "x"})
            await again.back_up(team)
            assert (await installation.verdict(team)).problems == []
            objects = [key.rsplit("/")[-1][:36] for key in installation.files("backups") if key.startswith("runs/")]
            assert objects == [str(kept.run_id)]


async def test_wherever_it_is_broken_off_it_goes_on_from_there(place: Place) -> None:
    team, crashes = new_id(), 0
    kept = await place.ended(team, 0)
    view = (await kept.findings()).json()["findings"]
    async with place.connected() as database:
        for at in count(1, 7):  # all of them take minutes
            doomed = await place.ended(team, at)
            await place.back_up(team)
            before = await place.copies() if at == 15 else None
            asked = await place.exclude(team, "run", doomed.run_id)
            try:
                async with place.process(Crasher(at, after=bool(at % 2)), database) as parts:
                    await parts.worker.work(team)
            except Crash:
                crashes += 1
            else:
                break
            assert await place.work(team)
            receipt = await place.receipt(team, asked.id)
            assert (receipt.run_ids, receipt.backups_deleted) == ([doomed.run_id], 1), at
            if before is not None:
                readable = {run_id for _, run_id in await place.readable(before)}
                assert doomed.run_id not in readable
                assert kept.run_id in readable
    assert crashes > 6
    assert (await kept.findings()).json()["findings"] == view
    assert (await place.installation.verdict(team)).problems == []


async def test_what_is_pending_when_all_else_is_lost_goes_on_in_the_restored_database(
    place: Place, databases: Databases
) -> None:
    team = new_id()
    doomed, kept = [await place.ended(team, number) for number in (1, 2)]
    await place.back_up(team)
    asked = await place.exclude(team, "run", doomed.run_id, reason="x")
    for at in count(4):
        with suppress(Crash):
            async with place.process(Crasher(at)) as parts:
                await parts.worker.work(team)
        if (await place.find(team, asked.id)).done:
            break
    with databases.empty("coreo_results") as empty:
        assert (await place.installation.restore(empty)).restored[team].runs == 1
        assert await rows(empty, "SELECT receipt FROM exclusions") == [(None,)]
        async with place.installation.serving(empty, sweep_seconds=3600) as service:
            again = Place(service, place.installation, empty)
            assert (await service.run(team, doomed.run_id).findings()).status_code == 404
            async with asyncio.timeout(60):  # its keeper is at it already
                while (await again.find(team, asked.id)).state is ExclusionState.PENDING:
                    await again.work(team)
            assert (await again.receipt(team, asked.id)).run_ids == [doomed.run_id]
            assert (await service.run(team, kept.run_id).findings()).json()["total"] == 1
    assert [key for key in place.installation.files("backups") if str(doomed.run_id) in key] == []


async def test_a_readable_copy_that_is_damaged_is_left_to_people(place: Place) -> None:
    team = new_id()
    bad, good = await place.ended(team, 1), await place.ended(team, 2)
    await place.back_up(team)
    await rows(place.database, "UPDATE chunks SET sealed = sealed || '\\x00' WHERE run_id = $1", bad.run_id)
    waits, other = [await place.exclude(team, "run", run.run_id) for run in (bad, good)]
    assert not await place.work(team)
    found = await place.find(team, waits.id)
    assert (found.state, found.remaining[0]) == (ExclusionState.PENDING, ExclusionStep.DISPLAY)
    assert str(bad.run_id) in (found.problem or "")
    assert (await place.find(team, other.id)).state is ExclusionState.DONE
    await place.service.call("DELETE", f"/runs/{bad.run_id}/results", place.service.tokens.team(team))
    assert await place.work(team)
    assert (await place.find(team, waits.id)).problem is None


async def test_no_receipt_is_signed_while_anything_is_there_that_must_be_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = new_id()
    run = await place.ended(team, 1)
    await place.back_up(team)
    with monkeypatch.context() as patch:
        patch.setattr(BackupRepository, "drop_keys", _nothing)
        asked = await place.exclude(team, "run", run.run_id)
        assert not await place.work(team)
    found = await place.find(team, asked.id)
    assert (found.remaining, found.problem) == (
        [ExclusionStep.RECEIPT],
        "backup keys that must be gone are still there",
    )
    await rows(place.database, "DELETE FROM backup_keys WHERE run_id = $1", run.run_id)
    vault = place.services.turnovers._vault
    monkeypatch.setattr(vault, "load", _nothing)
    assert not await place.work(team)
    assert "still in the vault" in ((await place.find(team, asked.id)).problem or "")


async def test_what_cannot_be_excluded_is_refused(place: Place) -> None:
    team = new_id()
    at_work = place.service.run(team)
    await at_work.claimed()
    for status, code, body in (
        (404, "not_found", {"scope": "run", "scope_id": str(new_id())}),
        (409, "nothing_to_exclude", {"scope": "plan", "scope_id": str(new_id())}),
        (409, "run_at_work", {"scope": "run", "scope_id": str(at_work.run_id), "display": "delete"}),
        (409, "runs_at_work", {"scope": "cloud_account", "scope_id": str(CLOUD_ACCOUNT), "display": "delete"}),
        (422, "invalid", {"scope": "team", "scope_id": str(team)}),
        (422, "invalid", {"scope": "plan", "scope_id": str(PLAN), "reason": "x" * 501}),
    ):
        answer = await place.service.call("POST", "/exclusions", place.service.tokens.team(team), body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    for scope, settings in (("plan", "of this plan."), ("cloud_account", "of the plans that run in it.")):
        body = {"scope": scope, "scope_id": str(new_id())}
        answer = await place.service.call("POST", "/exclusions", place.service.tokens.team(team), body)
        assert answer.json()["detail"].endswith(f"say so in the settings {settings}")
    # One at work can be, and is never backed up.
    asked = await place.exclude(team, "cloud_account", CLOUD_ACCOUNT)
    assert await place.work(team)
    await at_work.say("finish", {"fence": 1, "outcome": "completed", "units_total": 0})
    await place.ended(team, 2)
    await place.back_up(team)
    assert list((place.directory / "backups").rglob("*.bin")) == []
    assert (await place.receipt(team, asked.id)).display_rekeyed == 1


async def test_without_backups_there_is_nothing_to_exclude_from(
    results_database: ServiceDatabase, tmp_path: Path
) -> None:
    tokens = Tokens()
    async with running(make_settings(results_database, tokens, make_root_key(tmp_path), backup_store="none")) as app:
        run = ResultsService(app, tokens).run()
        await run.claimed()
        body = {"scope": "run", "scope_id": str(run.run_id)}
        answer = await run.service.call("POST", "/exclusions", run.team_token, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "no_backups")


async def test_sweeper_readers_backups_and_exclusions_at_once(place: Place, databases: Databases) -> None:
    """Nobody waits in a circle, what has gone stays gone, and readers get the whole of a run or are told why not."""
    team, wired = new_id(), place.services
    runs = [await place.ended(team, number) for number in range(7)]
    old, excluded, deleted, kept = runs[:2], runs[1:4], runs[4:5], runs[5:]
    await rows(
        place.database,
        "UPDATE runs SET ended_at = ended_at - interval '91 days' WHERE run_id = ANY ($1)",
        [run.run_id for run in old],
    )
    gone: set[UUID] = set()
    is_over = asyncio.Event()

    async def read(run: RunClient) -> None:
        had_gone = run.run_id in gone
        answer = await run.findings()
        assert answer.status_code in {200, 410}, answer.text
        assert answer.status_code == 410 or (answer.json()["total"], had_gone) == (1, False)
        if answer.status_code == 410:
            gone.add(run.run_id)

    async def read_all() -> None:
        for run in runs:
            await read(run)

    async def again(work: Callable[[], Awaitable[object]]) -> None:
        while not is_over.is_set():
            await work()

    async def exclude() -> None:
        asked = [await place.exclude(team, "run", run.run_id) for run in excluded]
        for run in deleted:
            await place.service.call("DELETE", f"/runs/{run.run_id}/results", run.team_token)
        while {(await place.find(team, each.id)).state for each in asked} != {ExclusionState.DONE}:
            await place.work(team)
        is_over.set()

    backups = wired.backups
    assert backups is not None
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for work in (read_all, read_all, wired.retention_sweeper.sweep, lambda: backups.cycle(team)):
            group.create_task(again(work))
        group.create_task(exclude())
    await place.back_up(team)
    await wired.retention_sweeper.sweep()
    for run in runs:
        assert ((await run.findings()).status_code == 410) is (run in old or run in deleted)
    assert (await place.installation.verdict(team)).problems == []
    with databases.empty("coreo_results") as empty:
        await place.installation.restore(empty)
        found = dict(await rows(empty, "SELECT run_id, purged_at IS NULL FROM runs"))
    assert not set(found) & {run.run_id for run in excluded}
    assert {run for run, is_shown in found.items() if is_shown} == {run.run_id for run in kept}


async def test_a_deploys_documents_come_back_from_the_backups_and_go_with_its_results(
    place: Place, databases: Databases
) -> None:
    team = new_id()
    deploys = [await DeployClient(place.service, team_id=team).bring_to("SUCCEEDED") for _ in range(2)]
    await place.back_up(team)
    await place.service.call("DELETE", f"/runs/{deploys[1].run_id}/results", deploys[1].team_token)
    gone = await deploys[1].read("documents/preview")
    assert (gone.status_code, gone.json()["code"]) == (410, "results_deleted")
    assert await rows(place.database, "SELECT DISTINCT run_id FROM run_documents") == [(deploys[0].run_id,)]
    assert (await deploys[1].view()).documents == {"preview": 1}  # what the feed says of it stays
    await place.back_up(team)
    before = {path: (await deploys[0].read(path)).json() for path in ("documents/preview", "stack-events", "deploy")}
    with databases.empty("coreo_results") as empty:
        await place.installation.restore(empty, thorough=True)
        async with place.installation.serving(empty, sweep_seconds=3600) as service:
            again = DeployClient(service, team_id=team)
            again.run_id = deploys[0].run_id
            assert {path: (await again.read(path)).json() for path in before} == before
            assert (await again.view()) == await deploys[0].view()
            again.run_id = deploys[1].run_id
            assert (await again.read("documents/preview")).status_code == 410

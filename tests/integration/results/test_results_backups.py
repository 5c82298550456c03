"""Backups and their way back: all is restored as it was, what was let go of is not, and it goes on from there."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.heads import team_lock
from coreo_results.backups.journal import LogAheadError
from coreo_results.backups.ledger import read_ledger
from coreo_results.backups.reading import read_team
from coreo_results.backups.repository import BackupRepository
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.vault import VaultVersion
from coreo_results.retention.repository import NOT_EVERYTHING
from coreo_shared.contracts.backups import RunsExcluded
from coreo_shared.contracts.terms import FindingStatus, Pool, Severity
from coreo_shared.ids import new_id
from tests.support.backups import Installation, backups_of, ended, rows, seen
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import ResultsService, RunClient, make_finding

FAIL, PASS, UNKNOWN = FindingStatus.FAIL, FindingStatus.PASS, FindingStatus.NOT_EVALUATED
# What must be the same beside what readers see; keys, and what hangs on them, are others.
SAME = {
    "runs": "to_jsonb(t) - 'backup_settled_at' - 'lease_until'",
    "units": "to_jsonb(t)",
    "chunks": "to_jsonb(t) - 'sealed' - 'resource_hashes' - 'stored_at'",
    "finding_groups": "to_jsonb(t)",
    "run_totals": "to_jsonb(t)",
    "chunk_changes": "to_jsonb(t)",
    "resolved_findings": "to_jsonb(t)",
    "finding_life": "to_jsonb(t)",
    "custody_settings": "to_jsonb(t)",
    "plan_custody_settings": "to_jsonb(t)",
    "backups": "to_jsonb(t) - 'started_at' - 'stored_at'",
}


@pytest.fixture
def installation(results_database: ServiceDatabase, tmp_path: Path) -> Installation:
    return Installation(tmp_path, results_database)


@pytest.fixture
def empty(databases: Databases) -> Iterator[ServiceDatabase]:
    """To restore into."""
    with databases.empty("coreo_results") as database:
        yield database


async def tables(database: ServiceDatabase) -> dict[str, list[Any]]:
    """What must be the same, by table."""
    return {
        table: [json.loads(row) for (row,) in await rows(database, f"SELECT {row}::text FROM {table} t ORDER BY 1")]
        for table, row in SAME.items()
    }


def statuses(*of: FindingStatus, first: int = 0) -> list[Any]:
    return [make_finding(number, status=status) for number, status in enumerate(of, first)]


async def history(service: ResultsService, team: UUID) -> list[RunClient]:
    """Runs of two plans in which findings come, change, cannot be judged, are resolved, go, and come back."""
    gone = {"a@global": [], "b@eu-west-1": statuses(FAIL, first=8)}
    unlisted = [make_finding(90, status=UNKNOWN, resource_id="c@global", resource_arn=None)]
    twice = [*statuses(PASS), make_finding(0, status=FAIL, severity=Severity.LOW), *statuses(PASS, first=1)]
    return [
        await ended(
            service, team, {"a@global": statuses(FAIL, FAIL, PASS, FAIL, FAIL), "c@global": statuses(FAIL, first=20)}
        ),
        await ended(service, team, {"a@global": statuses(PASS, UNKNOWN, PASS, FAIL), "c@global": unlisted}),
        await ended(service, team, gone),
        await ended(service, team, {"a@global": twice}, plan_id=new_id()),
        await ended(service, team, {"a@global": statuses(UNKNOWN, UNKNOWN, FAIL)}),
        await ended(service, team, {}),
    ]


async def test_everything_comes_back_as_it_was_and_goes_on_from_there(
    installation: Installation, empty: ServiceDatabase
) -> None:
    team, other = new_id(), new_id()
    async with installation.serving() as service:
        await service.call("PATCH", "/custody/settings", service.tokens.team(team), {"display_days": 200})
        runs = await history(service, team)
        never = service.run(team)
        await never.cancel()  # without a key, and without findings
        await service.run(team).claimed()  # at work
        foreign = await ended(service, other, {"a@global": statuses(FAIL)})
        for team_id, count in ((team, 7), (other, 1)):
            cycle = await backups_of(service).cycle(team_id)
            assert (cycle.stored, cycle.failed, cycle.is_done) == (count, {}, True)
        assert (await backups_of(service).cycle(team)).stored == 0
        before = {run.run_id: await seen(service, run) for run in [*runs, never, foreign]}
    live = await tables(installation.database)
    for kind in ("runs", "units", "chunks", "finding_groups", "run_totals"):  # of the run at work there is nothing yet
        live[kind] = [row for row in live[kind] if row.get("state") != "CLAIMED"]

    report = await installation.restore(empty, thorough=True)

    assert {team_id: done.runs for team_id, done in report.restored.items()} == {team: 7, other: 1}
    assert await tables(empty) == live
    async with installation.serving(empty) as service:
        again = [service.run(run.team_id, run.run_id) for run in [*runs, never, foreign]]
        assert {run.run_id: await seen(service, run) for run in again} == before
        found = await again[0].findings(resource="arn:aws:s3:::bucket-1")
        assert [item["resource_id"] for item in found.json()["findings"]] == ["bucket-1"]
        events = {event["run_id"]: event["state"] for event in (await service.events(limit=100))["events"]}
        assert set(events) == {str(run.run_id) for run in again}
        # What comes next is compared with what came back, and goes into the same log.
        await ended(service, team, {"a@global": statuses(PASS, PASS, PASS, first=2)})
        assert (await backups_of(service).cycle(team)).stored == 1
    verdict = await installation.verdict(team)
    assert verdict.problems == []
    assert (verdict.runs, verdict.summary and verdict.summary.log_seq) == (8, 2)


async def test_findings_of_a_run_that_a_replica_of_before_compared_are_known_after_a_restore(
    installation: Installation, empty: ServiceDatabase
) -> None:
    """It did not say when they were first seen. That it says something of them is why they are not gone."""
    team, found = new_id(), {"a@global": statuses(FAIL, PASS, UNKNOWN)}
    async with installation.serving() as service:
        await ended(service, team, found)
        newest = await ended(service, team, found)
        for forgets in (
            "UPDATE chunk_changes SET first_of = DEFAULT, failed = NULL WHERE run_id = $1",
            "UPDATE runs SET first_runs = NULL, first_seen = NULL WHERE run_id = $1",
        ):
            await rows(installation.database, forgets, newest.run_id)
        assert (await backups_of(service).cycle(team)).stored == 2
    await installation.restore(empty)
    known = "SELECT status, last_run FROM finding_life ORDER BY status"
    assert await rows(empty, known) == [(status, newest.run_id) for status in (FAIL, UNKNOWN, PASS)]
    async with installation.serving(empty) as service:
        next_ = await ended(service, team, found)
        counts = (await service.call("GET", f"/runs/{next_.run_id}/changes", next_.team_token)).json()["counts"]
    assert (counts["unchanged"], counts["new"]) == (3, 0)


async def test_a_run_that_cannot_be_read_keeps_no_other_from_its_backup(installation: Installation) -> None:
    team = new_id()
    async with installation.serving() as service:
        bad = await ended(service, team, {"a@global": statuses(FAIL)})
        short = await ended(service, team, {"a@global": statuses(FAIL, FAIL, FAIL)})
        await ended(service, team, {"a@global": statuses(FAIL)})
        await rows(installation.database, "UPDATE chunks SET sealed = sealed || '\\x00' WHERE run_id = $1", bad.run_id)
        await rows(installation.database, "DELETE FROM chunks WHERE run_id = $1 AND chunk_index = 1", short.run_id)
        await service.app.state.services.backup_keeper.round()
        problem = await rows(installation.database, "SELECT problem FROM backup_heads")
        assert "2 runs cannot be read" in problem[0][0]
        cycle = await backups_of(service).cycle(team)
        assert (cycle.stored, set(cycle.failed)) == (0, {bad.run_id, short.run_id})
    assert len(installation.files("backups")) == 2  # a run, and its entry in the log
    assert (await installation.verdict(team)).is_good


async def test_what_its_team_plan_or_start_does_not_want_gets_no_key(installation: Installation) -> None:
    team, quiet_plan = new_id(), new_id()
    async with installation.serving() as service:
        token = service.tokens.team(team)
        await ended(service, team, {"a@global": statuses(FAIL)})
        await ended(service, team, {"a@global": statuses(FAIL)}, backup=False)
        await ended(service, team, {"a@global": statuses(FAIL)}, plan_id=quiet_plan)
        await service.call("PATCH", f"/plans/{quiet_plan}/custody", token, {"backup": False})
        deleted = await ended(service, team, {"a@global": statuses(FAIL)})
        await service.call("DELETE", f"/runs/{deleted.run_id}/results", token)
        onboard = service.run(team)
        onboard.token = service.tokens.run(team, onboard.run_id, pool=Pool.ONBOARD, plan_id=None, plan_revision=None)
        fence = await onboard.claimed()
        await onboard.say("finish", {"fence": fence, "outcome": "failed", "reason": "x"})
        assert (await backups_of(service).cycle(team)).stored == 1
        await service.call("PATCH", "/custody/settings", token, {"backups": False})
        await ended(service, team, {"a@global": statuses(FAIL)})
        assert (await backups_of(service).cycle(team)).stored == 0
        # Wanting them later makes none of what has ended: it was said that there would be none.
        await service.call("PATCH", "/custody/settings", token, {"backups": True})
        assert (await backups_of(service).cycle(team)).stored == 0
    assert await rows(installation.database, "SELECT count(*) FROM backup_keys") == [(1,)]


async def test_a_backup_is_kept_as_long_as_its_team_wants_and_then_gone(
    installation: Installation, empty: ServiceDatabase
) -> None:
    team = new_id()
    async with installation.serving() as service:
        old, new = [await ended(service, team, {"a@global": statuses(FAIL)}) for _ in range(2)]
        await backups_of(service).cycle(team)
        days = "SELECT (expires_at - ended_at)::text FROM backups"
        assert await rows(installation.database, days) == [("1826 days",)] * 2
        await rows(
            installation.database,
            "WITH r AS (UPDATE runs SET ended_at = ended_at - interval '10 days' WHERE run_id = $1)"
            " UPDATE backups SET ended_at = ended_at - interval '10 days' WHERE run_id = $1",
            old.run_id,
        )
        await service.call("PATCH", "/custody/settings", service.tokens.team(team), {"backup_days": 10})
        await service.app.state.services.backup_keeper.round()
        found = await rows(installation.database, "SELECT run_id, state, why FROM backups ORDER BY run_id")
        assert found == [(old.run_id, "GONE", "expired"), (new.run_id, "STORED", None)]
        assert (await backups_of(service).cycle(team)).stored == 0  # it is not backed up anew
    assert await rows(installation.database, "SELECT run_id FROM backup_keys") == [(new.run_id,)]
    (left,) = [key for key in installation.files("backups") if key.startswith("runs/")]
    assert str(new.run_id) in left
    verdict = await installation.verdict(team)
    assert (verdict.problems, verdict.runs) == ([], 1)
    assert verdict.summary is not None
    assert (verdict.summary.log_seq, verdict.summary.expired) == (3, 1)
    assert (await installation.restore(empty)).restored[team].runs == 1
    assert await rows(empty, "SELECT run_id FROM runs") == [(new.run_id,)]


async def test_what_was_deleted_or_is_too_old_to_be_shown_does_not_come_back_into_view(
    installation: Installation, databases: Databases
) -> None:
    team = new_id()
    async with installation.serving() as service:
        deleted, old, kept = [await ended(service, team, {"a@global": statuses(FAIL)}) for _ in range(3)]
        await rows(
            installation.database,
            "UPDATE runs SET ended_at = ended_at - interval '91 days' WHERE run_id = $1",
            old.run_id,
        )
        await backups_of(service).cycle(team)
        token = service.tokens.team(team, actor="ann")
        await service.call("DELETE", f"/runs/{deleted.run_id}/results", token)
        await service.app.state.services.backup_keeper.round()

    for options, shown in (({}, {kept.run_id}), ({"with_expired": True}, {kept.run_id, old.run_id})):
        with databases.empty("coreo_results") as empty:
            report = await installation.restore(empty, **options)
            assert (report.restored[team].runs, report.restored[team].without_content) == (3, 3 - len(shown))
            for table in ("chunks", "units", "run_keys"):
                found = await rows(empty, f"SELECT DISTINCT run_id FROM {table}")
                assert {run_id for (run_id,) in found} == shown
            async with installation.serving(empty) as service:
                answer = await service.run(team, deleted.run_id).findings()
                assert (answer.status_code, answer.json()["code"]) == (410, "results_deleted")
                assert "ann" in answer.json()["detail"]
                codes = {(await service.run(team, run.run_id).findings()).status_code for run in (old, kept)}
                assert codes == ({200, 410} if old.run_id not in shown else {200})
            assert await rows(empty, "SELECT count(*) FROM backup_keys") == [(3,)]


async def test_counts_that_the_team_does_not_want_are_in_no_restored_run_either(
    installation: Installation, empty: ServiceDatabase
) -> None:
    team = new_id()
    numbers = "SELECT counts::text, changes::text, reason, counts_kept FROM runs WHERE purged_at IS NOT NULL"
    async with installation.serving() as service:
        run = await ended(service, team, {"a@global": statuses(FAIL, UNKNOWN)})
        await backups_of(service).cycle(team)
        await service.call("PATCH", "/custody/settings", service.tokens.team(team), {"keep_counts": False})
        await service.call("DELETE", f"/runs/{run.run_id}/results", run.team_token)
        await service.app.state.services.backup_keeper.round()
    live = await rows(installation.database, numbers)
    assert live == [("{}", None, NOT_EVERYTHING, False)]
    await installation.restore(empty)
    assert await rows(empty, numbers) == live


async def test_a_tombstone_holds_for_everything_that_is_restored(
    installation: Installation, empty: ServiceDatabase
) -> None:
    """As an exclusion writes it: key and object go with the entry, and the log refuses the run ever after."""
    team = new_id()
    async with installation.serving() as service:
        out, kept = [await ended(service, team, {"a@global": statuses(FAIL)}) for _ in range(2)]
        backups = backups_of(service)
        await backups.cycle(team)

        async def decide(connection: AsyncConnection, seq: int) -> RunsExcluded:
            await BackupRepository(connection, team).drop([out.run_id], "excluded", seq)
            return RunsExcluded(
                exclusion_id=new_id(),
                scope="run",
                scope_id=out.run_id,
                run_ids=[out.run_id],
                requested_by="ann",
                reason=None,
            )

        async with team_lock(backups._database, team, wait=True):
            await backups.journal.append(team, decide)
        async with installation.verifier() as verifier:
            found = await read_team(verifier.stores, team, verifier.statements)
        assert [str(out.run_id) in key for key in found.leftover] == [True]
        await backups.cycle(team)
    (left,) = [key for key in installation.files("backups") if key.startswith("runs/")]
    assert str(kept.run_id) in left
    assert (await installation.restore(empty)).restored[team].runs == 1
    assert await rows(empty, "SELECT run_id FROM runs") == [(kept.run_id,)]


async def test_a_turnover_leaves_one_ledger_and_old_ones_open_nothing(
    installation: Installation, empty: ServiceDatabase
) -> None:
    team = new_id()
    async with installation.serving() as service:
        run = await ended(service, team, {"a@global": statuses(FAIL)})
        for _ in range(3):
            await backups_of(service).cycle(team)
            await ended(service, team, {"a@global": statuses(FAIL)})
        before = {key: (installation.directory / "ledger" / key).read_bytes() for key in installation.files("ledger")}
        assert len([key for key in before if key.endswith(".jws")]) == 3
        view = await seen(service, run)
        await service.app.state.services.turnovers.run(team)
    assert len([key for key in installation.files("ledger") if key.endswith(".jws")]) == 1
    assert not set(before) & set(installation.files("ledger"))
    async with installation.verifier() as verifier:
        ledger = await read_ledger(verifier.stores.ledger, team, verifier.statements)
        assert {wrapped.team_key_version for wrapped in ledger.keys.values()} == {2}
        versions: list[VaultVersion] = [each async for each in verifier.vault.versions(team)]
        assert [each.is_destroyed for each in versions] == [True, False]
    await installation.restore(empty)
    async with installation.serving(empty) as service:
        assert await seen(service, service.run(team, run.run_id)) == view

    for key in installation.files("ledger"):
        (installation.directory / "ledger" / key).unlink()
    for key, content in before.items():
        (installation.directory / "ledger" / key).write_bytes(content)
    verdict = await installation.verdict(team)
    assert all("version 1 of the team's key" in problem for problem in verdict.problems)
    assert len(verdict.problems) == 3


async def test_a_ledger_that_is_not_wrapped_anew_keeps_the_old_key_alive(installation: Installation) -> None:
    team = new_id()
    async with installation.serving() as service:
        await ended(service, team, {"a@global": statuses(FAIL)})
        await backups_of(service).cycle(team)
        with pytest.raises(DamagedError, match="still has keys"):
            await backups_of(service).renew_ledger(team, [1])


async def test_a_database_that_was_put_back_writes_and_deletes_nothing(installation: Installation) -> None:
    team = new_id()
    async with installation.serving() as service:
        await ended(service, team, {"a@global": statuses(FAIL)})
        await backups_of(service).cycle(team)
        await rows(installation.database, "UPDATE backup_heads SET seq = 0, entry = NULL")
        before = installation.files("backups")
        await ended(service, team, {"a@global": statuses(FAIL)})
        with pytest.raises(LogAheadError, match="older state"):
            await backups_of(service).cycle(team)
        await service.app.state.services.backup_keeper.round()
        assert "older state" in (await rows(installation.database, "SELECT problem FROM backup_heads"))[0][0]
    assert installation.files("backups") == before


async def test_snapshots_of_the_ledger_are_few_and_a_day_old_at_most(installation: Installation) -> None:
    team = new_id()
    async with installation.serving() as service:
        for _ in range(5):
            await ended(service, team, {"a@global": statuses(FAIL)})
            await backups_of(service).cycle(team)
        snapshots = [key for key in installation.files("ledger") if key.endswith(".jws")]
        assert [key[-8:] for key in snapshots] == ["0003.jws", "0004.jws", "0005.jws"]
        await service.app.state.services.backup_keeper.round()
        assert [key for key in installation.files("ledger") if key.endswith(".jws")] == snapshots
        await rows(installation.database, "UPDATE backup_heads SET snapshot_at = now() - interval '25 hours'")
        left = installation.directory / "backups" / "runs" / str(team) / f"{new_id()}-x.bin"
        left.write_bytes(b"of a writer that died")
        fresh = left.with_name(f"{new_id()}-y.bin")
        fresh.write_bytes(b"of one that is at it")
        os.utime(left, (0, 0))
        await service.app.state.services.backup_keeper.round()
        assert [key[-8:] for key in installation.files("ledger") if key.endswith(".jws")][-1] == "0006.jws"
        assert (left.exists(), fresh.exists()) == (False, True)


async def test_backups_are_made_by_themselves_and_when_asked_for(installation: Installation) -> None:
    team = new_id()
    token = installation.tokens.team(team)
    async with installation.serving(keeps_backups=True) as service:
        assert (await service.call("GET", "/backups", token)).json()["runs"] == 0
        await ended(service, team, {"a@global": statuses(FAIL, PASS)})
        answer = await service.call("POST", "/backups", token)
        assert answer.status_code == 202
        async with asyncio.timeout(60):
            while (state := (await service.call("GET", "/backups", token)).json())["checked_at"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # the keeper is at work beside this
        assert (state["wanted"], state["runs"], state["findings"], state["due"], state["log_entries"]) == (
            True,
            1,
            2,
            0,
            1,
        )
        assert state["bytes"] > 1_000
        await service.call("PATCH", "/custody/settings", token, {"backups": False})
        refused = await service.call("POST", "/backups", token)
        assert (refused.status_code, refused.json()["code"]) == (409, "no_backups")
    assert (await installation.verdict(team)).is_good

"""Queries on exclusions: what was asked, how far each is, and whether what it says is true."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.contracts.exclusions import Display, ExclusionStep, NewExclusion
from coreo_shared.contracts.terms import ObjectKind

STEPS = tuple(ExclusionStep)
_ONE = "team_id = :team AND exclusion_id = :id"
_SELECT = """
    SELECT e.*, (SELECT count(*) FROM exclusion_runs r
        WHERE r.team_id = e.team_id AND r.exclusion_id = e.exclusion_id)::int AS runs
    FROM exclusions e WHERE e.team_id = :team
"""
_ADD = text("""
    INSERT INTO exclusions
        (team_id, exclusion_id, scope, scope_id, display, reason, requested_by, requested_by_id, log_end)
    VALUES (:team, :id, :scope, :scope_id, :display, :reason, :by, :by_id, :log_end)
""")
_ADD_RUNS = text("""
    INSERT INTO exclusion_runs (team_id, run_id, exclusion_id)
    SELECT :team, run_id, :id FROM unnest(CAST(:runs AS uuid[])) AS r (run_id)
""")
_NO_BACKUP = text("""
    UPDATE runs SET backup = false, backup_settled_at = coalesce(backup_settled_at, now())
    WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[]))
""")
_NO_BACKUP_OF_ACCOUNT = text("""
    INSERT INTO account_custody_settings (team_id, cloud_account_id, backup) VALUES (:team, :account, false)
    ON CONFLICT (team_id, cloud_account_id) DO UPDATE SET backup = false, updated_at = now()
""")
# The same question while the first is pending, and no run has come since: the same answer.
_SAME = text(f"""
    {_SELECT} AND e.scope = :scope AND e.scope_id = :scope_id AND e.display = :display AND e.receipt_at IS NULL
        AND (SELECT array_agg(r.run_id ORDER BY r.run_id) FROM exclusion_runs r
            WHERE r.team_id = e.team_id AND r.exclusion_id = e.exclusion_id) = CAST(:runs AS uuid[])
    ORDER BY e.exclusion_id LIMIT 1
""")  # noqa: S608  constants
_FIND = text(f"{_SELECT} AND e.exclusion_id = :id")
_PAGE = text(f"{_SELECT} AND e.exclusion_id < :before ORDER BY e.exclusion_id DESC LIMIT :limit")
_PENDING = text(f"{_SELECT} AND e.receipt_at IS NULL ORDER BY e.exclusion_id")
_PENDING_TEAMS = text("SELECT DISTINCT team_id FROM exclusions WHERE receipt_at IS NULL ORDER BY team_id")
_PASSED: dict[ExclusionStep, TextClause] = {
    step: text(
        f"UPDATE exclusions SET {step}_at = now(), problem = NULL WHERE {_ONE} AND {step}_at IS NULL"  # noqa: S608  names of ours
    )
    for step in STEPS
    if step is not ExclusionStep.RECEIPT
}
_NEW_KEY = text(f"""
    UPDATE exclusions SET new_key_at = now(), problem = NULL, key_old = CAST(:old AS int), key_new = CAST(:new AS int)
    WHERE {_ONE} AND new_key_at IS NULL
""")  # noqa: S608  constants
_RECEIPT = text(f"""
    UPDATE exclusions SET receipt_at = now(), receipt = :receipt, problem = NULL WHERE {_ONE} AND receipt_at IS NULL
    RETURNING 1
""")  # noqa: S608  constants
_PROBLEM = text(f"UPDATE exclusions SET problem = :problem WHERE {_ONE} AND receipt_at IS NULL")  # noqa: S608  constants
_LOG_END = text("SELECT seq + (pending IS NOT NULL)::int FROM backup_heads WHERE team_id = :team")
_INTENDED = text(f"""
    UPDATE exclusions SET intent_seq = :seq WHERE {_ONE} AND intent_seq IS NULL RETURNING coalesce(log_end, 0)
""")  # noqa: S608  constants
_STORED_BEHIND = text("""
    SELECT r.run_id FROM exclusion_runs r JOIN backups b USING (team_id, run_id)
    WHERE r.team_id = :team AND r.exclusion_id = :id AND b.state = 'STORED' AND b.log_seq > :until ORDER BY r.run_id
""")
_UNTOLD = text(f"""
    SELECT run_id FROM exclusion_runs WHERE {_ONE} AND log_seq IS NULL ORDER BY run_id LIMIT :limit
""")  # noqa: S608  constants
_TOLD = text(f"""
    UPDATE exclusion_runs r SET log_seq = :seq, was_stored = was_stored OR EXISTS (
        SELECT FROM backups b WHERE b.team_id = r.team_id AND b.run_id = r.run_id AND b.state = 'STORED')
    WHERE {_ONE} AND run_id = ANY (CAST(:runs AS uuid[]))
""")  # noqa: S608  constants
_UNSEEN = text(f"""
    SELECT run_id FROM exclusion_runs WHERE {_ONE} AND display IS NULL ORDER BY run_id LIMIT :limit
""")  # noqa: S608  constants
_SEEN = text(f"UPDATE exclusion_runs SET display = :display WHERE {_ONE} AND run_id = :run")  # noqa: S608  constants
_RUNS = text(f"""
    SELECT run_id, log_seq, was_stored, display FROM exclusion_runs WHERE {_ONE} ORDER BY run_id
""")  # noqa: S608  constants
_KEYS_LEFT = text("""
    SELECT count(*) FROM backup_keys k JOIN exclusion_runs r USING (team_id, run_id)
    WHERE r.team_id = :team AND r.exclusion_id = :id
""")
_OBJECTS_LEFT = text("""
    SELECT count(*) FROM backups b JOIN exclusion_runs r USING (team_id, run_id)
    WHERE r.team_id = :team AND r.exclusion_id = :id AND b.state <> 'GONE'
""")
_VERSIONS_LEFT = text("""
    SELECT count(*) FROM team_keys WHERE team_id = :team AND version <= :old AND destroyed_at IS NULL
""")


@dataclass(frozen=True)
class Stored:
    """An exclusion as it is stored. `passed`: when each step that is through was."""

    id: UUID
    scope: ObjectKind
    scope_id: UUID
    display: Display
    reason: str | None
    requested_at: datetime
    requested_by: str
    requested_by_id: UUID | None
    runs: int
    passed: dict[ExclusionStep, datetime]
    intent_seq: int | None
    key_old: int | None
    key_new: int | None
    receipt: str | None
    problem: str | None

    def is_through(self, step: ExclusionStep) -> bool:
        """Whether that step is."""
        return step in self.passed


@dataclass(frozen=True)
class ExcludedRun:
    """A run of an exclusion."""

    run_id: UUID
    log_seq: int | None
    was_stored: bool
    display: str | None


async def pending_teams(connection: AsyncConnection) -> list[UUID]:
    """Teams with exclusions that are not through; for the system role."""
    return list((await connection.execute(_PENDING_TEAMS)).scalars())


class ExclusionRepository:
    """Exclusions of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def same(self, wish: NewExclusion, runs: list[UUID]) -> Stored | None:
        """One that is pending, and is the very same."""
        values = {"scope": wish.scope, "scope_id": wish.scope_id, "display": wish.display, "runs": sorted(runs)}
        row = (await self._connection.execute(_SAME, {**self._team, **values})).one_or_none()
        return None if row is None else _stored(row)

    async def log_end(self) -> int:
        """The number of the log's newest entry, stored or about to be. Asked before runs are locked: all are in it."""
        return (await self._connection.execute(_LOG_END, self._team)).scalar_one_or_none() or 0

    async def add(
        self, exclusion_id: UUID, wish: NewExclusion, runs: list[UUID], by: tuple[str, UUID | None], log_end: int
    ) -> Stored:
        """A new one, of locked runs, when the log ended there. None of them is backed up from now on."""
        values = {"scope": wish.scope, "scope_id": wish.scope_id, "display": wish.display, "reason": wish.reason}
        values |= {"id": exclusion_id, "by": by[0], "by_id": by[1], "log_end": log_end}
        await self._connection.execute(_ADD, {**self._team, **values})
        await self._connection.execute(_ADD_RUNS, {**self._team, "id": exclusion_id, "runs": runs})
        await self._connection.execute(_NO_BACKUP, {**self._team, "runs": runs})
        row = (await self._connection.execute(_FIND, {**self._team, "id": exclusion_id})).one()
        return _stored(row)

    async def want_no_backups_of_account(self, cloud_account_id: UUID) -> None:
        """Runs in the cloud account that begin later are not backed up."""
        await self._connection.execute(_NO_BACKUP_OF_ACCOUNT, {**self._team, "account": cloud_account_id})

    async def find(self, exclusion_id: UUID) -> Stored | None:
        """The exclusion."""
        row = (await self._connection.execute(_FIND, {**self._team, "id": exclusion_id})).one_or_none()
        return None if row is None else _stored(row)

    async def page(self, before: UUID, limit: int) -> list[Stored]:
        """Those before this one, newest first."""
        rows = await self._connection.execute(_PAGE, {**self._team, "before": before, "limit": limit})
        return [_stored(row) for row in rows]

    async def pending(self) -> list[Stored]:
        """Those that are not through, oldest first."""
        return [_stored(row) for row in await self._connection.execute(_PENDING, self._team)]

    async def passed(self, exclusion_id: UUID, step: ExclusionStep) -> None:
        """That step is through."""
        await self._connection.execute(_PASSED[step], {**self._team, "id": exclusion_id})

    async def new_key(self, exclusion_id: UUID, versions: tuple[int, int] | None) -> None:
        """The step of that name is through: (old, new) version of the team's key, None where there is no key."""
        old, new = versions or (None, None)
        await self._connection.execute(_NEW_KEY, {**self._team, "id": exclusion_id, "old": old, "new": new})

    async def finish(self, exclusion_id: UUID, receipt: str) -> bool:
        """All is through; False if somebody else has said so."""
        values = {**self._team, "id": exclusion_id, "receipt": receipt}
        return (await self._connection.execute(_RECEIPT, values)).first() is not None

    async def failed(self, exclusion_id: UUID, problem: str) -> None:
        """It does not get further now; for people to see."""
        await self._connection.execute(_PROBLEM, {**self._team, "id": exclusion_id, "problem": problem})

    async def intended(self, exclusion_id: UUID, seq: int) -> int | None:
        """That entry of the log says what was asked; where the log ended then, None if another entry says it."""
        values = {**self._team, "id": exclusion_id, "seq": seq}
        return (await self._connection.execute(_INTENDED, values)).scalar_one_or_none()

    async def stored_behind(self, exclusion_id: UUID, until: int) -> list[UUID]:
        """Runs that entries behind this one say are backed up."""
        values = {**self._team, "id": exclusion_id, "until": until}
        return list((await self._connection.execute(_STORED_BEHIND, values)).scalars())

    async def untold(self, exclusion_id: UUID, limit: int) -> list[UUID]:
        """Runs that no tombstone names yet."""
        values = {**self._team, "id": exclusion_id, "limit": limit}
        return list((await self._connection.execute(_UNTOLD, values)).scalars())

    async def told(self, exclusion_id: UUID, runs: list[UUID], seq: int) -> None:
        """That entry of the log names these. Before anything is done to their backups."""
        await self._connection.execute(_TOLD, {**self._team, "id": exclusion_id, "runs": runs, "seq": seq})

    async def unseen(self, exclusion_id: UUID, limit: int) -> list[UUID]:
        """Runs to whose readable copy nothing was done yet."""
        values = {**self._team, "id": exclusion_id, "limit": limit}
        return list((await self._connection.execute(_UNSEEN, values)).scalars())

    async def seen(self, exclusion_id: UUID, run_id: UUID, display: str) -> None:
        """What became of the run's readable copy: none, rekeyed or deleted."""
        await self._connection.execute(_SEEN, {**self._team, "id": exclusion_id, "run": run_id, "display": display})

    async def runs(self, exclusion_id: UUID) -> list[ExcludedRun]:
        """All its runs, by id."""
        rows = await self._connection.execute(_RUNS, {**self._team, "id": exclusion_id})
        return [ExcludedRun(row.run_id, row.log_seq, row.was_stored, row.display) for row in rows]

    async def left(self, exclusion: Stored) -> str | None:
        """What is still there that must not be, in words; None if nothing is."""
        values = {**self._team, "id": exclusion.id, "old": exclusion.key_old}
        if (await self._connection.execute(_KEYS_LEFT, values)).scalar_one():
            return "backup keys"
        if (await self._connection.execute(_OBJECTS_LEFT, values)).scalar_one():
            return "objects of backups"
        if exclusion.key_old is not None and (await self._connection.execute(_VERSIONS_LEFT, values)).scalar_one():
            return "older versions of the team's key"
        return None


def _stored(row: Row[Any]) -> Stored:
    times = {step: getattr(row, f"{step}_at") for step in STEPS}
    return Stored(
        id=row.exclusion_id,
        scope=ObjectKind(row.scope),
        scope_id=row.scope_id,
        display=Display(row.display),
        reason=row.reason,
        requested_at=row.requested_at,
        requested_by=row.requested_by,
        requested_by_id=row.requested_by_id,
        runs=row.runs,
        passed={step: at for step, at in times.items() if at is not None},
        intent_seq=row.intent_seq,
        key_old=row.key_old,
        key_new=row.key_new,
        receipt=row.receipt,
        problem=row.problem,
    )

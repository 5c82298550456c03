"""Queries on workers. They belong to no team: for the system role."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.contracts.results import RegisterWorker
from coreo_shared.contracts.terms import Pool


@dataclass(frozen=True)
class Worker:
    """A worker as it last reported. `drain`: an operator wants it to stop; `draining`: it says that it does."""

    worker_id: str
    pool: Pool
    version: str
    host: str
    started_at: datetime
    current_runs: list[UUID]
    rejected_jobs: dict[str, int]
    draining: bool
    drain: bool
    sealing_key: str | None
    first_seen: datetime
    last_seen: datetime


_REPORT = text("""
    INSERT INTO workers (pool, worker_id, version, host, started_at, current_runs, rejected_jobs, draining,
        sealing_key)
    VALUES (:pool, :worker, :version, :host, :started_at, CAST(:runs AS uuid[]), CAST(:rejected AS jsonb), :draining,
        :sealing_key)
    ON CONFLICT (pool, worker_id) DO UPDATE SET
        version = excluded.version, host = excluded.host, started_at = excluded.started_at,
        current_runs = excluded.current_runs, rejected_jobs = excluded.rejected_jobs, draining = excluded.draining,
        sealing_key = excluded.sealing_key, last_seen = now()
    RETURNING drain
""")
_LIST = text("""
    SELECT worker_id, pool, version, host, started_at, current_runs, rejected_jobs::text AS rejected_jobs, draining,
        drain, sealing_key, first_seen, last_seen
    FROM workers ORDER BY pool, worker_id
""")
_FORGET = text("DELETE FROM workers WHERE last_seen < now() - interval '1 day'")


class FleetRepository:
    """All workers of all pools."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def report(self, worker: RegisterWorker, started_at: datetime) -> bool:
        """Stores what the worker says of itself; gives whether it shall drain."""
        answer = await self._connection.execute(
            _REPORT,
            {
                "pool": worker.pool,
                "worker": worker.worker_id,
                "version": worker.version,
                "host": worker.host,
                "started_at": started_at,
                "runs": worker.current_runs,
                "rejected": msgspec.json.encode(worker.rejected_jobs).decode(),
                "draining": worker.draining,
                "sealing_key": worker.sealing_key,
            },
        )
        return bool(answer.scalar_one())

    async def list(self) -> list[Worker]:
        """All workers heard of within a day."""
        rows = await self._connection.execute(_LIST)
        return [
            Worker(**{**row, "pool": Pool(row["pool"]), "rejected_jobs": msgspec.json.decode(row["rejected_jobs"])})
            for row in rows.mappings()
        ]

    async def forget_silent(self) -> None:
        """Deletes workers not heard of for a day."""
        await self._connection.execute(_FORGET)

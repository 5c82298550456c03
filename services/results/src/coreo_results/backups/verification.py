"""Verifies backups from the stores alone: signatures, chain, key ledger, objects, and that what they hold opens."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from coreo_results.backups.ledger import LedgerError, snapshot_numbers, teams_in
from coreo_results.backups.log import LOGS, RUNS
from coreo_results.backups.opening import LedgerKeys, records
from coreo_results.backups.reading import BackupsRefusedError, TeamBackups, read_team
from coreo_results.backups.records import ChunkRecord, Past
from coreo_results.backups.service import BackupStores
from coreo_results.backups.together import together
from coreo_results.chunks.columns import decompress, unpack
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.vault import Vault
from coreo_shared.contracts.backups import BackedUpRun
from coreo_shared.crypto.statements import Statements

_TOGETHER = 4  # objects read at once
_TRIES = 3  # of a team whose backups change meanwhile


@dataclass(frozen=True)
class TeamSummary:
    """A team's backups in a few words. Times are RFC 3339."""

    log_seq: int
    log_at: str | None
    snapshot: int
    snapshot_at: str
    excluded: int
    pending: int  # to be excluded: not read here, and not restored
    expired: int
    deleted: int
    unfinished: int
    leftover: int

    @classmethod
    def of(cls, backups: TeamBackups) -> "TeamSummary":
        """Of these."""
        log, snapshot = backups.log, backups.ledger.snapshot
        return cls(
            log.seq, log.at, snapshot.number, snapshot.at, len(log.excluded), len(log.doomed), len(log.expired),
            len(log.deleted), len(backups.unfinished), len(backups.leftover),
        )  # fmt: skip


@dataclass
class TeamVerdict:
    """What was found of one team. `summary` is None where log, ledger and objects do not go together."""

    team_id: UUID
    summary: TeamSummary | None = None
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    findings: int = 0
    bytes: int = 0
    chunks_read: int = 0  # decrypted and taken apart, not hashed and decrypted alone

    @property
    def is_good(self) -> bool:
        """Whether all of it can be restored."""
        return self.summary is not None and not self.problems


@dataclass(frozen=True)
class Verifier:
    """Verifies teams. `thorough`: takes all chunks of a run apart, not the first alone; all are decrypted anyway."""

    stores: BackupStores
    vault: Vault
    statements: Statements
    thorough: bool = False

    async def teams(self, only: UUID | None = None) -> AsyncIterator[TeamVerdict]:
        """Each team's verdict, as it is found. Raises BackupsRefusedError for what is no store of backups at all."""
        for team_id in await self.team_ids(only):
            yield await self.team(team_id)

    async def team_ids(self, only: UUID | None = None) -> list[UUID]:
        """The teams that have backups. Raises BackupsRefusedError where the stores do not belong together."""
        try:
            teams = await teams_in(self.stores.ledger)
        except LedgerError as error:
            raise BackupsRefusedError(str(error)) from None
        if only is not None:
            teams = [team_id for team_id in teams if team_id == only]
            if not teams:
                raise BackupsRefusedError(f"there is no key ledger of team {only} in {self.stores.ledger.name}")
        elif foreign := await self._without_ledger(teams):
            raise BackupsRefusedError(
                f"{self.stores.backups.name} has backups of team {foreign}, and {self.stores.ledger.name} has no key "
                "ledger of it: these two stores do not belong together, or the ledger was lost"
            )
        return teams

    async def team(self, team_id: UUID) -> TeamVerdict:
        """One team's verdict. While its backups change, what is read does not go together; then it is read again."""
        for _ in range(_TRIES):
            before = await snapshot_numbers(self.stores.ledger, team_id)
            verdict = await self._team(team_id)
            if verdict.is_good or before == await snapshot_numbers(self.stores.ledger, team_id):
                break
        return verdict

    async def _team(self, team_id: UUID) -> TeamVerdict:
        verdict = TeamVerdict(team_id)
        try:
            backups = await read_team(self.stores, team_id, self.statements)
        except BackupsRefusedError as error:
            verdict.problems.append(str(error))
            return verdict
        verdict.summary = TeamSummary.of(backups)
        keys = LedgerKeys(self.vault, backups.ledger)
        await together(backups.runs, lambda run: self._run(verdict, keys, run), limit=_TOGETHER)
        return verdict

    async def _run(self, verdict: TeamVerdict, keys: LedgerKeys, run: BackedUpRun) -> None:
        chunks = 0
        try:
            key = await keys.of(run.run_id)
            async for record in records(self.stores.backups, verdict.team_id, run, key):
                if isinstance(record, ChunkRecord) and (self.thorough or chunks == 0):
                    await asyncio.to_thread(_check, record)
                    chunks += 1
        except DamagedError as error:
            verdict.problems.append(f"{run.object}: {error}")
            return
        verdict.runs += 1
        verdict.findings += run.findings
        verdict.bytes += run.bytes
        verdict.chunks_read += chunks

    async def _without_ledger(self, teams: list[UUID]) -> str | None:
        """A team that has backups and no key ledger. One key is listed for each team."""
        known = {str(team_id) for team_id in teams}
        for folder in (LOGS, RUNS):
            after = ""
            while (entry := await anext(self.stores.backups.list(folder, after), None)) is not None:
                team = entry.key.split("/")[1]
                if team not in known:
                    return team
                after = f"{folder}{team}/~"  # behind all that the team has
        return None


def _check(record: ChunkRecord) -> None:
    try:
        columns = unpack(record.packed)
        past = None if record.past is None else msgspec.msgpack.decode(decompress(record.past), type=Past)
    except Exception as error:
        raise DamagedError(f"chunk {record.index} of unit {record.unit} cannot be read") from error
    if len(columns.resource_ids) != record.findings or (past is not None and past.findings != record.findings):
        raise DamagedError(f"chunk {record.index} of unit {record.unit} does not hold as many findings as it says")

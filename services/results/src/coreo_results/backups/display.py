"""The settings of a team as a snapshot of its key ledger carries them, and what follows for a restore. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from coreo_shared.contracts.backups import BackedUpRun
from coreo_shared.contracts.custody import MAX_DAYS, CustodySettings

TABLES = ("custody_settings", "plan_custody_settings", "account_custody_settings")


@dataclass(frozen=True)
class DisplayRules:
    """How long results are shown: by the team, and by plans that say otherwise."""

    now: datetime
    team_days: int
    plan_days: Mapping[UUID, int]
    keep_counts: bool

    @classmethod
    def of(cls, settings: Mapping[str, msgspec.Raw], now: datetime) -> "DisplayRules":
        """Of a snapshot's settings. A team without a word has the defaults."""
        team, plans = ([msgspec.json.decode(row) for row in rows_of(settings, table)] for table in TABLES[:2])
        defaults = CustodySettings()
        first = team[0] if team else {}
        return cls(
            now=now,
            team_days=first.get("display_days", defaults.display_days),
            plan_days={UUID(row["plan_id"]): row["display_days"] for row in plans if row["display_days"] is not None},
            keep_counts=first.get("keep_counts", defaults.keep_counts),
        )

    def is_over(self, run: BackedUpRun) -> bool:
        """Whether the run's results are too old to be shown. Those of runs without a plan are shown for ever."""
        if run.plan_id is None:
            return False
        days = self.plan_days.get(run.plan_id, self.team_days)
        return datetime.fromisoformat(run.ended_at) + timedelta(days=days) <= self.now


def shown_for_ever(settings: Mapping[str, msgspec.Raw], team_id: UUID) -> dict[str, msgspec.Raw]:
    """The settings changed so that nothing in the backups is too old to be shown."""
    team, plans = ([msgspec.json.decode(row) for row in rows_of(settings, table)] for table in TABLES[:2])
    first = team[0] if team else {"team_id": str(team_id)}
    changed = {
        TABLES[0]: [first | {"display_days": MAX_DAYS}],
        TABLES[1]: [row | {"display_days": None} for row in plans],
    }
    return {**settings, **{table: msgspec.Raw(msgspec.json.encode(rows)) for table, rows in changed.items()}}


def rows_of(settings: Mapping[str, msgspec.Raw], table: str) -> list[str]:
    """The rows of a table, as JSON."""
    raw = settings.get(table)
    return [] if raw is None else [bytes(row).decode() for row in msgspec.json.decode(raw, type=list[msgspec.Raw])]

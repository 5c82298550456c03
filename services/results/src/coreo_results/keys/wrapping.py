"""How a version of a team's key wraps other keys. What all of them have in common, turnovers go by. Pure."""

from dataclasses import dataclass
from uuid import UUID

from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import bind, derive, seal, unseal


@dataclass(frozen=True)
class TeamKey:
    """A version of a team's key in clear."""

    version: int
    key: SecretKey


@dataclass(frozen=True)
class WrappedKey:
    """A key as stored: encrypted under a version of its team's key."""

    team_key_version: int
    wrapped: Sealed


@dataclass(frozen=True)
class Wrapping:
    """One kind of wrapped key.

    Its table has the columns team_id, `id_column`, team_key_version and wrapped, and a trigger `live_key`
    (check_team_key_version, migration 0005), which keeps new rows from retired versions.
    """

    kind: str  # what its context begins with
    table: str
    id_column: str  # with team_id the table's key
    id_type: str  # of that column
    purpose: str | None  # of the key, derived from the team's, that wraps; None: the team's itself

    def wrap(self, team: TeamKey, team_id: UUID, which: UUID | str, key: SecretKey) -> WrappedKey:
        """The key wrapped for its place."""
        return WrappedKey(team.version, seal(self._key(team), key.reveal(), self._context(team, team_id, which)))

    def unwrap(self, team: TeamKey, team_id: UUID, which: UUID | str, wrapped: bytes) -> SecretKey:
        """The key. Raises DamagedError."""
        return SecretKey(unseal(self._key(team), wrapped, self._context(team, team_id, which)))

    def _key(self, team: TeamKey) -> SecretKey:
        return team.key if self.purpose is None else derive(team.key, self.purpose)

    def _context(self, team: TeamKey, team_id: UUID, which: UUID | str) -> bytes:
        return bind(self.kind, team_id, which, team.version)


RUN_KEYS = Wrapping("run-key", "run_keys", "run_id", "uuid", None)
BACKUP_KEYS = Wrapping("backup-key", "backup_keys", "run_id", "uuid", "backup")
TEAM_SECRETS = Wrapping("team-secret", "team_secrets", "name", "text", "team")

# What a turnover wraps anew: every table with the trigger.
ALL_WRAPPINGS = (RUN_KEYS, BACKUP_KEYS, TEAM_SECRETS)

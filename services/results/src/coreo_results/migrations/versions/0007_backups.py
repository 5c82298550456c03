"""Backups: which run is in which object, the ledger of the keys that open them, and how far each team's log is."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

_TABLES = (
    # One row for each team that ever had a backup. `entry` is the newest of its log, as stored; `pending` the next
    # one, signed and not yet known to be stored. `snapshot` is the number of the newest of its key ledger. `days`:
    # backups are kept for so long, as the log says.
    """
    CREATE TABLE backup_heads (
        team_id uuid PRIMARY KEY,
        seq integer NOT NULL DEFAULT 0 CHECK (seq >= 0),
        entry text,
        pending text,
        snapshot integer NOT NULL DEFAULT 0,
        snapshot_at timestamptz,
        days integer NOT NULL DEFAULT 1826,
        backed_up_at timestamptz,
        problem text,
        problem_at timestamptz,
        CHECK ((entry IS NULL) = (seq = 0))
    )
    """,
    # WRITING: the object may be there in part, whole or not at all. STORED: it is there, and in the log. DROPPING: its
    # key is gone and the log says so; the object may still be there. GONE: that is over. `log_seq` and `dropped_seq`
    # are the entries that say so.
    """
    CREATE TABLE backups (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        state text NOT NULL CHECK (state IN ('WRITING', 'STORED', 'DROPPING', 'GONE')),
        object text COLLATE "C" NOT NULL,
        plan_id uuid,
        cloud_account_id uuid NOT NULL,
        ended_at timestamptz NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(),
        stored_at timestamptz,
        expires_at timestamptz,
        sha256 bytea CHECK (length(sha256) = 32),
        bytes bigint,
        findings bigint,
        log_seq integer,
        why text CHECK (why IN ('expired', 'excluded')),
        dropped_seq integer,
        deletion_seq integer,
        PRIMARY KEY (team_id, run_id),
        FOREIGN KEY (team_id, run_id) REFERENCES runs,
        CHECK (state = 'WRITING' OR num_nulls(stored_at, expires_at, sha256, bytes, findings, log_seq) = 0),
        CHECK ((state IN ('DROPPING', 'GONE')) = (dropped_seq IS NOT NULL)),
        CHECK ((dropped_seq IS NULL) = (why IS NULL))
    )
    """,
    "CREATE INDEX backups_due ON backups (team_id, expires_at) WHERE state = 'STORED'",
    "CREATE INDEX backups_by_object ON backups (team_id, object)",
    "CREATE INDEX backups_unsettled ON backups (team_id) WHERE state IN ('WRITING', 'DROPPING')",
    # The key ledger. A run without a row here cannot be read from any backup.
    """
    CREATE TABLE backup_keys (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        team_key_version integer NOT NULL,
        wrapped bytea NOT NULL,
        PRIMARY KEY (team_id, run_id),
        FOREIGN KEY (team_id, run_id) REFERENCES backups,
        FOREIGN KEY (team_id, team_key_version) REFERENCES team_keys
    )
    """,
    "CREATE INDEX backup_keys_by_version ON backup_keys (team_id, team_key_version)",
    """
    CREATE TRIGGER live_key BEFORE INSERT OR UPDATE OF team_key_version, wrapped ON backup_keys
        FOR EACH ROW EXECUTE FUNCTION check_team_key_version()
    """,
    # When it was settled whether the run gets a backup: it has one, or shall have none.
    "ALTER TABLE runs ADD COLUMN backup_settled_at timestamptz",
    """
    CREATE INDEX runs_backup_due ON runs (team_id, ended_at)
        WHERE ended_at IS NOT NULL AND backup_settled_at IS NULL AND purged_at IS NULL AND pool <> 'onboard'
    """,
    """
    CREATE INDEX runs_deleted ON runs (team_id, purged_at)
        WHERE purged_at IS NOT NULL AND purged_why IS DISTINCT FROM 'expired'
    """,
)
_TEAM_TABLES = ("backup_heads", "backups", "backup_keys")
_RIGHTS = (
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"CREATE POLICY team ON {table} TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})" for table in _TEAM_TABLES),
    "GRANT SELECT, INSERT, UPDATE ON backup_heads, backups TO coreo_results",
    "GRANT SELECT, INSERT, DELETE ON backup_keys TO coreo_results",
    "GRANT DELETE ON backups TO coreo_results",
    "GRANT UPDATE (team_key_version, wrapped) ON backup_keys TO coreo_results",
    # The keeper looks across teams for what is due, and sees no key.
    *(
        f"CREATE POLICY system_read ON {table} FOR SELECT TO coreo_results_system USING (true)"
        for table in ("backup_heads", "backups")
    ),
    "GRANT SELECT (team_id, pending, snapshot, snapshot_at, days) ON backup_heads TO coreo_results_system",
    "GRANT SELECT (team_id, run_id, state, expires_at, deletion_seq) ON backups TO coreo_results_system",
)


def upgrade() -> None:
    """Adds to what is there; runs that have ended are backed up from now on."""
    for statement in (*_TABLES, *_RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    """Forgets the keys of all backups: nobody can read them any more, unless from a snapshot of the ledger."""
    for table in reversed(_TEAM_TABLES):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX runs_backup_due, runs_deleted")
    op.execute("ALTER TABLE runs DROP COLUMN backup_settled_at")

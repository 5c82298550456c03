"""How long results are kept, what became of those that are gone, and who read, deleted or decided what."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

_TABLES = (
    # A team, or plan, without a row has the defaults.
    """
    CREATE TABLE custody_settings (
        team_id uuid PRIMARY KEY,
        display_days integer NOT NULL DEFAULT 90 CHECK (display_days BETWEEN 1 AND 1826),
        backup_days integer NOT NULL DEFAULT 1826 CHECK (backup_days BETWEEN 1 AND 1826),
        backups boolean NOT NULL DEFAULT true,
        keep_counts boolean NOT NULL DEFAULT true,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE plan_custody_settings (
        team_id uuid NOT NULL,
        plan_id uuid NOT NULL,
        display_days integer CHECK (display_days BETWEEN 1 AND 1826),
        backup boolean NOT NULL DEFAULT true,
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (team_id, plan_id)
    )
    """,
    # `backup`: what the run's start said, and its plan and team at its first claim. `purged_why` and `purged_by`
    # belong to `purged_at`; from `cleared_at` on nothing is left but this row. `forget_life`: what is known of the
    # plan's findings in the cloud account goes too. `counts_kept`: the summary counts are still there.
    """
    ALTER TABLE runs
        ADD COLUMN backup boolean NOT NULL DEFAULT true,
        ADD COLUMN purged_why text CHECK (purged_why IN ('expired', 'requested', 'account')),
        ADD COLUMN purged_by text,
        ADD COLUMN cleared_at timestamptz,
        ADD COLUMN forget_life boolean NOT NULL DEFAULT false,
        ADD COLUMN counts_kept boolean NOT NULL DEFAULT true
    """,
    "CREATE INDEX runs_unpurged ON runs (team_id, plan_id, ended_at) WHERE purged_at IS NULL AND plan_id IS NOT NULL",
    "CREATE INDEX runs_uncleared ON runs (purged_at) WHERE purged_at IS NOT NULL AND cleared_at IS NULL",
    "CREATE INDEX runs_counts_kept ON runs (team_id) WHERE purged_at IS NOT NULL AND counts_kept",
    "ALTER TABLE run_events ADD COLUMN results_gone jsonb",
    # Each entry's hash covers the one before: coreo_shared.crypto.access_chain.
    """
    CREATE TABLE access_log (
        team_id uuid NOT NULL,
        seq bigint NOT NULL CHECK (seq > 0),
        at timestamptz NOT NULL,
        actor_id uuid,
        actor text NOT NULL,
        action text NOT NULL,
        object_kind text NOT NULL,
        object_id uuid NOT NULL,
        detail jsonb NOT NULL,
        previous bytea NOT NULL CHECK (length(previous) = 32),
        hash bytea NOT NULL CHECK (length(hash) = 32),
        PRIMARY KEY (team_id, seq)
    )
    """,
    "CREATE INDEX access_log_of_object ON access_log (team_id, object_id, seq)",
)
_TEAM_TABLES = ("custody_settings", "plan_custody_settings", "access_log")
_RIGHTS = (
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"CREATE POLICY team ON {table} TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})" for table in _TEAM_TABLES),
    "GRANT SELECT, INSERT, UPDATE ON custody_settings, plan_custody_settings TO coreo_results",
    "GRANT SELECT, INSERT ON access_log TO coreo_results",  # nobody changes the record
    # The sweeper looks across teams for what is due.
    "CREATE POLICY system_read ON custody_settings FOR SELECT TO coreo_results_system USING (true)",
    "CREATE POLICY system_read ON plan_custody_settings FOR SELECT TO coreo_results_system USING (true)",
    "GRANT SELECT ON custody_settings, plan_custody_settings TO coreo_results_system",
)


def upgrade() -> None:
    """Adds to what is there. Whoever ran before may go on: what it purges is cleared by the sweeper once more."""
    for statement in (*_TABLES, *_RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    """Forgets settings and record; what is gone stays gone."""
    for table in reversed(_TEAM_TABLES):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX runs_unpurged, runs_uncleared, runs_counts_kept")
    op.execute("ALTER TABLE run_events DROP COLUMN results_gone")
    op.execute(
        "ALTER TABLE runs DROP COLUMN backup, DROP COLUMN purged_why, DROP COLUMN purged_by, DROP COLUMN cleared_at,"
        " DROP COLUMN forget_life, DROP COLUMN counts_kept"
    )

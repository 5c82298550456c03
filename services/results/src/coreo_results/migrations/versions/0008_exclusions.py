"""Exclusions from backups: what was asked, how far each is, and the receipt."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

_TABLES = (
    # Cloud accounts whose runs are not backed up, as said by an exclusion.
    """
    CREATE TABLE account_custody_settings (
        team_id uuid NOT NULL,
        cloud_account_id uuid NOT NULL,
        backup boolean NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (team_id, cloud_account_id)
    )
    """,
    # A step is through when its time is there. `key_old` and `key_new`: versions of the team's key, from the turnover
    # that was begun for this; null where the team never had a key.
    """
    CREATE TABLE exclusions (
        team_id uuid NOT NULL,
        exclusion_id uuid NOT NULL,
        scope text NOT NULL CHECK (scope IN ('run', 'plan', 'cloud_account')),
        scope_id uuid NOT NULL,
        display text NOT NULL CHECK (display IN ('keep', 'delete')),
        reason text,
        requested_at timestamptz NOT NULL DEFAULT now(),
        requested_by text NOT NULL,
        requested_by_id uuid,
        tombstone_at timestamptz,
        display_at timestamptz,
        backups_at timestamptz,
        new_key_at timestamptz,
        key_old integer,
        key_new integer,
        old_keys_at timestamptz,
        receipt_at timestamptz,
        receipt text,
        problem text,
        PRIMARY KEY (team_id, exclusion_id),
        CHECK ((receipt IS NULL) = (receipt_at IS NULL)),
        CHECK (num_nulls(key_old, key_new) <> 1),
        CHECK (receipt_at IS NULL OR num_nulls(tombstone_at, display_at, backups_at, new_key_at, old_keys_at) = 0)
    )
    """,
    "CREATE INDEX exclusions_pending ON exclusions (team_id) WHERE receipt_at IS NULL",
    "CREATE INDEX exclusions_of_scope ON exclusions (team_id, scope_id)",
    # The runs of each, fixed with the request. They need not be in the ledger: a restore brings none of them back.
    # `log_seq`: the tombstone. `was_stored`: it was in the backups then. `display`: what became of the readable copy.
    """
    CREATE TABLE exclusion_runs (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        exclusion_id uuid NOT NULL,
        log_seq integer,
        was_stored boolean NOT NULL DEFAULT false,
        display text CHECK (display IN ('none', 'rekeyed', 'deleted')),
        PRIMARY KEY (team_id, run_id, exclusion_id),
        FOREIGN KEY (team_id, exclusion_id) REFERENCES exclusions
    )
    """,
    "CREATE INDEX exclusion_runs_by_exclusion ON exclusion_runs (team_id, exclusion_id, run_id)",
)
_TEAM_TABLES = ("account_custody_settings", "exclusions", "exclusion_runs")
_RIGHTS = (
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"CREATE POLICY team ON {table} TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})" for table in _TEAM_TABLES),
    "GRANT SELECT, INSERT, UPDATE ON account_custody_settings TO coreo_results",
    # What was asked never changes; how far it is does.
    "GRANT SELECT, INSERT ON exclusions, exclusion_runs TO coreo_results",
    """
    GRANT UPDATE (tombstone_at, display_at, backups_at, new_key_at, key_old, key_new, old_keys_at, receipt_at, receipt,
        problem) ON exclusions TO coreo_results
    """,
    "GRANT UPDATE (log_seq, was_stored, display) ON exclusion_runs TO coreo_results",
    # The keeper looks across teams for what is pending.
    "CREATE POLICY system_read ON exclusions FOR SELECT TO coreo_results_system USING (true)",
    "GRANT SELECT (team_id, exclusion_id, receipt_at) ON exclusions TO coreo_results_system",
)


def upgrade() -> None:
    """Adds to what is there."""
    for statement in (*_TABLES, *_RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    """Forgets what was asked. What is through stays so; what is pending is never finished."""
    for table in reversed(_TEAM_TABLES):
        op.execute(f"DROP TABLE {table}")

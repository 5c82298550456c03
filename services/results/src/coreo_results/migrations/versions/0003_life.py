"""What became of findings from run to run: what is new, what changed, what is resolved; when each was first seen."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

_TABLES = (
    # A tag is a keyed hash of a fingerprint, as the fingerprint itself can be guessed by who knows a resource's name.
    # `listed`: the unit's resources could be listed to the end. Chunks stored before this revision have no tags.
    """
    ALTER TABLE chunks
        ADD COLUMN tags uuid[] NOT NULL DEFAULT '{}',
        ADD COLUMN listed boolean NOT NULL DEFAULT true
    """,
    "ALTER TABLE chunks ALTER COLUMN tags SET STORAGE EXTERNAL",
    # `rules`: those that were run, null where the worker did not say. `life_at`: when the run was compared with what
    # was known before; `changes` says how many findings are new, and so on.
    """
    ALTER TABLE runs
        ADD COLUMN rules text[],
        ADD COLUMN life_at timestamptz,
        ADD COLUMN previous_run_id uuid,
        ADD COLUMN changes jsonb
    """,
    """
    CREATE INDEX runs_life_due ON runs (ended_at)
        WHERE ended_at IS NOT NULL AND life_at IS NULL AND purged_at IS NULL AND pool = 'audit' AND plan_id IS NOT NULL
    """,
    """
    CREATE INDEX runs_of_plan ON runs (team_id, cloud_account_id, plan_id, ended_at)
        WHERE ended_at IS NOT NULL AND pool = 'audit'
    """,
    # What is known of a finding, by its tag. `failed_*` is where it failed last, while nothing says that it no longer
    # does. Most rows are updated by every run, none of whose columns is in an index.
    """
    CREATE TABLE finding_life (
        team_id uuid NOT NULL,
        cloud_account_id uuid NOT NULL,
        plan_id uuid NOT NULL,
        tag uuid NOT NULL,
        rule_id text COLLATE "C" NOT NULL,
        severity_order smallint NOT NULL CHECK (severity_order BETWEEN 0 AND 4),
        unit text COLLATE "C" NOT NULL,
        status text NOT NULL CHECK (status IN ('PASS', 'FAIL', 'NOT_EVALUATED', 'SUPPRESSED', 'GONE')),
        first_run uuid NOT NULL,
        first_seen timestamptz NOT NULL,
        last_run uuid NOT NULL,
        last_seen timestamptz NOT NULL,
        failed_run uuid,
        failed_unit text COLLATE "C",
        failed_chunk integer,
        failed_position integer,
        PRIMARY KEY (team_id, cloud_account_id, plan_id, tag),
        CHECK (num_nulls(failed_run, failed_unit, failed_chunk, failed_position) IN (0, 4))
    ) WITH (fillfactor = 70)
    """,
    # One code per finding of the chunk, in its order: coreo_results.life.changes.
    """
    CREATE TABLE chunk_changes (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        unit text COLLATE "C" NOT NULL,
        chunk_index integer NOT NULL,
        codes smallint[] NOT NULL,
        PRIMARY KEY (team_id, run_id, unit, chunk_index),
        FOREIGN KEY (team_id, run_id, unit, chunk_index) REFERENCES chunks ON DELETE CASCADE
    )
    """,
    # What failed before this run and does not any more; where it failed last.
    """
    CREATE TABLE resolved_findings (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        severity_order smallint NOT NULL,
        rule_id text COLLATE "C" NOT NULL,
        tag uuid NOT NULL,
        gone boolean NOT NULL,
        first_run uuid NOT NULL,
        first_seen timestamptz NOT NULL,
        failed_run uuid NOT NULL,
        failed_unit text COLLATE "C" NOT NULL,
        failed_chunk integer NOT NULL,
        failed_position integer NOT NULL,
        PRIMARY KEY (team_id, run_id, severity_order, rule_id, tag),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
)
_TEAM_TABLES = ("finding_life", "chunk_changes", "resolved_findings")
_RIGHTS = (
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"CREATE POLICY team ON {table} TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})" for table in _TEAM_TABLES),
    "GRANT SELECT, INSERT, UPDATE, DELETE ON finding_life TO coreo_results",
    "GRANT SELECT, INSERT ON chunk_changes TO coreo_results",
    "GRANT SELECT, INSERT, DELETE ON resolved_findings TO coreo_results",
)


def upgrade() -> None:
    """Adds to what is there; runs that have ended are compared from now on."""
    for statement in (*_TABLES, *_RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    """Forgets the life of all findings."""
    for table in reversed(_TEAM_TABLES):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX runs_life_due, runs_of_plan")
    op.execute(
        "ALTER TABLE runs DROP COLUMN rules, DROP COLUMN life_at, DROP COLUMN previous_run_id, DROP COLUMN changes"
    )
    op.execute("ALTER TABLE chunks DROP COLUMN tags, DROP COLUMN listed")

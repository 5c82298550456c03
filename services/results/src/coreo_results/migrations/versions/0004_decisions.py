"""What people decide about findings: suppressions, severities, and who decided what."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

# `sealed` holds what may name resources or people, encrypted under a key that follows from that version of the team's.
_TABLES = (
    """
    CREATE TABLE suppressions (
        team_id uuid NOT NULL,
        suppression_id uuid NOT NULL,
        version integer NOT NULL CHECK (version > 0),
        cloud_account_id uuid,
        expires_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        key_version integer NOT NULL,
        sealed bytea NOT NULL,
        PRIMARY KEY (team_id, suppression_id),
        FOREIGN KEY (team_id, key_version) REFERENCES team_keys
    )
    """,
    # Findings of a chunk that a version of a suppression fits, by their places: what only decryption can tell, kept, as
    # neither the chunk nor that version ever changes. A mark says that all of a run that has ended was looked at.
    """
    CREATE TABLE suppression_hits (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        suppression_id uuid NOT NULL,
        version integer NOT NULL,
        unit text COLLATE "C" NOT NULL,
        chunk_index integer NOT NULL,
        positions integer[] NOT NULL,
        PRIMARY KEY (team_id, run_id, suppression_id, version, unit, chunk_index),
        FOREIGN KEY (team_id, run_id, unit, chunk_index) REFERENCES chunks ON DELETE CASCADE
    )
    """,
    "CREATE INDEX suppression_hits_by_chunk ON suppression_hits (team_id, run_id, unit, chunk_index)",
    """
    CREATE TABLE suppression_marks (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        suppression_id uuid NOT NULL,
        version integer NOT NULL,
        PRIMARY KEY (team_id, run_id, suppression_id, version),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE severity_overrides (
        team_id uuid NOT NULL,
        override_id uuid NOT NULL,
        rule_id text COLLATE "C" NOT NULL,
        cloud_account_id uuid,
        severity_order smallint NOT NULL CHECK (severity_order BETWEEN 0 AND 4),
        updated_at timestamptz NOT NULL DEFAULT now(),
        key_version integer NOT NULL,
        sealed bytea NOT NULL,
        PRIMARY KEY (team_id, override_id),
        UNIQUE NULLS NOT DISTINCT (team_id, rule_id, cloud_account_id),
        FOREIGN KEY (team_id, key_version) REFERENCES team_keys
    )
    """,
    """
    CREATE TABLE decisions (
        team_id uuid NOT NULL,
        decision_id uuid NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        kind text NOT NULL CHECK (kind IN ('suppression', 'severity', 'answer')),
        action text NOT NULL CHECK (action IN ('ADDED', 'CHANGED', 'REMOVED')),
        key_version integer NOT NULL,
        sealed bytea NOT NULL,
        PRIMARY KEY (team_id, decision_id),
        FOREIGN KEY (team_id, key_version) REFERENCES team_keys
    )
    """,
)
_TEAM_TABLES = ("suppressions", "suppression_hits", "suppression_marks", "severity_overrides", "decisions")
_RIGHTS = (
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"CREATE POLICY team ON {table} TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})" for table in _TEAM_TABLES),
    "GRANT SELECT, INSERT, UPDATE, DELETE ON suppressions, severity_overrides TO coreo_results",
    "GRANT SELECT, INSERT, DELETE ON suppression_hits, suppression_marks TO coreo_results",
    "GRANT SELECT, INSERT ON decisions TO coreo_results",  # nobody changes the log
)


def upgrade() -> None:
    """Adds tables."""
    for statement in (*_TABLES, *_RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    """Forgets all decisions."""
    for table in reversed(_TEAM_TABLES):
        op.execute(f"DROP TABLE {table}")

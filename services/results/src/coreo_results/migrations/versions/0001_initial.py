"""Ledger, encrypted chunks, keys, event feed, fleet."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A team's rows carry its id in every key, and row level security is forced, so that it holds for the owner too. After
# `SET LOCAL` the setting is '' on a reused connection, which must mean "no team".
_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

_TABLES = (
    """
    CREATE TABLE runs (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        plan_id uuid NOT NULL,
        plan_revision integer NOT NULL,
        cloud_account_id uuid NOT NULL,
        account_id text NOT NULL,
        pool text NOT NULL,
        state text NOT NULL CHECK (state IN
            ('QUEUED', 'CLAIMED', 'RUNNING', 'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELED', 'EXPIRED')),
        reason text,
        version integer NOT NULL DEFAULT 0,
        fence integer NOT NULL DEFAULT 0,
        attempt integer NOT NULL DEFAULT 0,
        worker_id text,
        lease_until timestamptz,
        cancel_reason text,
        units_done integer NOT NULL DEFAULT 0,
        units_total integer,
        counts jsonb NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        ended_at timestamptz,
        PRIMARY KEY (team_id, run_id),
        CHECK ((ended_at IS NOT NULL) = (state NOT IN ('QUEUED', 'CLAIMED', 'RUNNING')))
    )
    """,
    "CREATE INDEX runs_by_lease ON runs (lease_until) WHERE ended_at IS NULL",
    """
    CREATE TABLE run_events (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        version integer NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        state text NOT NULL,
        reason text,
        attempt integer NOT NULL,
        units_done integer NOT NULL,
        units_total integer,
        counts jsonb NOT NULL,
        PRIMARY KEY (xid, seq),
        UNIQUE (team_id, run_id, version),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE team_keys (
        team_id uuid NOT NULL,
        version integer NOT NULL CHECK (version > 0),
        root_key text NOT NULL,
        wrapped bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (team_id, version)
    )
    """,
    """
    CREATE TABLE run_keys (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        team_key_version integer NOT NULL,
        wrapped bytea NOT NULL,
        PRIMARY KEY (team_id, run_id),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE,
        FOREIGN KEY (team_id, team_key_version) REFERENCES team_keys
    )
    """,
    # A row here says that all of the unit's chunks are stored.
    """
    CREATE TABLE units (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        unit text COLLATE "C" NOT NULL,
        chunks integer NOT NULL CHECK (chunks > 0),
        done_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (team_id, run_id, unit),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE chunks (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        unit text COLLATE "C" NOT NULL,
        chunk_index integer NOT NULL CHECK (chunk_index >= 0),
        final boolean NOT NULL,
        findings integer NOT NULL CHECK (findings >= 0),
        resource_hashes bigint[] NOT NULL,
        sealed bytea NOT NULL,
        stored_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (team_id, run_id, unit, chunk_index),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
    # Neither ciphertext nor hashes get smaller, so PostgreSQL need not try.
    "ALTER TABLE chunks ALTER COLUMN sealed SET STORAGE EXTERNAL, ALTER COLUMN resource_hashes SET STORAGE EXTERNAL",
    # What is in clear of findings: as many as are alike, side by side in their chunk. The key is the order of pages;
    # severity_order is 0 for critical.
    """
    CREATE TABLE finding_groups (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        severity_order smallint NOT NULL CHECK (severity_order BETWEEN 0 AND 4),
        rule_id text COLLATE "C" NOT NULL,
        unit text COLLATE "C" NOT NULL,
        chunk_index integer NOT NULL,
        first integer NOT NULL,
        findings integer NOT NULL CHECK (findings > 0),
        status text NOT NULL CHECK (status IN ('PASS', 'FAIL', 'NOT_EVALUATED', 'SUPPRESSED')),
        region text NOT NULL,
        PRIMARY KEY (team_id, run_id, severity_order, rule_id, unit, chunk_index, first),
        FOREIGN KEY (team_id, run_id, unit, chunk_index) REFERENCES chunks ON DELETE CASCADE
    )
    """,
    "CREATE INDEX finding_groups_by_chunk ON finding_groups (team_id, run_id, unit, chunk_index)",
    """
    CREATE TABLE workers (
        pool text NOT NULL,
        worker_id text NOT NULL,
        version text NOT NULL,
        host text NOT NULL,
        started_at timestamptz NOT NULL,
        current_runs uuid[] NOT NULL,
        rejected_jobs jsonb NOT NULL,
        draining boolean NOT NULL,
        drain boolean NOT NULL DEFAULT false,
        first_seen timestamptz NOT NULL DEFAULT now(),
        last_seen timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (pool, worker_id)
    )
    """,
)

_TEAM_TABLES = ("runs", "run_events", "team_keys", "run_keys", "units", "chunks", "finding_groups")

_POLICIES = (
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TEAM_TABLES),
    *(f"CREATE POLICY team ON {table} TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})" for table in _TEAM_TABLES),
    # Feed and sweeper look across teams, at the ledger alone; a run that has ended is out of their reach.
    "CREATE POLICY system_read ON runs FOR SELECT TO coreo_results_system USING (true)",
    "CREATE POLICY system_end ON runs FOR UPDATE TO coreo_results_system USING (ended_at IS NULL) WITH CHECK (true)",
    "CREATE POLICY system_read ON run_events FOR SELECT TO coreo_results_system USING (true)",
    "CREATE POLICY system_tell ON run_events FOR INSERT TO coreo_results_system WITH CHECK (true)",
    "CREATE POLICY system_forget ON run_events FOR DELETE TO coreo_results_system USING (true)",
)

_GRANTS = (
    "GRANT USAGE ON SCHEMA public TO coreo_results, coreo_results_system",
    "GRANT SELECT, INSERT, UPDATE ON runs TO coreo_results",
    "GRANT INSERT ON run_events TO coreo_results",
    "GRANT SELECT, INSERT ON team_keys, run_keys, units, finding_groups TO coreo_results",
    "GRANT SELECT, INSERT, DELETE ON chunks TO coreo_results",
    "GRANT SELECT, UPDATE ON runs TO coreo_results_system",
    "GRANT SELECT, INSERT, DELETE ON run_events TO coreo_results_system",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO coreo_results_system",
)


def upgrade() -> None:
    """Makes everything."""
    for statement in (*_TABLES, *_POLICIES, *_GRANTS):
        op.execute(statement)


def downgrade() -> None:
    """Drops everything."""
    for table in ("finding_groups", "chunks", "units", "run_keys", "team_keys", "run_events", "runs", "workers"):
        op.execute(f"DROP TABLE {table}")

"""Deploys: parked between their jobs, approved by people, with documents and an outcome that may be unknown."""

from alembic import op

revision = "0009"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"
_OPEN = "'QUEUED', 'CLAIMED', 'RUNNING', 'AWAITING_APPROVAL', 'APPLYING', 'OUTCOME_UNKNOWN'"
_FINAL = "'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELED', 'EXPIRED', 'ROLLED_BACK'"
_OPEN_BEFORE = "'QUEUED', 'CLAIMED', 'RUNNING'"
_FINAL_BEFORE = "'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELED', 'EXPIRED'"
_COMPARED = "ended_at IS NOT NULL AND life_at IS NULL AND purged_at IS NULL AND plan_id IS NOT NULL"

_RUNS = (
    # `terms`: contracts.deploys.DeployTerms as of the first claim, two of them as columns too; `deploy`:
    # ledger.run.DeployState. Null for runs of other pools.
    """
    ALTER TABLE runs
        ADD COLUMN action text,
        ADD COLUMN target_id uuid,
        ADD COLUMN terms jsonb,
        ADD COLUMN deploy jsonb,
        ADD COLUMN resume_at timestamptz,
        ADD COLUMN approval_until timestamptz,
        DROP CONSTRAINT runs_state_check,
        DROP CONSTRAINT runs_check
    """,
    # Of the runs of a target one at most may be changing it. What is unknown may be.
    """
    CREATE UNIQUE INDEX runs_target ON runs (team_id, target_id)
        WHERE target_id IS NOT NULL AND state IN ('APPLYING', 'OUTCOME_UNKNOWN')
    """,
    "CREATE INDEX runs_by_resume ON runs (resume_at) WHERE ended_at IS NULL AND resume_at IS NOT NULL",
    "CREATE INDEX runs_by_approval ON runs (approval_until) WHERE ended_at IS NULL AND approval_until IS NOT NULL",
    """
    ALTER TABLE run_events
        ADD COLUMN terms jsonb,
        ADD COLUMN deploy jsonb,
        ADD COLUMN resume_at timestamptz,
        ADD COLUMN approval_until timestamptz
    """,
)
_DOCUMENTS = (
    # `part`: of stack events, which come in parts of so many `items` behind the `first` ones; all else has one part.
    """
    CREATE TABLE run_documents (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        name text NOT NULL CHECK (name IN ('preview', 'outputs', 'drift', 'failure', 'checkpoint', 'events')),
        part integer NOT NULL CHECK (part >= 0 AND (part = 0 OR name = 'events')),
        first integer NOT NULL CHECK (first >= 0),
        items integer NOT NULL CHECK (items > 0),
        sealed bytea NOT NULL,
        stored_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (team_id, run_id, name, part),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
    "ALTER TABLE run_documents ALTER COLUMN sealed SET STORAGE EXTERNAL",
    "ALTER TABLE run_documents ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE run_documents FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY team ON run_documents TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON run_documents TO coreo_results",
)


def _states(open_states: str, final_states: str) -> str:
    return f"""
        ALTER TABLE runs
            ADD CONSTRAINT runs_state_check CHECK (state IN ({open_states}, {final_states})),
            ADD CONSTRAINT runs_check CHECK ((ended_at IS NOT NULL) = (state NOT IN ({open_states})))
    """


def _decisions(kinds: str, actions: str) -> str:
    return f"""
        ALTER TABLE decisions
            DROP CONSTRAINT decisions_kind_check,
            DROP CONSTRAINT decisions_action_check,
            ADD CONSTRAINT decisions_kind_check CHECK (kind IN ({kinds})),
            ADD CONSTRAINT decisions_action_check CHECK (action IN ({actions}))
    """


def _life_index(pools: str) -> tuple[str, ...]:
    return (
        "DROP INDEX runs_life_due, runs_of_plan",
        f"CREATE INDEX runs_life_due ON runs (ended_at) WHERE {_COMPARED} AND {pools}",
        f"""
        CREATE INDEX runs_of_plan ON runs (team_id, cloud_account_id, plan_id, ended_at)
            WHERE ended_at IS NOT NULL AND {pools}
        """,
    )


_KINDS = "'suppression', 'severity', 'answer'"
_ACTIONS = "'ADDED', 'CHANGED', 'REMOVED'"
_NEW_ACTIONS = "'APPROVED', 'REJECTED', 'RECONCILED', 'SETTLED'"


def upgrade() -> None:
    """Widens what is there. Findings of drift runs have a life as those of audits."""
    for statement in (
        *_RUNS,
        _states(_OPEN, _FINAL),
        *_life_index("(pool = 'audit' OR action = 'drift')"),
        _decisions(f"{_KINDS}, 'deploy'", f"{_ACTIONS}, {_NEW_ACTIONS}"),
        *_DOCUMENTS,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Forgets documents. Not possible once there are deploys."""
    for statement in (
        "DROP TABLE run_documents",
        _decisions(_KINDS, _ACTIONS),
        *_life_index("pool = 'audit'"),
        """
        ALTER TABLE run_events
            DROP COLUMN terms, DROP COLUMN deploy, DROP COLUMN resume_at, DROP COLUMN approval_until
        """,
        "DROP INDEX runs_target, runs_by_resume, runs_by_approval",
        """
        ALTER TABLE runs DROP CONSTRAINT runs_state_check, DROP CONSTRAINT runs_check, DROP COLUMN action,
            DROP COLUMN target_id, DROP COLUMN terms, DROP COLUMN deploy, DROP COLUMN resume_at,
            DROP COLUMN approval_until
        """,
        _states(_OPEN_BEFORE, _FINAL_BEFORE),
    ):
        op.execute(statement)

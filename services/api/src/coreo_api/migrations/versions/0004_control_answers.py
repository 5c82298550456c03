"""What people answer to controls that no rule can judge. One that a newer answer takes the place of stays readable."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEAM = "NULLIF(current_setting('app.team_id', true), '')::uuid"
_STATEMENTS = (
    """
    CREATE TABLE control_answers (
        team_id uuid NOT NULL,
        id uuid NOT NULL,
        cloud_account_id uuid NOT NULL,
        framework text NOT NULL,
        control text NOT NULL,
        met boolean NOT NULL,
        text text NOT NULL,
        evidence_url text,
        expires_at timestamptz,
        token_id uuid NOT NULL,
        by_name text NOT NULL,
        answered_at timestamptz NOT NULL,
        replaced_at timestamptz,
        PRIMARY KEY (team_id, id),
        FOREIGN KEY (team_id, cloud_account_id) REFERENCES cloud_accounts (team_id, id),
        FOREIGN KEY (team_id, token_id) REFERENCES tokens (team_id, id)
    )
    """,
    (
        "CREATE UNIQUE INDEX control_answers_one ON control_answers (team_id, cloud_account_id, framework, control)"
        " WHERE replaced_at IS NULL"
    ),
    "ALTER TABLE control_answers ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE control_answers FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY coreo_api_select ON control_answers FOR SELECT TO coreo_api USING (team_id = {_TEAM})",
    f"CREATE POLICY coreo_api_insert ON control_answers FOR INSERT TO coreo_api WITH CHECK (team_id = {_TEAM})",
    (
        f"CREATE POLICY coreo_api_update ON control_answers FOR UPDATE TO coreo_api USING (team_id = {_TEAM})"
        f" WITH CHECK (team_id = {_TEAM})"
    ),
    "GRANT SELECT, INSERT, UPDATE (replaced_at) ON control_answers TO coreo_api",
)


def upgrade() -> None:
    """Adds the table."""
    for statement in _STATEMENTS:
        op.execute(statement)

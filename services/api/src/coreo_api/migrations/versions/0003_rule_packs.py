"""Rule packs: rules that teams write themselves. A version never changes; one that is deleted stays for its runs."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEAM = "NULLIF(current_setting('app.team_id', true), '')::uuid"
_STATEMENTS = (
    """
    CREATE TABLE rule_packs (
        team_id uuid NOT NULL REFERENCES teams (id),
        id uuid NOT NULL,
        name text NOT NULL,
        version integer NOT NULL CHECK (version > 0),
        title text NOT NULL,
        source text NOT NULL,
        digest text NOT NULL,
        token_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        deleted_at timestamptz,
        PRIMARY KEY (team_id, id),
        UNIQUE (team_id, name, version),
        FOREIGN KEY (team_id, token_id) REFERENCES tokens (team_id, id)
    )
    """,
    "ALTER TABLE rule_packs ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE rule_packs FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY coreo_api_select ON rule_packs FOR SELECT TO coreo_api USING (team_id = {_TEAM})",
    f"CREATE POLICY coreo_api_insert ON rule_packs FOR INSERT TO coreo_api WITH CHECK (team_id = {_TEAM})",
    (
        f"CREATE POLICY coreo_api_update ON rule_packs FOR UPDATE TO coreo_api USING (team_id = {_TEAM})"
        f" WITH CHECK (team_id = {_TEAM})"
    ),
    "GRANT SELECT, INSERT, UPDATE (deleted_at) ON rule_packs TO coreo_api",
    "CREATE POLICY system_select ON rule_packs FOR SELECT TO coreo_api_system USING (true)",
    "GRANT SELECT ON rule_packs TO coreo_api_system",
)


def upgrade() -> None:
    """Adds the table."""
    for statement in _STATEMENTS:
        op.execute(statement)

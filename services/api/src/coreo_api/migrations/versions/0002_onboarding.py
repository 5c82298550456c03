"""Proof of the way into cloud accounts: their history, verifications, and the overlap of external ids.

A role's ARN is one cloud account's alone only once it is proven: who merely names another's role keeps nobody out.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEAM = "NULLIF(current_setting('app.team_id', true), '')::uuid"
_KEPT = "state, reason, missing_actions, failures, next_verification_at, updated_at"
_TASK = "state, report, reason, version, sent_at, due_at, attempts, ended_at"
_STATEMENTS = (
    (
        "ALTER TABLE cloud_accounts ADD COLUMN next_external_id text UNIQUE, ADD COLUMN reason text,"
        " ADD COLUMN missing_actions jsonb NOT NULL DEFAULT '[]', ADD COLUMN failures integer NOT NULL DEFAULT 0,"
        " ADD COLUMN next_verification_at timestamptz"
    ),
    "DROP INDEX cloud_accounts_role_arn",
    (
        "CREATE UNIQUE INDEX cloud_accounts_role_arn ON cloud_accounts (role_arn)"
        " WHERE deleted_at IS NULL AND state = 'CONNECTED'"
    ),
    "CREATE INDEX cloud_accounts_due ON cloud_accounts (next_verification_at) WHERE deleted_at IS NULL",
    # What was done to a cloud account, and by whom. Verifications, bootstraps and discoveries are runs in the results
    # service's ledger under the entry's id; an entry that waits to be sent is its own outbox.
    """
    CREATE TABLE account_history (
        team_id uuid NOT NULL,
        id uuid NOT NULL,
        cloud_account_id uuid NOT NULL,
        kind text NOT NULL,
        token_id uuid,
        by_name text NOT NULL,
        at timestamptz NOT NULL,
        spec jsonb NOT NULL DEFAULT '{}',
        state text,
        report jsonb,
        reason text,
        version bigint NOT NULL DEFAULT 0,
        due_at timestamptz,
        sent_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        expires_at timestamptz,
        ended_at timestamptz,
        PRIMARY KEY (team_id, id),
        FOREIGN KEY (team_id, cloud_account_id) REFERENCES cloud_accounts (team_id, id),
        FOREIGN KEY (team_id, token_id) REFERENCES tokens (team_id, id)
    )
    """,
    "CREATE INDEX account_history_of_account ON account_history (team_id, cloud_account_id, id)",
    "CREATE INDEX account_history_open ON account_history (due_at) WHERE state IS NOT NULL AND ended_at IS NULL",
    # One at a time, however many ask.
    (
        "CREATE UNIQUE INDEX account_history_one ON account_history (team_id, cloud_account_id)"
        " WHERE state IS NOT NULL AND ended_at IS NULL AND kind <> 'purge'"
    ),
    "ALTER TABLE account_history ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE account_history FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY coreo_api_select ON account_history FOR SELECT TO coreo_api USING (team_id = {_TEAM})",
    f"CREATE POLICY coreo_api_insert ON account_history FOR INSERT TO coreo_api WITH CHECK (team_id = {_TEAM})",
    (
        f"CREATE POLICY coreo_api_update ON account_history FOR UPDATE TO coreo_api USING (team_id = {_TEAM})"
        f" WITH CHECK (team_id = {_TEAM})"
    ),
    "GRANT SELECT, INSERT, UPDATE (state, reason, sent_at, ended_at) ON account_history TO coreo_api",
    *(
        f"CREATE POLICY system_{command.lower()} ON account_history FOR {command} TO coreo_api_system {clause}"
        for command, clause in (
            ("SELECT", "USING (true)"),
            ("INSERT", "WITH CHECK (true)"),
            ("UPDATE", "USING (true) WITH CHECK (true)"),
        )
    ),
    f"GRANT SELECT, INSERT, UPDATE ({_TASK}) ON account_history TO coreo_api_system",
    f"GRANT UPDATE (next_external_id, {_KEPT}) ON cloud_accounts TO coreo_api",
    f"GRANT INSERT, UPDATE (external_id, next_external_id, role_arn, {_KEPT}) ON cloud_accounts TO coreo_api_system",
    # Runs by a role that is found insecure are canceled.
    "GRANT UPDATE (cancel_requested) ON runs TO coreo_api_system",
    "CREATE POLICY coreo_api_system_insert ON cloud_accounts FOR INSERT TO coreo_api_system WITH CHECK (true)",
    (
        "CREATE POLICY coreo_api_system_update ON cloud_accounts FOR UPDATE TO coreo_api_system"
        " USING (true) WITH CHECK (true)"
    ),
)


def upgrade() -> None:
    """Adds what onboarding needs; accounts that are there have to prove themselves."""
    for statement in _STATEMENTS:
        op.execute(statement)
    op.execute("ALTER TABLE cloud_accounts NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE cloud_accounts SET next_verification_at = now() WHERE state = 'UNVERIFIED'")
    op.execute("ALTER TABLE cloud_accounts FORCE ROW LEVEL SECURITY")

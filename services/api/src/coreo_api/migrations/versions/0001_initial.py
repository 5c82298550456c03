"""Teams, tokens, cloud accounts, plans, runs and the outbox, all under row level security.

Every row belongs to a team and is named by (team_id, id), so that no foreign key can reach into another team. The role
coreo_api sees the rows of the team that `app.team_id` names; the role coreo_api_system sees all rows of the tables that
background tasks work on, and has just the commands they use.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE teams (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE tokens (
    team_id uuid NOT NULL REFERENCES teams (id),
    id uuid NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (team_id, id)
);

CREATE TABLE cloud_accounts (
    team_id uuid NOT NULL REFERENCES teams (id),
    id uuid NOT NULL,
    name text NOT NULL,
    account_id text NOT NULL CHECK (account_id ~ '^[0-9]{12}$'),
    external_id text NOT NULL UNIQUE,
    state text NOT NULL,
    role_arn text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (team_id, id)
);
-- One cloud account for a role, over all teams.
CREATE UNIQUE INDEX cloud_accounts_role_arn ON cloud_accounts (role_arn) WHERE deleted_at IS NULL;

CREATE TABLE plans (
    team_id uuid NOT NULL REFERENCES teams (id),
    id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind = 'audit'),
    revision integer NOT NULL,
    schedule jsonb,
    enabled boolean NOT NULL,
    next_tick_at timestamptz,
    last_tick_at timestamptz,
    last_tick_problem text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (team_id, id)
);
CREATE INDEX plans_due ON plans (next_tick_at) WHERE enabled AND deleted_at IS NULL;

CREATE TABLE plan_revisions (
    team_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (team_id, plan_id, revision),
    FOREIGN KEY (team_id, plan_id) REFERENCES plans (team_id, id)
);
-- A plan's present revision is one of its revisions; they are inserted in one transaction.
ALTER TABLE plans ADD FOREIGN KEY (team_id, id, revision)
    REFERENCES plan_revisions (team_id, plan_id, revision) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE plan_accounts (
    team_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    cloud_account_id uuid NOT NULL,
    position integer NOT NULL,
    PRIMARY KEY (team_id, plan_id, cloud_account_id),
    FOREIGN KEY (team_id, plan_id) REFERENCES plans (team_id, id),
    FOREIGN KEY (team_id, cloud_account_id) REFERENCES cloud_accounts (team_id, id)
);
CREATE INDEX plan_accounts_of_account ON plan_accounts (team_id, cloud_account_id);

CREATE TABLE run_groups (
    team_id uuid NOT NULL,
    id uuid NOT NULL,
    plan_id uuid NOT NULL,
    plan_revision integer NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('manual', 'schedule')),
    tick_at timestamptz CHECK ((tick_at IS NULL) = (trigger = 'manual')),
    idempotency_key text,
    request_hash bytea,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (team_id, id),
    UNIQUE (team_id, plan_id, tick_at),
    UNIQUE (team_id, idempotency_key),
    FOREIGN KEY (team_id, plan_id, plan_revision) REFERENCES plan_revisions (team_id, plan_id, revision)
);

CREATE TABLE runs (
    team_id uuid NOT NULL,
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    plan_revision integer NOT NULL,
    cloud_account_id uuid NOT NULL,
    trigger text NOT NULL,
    state text NOT NULL DEFAULT 'QUEUED',
    reason text,
    attempt integer NOT NULL DEFAULT 0,
    units_done integer NOT NULL DEFAULT 0,
    units_total integer,
    counts jsonb NOT NULL DEFAULT '{"by_status": {}, "failed_by_severity": {}}',
    version bigint NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    expires_at timestamptz NOT NULL,
    dispatched_at timestamptz,
    PRIMARY KEY (team_id, id),
    UNIQUE (team_id, group_id, cloud_account_id),
    FOREIGN KEY (team_id, group_id) REFERENCES run_groups (team_id, id),
    FOREIGN KEY (team_id, plan_id, plan_revision) REFERENCES plan_revisions (team_id, plan_id, revision),
    FOREIGN KEY (team_id, cloud_account_id) REFERENCES cloud_accounts (team_id, id)
);
CREATE INDEX runs_of_plan ON runs (team_id, plan_id, id);
CREATE INDEX runs_of_account ON runs (team_id, cloud_account_id, id);
CREATE INDEX runs_at_work ON runs (team_id) WHERE ended_at IS NULL;
CREATE INDEX runs_waiting ON runs (expires_at) WHERE state = 'QUEUED';

-- What is still to be told to the queue (job) or to the results service (cancel, expire); a row goes when it is done.
CREATE TABLE outbox (
    team_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('job', 'cancel', 'expire')),
    run_id uuid NOT NULL,
    reason text CHECK ((reason IS NULL) = (kind = 'job')),
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    problem text,
    PRIMARY KEY (team_id, id),
    UNIQUE (team_id, run_id, kind),
    FOREIGN KEY (team_id, run_id) REFERENCES runs (team_id, id)
);
CREATE INDEX outbox_due ON outbox (kind, due_at);

-- How far the results service's event feed has been read: one row.
CREATE TABLE feed_position (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    cursor text
);
INSERT INTO feed_position DEFAULT VALUES;
"""

_TEAM = "NULLIF(current_setting('app.team_id', true), '')::uuid"
# table -> commands of coreo_api on its team's rows
_SERVICE = {
    "teams": ["SELECT", "INSERT"],
    "tokens": ["SELECT", "INSERT", "UPDATE (revoked_at)"],
    "cloud_accounts": ["SELECT", "INSERT", "UPDATE (name, state, role_arn, updated_at, deleted_at)"],
    "plans": ["SELECT", "INSERT", "UPDATE (name, revision, schedule, enabled, next_tick_at, updated_at, deleted_at)"],
    "plan_revisions": ["SELECT", "INSERT"],
    "plan_accounts": ["SELECT", "INSERT", "DELETE"],
    "run_groups": ["SELECT", "INSERT"],
    "runs": ["SELECT", "INSERT", "UPDATE (cancel_requested, updated_at)"],
    "outbox": ["SELECT", "INSERT"],
}
# What the event feed says of a run.
_MIRRORED = "state, reason, attempt, units_done, units_total, counts, version, updated_at, ended_at"
# table -> commands of coreo_api_system on all rows
_SYSTEM = {
    "cloud_accounts": ["SELECT"],
    "plans": ["SELECT", "UPDATE (next_tick_at, last_tick_at, last_tick_problem)"],
    "plan_revisions": ["SELECT"],
    "plan_accounts": ["SELECT"],
    "run_groups": ["SELECT", "INSERT"],
    "runs": [
        "SELECT",
        "INSERT",
        f"UPDATE ({_MIRRORED}, dispatched_at)",
    ],
    "outbox": ["SELECT", "INSERT", "UPDATE (due_at, attempts, problem)", "DELETE"],
    "feed_position": ["SELECT", "UPDATE"],
}


def upgrade() -> None:
    """Makes the tables, then closes them and opens what each role needs."""
    for statement in _TABLES.strip().removesuffix(";").split(";\n"):  # the driver takes one at a time
        op.execute(statement)
    op.execute("GRANT USAGE ON SCHEMA public TO coreo_api, coreo_api_system")
    for table in {**_SERVICE, **_SYSTEM}:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    for table, commands in _SERVICE.items():
        column = "id" if table == "teams" else "team_id"
        _allow("coreo_api", table, commands, f"{column} = {_TEAM}")
    for table, commands in _SYSTEM.items():
        _allow("coreo_api_system", table, commands, "true")
    # Who asks is found by the hash of the token they show: before the team is known, that row alone is there.
    op.execute(
        "CREATE POLICY coreo_api_presented ON tokens FOR SELECT TO coreo_api "
        "USING (token_hash = decode(NULLIF(current_setting('app.token_hash', true), ''), 'hex'))"
    )


def _allow(role: str, table: str, commands: list[str], condition: str) -> None:
    for granted in commands:
        command = granted.partition(" ")[0]
        clauses = {
            "SELECT": f"USING ({condition})",
            "DELETE": f"USING ({condition})",
            "INSERT": f"WITH CHECK ({condition})",
            "UPDATE": f"USING ({condition}) WITH CHECK ({condition})",
        }
        op.execute(f"GRANT {granted} ON {table} TO {role}")
        op.execute(f"CREATE POLICY {role}_{command.lower()} ON {table} FOR {command} TO {role} {clauses[command]}")

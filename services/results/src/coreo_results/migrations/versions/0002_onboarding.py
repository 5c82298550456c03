"""Runs of the onboard pool: without a plan, ending with a report. Results can be purged by cloud account."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UP = (
    "ALTER TABLE runs ALTER COLUMN plan_id DROP NOT NULL, ALTER COLUMN plan_revision DROP NOT NULL",
    "ALTER TABLE runs ADD CONSTRAINT runs_plan CHECK ((plan_id IS NULL) = (plan_revision IS NULL))",
    "ALTER TABLE runs ADD COLUMN purged_at timestamptz",
    "CREATE INDEX runs_by_cloud_account ON runs (team_id, cloud_account_id)",
    "ALTER TABLE run_events ADD COLUMN report jsonb",
    "ALTER TABLE workers ADD COLUMN sealing_key text",
    # Chunks could be deleted already; finding groups go with them.
    "GRANT DELETE ON run_keys, units TO coreo_results",
)


def upgrade() -> None:
    """Widens what is there."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Not possible once there are runs without a plan."""
    op.execute("REVOKE DELETE ON run_keys, units FROM coreo_results")
    op.execute("ALTER TABLE workers DROP COLUMN sealing_key")
    op.execute("ALTER TABLE run_events DROP COLUMN report")
    op.execute("DROP INDEX runs_by_cloud_account")
    op.execute(
        "ALTER TABLE runs DROP COLUMN purged_at, DROP CONSTRAINT runs_plan,"
        " ALTER COLUMN plan_id SET NOT NULL, ALTER COLUMN plan_revision SET NOT NULL"
    )

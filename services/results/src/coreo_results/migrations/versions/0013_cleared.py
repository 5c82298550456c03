"""With the last of a run go its totals and who saw its findings first, also where a replica of before clears it."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_STATEMENTS = (
    # The service deletes totals in steps before it comes to this; replicas of before do not know of them.
    """
    CREATE FUNCTION clear_run() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM run_totals t WHERE t.team_id = NEW.team_id AND t.run_id = NEW.run_id;
        NEW.first_runs := NULL;
        NEW.first_seen := NULL;
        RETURN NEW;
    END $$
    """,
    "ALTER TABLE runs NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE run_totals NO FORCE ROW LEVEL SECURITY",
    """
    CREATE TRIGGER clear BEFORE UPDATE OF cleared_at ON runs
        FOR EACH ROW WHEN (NEW.cleared_at IS NOT NULL) EXECUTE FUNCTION clear_run()
    """,
    # What is left of runs that went between the revision before and this one.
    """
    UPDATE runs r SET cleared_at = cleared_at WHERE cleared_at IS NOT NULL AND (first_runs IS NOT NULL
        OR EXISTS (SELECT FROM run_totals t WHERE t.team_id = r.team_id AND t.run_id = r.run_id))
    """,
    "ALTER TABLE run_totals FORCE ROW LEVEL SECURITY",
    "ALTER TABLE runs FORCE ROW LEVEL SECURITY",
)


def upgrade() -> None:
    """Clears what is left."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Leaves it to the service."""
    op.execute("DROP TRIGGER clear ON runs")
    op.execute("DROP FUNCTION clear_run")

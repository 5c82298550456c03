"""Runs that shall never be backed up, and runs whose results are gone."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = (
    # `backup`: what was asked for at the start. `results_gone`: contracts.custody.ResultsGone, as the feed tells it.
    "ALTER TABLE runs ADD COLUMN backup boolean NOT NULL DEFAULT true, ADD COLUMN results_gone jsonb",
    "GRANT UPDATE (results_gone) ON runs TO coreo_api_system",
)


def upgrade() -> None:
    """Adds columns."""
    for statement in _STATEMENTS:
        op.execute(statement)

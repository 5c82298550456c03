"""What an exclusion is about is in the log of the backups before anything is done for it."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# `log_end`: the log's newest entry when it was asked for. `intent_seq`: the entry that says what was asked; null where
# tombstones are older than such entries. With their tombstones through, exclusions need none any more.
_UP = (
    """
    ALTER TABLE exclusions
        NO FORCE ROW LEVEL SECURITY,
        ADD COLUMN log_end integer,
        ADD COLUMN intent_at timestamptz,
        ADD COLUMN intent_seq integer
    """,
    "UPDATE exclusions SET intent_at = tombstone_at",
    """
    ALTER TABLE exclusions
        FORCE ROW LEVEL SECURITY,
        ADD CONSTRAINT exclusions_intent CHECK (receipt_at IS NULL OR intent_at IS NOT NULL)
    """,
    "GRANT UPDATE (intent_at, intent_seq) ON exclusions TO coreo_results",
)


def upgrade() -> None:
    """Adds to what is there."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Forgets which entries those were. Older versions cannot read logs that have such entries."""
    for column in ("log_end", "intent_at", "intent_seq"):
        op.execute(f"ALTER TABLE exclusions DROP COLUMN {column}")

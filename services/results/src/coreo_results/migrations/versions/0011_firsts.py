"""What a run was told of its findings' past stays with the run, so that its pages and its backup need nothing else."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMNS = (
    # Who saw findings of the run first, and when; both null until it is compared, and once its results are gone.
    "ALTER TABLE runs ADD COLUMN first_runs uuid[], ADD COLUMN first_seen timestamptz[]",
    # `first_of`: for each finding of the chunk a place in those, from 0, or -1; empty where a replica of before did the
    # comparison. `failed`: by position, where a finding that is neither PASS nor FAIL failed last: [run, unit, chunk,
    # position].
    "ALTER TABLE chunk_changes ADD COLUMN first_of integer[] NOT NULL DEFAULT '{}', ADD COLUMN failed jsonb",
)
# Of what was compared before, as far as it is still known.
_KNOWN = """
    CREATE TEMPORARY TABLE known ON COMMIT DROP AS
    SELECT c.team_id, c.run_id, c.unit, c.chunk_index, t.place, l.first_run, l.first_seen,
        CASE WHEN l.last_run = c.run_id AND l.status NOT IN ('PASS', 'FAIL') AND l.failed_run IS NOT NULL
            THEN jsonb_build_array(l.failed_run, l.failed_unit, l.failed_chunk, l.failed_position) END AS failed
    FROM chunk_changes cc
    JOIN chunks c USING (team_id, run_id, unit, chunk_index)
    JOIN runs r USING (team_id, run_id)
    CROSS JOIN LATERAL unnest(c.tags) WITH ORDINALITY AS t (tag, place)
    LEFT JOIN finding_life l ON l.team_id = c.team_id AND l.cloud_account_id = r.cloud_account_id
        AND l.plan_id = r.plan_id AND l.tag = t.tag
"""
_FIRSTS = """
    CREATE TEMPORARY TABLE firsts ON COMMIT DROP AS
    SELECT *, (row_number() OVER (PARTITION BY team_id, run_id ORDER BY first_seen, first_run) - 1)::int AS number
    FROM (SELECT DISTINCT team_id, run_id, first_run, first_seen FROM known WHERE first_run IS NOT NULL) AS d
"""
_FILL = (
    _KNOWN,
    _FIRSTS,
    """
    UPDATE runs r SET first_runs = f.first_runs, first_seen = f.first_seen FROM (
        SELECT team_id, run_id, array_agg(first_run ORDER BY number) AS first_runs,
            array_agg(first_seen ORDER BY number) AS first_seen
        FROM firsts GROUP BY team_id, run_id
    ) AS f WHERE (r.team_id, r.run_id) = (f.team_id, f.run_id)
    """,
    """
    UPDATE chunk_changes cc SET first_of = n.first_of, failed = n.failed FROM (
        SELECT k.team_id, k.run_id, k.unit, k.chunk_index,
            array_agg(coalesce(f.number, -1) ORDER BY k.place) AS first_of,
            jsonb_object_agg(k.place - 1, k.failed) FILTER (WHERE k.failed IS NOT NULL) AS failed
        FROM known k LEFT JOIN firsts f USING (team_id, run_id, first_run, first_seen)
        GROUP BY k.team_id, k.run_id, k.unit, k.chunk_index
    ) AS n
    WHERE (cc.team_id, cc.run_id, cc.unit, cc.chunk_index) = (n.team_id, n.run_id, n.unit, n.chunk_index)
    """,
)
_READ = ("runs", "chunks", "chunk_changes", "finding_life")


def upgrade() -> None:
    """Adds to what is there. Takes a look at each finding that is stored."""
    for statement in (
        *_COLUMNS,
        *(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in _READ),
        *_FILL,
        *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _READ),
    ):
        op.execute(statement)


def downgrade() -> None:
    """Versions of before look for the same in what is known of findings now."""
    op.execute("ALTER TABLE chunk_changes DROP COLUMN first_of, DROP COLUMN failed")
    op.execute("ALTER TABLE runs DROP COLUMN first_runs, DROP COLUMN first_seen")

"""How many findings of a run are alike, so that neither counts nor pages look at all of its groups."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"
_STATEMENTS = (
    # Whoever stores findings has locked a run first, and is waited for here, before anything that he still needs is
    # taken from him.
    "LOCK TABLE runs IN ACCESS EXCLUSIVE MODE",
    # Of the units that are done.
    """
    CREATE TABLE run_totals (
        team_id uuid NOT NULL,
        run_id uuid NOT NULL,
        severity_order smallint NOT NULL CHECK (severity_order BETWEEN 0 AND 4),
        rule_id text COLLATE "C" NOT NULL,
        status text NOT NULL CHECK (status IN ('PASS', 'FAIL', 'NOT_EVALUATED', 'SUPPRESSED')),
        region text NOT NULL,
        findings integer NOT NULL CHECK (findings > 0),
        PRIMARY KEY (team_id, run_id, severity_order, rule_id, status, region),
        FOREIGN KEY (team_id, run_id) REFERENCES runs ON DELETE CASCADE
    )
    """,
    # A trigger, as replicas of before know nothing of totals. Whoever says that a unit is done has the run locked.
    """
    CREATE FUNCTION sum_up_unit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO run_totals AS t (team_id, run_id, severity_order, rule_id, status, region, findings)
        SELECT NEW.team_id, NEW.run_id, g.severity_order, g.rule_id, g.status, g.region, sum(g.findings)
        FROM finding_groups g WHERE g.team_id = NEW.team_id AND g.run_id = NEW.run_id AND g.unit = NEW.unit
        GROUP BY g.severity_order, g.rule_id, g.status, g.region
        ON CONFLICT (team_id, run_id, severity_order, rule_id, status, region)
            DO UPDATE SET findings = t.findings + excluded.findings;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER sum_up AFTER INSERT ON units FOR EACH ROW EXECUTE FUNCTION sum_up_unit()",
    "ALTER TABLE finding_groups NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE units NO FORCE ROW LEVEL SECURITY",
    """
    INSERT INTO run_totals
    SELECT team_id, run_id, g.severity_order, g.rule_id, g.status, g.region, sum(g.findings)
    FROM finding_groups g JOIN units USING (team_id, run_id, unit)
    GROUP BY team_id, run_id, g.severity_order, g.rule_id, g.status, g.region
    """,
    "ALTER TABLE finding_groups FORCE ROW LEVEL SECURITY",
    "ALTER TABLE units FORCE ROW LEVEL SECURITY",
    "ALTER TABLE run_totals ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE run_totals FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY team ON run_totals TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON run_totals TO coreo_results",
)


def upgrade() -> None:
    """Sums up what is there."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Versions of before count groups."""
    op.execute("DROP TRIGGER sum_up ON units")
    op.execute("DROP FUNCTION sum_up_unit")
    op.execute("DROP TABLE run_totals")

"""The comparison of a run with what was known before, as one SQL statement: memory does not grow with findings.

In words: the run's findings are numbered with their tags (`placed`), one of each tag is taken, the worst (`latest`),
and held against `finding_life`. What was known and is not there is gone if its unit was listed to the end and its rule
was run; anything else is not seen, and stays as it was.
"""

from sqlalchemy import text

from coreo_results.life.changes import CHANGE_NUMBERS, STATUS_NUMBERS
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus


def _number_of_status(column: str) -> str:
    cases = " ".join(f"WHEN '{status}' THEN {number}" for status, number in STATUS_NUMBERS.items())
    return f"CASE {column} {cases} END"


_OF_RUN = "team_id = :team AND run_id = :run"
_OF_PLAN = "l.team_id = :team AND l.cloud_account_id = :cloud_account AND l.plan_id = :plan"
# A group's tags are a slice of its chunk's: as a join by place this would be at the mercy of the planner.
_PLACED = f"""
    SELECT t.tag, g.unit, g.chunk_index, g.first + (t.place - 1)::int AS position,
        g.rule_id, g.severity_order, g.status
    FROM finding_groups g
    JOIN units u USING (team_id, run_id, unit)
    JOIN chunks c USING (team_id, run_id, unit, chunk_index)
    CROSS JOIN LATERAL unnest(c.tags[g.first + 1 : g.first + g.findings]) WITH ORDINALITY AS t (tag, place)
    WHERE g.{_OF_RUN}
"""  # noqa: S608  constants
# Resources seen from several regions give a finding several times.
_LATEST = """
    SELECT DISTINCT ON (tag) * FROM placed
    ORDER BY tag, CASE status WHEN 'FAIL' THEN 0 WHEN 'NOT_EVALUATED' THEN 1 WHEN 'SUPPRESSED' THEN 2 ELSE 3 END,
        unit, chunk_index, position
"""
# Chunks of before there were tags tell nothing of what is missing from them.
_WHOLE = f"""
    SELECT u.unit FROM units u JOIN chunks c USING (team_id, run_id, unit)
    WHERE u.{_OF_RUN}
    GROUP BY u.unit HAVING bool_and(c.listed AND cardinality(c.tags) = c.findings)
"""  # noqa: S608  constants
_JUDGED = f"""
    SELECT n.*, coalesce(l.first_run, r.run_id) AS first_run, coalesce(l.first_seen, r.ended_at) AS first_seen,
        l.failed_run, l.failed_unit, l.failed_chunk, l.failed_position,
        CASE
            WHEN l.tag IS NULL OR l.status = 'GONE' THEN {CHANGE_NUMBERS[Change.NEW]}
            WHEN n.status = '{FindingStatus.PASS}' AND l.failed_run IS NOT NULL THEN {CHANGE_NUMBERS[Change.RESOLVED]}
            WHEN n.status = l.status THEN {CHANGE_NUMBERS[Change.UNCHANGED]}
            ELSE {CHANGE_NUMBERS[Change.CHANGED]}
        END AS change,
        coalesce({_number_of_status("l.status")}, 0) AS before
    FROM latest n LEFT JOIN finding_life l ON {_OF_PLAN} AND l.tag = n.tag
    CROSS JOIN (SELECT run_id, ended_at FROM runs WHERE {_OF_RUN}) AS r
"""  # noqa: S608  constants
# Where the worker did not say which rules it runs, one has been run on a unit if it found something there.
_MISSING = f"""
    SELECT l.* FROM finding_life l JOIN whole w ON w.unit = l.unit
    WHERE {_OF_PLAN} AND l.status <> 'GONE' AND NOT EXISTS (SELECT FROM latest n WHERE n.tag = l.tag)
        AND CASE WHEN CAST(:rules AS text[]) IS NULL
            THEN EXISTS (SELECT FROM finding_groups g WHERE g.{_OF_RUN} AND g.unit = l.unit AND g.rule_id = l.rule_id)
            ELSE l.rule_id = ANY (CAST(:rules AS text[])) END
"""  # noqa: S608  constants
_FIRSTS = """
    SELECT first_run, first_seen, (row_number() OVER (ORDER BY first_seen, first_run) - 1)::int AS number
    FROM (SELECT DISTINCT first_run, first_seen FROM judged) AS d
"""
_CODES = """
    INSERT INTO chunk_changes (team_id, run_id, unit, chunk_index, codes, first_of, failed)
    SELECT :team, :run, p.unit, p.chunk_index, array_agg((10 * j.change + j.before)::smallint ORDER BY p.position),
        array_agg(f.number ORDER BY p.position),
        jsonb_object_agg(p.position, jsonb_build_array(j.failed_run, j.failed_unit, j.failed_chunk, j.failed_position))
            FILTER (WHERE j.status NOT IN ('PASS', 'FAIL') AND j.failed_run IS NOT NULL)
    FROM placed p JOIN judged j USING (tag) JOIN firsts f USING (first_run, first_seen)
    GROUP BY p.unit, p.chunk_index
"""
_KNOWN = """
    INSERT INTO finding_life AS l (team_id, cloud_account_id, plan_id, tag, rule_id, severity_order, unit, status,
        first_run, first_seen, last_run, last_seen, failed_run, failed_unit, failed_chunk, failed_position)
    SELECT :team, :cloud_account, :plan, n.tag, n.rule_id, n.severity_order, n.unit, n.status,
        :run, r.ended_at, :run, r.ended_at,
        f.run, CASE WHEN f.run IS NOT NULL THEN n.unit END, CASE WHEN f.run IS NOT NULL THEN n.chunk_index END,
        CASE WHEN f.run IS NOT NULL THEN n.position END
    FROM latest n
    CROSS JOIN LATERAL (SELECT CASE n.status WHEN 'FAIL' THEN CAST(:run AS uuid) END AS run) AS f
    CROSS JOIN (SELECT ended_at FROM runs WHERE team_id = :team AND run_id = :run) AS r
    ON CONFLICT (team_id, cloud_account_id, plan_id, tag) DO UPDATE SET
        rule_id = excluded.rule_id, severity_order = excluded.severity_order, unit = excluded.unit,
        status = excluded.status, last_run = excluded.last_run, last_seen = excluded.last_seen,
        (failed_run, failed_unit, failed_chunk, failed_position) = (
            SELECT excluded.failed_run, excluded.failed_unit, excluded.failed_chunk, excluded.failed_position
            WHERE excluded.status IN ('PASS', 'FAIL')
            UNION ALL
            SELECT l.failed_run, l.failed_unit, l.failed_chunk, l.failed_position
            WHERE excluded.status NOT IN ('PASS', 'FAIL')
        )
"""
_GONE = """
    UPDATE finding_life l SET status = 'GONE',
        failed_run = NULL, failed_unit = NULL, failed_chunk = NULL, failed_position = NULL
    FROM missing m
    WHERE l.team_id = m.team_id AND l.cloud_account_id = m.cloud_account_id AND l.plan_id = m.plan_id AND l.tag = m.tag
"""
_RESOLVED = f"""
    INSERT INTO resolved_findings (team_id, run_id, severity_order, rule_id, tag, gone,
        first_run, first_seen, failed_run, failed_unit, failed_chunk, failed_position)
    SELECT :team, :run, severity_order, rule_id, tag, false,
        first_run, first_seen, failed_run, failed_unit, failed_chunk, failed_position
    FROM judged WHERE change = {CHANGE_NUMBERS[Change.RESOLVED]}
    UNION ALL
    SELECT :team, :run, severity_order, rule_id, tag, true,
        first_run, first_seen, failed_run, failed_unit, failed_chunk, failed_position
    FROM missing WHERE failed_run IS NOT NULL
    RETURNING gone
"""  # noqa: S608  constants
COMPARE = text(f"""
    WITH placed AS MATERIALIZED ({_PLACED}), latest AS MATERIALIZED ({_LATEST}), whole AS MATERIALIZED ({_WHOLE}),
        judged AS MATERIALIZED ({_JUDGED}), missing AS MATERIALIZED ({_MISSING}),
        firsts AS MATERIALIZED ({_FIRSTS}),
        codes AS ({_CODES}), known AS ({_KNOWN}), gone AS ({_GONE}), resolved AS ({_RESOLVED})
    SELECT
        count(*) FILTER (WHERE j.change = {CHANGE_NUMBERS[Change.NEW]}) AS new,
        count(*) FILTER (WHERE j.change = {CHANGE_NUMBERS[Change.UNCHANGED]}) AS unchanged,
        count(*) FILTER (WHERE j.change = {CHANGE_NUMBERS[Change.CHANGED]}) AS changed,
        count(*) FILTER (WHERE j.change = {CHANGE_NUMBERS[Change.RESOLVED]})
            + (SELECT count(*) FROM resolved WHERE gone) AS resolved,
        (SELECT array_agg(first_run ORDER BY number) FROM firsts) AS first_runs,
        (SELECT array_agg(first_seen ORDER BY number) FROM firsts) AS first_seen
    FROM placed p JOIN judged j USING (tag)
""")  # noqa: S608  constants
NOT_SEEN = text(f"""
    SELECT count(*) FROM finding_life l WHERE {_OF_PLAN} AND l.status <> 'GONE' AND l.last_run <> :run
""")  # noqa: S608  constants
FORGET = text(f"""
    DELETE FROM finding_life l
    WHERE {_OF_PLAN} AND l.status = 'GONE' AND l.last_seen < now() - make_interval(days => :days)
""")  # noqa: S608  constants

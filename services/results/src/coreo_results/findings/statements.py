"""The SQL that chooses, counts and orders findings as their team sees them: with its suppressions and severities.

A *span* is a number of neighbouring findings of a chunk that are alike in all that is looked at. Layer by layer:

1. `_SPANS`: the run's groups; single findings where one resource or change is looked for.
2. `_COVERED`: each with the suppression that fits its whole group, if one does.
3. `_SPLIT`: groups of which a suppression fits some findings, taken apart.
4. `_SHOWN`: each with the status and severity that are shown, filtered by them.

Where nothing is looked for in single findings, `run_totals` has what layers 1 and 2 would count: one row for all
findings of the run that are alike. A page then reads only the rules that it shows something of.
"""

from sqlalchemy import TextClause, text

# A hash's place in its array is the finding's place in the chunk (ids first, then ARNs).
_GROUPS = """
    SELECT g.* FROM finding_groups g JOIN units u USING (team_id, run_id, unit)
    WHERE g.team_id = :team AND g.run_id = :run
"""
_TOTALS = """
    SELECT t.*, NULL AS unit, NULL AS chunk_index, NULL AS first
    FROM run_totals t WHERE t.team_id = :team AND t.run_id = :run
"""
_OF_RESOURCE = """
    SELECT g.team_id, g.run_id, g.severity_order, g.rule_id, g.unit, g.chunk_index,
        hit.position AS first, 1 AS findings,
        g.status, g.region
    FROM chunks c
    CROSS JOIN LATERAL (
        SELECT ((h.place - 1) % c.findings)::int AS position
        FROM unnest(c.resource_hashes) WITH ORDINALITY AS h (hash, place)
        WHERE h.hash = CAST(:resource AS bigint)
    ) AS hit
    JOIN units u USING (team_id, run_id, unit)
    JOIN finding_groups g ON g.team_id = c.team_id AND g.run_id = c.run_id AND g.unit = c.unit
        AND g.chunk_index = c.chunk_index AND hit.position >= g.first AND hit.position < g.first + g.findings
    WHERE c.team_id = :team AND c.run_id = :run
"""
# A group's codes are a slice of its chunk's.
_OF_CHANGE = """
    SELECT g.team_id, g.run_id, g.severity_order, g.rule_id, g.unit, g.chunk_index,
        g.first + (k.place - 1)::int AS first, 1 AS findings,
        g.status, g.region
    FROM ({spans}) AS g
    JOIN chunk_changes c USING (team_id, run_id, unit, chunk_index)
    CROSS JOIN LATERAL unnest(c.codes[g.first + 1 : g.first + g.findings]) WITH ORDINALITY AS k (code, place)
    WHERE k.code / 10 = ANY (CAST(:changes AS smallint[]))
"""
# By (is a resource looked for, is a change).
_SPANS = {
    (False, False): _GROUPS,
    (True, False): _OF_RESOURCE,
    (False, True): _OF_CHANGE.format(spans=_GROUPS),
    (True, True): _OF_CHANGE.format(spans=_OF_RESOURCE),
}
_COVERED = """
    SELECT s.severity_order, s.rule_id, s.unit, s.chunk_index, s.first, s.findings, s.status, s.region,
        w.suppression_id
    FROM ({spans}) AS s
    LEFT JOIN unnest(CAST(:whole_rules AS text[]), CAST(:whole_regions AS text[]), CAST(:whole_ids AS uuid[]))
        AS w (rule_id, region, suppression_id)
        ON s.status = 'FAIL' AND w.rule_id = s.rule_id AND w.region = s.region
"""
# Of several suppressions that fit a finding the oldest is named.
_HITS = """
    SELECT DISTINCT ON (h.unit, h.chunk_index, p.position)
        h.unit, h.chunk_index, p.position, h.suppression_id
    FROM suppression_hits h
    JOIN unnest(CAST(:selective_ids AS uuid[]), CAST(:selective_versions AS int[])) AS live (id, version)
        ON live.id = h.suppression_id AND live.version = h.version
    CROSS JOIN LATERAL unnest(h.positions) AS p (position)
    WHERE h.team_id = :team AND h.run_id = :run
    ORDER BY h.unit, h.chunk_index, p.position, h.suppression_id
"""
_SPLIT = """
    SELECT s.severity_order, s.rule_id, s.unit, s.chunk_index,
        coalesce(x.position, s.first) AS first, CASE WHEN x.position IS NULL THEN s.findings ELSE 1 END AS findings,
        s.status, s.region, coalesce(s.suppression_id, h.suppression_id) AS suppression_id
    FROM ({covered}) AS s
    LEFT JOIN (SELECT DISTINCT unit, chunk_index FROM hits) AS c
        ON c.unit = s.unit AND c.chunk_index = s.chunk_index AND s.status = 'FAIL' AND s.suppression_id IS NULL
    LEFT JOIN LATERAL generate_series(
        s.first, CASE WHEN c.unit IS NULL THEN s.first - 1 ELSE s.first + s.findings - 1 END
    ) AS x (position) ON true
    LEFT JOIN hits h ON h.unit = s.unit AND h.chunk_index = s.chunk_index AND h.position = x.position
"""
_SHOWN = """
    SELECT s.*,
        coalesce(o.severity_order, s.severity_order) AS shown_order,
        CASE WHEN s.suppression_id IS NULL THEN s.status ELSE 'SUPPRESSED' END AS shown_status
    FROM ({spans}) AS s
    LEFT JOIN unnest(CAST(:override_rules AS text[]), CAST(:override_orders AS smallint[]))
        AS o (rule_id, severity_order) ON o.rule_id = s.rule_id
"""
_MATCHING = """
    SELECT m.* FROM ({shown}) AS m
    WHERE (CAST(:statuses AS text[]) IS NULL OR m.shown_status = ANY (CAST(:statuses AS text[])))
        AND (CAST(:severities AS smallint[]) IS NULL OR m.shown_order = ANY (CAST(:severities AS smallint[])))
        AND (CAST(:rules AS text[]) IS NULL OR m.rule_id = ANY (CAST(:rules AS text[])))
        AND (CAST(:regions AS text[]) IS NULL OR m.region = ANY (CAST(:regions AS text[])))
"""
_TOTAL = "SELECT coalesce(sum(m.findings), 0)::bigint AS total FROM ({matching}) AS m"
# A span is of the page when its last finding comes after the cursor. Every span has a finding, so as many spans as
# findings are wanted are enough.
_PAGE = """
    SELECT m.* FROM ({matching}) AS m
    WHERE CAST(:after AS boolean) IS FALSE
        OR (m.shown_order, m.rule_id, m.unit, m.chunk_index, m.first + m.findings - 1)
        > (CAST(:c_severity AS smallint), CAST(:c_rule AS text), CAST(:c_unit AS text), CAST(:c_chunk AS int),
           CAST(:c_position AS int))
    ORDER BY m.shown_order, m.rule_id, m.unit, m.chunk_index, m.first
    LIMIT :limit
"""
# Of whole rules, the fewest that fill the page: those before which there are not as many findings already. Of the rule
# that the cursor is in some may have been shown, so its count says nothing.
_CHOSEN = """
    SELECT shown_order, severity_order, rule_id FROM (
        SELECT m.*, coalesce(sum(CASE
            WHEN CAST(:after AS boolean) AND m.shown_order = CAST(:c_severity AS smallint)
                AND m.rule_id = CAST(:c_rule AS text) THEN 0
            ELSE m.findings END) OVER (ORDER BY m.shown_order, m.rule_id GROUPS BETWEEN UNBOUNDED PRECEDING
                AND 1 PRECEDING), 0) AS before
        FROM (
            SELECT m.shown_order, m.severity_order, m.rule_id, sum(m.findings) AS findings FROM ({matching}) AS m
            WHERE CAST(:after AS boolean) IS FALSE OR (m.shown_order, m.rule_id)
                >= (CAST(:c_severity AS smallint), CAST(:c_rule AS text))
            GROUP BY m.shown_order, m.severity_order, m.rule_id
        ) AS m
    ) AS m WHERE before < CAST(:limit AS int)
"""
# The groups of one of these, in the order of the primary key: no more than are wanted are read.
_OF_RULE = """
    SELECT g.* FROM finding_groups g JOIN units u USING (team_id, run_id, unit)
    WHERE g.team_id = :team AND g.run_id = :run AND g.severity_order = r.severity_order AND g.rule_id = r.rule_id
"""
_PAGE_OF_RULES = """
    WITH chosen AS MATERIALIZED ({chosen})
    SELECT m.*, r.shown_order FROM chosen r CROSS JOIN LATERAL (
        SELECT s.* FROM ({covered}) AS s
        WHERE (CAST(:statuses AS text[]) IS NULL
                OR CASE WHEN s.suppression_id IS NULL THEN s.status ELSE 'SUPPRESSED' END
                    = ANY (CAST(:statuses AS text[])))
            AND (CAST(:regions AS text[]) IS NULL OR s.region = ANY (CAST(:regions AS text[])))
            AND (CAST(:after AS boolean) IS FALSE
                OR (r.shown_order, s.rule_id, s.unit, s.chunk_index, s.first + s.findings - 1)
                > (CAST(:c_severity AS smallint), CAST(:c_rule AS text), CAST(:c_unit AS text),
                   CAST(:c_chunk AS int), CAST(:c_position AS int)))
        ORDER BY s.unit, s.chunk_index, s.first LIMIT :limit
    ) AS m
    ORDER BY r.shown_order, m.rule_id, m.unit, m.chunk_index, m.first LIMIT :limit
"""
_RULES = """
    SELECT m.rule_id, m.shown_order, m.shown_status, sum(m.findings)::int AS findings FROM ({shown}) AS m
    GROUP BY m.rule_id, m.shown_order, m.shown_status
    ORDER BY m.shown_order, m.rule_id, m.shown_status
"""


# The run's own counts grow with its totals, in one transaction.
SUMMED_UP = text("""
    SELECT coalesce((SELECT sum(findings) FROM run_totals t WHERE t.team_id = r.team_id AND t.run_id = r.run_id), 0)
        = coalesce((SELECT sum(c.findings::bigint)
            FROM jsonb_each_text(r.counts -> 'by_status') AS c (status, findings)), 0)
    FROM runs r WHERE r.team_id = :team AND r.run_id = :run
""")


def _shown(spans: str, *, split: bool) -> str:
    covered = _COVERED.format(spans=spans)
    return _SHOWN.format(spans=_SPLIT.format(covered=covered) if split else covered)


def _matching(spans: str, *, split: bool) -> str:
    return _MATCHING.format(shown=_shown(spans, split=split))


def _statement(query: str, *, split: bool) -> TextClause:
    return text(f"WITH hits AS MATERIALIZED ({_HITS}) {query}" if split else query)


_EASY = (False, False, False)
_OF_TOTALS = _matching(_TOTALS, split=False)
# By (is a resource looked for, is a change, are there suppressions that fit single findings).
_KINDS = [(spans, split) for spans in _SPANS for split in (False, True)]
_MATCHINGS = {(*spans, split): _matching(_SPANS[spans], split=split) for spans, split in _KINDS}
TOTALS = {kind: _statement(_TOTAL.format(matching=each), split=kind[2]) for kind, each in _MATCHINGS.items()}
TOTALS[_EASY] = text(_TOTAL.format(matching=_OF_TOTALS))
PAGES = {kind: _statement(_PAGE.format(matching=each), split=kind[2]) for kind, each in _MATCHINGS.items()}
PAGES[_EASY] = text(
    _PAGE_OF_RULES.format(chosen=_CHOSEN.format(matching=_OF_TOTALS), covered=_COVERED.format(spans=_OF_RULE))
)
# By whether there are suppressions that fit single findings.
RULES = {
    True: _statement(_RULES.format(shown=_shown(_GROUPS, split=True)), split=True),
    False: text(_RULES.format(shown=_shown(_TOTALS, split=False))),
}

"""Pages by way of a run's totals hold what pages by way of its groups hold, whatever is asked and decided."""

import random
from uuid import UUID

import pytest
from sqlalchemy import text

from coreo_results.findings import repository, statements
from coreo_results.findings.filters import Filters, Position
from coreo_results.findings.pages import cut, end_of
from coreo_results.findings.repository import FindingRepository
from coreo_results.suppressions.lens import Lens
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.results import ResultsService, RunClient, make_chunk, make_finding

_EASY = (False, False, False)
_RULES = ["a", "b", "rule-a", "Rule-b", "rule.c"]  # not in the order of every collation
_REGIONS = ["eu-west-1", "global"]
_UNITS = ["aws.s3.bucket@global", "aws.s3.bucket@eu-west-1", "aws.ec2.instance@eu-west-1"]
_QUESTIONS = 120

Shown = list[tuple[int, str, str, int, int, str, str, UUID | None]]


async def _random_run(service: ResultsService, chosen: random.Random) -> RunClient:
    """Rules have several severities, chunks several groups of each; the last unit is not done."""
    run, number = service.run(), 0
    fence = await run.claimed()
    for unit in _UNITS:
        chunks = chosen.randint(1, 3)
        for index in range(chunks):
            findings = [
                make_finding(
                    number + each,
                    rule_id=chosen.choice(_RULES),
                    severity=chosen.choice(list(Severity)[:3]),
                    status=chosen.choice(list(FindingStatus)),
                    region=chosen.choice(_REGIONS),
                )
                for each in range(chosen.randint(0, 12))
            ]
            number += len(findings)
            is_last = unit != _UNITS[-1] and index == chunks - 1
            await run.stored(make_chunk(fence, findings, unit=unit, index=index, final=is_last))
    return run


def _some(chosen: random.Random, values: list[str]) -> frozenset[str]:
    return frozenset(chosen.sample(values, chosen.choice([0, 0, 0, 1, 2])))


def _filters(chosen: random.Random) -> Filters:
    return Filters(
        statuses=frozenset(FindingStatus(each) for each in _some(chosen, list(FindingStatus))),
        severities=frozenset(Severity(each) for each in _some(chosen, list(Severity))),
        rule_ids=_some(chosen, _RULES),
        regions=_some(chosen, _REGIONS),
    )


def _lens(chosen: random.Random) -> Lens:
    places = [(rule, region) for rule in _RULES for region in _REGIONS]
    overridden = chosen.sample(_RULES, chosen.randint(0, 3))
    return Lens(
        whole={place: new_id() for place in chosen.sample(places, chosen.randint(0, 4))},
        severities={rule: chosen.randrange(5) for rule in overridden},
    )


async def _all_pages(found: FindingRepository, filters: Filters, limit: int) -> tuple[int, list[Shown]]:
    """The total, and each page's findings."""
    pages: list[Shown] = []
    after: Position | None = None
    while True:
        spans = await found.spans(filters, None, after, limit + 1)
        pieces, more = cut(spans, after, limit)
        pages.append(
            [
                (each.span.shown_order, each.span.rule_id, *place, each.span.status, each.span.region,
                 each.span.suppression_id)
                for each in pieces
                for place in each.places()
            ]
        )  # fmt: skip
        if not more:
            return await found.total(filters, None), pages
        after = end_of(pieces[-1])


def _by_groups(patch: pytest.MonkeyPatch) -> None:
    matching = statements._MATCHINGS[_EASY]
    by_group = {
        "TOTALS": statements._TOTAL.format(matching=matching),
        "PAGES": statements._PAGE.format(matching=matching),
    }
    for name, statement in by_group.items():
        patch.setattr(repository, name, {_EASY: text(statement)})
    by_rule = statements._RULES.format(shown=statements._shown(statements._GROUPS, split=False))
    patch.setattr(repository, "RULES", {False: text(by_rule)})


@pytest.mark.parametrize("seed", range(3))
async def test_what_totals_choose_is_what_groups_hold(
    service: ResultsService, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chosen = random.Random(seed)  # noqa: S311  test data
    run = await _random_run(service, chosen)
    database: Database = service.app.state.services.findings._database
    several = 0
    for question in range(_QUESTIONS):
        lens, filters, limit = _lens(chosen), _filters(chosen), chosen.choice([1, 2, 3, 5, 7, 20, 1_000])
        async with database.transaction(run.team_id, snapshot=True) as connection:
            found = FindingRepository(connection, run.team_id, run.run_id, lens)
            total, pages = await _all_pages(found, filters, limit)
            rules = await found.rules()
            with monkeypatch.context() as patch:
                _by_groups(patch)
                assert (await _all_pages(found, filters, limit), await found.rules()) == ((total, pages), rules), (
                    question
                )
        everything = [finding for page in pages for finding in page]
        assert len(everything) == total == len(set(everything))
        assert [finding[:5] for finding in everything] == sorted(finding[:5] for finding in everything)
        several += len(pages) > 2
    assert several > _QUESTIONS / 10, "cursors are tried"

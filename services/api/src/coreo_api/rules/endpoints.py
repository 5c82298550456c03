"""Routes on the rule catalogue. It is the same for all teams; a token is asked for all the same."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from coreo_api.context import InContext
from coreo_api.pages import Page
from coreo_api.rules.schemas import RuleQuery, RuleSetView, RuleSummary, RuleView
from coreo_api.teams.session import identify
from coreo_shared.rules.model import Rule
from coreo_shared.rules.needs import needs_of
from coreo_shared.web import StrictRoute
from coreo_shared.web.problems import not_found

router = APIRouter(prefix="/v1", tags=["rules"], route_class=StrictRoute, dependencies=[Depends(identify)])


@router.get("/rules")
async def list_rules(context: InContext, query: Annotated[RuleQuery, Query()]) -> Page[RuleSummary]:
    """All rules, by id."""
    chosen = [
        rule
        for rule_id, rule in sorted(context.catalogue.rules.items())
        if (query.cursor is None or rule_id > query.cursor)
        and query.resource in {None, rule.resource}
        and query.severity in {None, rule.severity}
    ]
    shown = [RuleSummary.model_validate(rule) for rule in chosen[: query.limit]]
    return Page(items=shown, next_cursor=shown[-1].id if len(chosen) > query.limit else None)


@router.get("/rules/{rule_id}")
async def show_rule(context: InContext, rule_id: Annotated[str, Path(max_length=200)]) -> RuleView:
    """One rule: what it asks for, why, and how to put right what fails it."""
    rule = context.catalogue.rules.get(rule_id)
    if rule is None:
        raise not_found("rule")
    return _view(rule, context.catalogue.controls[rule_id], sorted(needs_of(context.catalogue, [rule_id]).actions))


@router.get("/rule-sets")
async def list_rule_sets(context: InContext) -> Page[RuleSetView]:
    """All rule sets, with the rules in each."""
    sets = context.catalogue.rule_set_definitions.values()
    views = [
        RuleSetView(
            id=each.id,
            title=each.title,
            description=each.description,
            rules=list(context.catalogue.rule_sets[each.id]),
        )
        for each in sets
    ]
    return Page(items=views)


def _view(rule: Rule, controls: Mapping[str, tuple[str, ...]], actions: list[str]) -> RuleView:
    written = rule.definition
    return RuleView.model_validate(
        {
            "id": rule.id,
            "title": rule.title,
            "resource": rule.resource,
            "severity": rule.severity,
            "rationale": written.rationale,
            "remediation": written.remediation,
            "references": written.references,
            "controls": controls,
            "aliases": written.aliases,
            "parameters": rule.parameters,
            "actions": actions,
        }
    )

"""How a run stands against a framework; and what people may answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row

from coreo_api.accounts import history
from coreo_api.accounts import service as accounts
from coreo_api.compliance import repository
from coreo_api.compliance.schemas import (
    AnswerControl,
    AnswerOfControl,
    ComplianceView,
    ControlView,
    FrameworkView,
    RuleCountsOfControl,
)
from coreo_api.plans.kinds import AUDIT
from coreo_api.results import RuleCountsAnswer
from coreo_api.runs import service as runs
from coreo_api.teams.session import Session
from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.compliance import ControlResult, RuleCounts, controls_in, summarise
from coreo_shared.catalogue.frameworks import Control, Framework, load_frameworks
from coreo_shared.catalogue.packs import catalogue_with
from coreo_shared.contracts.jobs import AuditSpec
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.ids import new_id
from coreo_shared.rules.errors import did_you_mean
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid, not_found

_LONGEST = timedelta(days=731)


@dataclass(frozen=True)
class Asked:
    """A run, what it was to do, and what people answered for its account: all that the database knows."""

    run: Row[Any]
    spec: AuditSpec
    answers: Sequence[Row[Any]]
    now: datetime


def frameworks(catalogue: Catalogue) -> list[FrameworkView]:
    """All frameworks, by id."""
    found = []
    for name, framework in sorted(load_frameworks().items()):
        controls = [control for control, _ in controls_in(framework, catalogue).values()]
        found.append(
            FrameworkView(
                id=name,
                title=framework.title,
                publisher=framework.publisher,
                controls=len(controls),
                manual=sum(control.assessment == "manual" for control in controls),
                partial=framework.partial,
            )
        )
    return found


async def ask(session: Session, run_id: UUID, framework: str) -> Asked:
    """What is needed of the database. Raises Problem."""
    _framework(framework)
    run = await runs.find(session, run_id)
    if run.pool != AUDIT:
        raise Problem(409, "not_an_audit", "Frameworks are about audits; this is a run of a deploy plan.")
    spec = msgspec.convert(await repository.run_spec(session.connection, session.team_id, run.group_id), AuditSpec)
    answers = await repository.present(session.connection, session.team_id, run.cloud_account_id, framework)
    return Asked(run, spec, answers, session.now)


def stand(asked: Asked, framework: str, counted: RuleCountsAnswer) -> ComplianceView:
    """How the run stands."""
    run = asked.run
    complete = run.units_total is not None and run.units_done == run.units_total
    counts = {each.rule_id: _counts(each.by_status) for each in counted.rules}
    if complete:  # before that, a rule without findings may just not have come to any
        counts = dict.fromkeys(asked.spec.rules, RuleCounts()) | counts
    answers = {row.control: row for row in asked.answers}
    holding = {name: bool(row.met) for name, row in answers.items() if not _expired(row, asked.now)}
    catalogue = catalogue_with(tuple(pack.text for pack in asked.spec.packs))
    summary = summarise(_framework(framework), catalogue, counts, holding)
    return ComplianceView(
        framework=framework,
        title=summary.framework.title,
        run_id=run.id,
        cloud_account_id=run.cloud_account_id,
        complete=complete,
        pass_rate=summary.pass_rate,
        by_status=dict(summary.by_status),
        controls=[_control(result, answers.get(result.control.id), asked.now) for result in summary.controls],
    )


async def answer(
    session: Session, catalogue: Catalogue, account_id: UUID, name: tuple[str, str], wish: AnswerControl
) -> Row[Any]:
    """A person's answer, in the place of the one before. `name`: framework and control. Raises Problem."""
    framework, control = name
    _answerable(catalogue, framework, control)
    if wish.expires_at is not None and not session.now < wish.expires_at <= session.now + _LONGEST:
        raise invalid("body.expires_at", "must be in the future, and within two years")
    await accounts.find(session, account_id, lock=True)  # two answers at once come one after the other
    by = await history.by_token(session.connection, session.team_id, session.token_id)
    await repository.retire(session.connection, session.team_id, account_id, framework, control, session.now)
    values = {
        "team": session.team_id,
        "id": new_id(),
        "account": account_id,
        "framework": framework,
        "control": control,
        "met": wish.met,
        "text": wish.text,
        "evidence_url": wish.evidence_url,
        "expires_at": wish.expires_at,
        "token": session.token_id,
        "by_name": by.name,
        "now": session.now,
    }
    await repository.insert(session.connection, values)
    present = await repository.present(session.connection, session.team_id, account_id, framework)
    return next(row for row in present if row.control == control)


async def withdraw(session: Session, account_id: UUID, framework: str, control: str) -> None:
    """Takes an answer back; it stays readable. Raises Problem."""
    await accounts.find(session, account_id)
    if not await repository.retire(session.connection, session.team_id, account_id, framework, control, session.now):
        raise not_found("answer")


def _framework(name: str) -> Framework:
    known = load_frameworks()
    if name not in known:
        raise invalid("query.framework", f"no framework of this name{did_you_mean(name, known)}")
    return known[name]


def _answerable(catalogue: Catalogue, framework: str, control: str) -> Control:
    known = load_frameworks().get(framework)
    found = None if known is None else controls_in(known, catalogue).get(control)
    if found is None:
        raise not_found("control")
    if found[0].assessment != "manual":
        raise invalid("path.control", "rules judge this control; only manual ones are answered by people")
    return found[0]


def _counts(by_status: Mapping[FindingStatus, int]) -> RuleCounts:
    return RuleCounts(
        passed=by_status.get(FindingStatus.PASS, 0),
        failed=by_status.get(FindingStatus.FAIL, 0),
        not_evaluated=by_status.get(FindingStatus.NOT_EVALUATED, 0),
        suppressed=by_status.get(FindingStatus.SUPPRESSED, 0),
    )


def _expired(row: Row[Any], now: datetime) -> bool:
    return row.expires_at is not None and row.expires_at <= now


def _control(result: ControlResult, row: Row[Any] | None, now: datetime) -> ControlView:
    control = result.control
    return ControlView(
        id=control.id,
        title=control.title,
        section=control.section,
        level=control.level,
        assessment=control.assessment,
        status=result.status,
        rules={
            name: None if counts is None else RuleCountsOfControl.model_validate(counts)
            for name, counts in result.rules.items()
        },
        answer=None
        if row is None
        else AnswerOfControl(
            met=row.met,
            text=row.text,
            evidence_url=row.evidence_url,
            expires_at=row.expires_at,
            expired=_expired(row, now),
            by_name=row.by_name,
            answered_at=row.answered_at,
        ),
    )

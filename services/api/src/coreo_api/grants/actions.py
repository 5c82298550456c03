"""The IAM actions that chosen plans, rule sets and rules take: what a role of level `exact` allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from coreo_api.context import Context
from coreo_api.plans import kinds, repository, specs
from coreo_api.plans.schemas import AuditSpec
from coreo_api.plans.service import outdated
from coreo_api.teams.session import Session
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.web.problems import invalid


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a request has its choice, for problem answers."""

    plans: str
    rule_sets: str
    rules: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans of the team, and rule sets and rules of the catalogue."""

    plans: Sequence[UUID]
    rule_sets: Sequence[str]
    rules: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is chosen."""
        return not (self.plans or self.rule_sets or self.rules)


async def actions_of(session: Session, context: Context, choice: Choice, fields: Fields) -> frozenset[str]:
    """All actions that the choice takes. Raises Problem."""
    if choice.is_empty:
        raise invalid(fields.plans, "An exact policy is that of plans, rule sets or rules: name at least one.")
    actions = _of_rules(context, choice, fields)
    for index, plan_id in enumerate(choice.plans):
        actions |= await _of_plan(session, context, plan_id, f"{fields.plans}.{index}")
    return actions


def _of_rules(context: Context, choice: Choice, fields: Fields) -> frozenset[str]:
    """Of rules and rule sets, in all regions."""
    if not (choice.rules or choice.rule_sets):
        return frozenset()
    spec = AuditSpec(rules=tuple(choice.rules), rule_sets=tuple(choice.rule_sets))
    try:
        return specs.actions_of(context.catalogue, specs.resolve(context.catalogue, spec))
    except UnknownNameError as error:
        field = fields.rules if error.kind == "rule" else fields.rule_sets
        raise invalid(f"{field}.{error.position}", error.problem) from None


async def _of_plan(session: Session, context: Context, plan_id: UUID, field: str) -> frozenset[str]:
    row = await repository.find(session.connection, session.team_id, plan_id)
    if row is None:
        raise invalid(field, "there is no such plan")
    try:
        partition = context.settings.partition
        return await kinds.actions_of(session.connection, context.catalogue, partition, session.team_id, row)
    except UnknownNameError as error:
        raise outdated(error) from None

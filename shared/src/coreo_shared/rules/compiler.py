"""Rules ready to judge: the condition tree is walked once, at compile time, and evaluated without it.

A condition answers True, False, or the set of Unknowns that keep it from either. `and` is False as soon as one part is
False, `or` True as soon as one is True, whatever else is unknown and in whatever order they stand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.arguments import check_parameter
from coreo_shared.rules.conditions import Node, Related
from coreo_shared.rules.errors import ParameterError, did_you_mean
from coreo_shared.rules.generate import Condition, Generator, Outcome
from coreo_shared.rules.model import Rule
from coreo_shared.rules.operators import BudgetExceededError, Run, compile_pattern
from coreo_shared.rules.paths import Reader, reader
from coreo_shared.rules.templates import compile_message
from coreo_shared.rules.values import Item, Relations, Unknown, Verdict, describe_unknowns

MAX_STEPS = 200_000  # of one rule on one resource: well under a second


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its parameters, ready to judge items of its resource type."""

    rule: Rule
    _applies: Condition | None
    _fails: Condition
    _evidence: tuple[tuple[str, Reader], ...]
    _message: Callable[[Item], str]
    _run: Run  # one for all items: judging is one after the other
    _max_steps: int

    def evaluate(self, item: Item, relations: Relations) -> Verdict | None:
        """The verdict on an item, or None when the rule does not apply to it.

        The item has the fields of the listing and those enrichments that `needs_of` names, each as AWS's answer, None
        where AWS says that there is nothing, or Unknown where it could not be read.
        """
        run = self._run
        run.relations, run.notes = relations, ()
        try:
            applies = True if self._applies is None else self._applies(item, run)
            if applies is False:
                return None
            fails = self._fails(item, run) if applies is True else applies
        except BudgetExceededError:
            fails = frozenset({Unknown(f"the rule needs more than {self._max_steps} steps for this resource")})
        return self._verdict(item, fails)

    def _verdict(self, item: Item, fails: Outcome) -> Verdict:
        evidence = {name: read(item) for name, read in self._evidence}
        if fails is True:
            notes = self._run.notes
            because = f" ({'; '.join(notes)})" if notes else ""
            return Verdict(FindingStatus.FAIL, f"{self._message(item)}{because}", evidence)
        if fails is False:
            return Verdict(FindingStatus.PASS, self.rule.title, evidence)
        return not_evaluated(fails, evidence)


def not_evaluated(unknowns: frozenset[Unknown], evidence: dict[str, Any] | None = None) -> Verdict:
    """The verdict where these unknowns leave a rule undecided."""
    reason, actions = describe_unknowns(unknowns)
    return Verdict(FindingStatus.NOT_EVALUATED, f"Not evaluated: {reason}", evidence or {}, reason, actions)


def compile_rule(
    rule: Rule,
    parameters: Mapping[str, Any] | None = None,
    *,
    now: datetime | None = None,
    max_steps: int = MAX_STEPS,
) -> CompiledRule:
    """Compiles a rule with a plan's parameters, `{rule id: {name: value}}`; ParameterError names a bad one.

    `now` is the moment that ages are measured at: give one to all rules of a run.
    """
    bound = bind_parameters(rule, parameters or {})
    return CompiledRule(
        rule=rule,
        _applies=None if rule.applies is None else compile_condition(rule.applies, bound, steps=max_steps),
        _fails=compile_condition(rule.fails, bound, steps=max_steps),
        _evidence=tuple((str(path), reader(path)) for path in rule.evidence),
        _message=compile_message(rule.message, bound),
        _run=Run(now or datetime.now(UTC), Relations(), max_steps),
        _max_steps=max_steps,
    )


def bind_parameters(rule: Rule, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each of the rule's parameters: the plan's or the default; ParameterError names a bad one."""
    given = parameters.get(rule.id, {})
    field = f"parameters.{rule.id}"
    if not isinstance(given, Mapping):
        raise ParameterError("must be an object of parameter names and values", field)
    for position, name in enumerate(given):
        if name not in rule.parameters:
            hint = did_you_mean(str(name), rule.parameters)
            raise ParameterError(f"the rule has no parameter like number {position + 1}{hint}", field)
    bound: dict[str, Any] = {}
    for name, parameter in rule.parameters.items():
        value = given.get(name, parameter.default)
        problem = check_parameter(parameter, value)
        if problem is None and name in rule.pattern_parameters:
            problem = _pattern_problem(value)
        if problem is not None:
            raise ParameterError(problem, f"{field}.{name}")
        bound[name] = value
    return bound


def _pattern_problem(value: str) -> str | None:
    try:
        compile_pattern(value)
    except ValueError as error:
        return str(error)
    return None


def compile_condition(node: Node, variables: Mapping[str, Any], *, steps: int | None = None) -> Condition:
    """The condition tree as a function. With `steps` each call has so many, whatever the run has left."""
    return Generator(variables, lambda other: _closure(other, variables)).condition(node, steps=steps)


def _closure(node: Node, variables: Mapping[str, Any]) -> Condition:
    """What is no code of its own: a look at other resources."""
    if not isinstance(node, Related):
        raise TypeError(f"{type(node).__name__} is no condition")
    return _relation(node, None if node.where is None else compile_condition(node.where, variables))


def _key_reader(node: Related) -> Callable[[Any, Run], Any]:
    """A closure that gives the listing with our key, Unknown when the key is, None when we have no key."""
    their_field, our_path, here = node.their_field, node.our_path, node.same_region
    if their_field is None or our_path is None:
        return lambda _value, run: run.relations.all(node.resource_type, here=here)
    read = reader(our_path)

    def listing(value: Any, run: Run) -> Any:
        key = read(value)
        if key is None or key.__class__ is Unknown:
            return key
        return run.relations.by_field(node.resource_type, their_field, key, here=here)

    return listing


def _relation(node: Related, where: Condition | None) -> Condition:
    return _exists(node, where) if node.kind == "exists" else _related(node, where)


def _exists(node: Related, where: Condition | None) -> Condition:
    listing_for, cost = _key_reader(node), node.cost

    def exists(value: Any, run: Run) -> Outcome:
        listing = listing_for(value, run)
        if listing is None:
            return False
        if listing.__class__ is Unknown:
            return frozenset((listing,))
        unknown = frozenset(listing.missing)
        for item in listing.items:
            run.spend(cost)
            outcome = True if where is None else where(item, run)
            if outcome is True:
                return True
            if outcome is not False:
                unknown |= outcome
        return unknown or False

    return exists


def _related(node: Related, where: Condition | None) -> Condition:
    listing_for, cost = _key_reader(node), node.cost
    absent = frozenset({Unknown(f"{node.our_path} names nothing that this run read as {node.resource_type}")})

    def related(value: Any, run: Run) -> Outcome:
        listing = listing_for(value, run)
        if listing.__class__ is Unknown:
            return frozenset((listing,))
        if listing is None or not listing.items:
            return absent if listing is None else frozenset(listing.missing) or absent
        run.spend(cost)
        return True if where is None else where(listing.items[0], run)

    return related

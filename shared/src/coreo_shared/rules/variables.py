"""A plan's values for parameters: of one rule, or by `*` of every rule that has a parameter of that name.

parameters:
  "*": {required_tags: [Owner, CostCentre]}
  ec2-instance-tags: {required_tags: [Owner]}     # goes before `*`
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from coreo_shared.rules.compiler import bind_parameters
from coreo_shared.rules.errors import ParameterError, did_you_mean
from coreo_shared.rules.model import Rule

EVERY_RULE: Final = "*"


def spread(parameters: Mapping[str, Any], rules: Iterable[Rule]) -> dict[str, Any]:
    """The parameters by rule alone: what `*` says is said of each of these rules that has such a parameter."""
    found = {rule_id: values for rule_id, values in parameters.items() if rule_id != EVERY_RULE}
    shared = parameters.get(EVERY_RULE)
    if not isinstance(shared, Mapping):
        return found
    for rule in rules:
        fitting = {name: value for name, value in shared.items() if name in rule.parameters}
        own = found.get(rule.id, {})
        if fitting and isinstance(own, Mapping):
            found[rule.id] = {**fitting, **own}
    return found


def shared_errors(parameters: Mapping[str, Any], rules: Iterable[Rule]) -> Iterator[ParameterError]:
    """What is wrong with `*`: names that no rule has, values that do not fit a rule."""
    shared = parameters.get(EVERY_RULE, {})
    if not isinstance(shared, Mapping):
        yield ParameterError("must be an object of parameter names and values", f"parameters.{EVERY_RULE}")
        return
    chosen = list(rules)
    known = {name for rule in chosen for name in rule.parameters}
    for position, (name, value) in enumerate(shared.items()):
        if name not in known:
            hint = did_you_mean(str(name), known)
            problem = f"no rule has a parameter like number {position + 1}{hint}"
            yield ParameterError(problem, f"parameters.{EVERY_RULE}")
            continue
        for rule in chosen:
            if name in rule.parameters:
                try:
                    bind_parameters(rule, {rule.id: {name: value}})
                except ParameterError as error:
                    yield ParameterError(f"{error.problem}, for {rule.id}", f"parameters.{EVERY_RULE}.{name}")
                    break

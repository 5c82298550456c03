"""How a run stands against a framework: a verdict for each control, and the share that passes.

Pure functions of what the rules found and what people answered; no input or output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.frameworks import Control, Framework


class ControlStatus(StrEnum):
    """What is known of a control. Unknown is never a pass."""

    PASS = "PASS"  # some rule judged something, and nothing failed
    FAIL = "FAIL"  # some rule failed, or a person answered no
    NOT_EVALUATED = "NOT_EVALUATED"  # nothing failed, but something could not be judged
    NOT_APPLICABLE = "NOT_APPLICABLE"  # the rules ran and found nothing to judge
    NOT_RUN = "NOT_RUN"  # there are rules, but not in this run
    MANUAL_OPEN = "MANUAL_OPEN"  # a person must answer, and has not, or the answer has expired
    MANUAL_DONE = "MANUAL_DONE"  # a person answered yes, and the answer holds
    NOT_COVERED = "NOT_COVERED"  # a tool could answer, but no rule does


Answer = bool | None  # a person's: met, not met, none that holds


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """What a rule of the run found: findings by status. Suppressed failures are not in `failed`."""

    passed: int = 0
    failed: int = 0
    not_evaluated: int = 0
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control, what is known of it, and the rules that bear on it (with what each found, if it ran)."""

    control: Control
    status: ControlStatus
    rules: Mapping[str, RuleCounts | None]


@dataclass(frozen=True, slots=True)
class Summary:
    """A framework's controls.

    `pass_rate`: of those known to pass or fail, the share that passes (0 to 1); None if none is known.
    """

    framework: Framework
    controls: tuple[ControlResult, ...]
    by_status: Mapping[ControlStatus, int]
    pass_rate: float | None


def controls_in(framework: Framework, catalogue: Catalogue) -> dict[str, tuple[Control, tuple[str, ...]]]:
    """The framework's controls by id, in its order, each with the ids of the catalogue's rules that bear on it."""
    rules: dict[str, list[str]] = {}
    for rule_id in catalogue.rules:
        for control in catalogue.controls[rule_id].get(framework.id, ()):
            rules.setdefault(control, []).append(rule_id)
    controls = dict(framework.controls)
    if framework.grows:
        for name in sorted(rules.keys() - controls.keys()):
            controls[name] = Control(id=name, title=catalogue.rules[rules[name][0]].title, assessment="automated")
    return {name: (control, tuple(rules.get(name, ()))) for name, control in controls.items()}


def summarise(
    framework: Framework,
    catalogue: Catalogue,
    counts: Mapping[str, RuleCounts],
    answers: Mapping[str, bool] | None = None,
) -> Summary:
    """How a run stands.

    `counts`: rule id to what it found, for each rule that was in the run (with no findings: all zero).
    `answers`: control id to what people answered and what has not expired: True, the control is met. An answer of no
    fails the control whatever the rules found; one of yes does not outweigh a rule that failed.
    """
    results = []
    for name, (control, rule_ids) in controls_in(framework, catalogue).items():
        found = {rule_id: counts.get(rule_id) for rule_id in rule_ids}
        status = _status(control, found, (answers or {}).get(name))
        results.append(ControlResult(control, status, found))
    by_status = dict.fromkeys(ControlStatus, 0)
    for result in results:
        by_status[result.status] += 1
    good = by_status[ControlStatus.PASS] + by_status[ControlStatus.MANUAL_DONE]
    known = good + by_status[ControlStatus.FAIL]
    return Summary(framework, tuple(results), by_status, good / known if known else None)


def _status(control: Control, found: Mapping[str, RuleCounts | None], answer: Answer) -> ControlStatus:
    ran = [each for each in found.values() if each is not None]
    if answer is False or any(each.failed for each in ran):
        return ControlStatus.FAIL
    if any(each.not_evaluated for each in ran):
        return ControlStatus.NOT_EVALUATED
    if control.assessment == "manual":  # rules help, but a person has the last word
        return ControlStatus.MANUAL_DONE if answer else ControlStatus.MANUAL_OPEN
    if any(each.passed or each.suppressed for each in ran):
        return ControlStatus.PASS
    if ran:
        return ControlStatus.NOT_APPLICABLE
    return ControlStatus.NOT_RUN if found else ControlStatus.NOT_COVERED

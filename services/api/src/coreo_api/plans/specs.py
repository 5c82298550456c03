"""A plan's spec against the catalogue: what it names must be there, and every value must fit."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from coreo_api.plans.schemas import MAX_RULES, AuditSpec
from coreo_api.schemas import plain_text
from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.packs import catalogue_with
from coreo_shared.contracts import jobs
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.rules.compiler import bind_parameters
from coreo_shared.rules.errors import ParameterError, UnknownNameError
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from coreo_shared.rules.policy import PolicyTooLargeError, session_policies
from coreo_shared.rules.variables import shared_errors, spread
from coreo_shared.web import FieldError, Problem

ALL_REGIONS = "all"
_FIELD = "body.spec"
_MAX_PARAMETERS = 64 * 1024  # they travel in each job
_MAX_JOB = 96_000  # of an audit in a job, as JSON: a token has 128,000 characters at most, in base64


def resolve(catalogue: Catalogue, spec: AuditSpec, packs: Sequence[RulePack] = ()) -> jobs.AuditSpec:
    """What a run of this spec does, with today's catalogue and the packs of the spec.

    Raises UnknownNameError; PackError when a pack has rules on what the catalogue no longer has.
    """
    merged = catalogue_with(tuple(pack.text for pack in packs))
    own = [rule for rule in merged.rules if rule not in catalogue.rules]
    rules = sorted({*merged.select(spec.rules, spec.rule_sets), *own})
    return jobs.AuditSpec(
        rules=rules,
        packs=list(packs),
        regions=sorted(set(spec.regions)),
        parameters=spread(spec.parameters, [merged.rules[rule] for rule in rules]),
    )


def actions_of(catalogue: Catalogue, audit: jobs.AuditSpec) -> frozenset[str]:
    """The IAM actions that a run takes."""
    return frozenset().union(*actions_by_service(catalogue, audit).values())


def actions_by_service(catalogue: Catalogue, audit: jobs.AuditSpec) -> dict[str, frozenset[str]]:
    """The IAM actions that a run takes, by the service that is asked."""
    actions = needs_of(_catalogue_of(catalogue, audit), audit.rules).actions_by_service
    if ALL_REGIONS in audit.regions:
        actions["ec2"] = actions.get("ec2", frozenset()) | REGION_ACTIONS
    return actions


def _catalogue_of(catalogue: Catalogue, audit: jobs.AuditSpec) -> Catalogue:
    return catalogue_with(tuple(pack.text for pack in audit.packs)) if audit.packs else catalogue


def check(catalogue: Catalogue, partition: str, spec: AuditSpec, packs: Sequence[RulePack] = ()) -> None:
    """Raises a Problem that names every field that is wrong."""
    try:
        audit = resolve(catalogue, spec, packs)
    except UnknownNameError as error:
        raise problem_of([FieldError(f"{_FIELD}.{error.field}", error.problem)]) from None
    errors = [*_selection_errors(audit), *_region_errors(catalogue, partition, spec)]
    merged = _catalogue_of(catalogue, audit)
    shared = [
        FieldError(f"{_FIELD}.{error.field}", error.problem)
        for error in shared_errors(spec.parameters, [merged.rules[rule] for rule in audit.rules])
    ]
    errors += shared or _parameter_errors(merged, audit, f"{_FIELD}.parameters")
    errors += _size_errors(audit)
    if errors:
        raise problem_of(errors)
    try:
        session_policies(actions_by_service(catalogue, audit))
    except PolicyTooLargeError as error:
        raise problem_of([FieldError(f"{_FIELD}.rules", str(error))]) from None


def check_rules(catalogue: Catalogue, spec: AuditSpec, packs: Sequence[RulePack]) -> None:
    """As `check`, for rules that a template is judged by: their parameters are the field rule_parameters."""
    try:
        audit = resolve(catalogue, spec, packs)
    except UnknownNameError as error:
        raise problem_of([FieldError(f"{_FIELD}.{error.field}", error.problem)]) from None
    errors = [*_selection_errors(audit)]
    errors += _parameter_errors(_catalogue_of(catalogue, audit), audit, f"{_FIELD}.rule_parameters")
    if errors:
        raise problem_of(errors)


def problem_of(errors: Sequence[FieldError]) -> Problem:
    """A 422 about these fields."""
    named = ", ".join(error.field for error in errors)
    return Problem(422, "invalid", f"Not valid: {named}.", errors=tuple(errors))


def _selection_errors(audit: jobs.AuditSpec) -> Iterator[FieldError]:
    if not audit.rules:
        yield FieldError(
            f"{_FIELD}.rules", "choose at least one rule, or a rule set in rule_sets, or a pack in rule_packs"
        )
    if len(audit.rules) > MAX_RULES:
        yield FieldError(f"{_FIELD}.rules", f"more than {MAX_RULES} rules with those of the rule sets; split the plan")


def _region_errors(catalogue: Catalogue, partition: str, spec: AuditSpec) -> Iterator[FieldError]:
    if spec.regions == (ALL_REGIONS,):
        return
    known = catalogue.regions[partition]
    for index, region in enumerate(spec.regions):
        if region == ALL_REGIONS:
            yield FieldError(f"{_FIELD}.regions.{index}", '"all" must be the only entry')
        elif region not in known:
            yield FieldError(f"{_FIELD}.regions.{index}", f"no region of this name in the partition {partition}")


def _parameter_errors(catalogue: Catalogue, audit: jobs.AuditSpec, field: str) -> Iterator[FieldError]:
    chosen = set(audit.rules)
    for position, rule_id in enumerate(audit.parameters):
        if rule_id not in chosen:
            yield FieldError(field, f"entry {position} is for no rule of this plan")
            return
        try:
            bind_parameters(catalogue.rules[rule_id], audit.parameters)
        except ParameterError as error:
            yield FieldError(f"{field}{error.field.removeprefix('parameters')}", error.problem)
            return
        if not all(_is_storable(value) for value in audit.parameters[rule_id].values()):
            yield FieldError(f"{field}.{rule_id}", "must not contain control characters or broken Unicode")
            return
    if len(json.dumps(audit.parameters)) > _MAX_PARAMETERS:
        yield FieldError(field, f"more than {_MAX_PARAMETERS} characters as JSON; split the plan")


def _size_errors(audit: jobs.AuditSpec) -> Iterator[FieldError]:
    if audit.packs and len(encode_json(audit)) > _MAX_JOB:
        yield FieldError(f"{_FIELD}.rule_packs", "too much for one job, with the rules and parameters; split the plan")


def _is_storable(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_storable(element) for element in value)
    if isinstance(value, str):
        try:
            plain_text(value)
        except ValueError:
            return False
    return True

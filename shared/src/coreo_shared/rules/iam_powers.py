"""What identity policies give, as far as it matters for taking over an account: powers, and the ways they open.

A power is an action that counts only where it can be turned on something that its holder did not choose: `iam:PassRole`
on one named role, `iam:CreateAccessKey` on oneself and `lambda:UpdateFunctionCode` on one function open nothing. Where
the caller names what he makes (`lambda:CreateFunction`), the resource does not matter. Powers of several documents add
up, what a Deny takes away is taken from all, a permissions boundary lets through only its own: they are sets.
Source: IAM user guide, "Policy evaluation logic" and "Grant a user permissions to pass a role".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from coreo_shared.rules.iam_policy import Statement, parse_policy, pattern_covers
from coreo_shared.rules.iam_ways import BY_IAM, BY_PASSING, BY_WORKLOADS, ON_ANY, ON_SELF, PASS_ROLE
from coreo_shared.rules.values import Unknown

EVERYTHING: Final = "*"
_SELF: Final = "${aws:username}"
_SERVICES: Final = tuple(sorted({service for service, *_ in BY_PASSING}))
_ACTIONS: Final = tuple(
    sorted({action for way in (*BY_IAM, *(way[1:] for way in BY_PASSING), *BY_WORKLOADS) for action in way})
)

# An Allow with one of these reaches only what somebody tagged, approved or called for. Others say who, when, from where
# and how, or limit what is made: its holder can meet them.
_LIMITING: Final = frozenset(
    {
        "aws:calledvia", "aws:calledviafirst", "aws:calledvialast", "aws:viaawsservice", "iam:associatedresourcearn",
        "iam:awsservicename", "iam:permissionsboundary", "iam:policyarn",
    }
)  # fmt: skip
_TAGGED: Final = ":resourcetag/"
_PASSED_TO: Final = "iam:passedtoservice"
_BOUNDARY: Final = "iam:permissionsboundary"
_HAS_BOUNDARY: Final = frozenset(
    {"iam:AttachUserPolicy", "iam:PutUserPolicy", "iam:AttachRolePolicy", "iam:PutRolePolicy"}
)


@dataclass(frozen=True, slots=True)
class Powers:
    """What documents allow and deny: actions, `iam:PassRole` to a service as `iam:PassRole>SERVICE`, and `*`."""

    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    statements: int = 0

    def __or__(self, other: "Powers") -> "Powers":
        return Powers(self.allowed | other.allowed, self.denied | other.denied, self.statements + other.statements)

    @property
    def effective(self) -> frozenset[str]:
        """What is left of what is allowed. Who may do everything but what IAM gives may not do everything."""
        left = self.allowed - self.denied
        return left if _met(BY_IAM, left) else left - {EVERYTHING}

    def within(self, boundary: "Powers") -> "Powers":
        """What a permissions boundary lets through."""
        statements = self.statements + boundary.statements
        return Powers(self.effective & boundary.effective, frozenset(), statements)


def powers_of(document: Any) -> Powers | Unknown:
    """The powers of one policy document; Unknown where it is no policy."""
    return _powers_of_text(document) if isinstance(document, str) else _powers_of_object(_Same(document))


class _Same:
    """A document by what it is in memory: managed policies are looked at for each of their many holders."""

    __slots__ = ("document",)

    def __init__(self, document: Any) -> None:
        self.document = document

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.document is other.document

    def __hash__(self) -> int:
        return id(self.document)


@lru_cache(maxsize=512)
def _powers_of_object(same: _Same) -> Powers | Unknown:
    return _powers(same.document)


@lru_cache(maxsize=512)
def _powers_of_text(text: str) -> Powers | Unknown:
    return _powers(text)


def _powers(document: Any) -> Powers | Unknown:
    statements = parse_policy(document)
    if isinstance(statements, Unknown):
        return statements
    allowed: set[str] = set()
    denied: set[str] = set()
    for statement in statements:
        (allowed if statement.allow else denied).update(_spoken_of(statement))
    return Powers(frozenset(allowed), frozenset(denied), len(statements))


def _spoken_of(statement: Statement) -> Iterable[str]:
    """The powers that a statement gives or takes."""
    if statement.resources is None or not (_can_be_met(statement) if statement.allow else _always_acts(statement)):
        return
    if _is_everything(statement):
        yield EVERYTHING
    named = _Names(statement)
    for action in _ACTIONS:
        if named.cover(action) and _reaches(statement, action) and _holds_for(statement, action):
            yield action
    if named.cover(PASS_ROLE) and _is_wide(statement, "iam", "role/*"):
        for service in _SERVICES:
            if _passes_to(statement, service):
                yield f"{PASS_ROLE}>{service}"


class _Names:
    """The actions that a statement names, by service: most have nothing to do with the one that is looked for."""

    def __init__(self, statement: Statement) -> None:
        self._excepted = statement.not_action
        self._by_service: dict[str, list[str]] = {}
        for pattern in statement.actions:
            service = pattern.partition(":")[0]
            self._by_service.setdefault("" if "*" in service or "?" in service else service, []).append(pattern)

    def cover(self, action: str) -> bool:
        """Whether the action is among them, or with NotAction is not."""
        action = action.partition(">")[0].lower()
        patterns = (*self._by_service.get(action.partition(":")[0], ()), *self._by_service.get("", ()))
        return self._excepted is not any(pattern_covers(pattern, action) for pattern in patterns)


def _can_be_met(statement: Statement) -> bool:
    return not any(key in _LIMITING or _TAGGED in key for _, key, _ in statement.conditions)


def _always_acts(statement: Statement) -> bool:
    """Whether a Deny acts on every request, or on every one that does not keep to a permissions boundary."""
    return all(
        key == _PASSED_TO or (key == _BOUNDARY and ("not" in operator or operator == "null"))
        for operator, key, _ in statement.conditions
    )


def _holds_for(statement: Statement, action: str) -> bool:
    """Whether the statement's conditions on keys that only some requests have hold for this action's."""
    for operator, key, _ in statement.conditions:
        if key == _PASSED_TO and not _holds_without(operator):
            return False
        if key == _BOUNDARY and operator.endswith("ifexists") and action not in _HAS_BOUNDARY:
            return False
    return True


def _holds_without(operator: str) -> bool:
    """Whether the operator holds where the request does not have the key."""
    return operator.endswith("ifexists") or operator.startswith("forallvalues:") or "not" in operator


def _is_everything(statement: Statement) -> bool:
    actions = not statement.actions if statement.not_action else any(a.strip("*:") == "" for a in statement.actions)
    return actions and _is_wide(statement, EVERYTHING, EVERYTHING) and _holds_for(statement, EVERYTHING)


def _reaches(statement: Statement, action: str) -> bool:
    """Whether the statement is about anything that the action can be turned on."""
    if action not in ON_ANY:  # its maker names it: some name is enough for an Allow, and a Deny must leave none
        return statement.allow or _is_wide(statement, action.partition(":")[0], EVERYTHING)
    names_self = action in ON_SELF and any(_SELF in resource for resource in statement.resources or ())
    if names_self and statement.allow is not statement.not_resource:
        return statement.allow  # allowed on oneself, or denied on all but oneself
    return _is_wide(statement, *ON_ANY[action])


def allows_on_all(statements: Iterable[Statement], actions: Iterable[str], service: str, resource: str) -> list[str]:
    """Those of the actions (or patterns of actions) that are allowed, whole, on all resources of a kind.

    Conditions of an Allow are left aside, as AWS's own controls do; a Deny without conditions counts.
    """
    statements = tuple(statement for statement in statements if statement.resources is not None)
    return [
        action
        for action in actions
        if any(one.allow and _is_whole(one, action, service, resource) for one in statements)
        and not any(
            not one.allow and not one.conditions and _is_whole(one, action, service, resource) for one in statements
        )
    ]


def _is_whole(statement: Statement, action: str, service: str, resource: str) -> bool:
    action = action.lower()
    if statement.not_action:
        named = not any(pattern_covers(one, action) or pattern_covers(action, one) for one in statement.actions)
    else:
        named = any(pattern_covers(pattern, action) for pattern in statement.actions)
    return named and _is_wide(statement, service, resource)


def _is_wide(statement: Statement, service: str, resource: str) -> bool:
    """Whether it is about all resources of that kind, or with NotResource leaves some of every name."""
    covers = any(_covers(given, service, resource) for given in statement.resources or ())
    return statement.not_resource is not covers


def _covers(given: str, service: str, resource: str) -> bool:
    """Whether a Resource takes in all of a kind in the account, in any region; an ARN cut short goes on with `*`."""
    if given.strip("*") == "":
        return True
    fields = [*given.split(":", 5), *["*"] * 5][:6]
    return fields[0] == "arn" and pattern_covers(fields[2], service) and pattern_covers(fields[5], resource)


def _passes_to(statement: Statement, service: str) -> bool:
    for operator, key, values in statement.conditions:
        if key == _PASSED_TO:
            matched = any(pattern_covers(value.lower().removesuffix(".cn"), service) for value in values)
            if ("not" in operator) is matched:
                return False
    return True


def ways_of(powers: frozenset[str], *, workloads: bool = False) -> list[str]:
    """How its holder gets, or has, more than his work needs, each in words; with `workloads`, by what others run."""
    if EVERYTHING in powers:
        return ["everything is allowed already"]
    if workloads:
        return [", ".join(power for power in way if ">" not in power) for way in _met(BY_WORKLOADS, powers)]
    direct = [action for (action,) in _met(BY_IAM, powers)]
    passing = [
        f"{PASS_ROLE} with {', '.join(actions)}"
        for service, *actions in BY_PASSING
        if f"{PASS_ROLE}>{service}" in powers and powers.issuperset(actions)
    ]
    return direct + passing


def _met(ways: Iterable[tuple[str, ...]], powers: frozenset[str]) -> list[tuple[str, ...]]:
    return [way for way in ways if powers.issuperset(way)]

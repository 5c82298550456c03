"""Operators on one field: which types each takes, what its argument is, and how it judges a value.

An operator never sees Unknown, and sees null only through `on_null`: false, true, or None for "that is unknown":
an order or an age of nothing means nothing, so a rule must say with `absent` what it wants then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import re2

from coreo_shared.rules import iam_policy
from coreo_shared.rules.network import is_internet_block
from coreo_shared.rules.values import Relations, Unknown

Judgement = bool | Unknown
ArgumentKind = Literal[
    "flag",
    "same",
    "same_list",
    "element",
    "element_list",
    "number",
    "count",
    "port",
    "port_list",
    "days",
    "pattern",
    "text",
]
MAX_PATTERN = 500
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_NUMBERS = frozenset({"integer", "number"})
_TEXT = frozenset({"string"})
_LIST = frozenset({"list"})
_DATES = frozenset({"timestamp", "string"})  # text as ISO 8601
_ANY = frozenset({"string", "integer", "number", "boolean", "timestamp", "blob", "policy", "list", "map", "structure"})


class BudgetExceededError(Exception):
    """A rule took more steps on one resource than it may."""


class Run:
    """What an evaluation has at hand: the time, the other resources, and how many steps are left."""

    __slots__ = ("notes", "now", "relations", "steps")

    def __init__(self, now: datetime, relations: Relations, steps: int) -> None:
        self.now = now
        self.relations = relations
        self.steps = steps
        self.notes: tuple[str, ...] = ()

    def spend(self, steps: int) -> None:
        """Takes steps off; BudgetExceededError when there are none left."""
        self.steps -= steps
        if self.steps < 0:
            raise BudgetExceededError

    def note(self, text: str) -> None:
        """Says what made a condition hold, where the fields alone do not show it; a FAIL's message ends with it."""
        if text not in self.notes:
            self.notes = (*self.notes, text)


class Judge(Protocol):
    """Judges one value."""

    def __call__(self, value: Any, run: Run, /) -> Judgement: ...


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the language."""

    kinds: frozenset[str]
    argument: ArgumentKind
    make: Callable[[Any], Judge]
    on_null: Callable[[Any], bool | None]


def compile_pattern(text: str) -> Any:
    """A regular expression in linear time; ValueError when it is none or is too costly."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(text, options)
    except re2.error:
        raise ValueError("not a regular expression that RE2 takes (no look-around, no back-references)") from None


def _plain(test: Callable[[Any, Any], bool]) -> Callable[[Any], Judge]:
    def make(argument: Any) -> Judge:
        return lambda value, _run: test(value, argument)

    return make


def _equals(argument: Any) -> Judge:
    return lambda value, _run: bool(value == argument)


def _not_equals(argument: Any) -> Judge:
    return lambda value, _run: bool(value != argument)


def _in(argument: Any) -> Judge:
    choices = frozenset(argument)
    return lambda value, _run: value in choices


def _not_in(argument: Any) -> Judge:
    choices = frozenset(argument)
    return lambda value, _run: value not in choices


def _matches(argument: Any) -> Judge:
    pattern = compile_pattern(argument)
    size = pattern.programsize

    def judge(value: Any, run: Run) -> bool:
        # RE2's slow path takes up to 9 ns for each character and instruction: 64 of them are about a step.
        run.spend(len(value) * size >> 6)
        return pattern.search(value) is not None

    return judge


def _contains(argument: Any) -> Judge:
    return _contains_any([argument])


def _contains_any(argument: Any) -> Judge:
    choices = frozenset(argument)

    def judge(value: Any, run: Run) -> Judgement:
        run.spend(len(value) >> 6)
        unknown: Unknown | None = None
        for element in value:
            if element.__class__ is Unknown:
                unknown = element
            elif element in choices:
                return True
        return False if unknown is None else unknown

    return judge


def _contains_all(argument: Any) -> Judge:
    wanted = frozenset(argument)

    def judge(value: Any, run: Run) -> Judgement:
        run.spend(len(value) >> 6)
        known = [element for element in value if element.__class__ is not Unknown]
        if wanted.issubset(known):
            return True
        return next((element for element in value if element.__class__ is Unknown), False)

    return judge


def _counted(test: Callable[[int, Any], bool]) -> Callable[[Any], Judge]:
    def make(argument: Any) -> Judge:
        return lambda value, _run: test(len(value), argument)

    return make


_NO_DATE = Unknown("AWS gave a date in a form that does not parse")


# As in "User initiated (2026-01-31 12:00:00 GMT)", which is how EC2 says since when an instance is stopped.
_WITHIN = re2.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


def _date_in(text: str) -> datetime | None:
    """The date that a text is, or that it has in brackets."""
    within = _WITHIN.search(text)
    try:
        return datetime.fromisoformat(within.group(1) if within else text)
    except ValueError:
        return None


def _age(test: Callable[[timedelta, timedelta], bool]) -> Callable[[Any], Judge]:
    def make(argument: Any) -> Judge:
        limit = timedelta(days=argument)

        def judge(value: Any, run: Run) -> Judgement:
            if isinstance(value, str):  # some APIs and reports give a date as text
                value = _date_in(value)
            if not isinstance(value, datetime):
                return _NO_DATE
            at = value if value.tzinfo else value.replace(tzinfo=UTC)
            return test(run.now - at, limit)

        return judge

    return make


_NO_BLOCK = Unknown("an address block does not parse")


def _internet(argument: Any) -> Judge:
    def judge(value: Any, _run: Run) -> Judgement:
        answer = is_internet_block(value)
        return _NO_BLOCK if answer is None else answer is argument

    return judge


def _policy(test: Callable[[tuple[iam_policy.Statement, ...]], bool]) -> Callable[[Any], Judge]:
    def make(argument: Any) -> Judge:
        def judge(value: Any, _run: Run) -> Judgement:
            statements = iam_policy.parse_policy(value)
            return statements if isinstance(statements, Unknown) else test(statements) is argument

        return judge

    return make


def _false(_argument: Any) -> bool:
    return False


def _true(_argument: Any) -> bool:
    return True


def _no_answer(_argument: Any) -> None:
    return None


def _unless_wanted(argument: Any) -> bool:
    return argument is False


def _as_wanted(argument: Any) -> bool:
    return argument is True


OPERATORS: dict[str, Operator] = {
    "absent": Operator(_ANY, "flag", lambda argument: lambda _value, _run: argument is False, _as_wanted),
    "equals": Operator(_SCALARS, "same", _equals, _false),
    "not_equals": Operator(_SCALARS, "same", _not_equals, _true),
    "in": Operator(_SCALARS, "same_list", _in, _false),
    "not_in": Operator(_SCALARS, "same_list", _not_in, _true),
    "less_than": Operator(_NUMBERS, "number", _plain(lambda value, limit: value < limit), _no_answer),
    "at_most": Operator(_NUMBERS, "number", _plain(lambda value, limit: value <= limit), _no_answer),
    "at_least": Operator(_NUMBERS, "number", _plain(lambda value, limit: value >= limit), _no_answer),
    "more_than": Operator(_NUMBERS, "number", _plain(lambda value, limit: value > limit), _no_answer),
    "matches": Operator(_TEXT, "pattern", _matches, _false),
    "starts_with": Operator(_TEXT, "text", _plain(lambda value, text: value.startswith(text)), _false),
    "ends_with": Operator(_TEXT, "text", _plain(lambda value, text: value.endswith(text)), _false),
    "includes": Operator(_TEXT, "text", _plain(lambda value, text: text in value), _false),
    "is_internet": Operator(_TEXT, "flag", _internet, _unless_wanted),
    "contains": Operator(_LIST, "element", _contains, _false),
    "contains_any": Operator(_LIST, "element_list", _contains_any, _false),
    "contains_all": Operator(_LIST, "element_list", _contains_all, lambda argument: not argument),
    "empty": Operator(
        _LIST | {"map", "string"}, "flag", lambda argument: lambda value, _run: (not value) is argument, _as_wanted
    ),
    "count_at_least": Operator(_LIST, "count", _counted(lambda count, limit: count >= limit), lambda limit: limit <= 0),
    "count_at_most": Operator(_LIST, "count", _counted(lambda count, limit: count <= limit), _true),
    "older_than_days": Operator(_DATES, "days", _age(lambda age, limit: age > limit), _no_answer),
    "newer_than_days": Operator(_DATES, "days", _age(lambda age, limit: age <= limit), _no_answer),
    "due_within_days": Operator(_DATES, "days", _age(lambda age, limit: -age <= limit), _no_answer),
    "is_public": Operator(frozenset({"policy"}), "flag", _policy(iam_policy.is_public), _unless_wanted),
    "allows_everything": Operator(frozenset({"policy"}), "flag", _policy(iam_policy.allows_everything), _unless_wanted),
    "allows_whole_service": Operator(
        frozenset({"policy"}), "flag", _policy(iam_policy.allows_whole_service), _unless_wanted
    ),
}

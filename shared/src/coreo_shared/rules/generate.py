"""Turns condition trees into Python functions, so that judging costs what hand-written code costs.

The functions' source holds nothing of a rule: names of fields, arguments and whatever else somebody wrote are constants
that the source calls C0, C1, …; the rest are the few statements below. So a rule cannot say anything in Python.

Each function takes a value and a `Run`, and answers True, False, or the set of Unknowns that keep it from either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from coreo_shared.rules.arguments import Argument
from coreo_shared.rules.conditions import Apply, Both, Each, Either, Node, Opposite, Test
from coreo_shared.rules.functions import FUNCTIONS
from coreo_shared.rules.operators import OPERATORS, BudgetExceededError, Run
from coreo_shared.rules.paths import NOT_READ, FieldPath, reader
from coreo_shared.rules.values import Unknown

Outcome = bool | frozenset[Unknown]
Condition = Callable[[Any, Run], Outcome]

# Operators that Python has, of any x: no argument is None or Unknown, and no list of them holds one. Where the test
# holds, the operator does (True) or does not (False); with a flag as argument, where the flag says so.
_OF_NOTHING_TOO: Final[Mapping[str, tuple[str, bool]]] = {
    "equals": ("x == {0}", True),
    "not_equals": ("x == {0}", False),
    "in": ("x in {0}", True),
    "not_in": ("x in {0}", False),
    "absent": ("x is None", True),
    "empty": ("not x", True),
}
_FLAGS: Final = frozenset({"absent", "empty"})
# Operators that Python has, of an x that is there.
_IN_PYTHON: Final[Mapping[str, str]] = {
    "less_than": "x < {0}",
    "at_most": "x <= {0}",
    "at_least": "x >= {0}",
    "more_than": "x > {0}",
    "count_at_least": "len(x) >= {0}",
    "count_at_most": "len(x) <= {0}",
    "starts_with": "x.startswith({0})",
    "ends_with": "x.endswith({0})",
    "includes": "{0} in x",
}


@dataclass(frozen=True)
class _Then:
    """The statements for each outcome; that for unknown has {0} where the set of Unknowns belongs. "" is nothing."""

    true: str
    false: str
    unknown: str

    def swapped(self) -> "_Then":
        return _Then(self.false, self.true, self.unknown)

    @property
    def leaves_no_loop(self) -> bool:
        """Whether it means the same inside another loop."""
        return not any(word in text for text in (self.true, self.false) for word in ("continue", "break"))


_ANSWER: Final = _Then("return True", "return False", "return {0}")
# Of several parts: the first sets what the others add to, so that nothing is set where it decides alone.
_FIRST_OF_BOTH: Final = _Then("u = NOTHING", "return False", "u = {0}")
_PART_OF_BOTH: Final = _Then("", "return False", "u |= {0}")
_FIRST_OF_EITHER: Final = _Then("return True", "u = NOTHING", "u = {0}")
_PART_OF_EITHER: Final = _Then("return True", "", "u |= {0}")


class Generator:
    """Functions for the conditions of one rule. `other` compiles the nodes that are closures: relations."""

    def __init__(self, variables: Mapping[str, Any], other: Callable[[Node], Condition]) -> None:
        self._variables = variables
        self._other = other
        self._lines: list[str] = []
        self._names: dict[str, Any] = {"Unknown": Unknown, "NOTHING": frozenset(), "Exceeded": BudgetExceededError}
        self._functions = 0
        self._loops = 0
        self._spends = False

    def condition(self, node: Node, *, steps: int | None = None) -> Condition:
        """The function of the node. With `steps` it begins with so many each time that it is called."""
        name = self._function(node, steps)
        # Only what stands in this module is compiled, with numbered names in it: see above.
        exec(compile("\n".join(self._lines), "<rule>", "exec"), self._names)  # noqa: S102
        made: Condition = self._names[name]
        return made

    def _constant(self, value: Any) -> str:
        name = f"C{len(self._names)}"
        self._names[name] = value
        return name

    def _function(self, node: Node, steps: int | None = None) -> str:
        """Writes the function of a node; those that it calls come before it."""
        node = _alone(node)
        body = self._parts(node) if isinstance(node, Both | Either) else self._inline(node, "v", _ANSWER)
        if steps is not None and self._spends:
            body.insert(0, f"run.steps = {self._constant(steps)}")
        name = f"F{self._functions}"
        self._functions += 1
        self._lines += [f"def {name}(v, run):", *_indented(body)]
        return name

    def _parts(self, node: Both | Either) -> list[str]:
        is_both = isinstance(node, Both)
        body: list[str] = []
        then = _FIRST_OF_BOTH if is_both else _FIRST_OF_EITHER
        for part in node.parts:
            body += self._inline(part, "v", then)
            then = _PART_OF_BOTH if is_both else _PART_OF_EITHER
        return [*body, f"return u or {is_both}"]

    def _inline(self, node: Node, value: str, then: _Then) -> list[str]:
        """Statements that judge `value` by the node, and then do as told."""
        node = _alone(node)
        match node:
            case Test():
                return self._test(node, value, then)
            case Opposite(part):
                return self._inline(part, value, then.swapped())
            case Apply():
                return self._apply(node, value, then)
            case Each() if then.leaves_no_loop:
                return self._each(node, value, then)
            case Both() | Either() | Each():
                return self._called(self._function(node), value, then)
        self._spends = True
        return self._called(self._constant(self._other(node)), value, then)

    def _called(self, function: str, value: str, then: _Then) -> list[str]:
        """As a function that answers with an outcome."""
        return [
            f"x = {function}({value}, run)",
            *_branches(("x is True", then.true), ("x is False", then.false), _told(then, "x")),
        ]

    def _each(self, node: Each, value: str, then: _Then) -> list[str]:
        """A loop; `then` may leave the function, but no loop around this one."""
        self._spends = True
        decisive = node.kind != "all_of"  # the outcome of one element that decides for the whole list
        decided, otherwise = (then.true, then.false) if node.kind == "any_of" else (then.false, then.true)
        element, unknowns, of_element = (f"{letter}{self._loops}" for letter in "euw")
        self._loops += 1
        leave = [decided] if decided.startswith("return") else [line for line in (decided, "break") if line]
        loop = [f"if {element}.__class__ is Unknown:", f"    {unknowns} |= {{{element}}}", "    continue"]
        loop += self._judged(node, element, unknowns, of_element, leave, decisive=decisive)
        rest = _branches((unknowns, _told(then, unknowns)), otherwise)
        judged = [
            f"run.steps -= {node.cost:d} * len(x)",
            "if run.steps < 0:",
            "    raise Exceeded",
            f"{unknowns} = NOTHING",
            f"for {element} in x:",
            *_indented(loop),
            *(["else:", *_indented(rest or "pass")] if leave[-1] == "break" else rest),
        ]
        nothing, unread = ("x is None", otherwise), ("x.__class__ is Unknown", _told(then, "frozenset((x,))"))
        return [*self._read(node.path, value), *_branches(nothing, unread, judged)]

    def _judged(
        self, node: Each, element: str, unknowns: str, of_element: str, leave: list[str], *, decisive: bool
    ) -> list[str]:
        """Statements in a loop that judge one element, and leave the loop where that decides."""
        where = _alone(node.where)
        if not (isinstance(where, Both) and decisive):
            told = f"{unknowns} |= {{0}}"
            then = _Then("; ".join(leave), "", told) if decisive else _Then("", "; ".join(leave), told)
            return self._inline(where, element, then)
        lines: list[str] = []
        then = _Then(f"{of_element} = NOTHING", "continue", f"{of_element} = {{0}}")
        for part in where.parts:
            lines += self._inline(part, element, then)
            then = _Then("", "continue", f"{of_element} |= {{0}}")
        return [*lines, f"if not {of_element}:", *_indented(leave), f"{unknowns} |= {of_element}"]

    def _read(self, path: FieldPath, value: str, target: str = "x") -> list[str]:
        """Statements that follow the path."""
        if any(path.spread):
            return [f"{target} = {self._constant(reader(path))}({value})"]
        lines = [] if path.names else [f"{target} = {value}"]
        for index, (name, fetched) in enumerate(zip(path.names, path.fetched, strict=True)):
            default = f", {self._constant(NOT_READ)}" if fetched else ""
            step = f"{target} = {value if index == 0 else target}.get({self._constant(name)}{default})"
            if index:
                lines += [f"if {target} is not None and {target}.__class__ is not Unknown:", f"    {step}"]
            else:
                lines.append(step)
        return lines

    def _test(self, node: Test, value: str, then: _Then) -> list[str]:
        argument = node.argument.bound(self._variables)
        lines = self._read(node.path, value)
        on_null = OPERATORS[node.operator].on_null(argument)
        if on_null is None:
            nothing = self._constant(
                frozenset({Unknown(f"{node.path} has no value, and {node.operator} says nothing then")})
            )
            absent = _told(then, nothing)
        else:
            absent = then.true if on_null else then.false
        unread = ("x.__class__ is Unknown", _told(then, "frozenset((x,))"))
        if node.operator in _OF_NOTHING_TOO:
            test, sign = _OF_NOTHING_TOO[node.operator]
            wanted = argument if node.operator in _FLAGS else True
            held, missed = (then.true, then.false) if wanted is sign else (then.false, then.true)
            choices = frozenset(argument) if isinstance(argument, (list, tuple)) else argument
            test = test.format(self._constant(choices))
            return lines + _branches((test, held), unread, missed)
        if node.operator in _IN_PYTHON:
            test = _IN_PYTHON[node.operator].format(self._constant(argument))
            return lines + _branches(("x is None", absent), unread, (test, then.true), then.false)
        self._spends = True
        judge = self._constant(OPERATORS[node.operator].make(argument))
        judged = [
            f"y = {judge}(x, run)",
            *_branches(("y is True", then.true), ("y is False", then.false), _told(then, "frozenset((y,))")),
        ]
        return lines + _branches(("x is None", absent), unread, judged)

    def _apply(self, node: Apply, value: str, then: _Then) -> list[str]:
        self._spends = True
        lines: list[str] = []
        given: dict[str, str] = {}
        unread = ""
        for name, argument in node.arguments.items():
            if isinstance(argument, Argument):
                given[name] = self._constant(argument.bound(self._variables))
            else:
                given[name] = f"x{len(given)}"
                lines += self._read(argument, value, given[name])
                unread += f"{given[name]} if {given[name]}.__class__ is Unknown else "
        function = FUNCTIONS[node.function]
        bound = ", ".join(f"{self._constant(name)}: {here}" for name, here in given.items())
        answer = f"{self._constant(function.judge)}({{{bound}}}, run)"
        if function.usually is not None:
            where, usual = (text.format_map(given) for text in function.usually)
            answer = f"({usual}) if {where} else {unread}{answer}"
        else:
            answer = unread + answer
        lines.append(f"x = {answer}")
        known = ("x.__class__ is Unknown", _told(then, "frozenset((x,))"))
        return lines + _branches(("x is True", then.true), ("x is False", then.false), known, _told(then, "x"))


def _alone(node: Node) -> Node:
    """The part in place of what has only one."""
    while isinstance(node, Both | Either) and len(node.parts) == 1:
        node = node.parts[0]
    return node


def _told(then: _Then, unknowns: str) -> str:
    return then.unknown.format(unknowns)


def _branches(*arms: tuple[str, str | list[str]] | str | list[str]) -> list[str]:
    """if, elif and else; the last arm is the else. Nothing is written for what does nothing at the end."""
    *conditions, otherwise = arms
    lines: list[str] = []
    arms_left = [arm for arm in conditions if isinstance(arm, tuple)]
    while arms_left and not otherwise and not arms_left[-1][1]:
        arms_left.pop()
    for index, (condition, statements) in enumerate(arms_left):
        lines += [f"{'elif' if index else 'if'} {condition}:", *_indented(statements or "pass")]
    if otherwise and not isinstance(otherwise, tuple):
        lines += ["else:", *_indented(otherwise)]
    return lines


def _indented(statements: str | list[str]) -> list[str]:
    return [f"    {line}" for line in ([statements] if isinstance(statements, str) else statements)]

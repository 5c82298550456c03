"""What conditions become is judged as the tree says, and holds nothing of what a rule's author wrote."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_shared.rules import conditions as tree
from coreo_shared.rules import generate
from coreo_shared.rules.arguments import Argument
from coreo_shared.rules.compiler import compile_condition, compile_rule
from coreo_shared.rules.functions import FUNCTIONS
from coreo_shared.rules.generate import Outcome
from coreo_shared.rules.operators import OPERATORS, Run
from coreo_shared.rules.paths import reader
from coreo_shared.rules.values import Relations, Unknown
from tests.support.rules import NOW, rule_of

DENIED, THROTTLED = Unknown("denied", ("x:Read",)), Unknown("throttled")


def judged(node: tree.Node, value: Any, run: Run) -> Outcome:
    """The tree, walked: slow, and plain to see."""
    match node:
        case tree.Test():
            return _tested(node, value, run)
        case tree.Both(parts):
            outcomes = [judged(part, value, run) for part in parts]
            return False if False in outcomes else _unknown(outcomes) or True
        case tree.Either(parts):
            outcomes = [judged(part, value, run) for part in parts]
            return True if True in outcomes else _unknown(outcomes) or False
        case tree.Opposite(part):
            outcome = judged(part, value, run)
            return not outcome if isinstance(outcome, bool) else outcome
        case tree.Each():
            return _each(node, value, run)
        case tree.Apply():
            return _applied(node, value, run)
    raise AssertionError(node)


def _unknown(outcomes: list[Outcome]) -> frozenset[Unknown]:
    return frozenset().union(*(outcome for outcome in outcomes if not isinstance(outcome, bool)))


def _outcome(judgement: Any) -> Outcome:
    return frozenset((judgement,)) if isinstance(judgement, Unknown) else judgement


def _tested(node: tree.Test, value: Any, run: Run) -> Outcome:
    found, argument, operator = reader(node.path)(value), node.argument.bound({}), OPERATORS[node.operator]
    if found is None:
        nothing = operator.on_null(argument)
        said = f"{node.path} has no value, and {node.operator} says nothing then"
        return frozenset((Unknown(said),)) if nothing is None else nothing
    return _outcome(found if isinstance(found, Unknown) else operator.make(argument)(found, run))


def _each(node: tree.Each, value: Any, run: Run) -> Outcome:
    elements = reader(node.path)(value)
    if isinstance(elements, Unknown):
        return frozenset((elements,))
    outcomes = [_outcome(e) if isinstance(e, Unknown) else judged(node.where, e, run) for e in elements or ()]
    if node.kind == "all_of":
        return False if False in outcomes else _unknown(outcomes) or True
    found: Outcome = True if True in outcomes else _unknown(outcomes) or False
    return found if node.kind == "any_of" or not isinstance(found, bool) else not found


def _applied(node: tree.Apply, value: Any, run: Run) -> Outcome:
    bound = {}
    for name, argument in node.arguments.items():
        bound[name] = argument.bound({}) if isinstance(argument, Argument) else reader(argument)(value)
        if isinstance(bound[name], Unknown):
            return frozenset((bound[name],))
    return _outcome(FUNCTIONS[node.function].judge(bound, run))


WORDS = st.sampled_from(["", "a", "ab", "b"])
NUMBERS = st.integers(-1, 3)
TEXT_TESTS = st.one_of(
    *[st.fixed_dictionaries({name: WORDS}) for name in ("equals", "not_equals")],
    *[st.fixed_dictionaries({name: WORDS.filter(bool)}) for name in ("starts_with", "ends_with", "includes")],
    *[st.fixed_dictionaries({name: st.lists(WORDS, min_size=1, max_size=3, unique=True)}) for name in ("in", "not_in")],
    *[st.fixed_dictionaries({name: st.booleans()}) for name in ("absent", "empty")],
    st.just({"matches": "^a"}),
)
NUMBER_TESTS = st.one_of(
    *[st.fixed_dictionaries({name: NUMBERS}) for name in ("equals", "not_equals", "less_than", "at_most", "at_least")],
    st.fixed_dictionaries({"more_than": NUMBERS}),
    st.fixed_dictionaries({"absent": st.booleans()}),
)
LIST_TESTS = st.one_of(
    st.fixed_dictionaries({"empty": st.booleans()}),
    *[st.fixed_dictionaries({name: st.integers(0, 3)}) for name in ("count_at_least", "count_at_most")],
)


def _fields(texts: list[str], numbers: list[str], lists: list[str]) -> st.SearchStrategy[Any]:
    of = [(texts, TEXT_TESTS), (numbers, NUMBER_TESTS), (lists, LIST_TESTS)]
    return st.one_of(*[st.dictionaries(st.sampled_from(names), tests, min_size=1, max_size=2) for names, tests in of])


def _joined(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(conditions, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({"and": several}),
        st.fixed_dictionaries({"or": several}),
        st.fixed_dictionaries({"not": conditions}),
    )


OF_PART = st.recursive(_fields(["Key", "Value"], ["Weight"], ["Parts"]), _joined, max_leaves=4)
OF_PERMISSION = st.one_of(
    st.fixed_dictionaries(
        {"protocol_covers": st.fixed_dictionaries({"field": st.just("IpProtocol"), "protocol": st.just("tcp")})}
    ),
    st.fixed_dictionaries(
        {
            "port_covers": st.fixed_dictionaries(
                {"from": st.just("FromPort"), "to": st.just("ToPort"), "port": st.sampled_from([1, 22])}
            )
        }
    ),
)


def _loops(field: str, where: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    wheres = st.one_of(where, st.lists(where, min_size=1, max_size=3))
    return st.one_of(
        *[st.fixed_dictionaries({kind: st.just(field), "where": wheres}) for kind in ("any_of", "all_of", "none_of")]
    )


CONDITIONS = st.recursive(
    st.one_of(
        _fields(["Name", "Extra", "Home.Street"], ["Size"], ["Numbers", "Parts", "Home.Parts", "Parts[].Parts[]"]),
        _loops("Parts", st.one_of(OF_PART, _loops("Parts", OF_PART))),
        _loops("Home.Parts", OF_PART),
        _loops("Rules", st.recursive(OF_PERMISSION, _joined, max_leaves=3)),
    ),
    _joined,
    max_leaves=6,
)


def _may_be_missing(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Each member is there, null, not there, or could not be read."""
    odd = st.sampled_from([None, DENIED, THROTTLED])
    return st.fixed_dictionaries({}, optional={name: st.one_of(of, of, odd) for name, of in members.items()})


def _listed(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.one_of(of, of, of, st.just(DENIED)), max_size=3)


_LEAF = _may_be_missing({"Key": WORDS, "Value": WORDS, "Weight": NUMBERS})
_PART = _may_be_missing({"Key": WORDS, "Value": WORDS, "Weight": NUMBERS, "Parts": st.lists(_LEAF, max_size=3)})
_PORTS = st.sampled_from([-1, 0, 22, 65535])
ITEMS = _may_be_missing(
    {
        "Name": WORDS,
        "Extra": WORDS,
        "Size": NUMBERS,
        "Numbers": st.lists(NUMBERS, max_size=3),
        "Parts": _listed(_PART),
        "Home": _may_be_missing({"Street": WORDS, "Parts": _listed(_LEAF)}),
        "Rules": _listed(
            _may_be_missing({"IpProtocol": st.sampled_from(["tcp", "6", "-1"]), "FromPort": _PORTS, "ToPort": _PORTS})
        ),
    }
)


@settings(max_examples=600, deadline=None)
@given(raw=CONDITIONS, items=st.lists(ITEMS, min_size=1, max_size=8))
def test_generated_code_judges_as_the_tree_does(raw: Any, items: list[dict[str, Any]]) -> None:
    node = rule_of(raw).fails
    condition = compile_condition(node, {})
    for item in items:
        run = Run(NOW, Relations(), 1_000_000)
        assert condition(item, run) == judged(node, item, run)


HOSTILE = ["__import__('os').abort()", "x)\nraise SystemExit\n#", '"""', "'", "\\", "{0}", "C0", "\n    return True"]


@pytest.mark.parametrize("text", HOSTILE)
def test_source_holds_nothing_of_what_the_author_wrote(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    sources: list[str] = []
    compiled: Callable[..., Any] = compile

    def noting(source: str, *rest: Any) -> Any:
        sources.append(source)
        return compiled(source, *rest)

    monkeypatch.setattr(generate, "compile", noting, raising=False)
    for written in (text, "word"):
        condition = {
            "or": [
                {"Name": written, "Tags": {"absent": False}},
                {"Name": {"in": [written, "b"]}},
                {"Name": {"starts_with": written}},
                {"any_of": "Parts", "where": {"Key": written}},
            ]
        }
        rule = compile_rule(rule_of(condition))
        for name in (written, "other"):
            verdict = rule.evaluate({"Name": name, "Parts": [], "Tags": {}}, Relations())
            assert verdict is not None
            assert (verdict.status == "FAIL") is (name == written)
    ours, harmless = sources
    assert ours == harmless

"""Properties of the logic, over generated conditions and items.

What could not be read never decides: whatever value stands in its place, a verdict that was decided without it stays.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_shared.rules.values import Listing, Relations, Unknown
from tests.support.rules import compiled

_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "Name": st.sampled_from([None, "a", "b"]),
    "Size": st.sampled_from([None, 0, 1, 2]),
    "On": st.sampled_from([None, True, False]),
    "Words": st.sampled_from([None, [], ["a"], ["b"], ["a", "b"]]),
    "Policy": st.sampled_from([None, "{", {"Statement": []}]),
    "Parts": st.none()
    | st.lists(
        st.fixed_dictionaries({"Key": st.sampled_from([None, "a", "b"]), "Weight": st.sampled_from([None, 1, 2])}),
        max_size=3,
    ),
}
_TESTS = st.sampled_from(
    [
        {"Name": "a"},
        {"Name": {"not_equals": "a"}},
        {"Name": None},
        {"Name": {"matches": "^a"}},
        {"Size": {"less_than": 1}},
        {"Size": {"at_least": 1}},
        {"Size": {"in": [0, 1]}},
        {"On": True},
        {"Words": {"contains": "a"}},
        {"Words": {"empty": True}},
        {"Words": {"count_at_least": 1}},
        {"Policy": {"is_public": True}},
        {"Parts[].Key": {"contains": "a"}},
        {"exists": {"type": "other", "key": {"OtherName": "Name"}, "where": {"Good": True}}},
        {"related": {"type": "other", "key": {"OtherName": "Name"}, "where": {"Good": True}}},
    ]
)
_ELEMENT_TESTS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"Key": "a"}, {"Key": {"absent": True}}, {"Weight": {"more_than": 1}}]
)


def _element_conditions() -> st.SearchStrategy[dict[str, Any]]:
    return _ELEMENT_TESTS | st.builds(lambda a, b: {"or": [a, b]}, _ELEMENT_TESTS, _ELEMENT_TESTS)


_CONDITIONS = st.recursive(
    _TESTS
    | st.builds(
        lambda kind, where: {kind: "Parts", "where": where},
        st.sampled_from(["any_of", "all_of", "none_of"]),
        _element_conditions(),
    ),
    lambda inner: (
        st.builds(lambda part: {"not": part}, inner)
        | st.builds(
            lambda kind, parts: {kind: parts}, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=4)
        )
    ),
    max_leaves=8,
)
_ITEMS = st.fixed_dictionaries(_FIELDS)
_OTHERS = st.lists(
    st.fixed_dictionaries({"OtherName": st.sampled_from(["a", "b"]), "Good": st.sampled_from([None, True, False])}),
    max_size=2,
    unique_by=lambda other: other["OtherName"],
)


def _hidden(value: Any, draw: st.DataObject) -> Any:
    """The value with some part of it, or all, unknown."""
    if isinstance(value, list) and value and draw.draw(st.booleans()):
        position = draw.draw(st.integers(0, len(value) - 1))
        return [Unknown("denied") if index == position else element for index, element in enumerate(value)]
    return Unknown("denied", ("x:Get",))


@settings(max_examples=400, deadline=None)
@given(_CONDITIONS, _ITEMS, _OTHERS, st.sets(st.sampled_from(sorted(_FIELDS))), st.booleans(), st.data())
def test_hiding_facts_never_turns_a_verdict_round(
    condition: dict[str, Any],
    item: dict[str, Any],
    others: list[dict[str, Any]],
    hidden: set[str],
    hides_others: bool,  # noqa: FBT001  drawn
    data: st.DataObject,
) -> None:
    rule = compiled(condition)
    full = rule.evaluate(item, Relations({"other": {"r": Listing(others)}}))
    seen = others[: data.draw(st.integers(0, len(others)))] if hides_others else others
    partial = rule.evaluate(
        item | {name: _hidden(item[name], data) for name in hidden},
        Relations({"other": {"r": Listing(seen, (Unknown("region denied"),) if hides_others else ())}}),
    )

    assert full is not None
    assert partial is not None
    if partial.status != "NOT_EVALUATED":
        assert partial.status == full.status
    else:
        assert partial.reason


def _shuffled(condition: Any, draw: st.DataObject) -> Any:
    """The same condition, with the parts of each and/or in another order."""
    if isinstance(condition, dict):
        return {name: _shuffled(part, draw) for name, part in condition.items()}
    if isinstance(condition, list) and condition and isinstance(condition[0], dict):
        return draw.draw(st.permutations([_shuffled(part, draw) for part in condition]))
    return condition


@settings(max_examples=300, deadline=None)
@given(_CONDITIONS, _ITEMS, _OTHERS, st.sets(st.sampled_from(sorted(_FIELDS))), st.data())
def test_verdict_does_not_depend_on_the_order_of_parts(
    condition: dict[str, Any],
    item: dict[str, Any],
    others: list[dict[str, Any]],
    hidden: set[str],
    data: st.DataObject,
) -> None:
    partial = item | {name: _hidden(item[name], data) for name in hidden}
    relations = Relations({"other": {"r": Listing(others)}})

    assert compiled(_shuffled(condition, data)).evaluate(partial, relations) == compiled(condition).evaluate(
        partial, relations
    )


@settings(max_examples=100, deadline=None)
@given(_CONDITIONS, _ITEMS, _OTHERS)
def test_everything_unknown_is_never_a_pass_or_fail_but_by_form(
    condition: dict[str, Any], item: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    """With nothing known a verdict is decided only where no item and no relation could make it another."""
    rule = compiled(condition)
    blind = rule.evaluate(dict.fromkeys(_FIELDS, Unknown("denied")), Relations())
    seeing = rule.evaluate(item, Relations({"other": {"r": Listing(others)}}))

    assert blind is not None
    assert seeing is not None
    assert blind.status in {"NOT_EVALUATED", seeing.status}


def test_reasons_and_actions_of_all_unknowns_are_told_once() -> None:
    item = {"Name": Unknown("b is denied", ("x:B", "x:A")), "Size": Unknown("a is denied", ("x:A",)), "On": True}

    verdict = compiled({"and": [{"On": True}, {"Name": "a"}, {"Size": 1}, {"Name": "b"}]}).evaluate(item, Relations())

    assert verdict is not None
    assert (verdict.reason, verdict.missing_actions) == ("a is denied; b is denied", ("x:A", "x:B"))
    assert verdict.message == "Not evaluated: a is denied; b is denied"

"""What conditions mean, operator by operator."""

from datetime import timedelta
from typing import Any

import pytest

from coreo_shared.rules.values import Listing, Relations, Unknown
from tests.support.rules import NOW, judge

_DENIED = Unknown("AWS denied it", ("x:Get",))
_ALLOW_ALL = {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}
_LOCKED: dict[str, Any] = {"Statement": []}


@pytest.mark.parametrize(
    ("test", "value", "fails"),
    [
        ({"Name": "a"}, "a", True),
        ({"Name": "a"}, "A", False),
        ({"Name": None}, None, True),
        ({"Name": None}, "a", False),
        ({"Name": {"equals": "a"}}, None, False),
        ({"Name": {"not_equals": "a"}}, "b", True),
        ({"Name": {"not_equals": "a"}}, "a", False),
        ({"Name": {"not_equals": "a"}}, None, True),
        ({"Name": {"in": ["a", "b"]}}, "b", True),
        ({"Name": {"in": ["a", "b"]}}, "c", False),
        ({"Name": {"in": ["a", "b"]}}, None, False),
        ({"Name": {"not_in": ["a", "b"]}}, "c", True),
        ({"Name": {"not_in": ["a", "b"]}}, None, True),
        ({"Name": {"absent": True}}, None, True),
        ({"Name": {"absent": True}}, "", False),
        ({"Name": {"absent": False}}, "a", True),
        ({"Name": {"absent": False}}, None, False),
        ({"Name": {"empty": True}}, "", True),
        ({"Name": {"empty": True}}, None, True),
        ({"Name": {"empty": False}}, None, False),
        ({"Name": {"starts_with": "ab"}}, "abc", True),
        ({"Name": {"starts_with": "ab"}}, None, False),
        ({"Name": {"ends_with": "bc"}}, "abc", True),
        ({"Name": {"includes": "b"}}, "abc", True),
        ({"Name": {"matches": "^a.c$"}}, "abc", True),
        ({"Name": {"matches": "^a.c$"}}, "xabc", False),
        ({"Name": {"matches": "b"}}, "abc", True),
        ({"Name": {"matches": "b"}}, None, False),
        ({"Name": {"is_internet": True}}, "0.0.0.0/0", True),
        ({"Name": {"is_internet": True}}, "::/0", True),
        ({"Name": {"is_internet": True}}, "10.0.0.0/8", False),
        ({"Name": {"is_internet": False}}, "10.0.0.0/8", True),
        ({"Name": {"is_internet": True}}, None, False),
        ({"Name": {"is_internet": True}}, "everywhere", "unknown"),
        ({"Mode": "Fast"}, "Fast", True),
        ({"Mode": {"in": ["Fast", "Slow"]}}, "Slow", True),
        ({"Size": 3}, 3, True),
        ({"Size": {"less_than": 3}}, 2, True),
        ({"Size": {"less_than": 3}}, 3, False),
        ({"Size": {"at_most": 3}}, 3, True),
        ({"Size": {"at_least": 3}}, 3, True),
        ({"Size": {"more_than": 3}}, 3, False),
        ({"Size": {"at_least": 2, "at_most": 4}}, 3, True),
        ({"Size": {"at_least": 2, "at_most": 4}}, 5, False),
        ({"Share": {"more_than": 0.5}}, 0.75, True),
        ({"Share": {"more_than": 1}}, 0.75, False),
        # Nothing has no order and no age: a rule must say what it wants then.
        ({"Size": {"less_than": 3}}, None, "unknown"),
        ({"Made": {"older_than_days": 3}}, None, "unknown"),
        ({"Made": {"newer_than_days": 3}}, None, "unknown"),
        ({"Made": {"older_than_days": 3}}, NOW - timedelta(days=4), True),
        ({"Made": {"older_than_days": 3}}, NOW - timedelta(days=3), False),
        ({"Made": {"newer_than_days": 3}}, NOW - timedelta(days=3), True),
        ({"Made": {"older_than_days": 3}}, (NOW - timedelta(days=4)).replace(tzinfo=None), True),
        ({"Made": {"older_than_days": 3}}, "long ago", "unknown"),
        ({"Name": {"older_than_days": 3}}, "User initiated (2026-05-01 08:00:00 GMT)", True),
        ({"Name": {"older_than_days": 3}}, "User initiated (2026-05-31 08:00:00 GMT)", False),
        ({"Name": {"older_than_days": 3}}, "User initiated (2026-99-31 08:00:00 GMT)", "unknown"),
        ({"Made": {"absent": True}}, None, True),
        ({"On": True}, True, True),
        ({"On": {"not_equals": True}}, None, True),
        ({"On": True}, False, False),
        ({"Words": {"contains": "a"}}, ["b", "a"], True),
        ({"Words": {"contains": "a"}}, ["b"], False),
        ({"Words": {"contains": "a"}}, None, False),
        ({"Words": {"contains_any": ["a", "c"]}}, ["b", "c"], True),
        ({"Words": {"contains_all": ["a", "c"]}}, ["c", "b", "a"], True),
        ({"Words": {"contains_all": ["a", "c"]}}, ["a", "b"], False),
        ({"Words": {"contains_all": ["a", "c"]}}, None, False),
        ({"Words": {"contains_all": ["a"]}}, [_DENIED, "a"], True),
        ({"Words": {"contains_all": ["a", "c"]}}, [_DENIED, "a"], "unknown"),
        ({"Words": {"contains": "a"}}, [_DENIED, "a"], True),
        ({"Words": {"contains": "a"}}, [_DENIED, "b"], "unknown"),
        ({"Numbers": {"contains": 1}}, [1], True),
        ({"Words": {"count_at_least": 2}}, ["a", "b"], True),
        ({"Words": {"count_at_least": 1}}, None, False),
        ({"Words": {"count_at_most": 1}}, ["a", "b"], False),
        ({"Words": {"count_at_most": 1}}, None, True),
        ({"Words": {"empty": True}}, [], True),
        ({"Tags": {"empty": False}}, {"a": "b"}, True),
        ({"Tags.Owner": "anna"}, {"Owner": "anna"}, True),
        ({"Tags.Owner": None}, {}, True),
        ({"Tags[]": {"contains": "b"}}, {"a": "b", "c": "d"}, True),
        ({"Tags[]": {"contains": "a"}}, {"a": "b"}, False),
        ({"Tags[]": {"empty": True}}, {}, True),
        ({"Home.Street": "x"}, {"Street": "x"}, True),
        ({"Home.Street": None}, None, True),
        ({"Home": {"absent": True}}, None, True),
        ({"Policy": {"is_public": True}}, _ALLOW_ALL, True),
        ({"Policy": {"is_public": False}}, _LOCKED, True),
        ({"Policy": {"is_public": True}}, None, False),
        ({"Policy": {"is_public": False}}, None, True),
        ({"Policy": {"is_public": True}}, "{", "unknown"),
        ({"Policy": {"is_public": False}}, "{", "unknown"),
        ({"Policy": {"allows_everything": True}}, _ALLOW_ALL, True),
        ({"Policy": {"allows_whole_service": True}}, _LOCKED, False),
    ],
)
def test_operator(test: dict[str, Any], value: Any, fails: bool | str) -> None:  # noqa: FBT001  a column of the table
    field = next(iter(test)).partition(".")[0].removesuffix("[]")
    expected = {True: "FAIL", False: "PASS", "unknown": "NOT_EVALUATED"}[fails]

    assert judge(test, {field: value}) == expected
    assert judge(test, {field: _DENIED}) == "NOT_EVALUATED"
    if fails != "unknown":
        assert judge({"not": test}, {field: value}) == ("PASS" if fails else "FAIL")


_A, _B, _UNKNOWN = {"Name": "a"}, {"On": True}, {"Size": 1}  # the item below leaves the third unknown
_ITEM = {"Name": "a", "On": False, "Size": _DENIED}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"and": [_A, _B]}, "PASS"),
        ({"or": [_B, _A]}, "FAIL"),
        ({"and": [_A, _UNKNOWN]}, "NOT_EVALUATED"),
        ({"and": [_UNKNOWN, _B]}, "PASS"),
        ({"or": [_UNKNOWN, _A]}, "FAIL"),
        ({"or": [_B, _UNKNOWN]}, "NOT_EVALUATED"),
        ({"not": _UNKNOWN}, "NOT_EVALUATED"),
        ({"not": _B}, "FAIL"),
        (_A | _B, "PASS"),
        (_UNKNOWN | _B, "PASS"),
        ({"not": {"or": [_B, {"and": [_UNKNOWN, _B]}]}}, "FAIL"),
    ],
)
def test_logic_has_three_values(condition: dict[str, Any], expected: str) -> None:
    assert judge(condition, _ITEM) == expected


def _parts(*keys: str | Unknown | None) -> dict[str, Any]:
    return {"Parts": [key if isinstance(key, Unknown) else {"Key": key} for key in keys]}


@pytest.mark.parametrize(
    ("quantifier", "item", "expected"),
    [
        ("any_of", _parts("b", "a"), "FAIL"),
        ("any_of", _parts("b"), "PASS"),
        ("any_of", _parts(), "PASS"),
        ("any_of", {}, "PASS"),
        ("any_of", _parts("b", _DENIED), "NOT_EVALUATED"),
        ("any_of", _parts(_DENIED, "a"), "FAIL"),
        ("all_of", _parts("a", "a"), "FAIL"),
        ("all_of", _parts("a", "b"), "PASS"),
        ("all_of", _parts(), "FAIL"),
        ("all_of", _parts("a", _DENIED), "NOT_EVALUATED"),
        ("all_of", _parts(_DENIED, "b"), "PASS"),
        ("none_of", _parts("b"), "FAIL"),
        ("none_of", _parts("b", "a"), "PASS"),
        ("none_of", {}, "FAIL"),
        ("none_of", _parts("b", _DENIED), "NOT_EVALUATED"),
        ("none_of", _parts(_DENIED, "a"), "PASS"),
        ("any_of", {"Parts": _DENIED}, "NOT_EVALUATED"),
        ("all_of", {"Parts": _DENIED}, "NOT_EVALUATED"),
    ],
)
def test_quantifier(quantifier: str, item: dict[str, Any], expected: str) -> None:
    assert judge({quantifier: "Parts", "where": {"Key": "a"}}, item) == expected


def test_lists_of_scalars_have_this() -> None:
    condition = {"any_of": "Words", "where": [{"this": {"matches": "^a"}}, {"this": {"ends_with": "z"}}]}

    assert judge(condition, {"Words": ["a", "z", "az"]}) == "FAIL"
    assert judge(condition, {"Words": ["a", "z"]}) == "PASS"


def test_quantifiers_nest() -> None:
    condition = {"any_of": "Parts", "where": {"all_of": "Parts", "where": {"Key": "a"}}}

    assert judge(condition, {"Parts": [{"Parts": [{"Key": "b"}]}, {"Parts": [{"Key": "a"}]}]}) == "FAIL"
    assert judge(condition, {"Parts": [{"Parts": [{"Key": "a"}, {"Key": "b"}]}]}) == "PASS"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"Parts": [{"Parts": [{"Key": "b"}]}, {"Parts": [{"Key": "a"}]}]}, "FAIL"),
        ({"Parts": [{"Parts": [{"Key": "b"}]}, {"Parts": None}, {}, {"Parts": [{}]}]}, "PASS"),
        ({"Parts": [{"Parts": _DENIED}, {"Parts": [{"Key": "a"}]}]}, "FAIL"),
        ({"Parts": [{"Parts": _DENIED}, {"Parts": [{"Key": "b"}]}]}, "NOT_EVALUATED"),
        ({"Parts": [_DENIED, {"Parts": [{"Key": "a"}]}]}, "FAIL"),
        ({"Parts": [_DENIED, {"Parts": [{"Key": "b"}]}]}, "NOT_EVALUATED"),
        ({"Parts": [{"Parts": [_DENIED, {"Key": "b"}]}]}, "NOT_EVALUATED"),
        ({"Parts": [{"Parts": [{"Key": _DENIED}]}]}, "NOT_EVALUATED"),
        ({"Parts": _DENIED}, "NOT_EVALUATED"),
        ({"Parts": []}, "PASS"),
        ({}, "PASS"),
    ],
)
def test_spread_path_gathers_all_elements(item: dict[str, Any], expected: str) -> None:
    assert judge({"Parts[].Parts[].Key": {"contains": "a"}}, item) == expected


def test_applies_when_decides_whether_there_is_a_finding() -> None:
    assert judge({"On": True}, {"On": True, "Name": "a"}, applies_when={"Name": "a"}) == "FAIL"
    assert judge({"On": True}, {"On": True, "Name": "b"}, applies_when={"Name": "a"}) == "none"
    assert judge({"On": True}, {"On": False, "Name": _DENIED}, applies_when={"Name": "a"}) == "NOT_EVALUATED"


def test_field_that_was_never_read_is_unknown() -> None:
    """An engine that forgets a call must not make rules pass."""
    assert judge({"Extra": {"not_equals": "x"}}, {"Name": "a"}) == "NOT_EVALUATED"
    assert judge({"Extra": {"equals": "x"}}, {"Name": "a"}) == "NOT_EVALUATED"
    assert judge({"Extra": {"equals": "x"}}, {"Name": "a", "Extra": None}) == "PASS"


_EXISTS = {"exists": {"type": "other", "key": {"OtherName": "Name"}, "where": {"Good": False}}}
_RELATED = {"related": {"type": "other", "key": {"OtherName": "Name"}, "where": {"Good": False}}}
_ANY = {"exists": {"type": "other", "where": {"Good": False}}}
_GOOD, _BAD = {"OtherName": "a", "Good": True}, {"OtherName": "a", "Good": False}
_STRANGER = {"OtherName": "b", "Good": False}


@pytest.mark.parametrize(
    ("condition", "others", "missing", "expected"),
    [
        (_EXISTS, [_BAD], False, "FAIL"),
        (_EXISTS, [_GOOD], False, "PASS"),
        (_EXISTS, [_STRANGER], False, "PASS"),
        (_EXISTS, [], True, "NOT_EVALUATED"),
        (_EXISTS, [_GOOD], True, "NOT_EVALUATED"),
        (_EXISTS, [_GOOD, _BAD], True, "FAIL"),
        (_RELATED, [_BAD], False, "FAIL"),
        (_RELATED, [_GOOD], True, "PASS"),
        (_RELATED, [_STRANGER], False, "NOT_EVALUATED"),
        (_RELATED, [], True, "NOT_EVALUATED"),
        (_ANY, [_STRANGER], True, "FAIL"),
        (_ANY, [_GOOD], False, "PASS"),
        (_ANY, [{"OtherName": "c", "Good": _DENIED}], False, "NOT_EVALUATED"),
        ({"exists": {"type": "other"}}, [], False, "PASS"),
        ({"exists": {"type": "other"}}, [_GOOD], False, "FAIL"),
        ({"not": {"exists": {"type": "other"}}}, [], True, "NOT_EVALUATED"),
    ],
)
def test_relations(condition: dict[str, Any], others: list[dict[str, Any]], missing: bool, expected: str) -> None:  # noqa: FBT001  a column of the table
    listing = Listing(others, (_DENIED,) if missing else ())

    assert judge(condition, {"Name": "a"}, Relations({"other": {"r1": listing}})) == expected


def test_type_that_was_not_listed_is_unknown_not_empty() -> None:
    assert judge({"not": {"exists": {"type": "other"}}}, {"Name": "a"}, Relations()) == "NOT_EVALUATED"


def test_relation_without_our_key_finds_nothing() -> None:
    relations = Relations({"other": {"r1": Listing([{"OtherName": None, "Good": False}])}})

    assert judge(_EXISTS, {"Name": None}, relations) == "PASS"
    assert judge(_RELATED, {"Name": None}, relations) == "NOT_EVALUATED"
    assert judge(_RELATED, {"Name": _DENIED}, relations) == "NOT_EVALUATED"


def test_other_regions_matter_only_without_same_region() -> None:
    listings = {"other": {"r1": Listing([_GOOD]), "r2": Listing([_BAD], (_DENIED,))}}
    here = {"exists": _EXISTS["exists"] | {"same_region": True}}

    assert judge(_EXISTS, {"Name": "a"}, Relations(listings).seen_from("r1")) == "FAIL"
    assert judge(here, {"Name": "a"}, Relations(listings).seen_from("r1")) == "PASS"
    assert judge(here, {"Name": "a"}, Relations(listings).seen_from("r2")) == "FAIL"
    assert judge(here, {"Name": "a"}, Relations(listings).seen_from("r3")) == "NOT_EVALUATED"
    assert judge(here, {"Name": "a"}, Relations(listings)) == "NOT_EVALUATED"


def test_indexes_are_kept_apart_by_region_and_shared_by_views() -> None:
    relations = Relations({"other": {"r1": Listing([_GOOD]), "r2": Listing([_BAD])}})

    assert relations.seen_from("r1").by_field("other", "OtherName", "a", here=True).items == [_GOOD]
    assert relations.seen_from("r2").by_field("other", "OtherName", "a", here=True).items == [_BAD]
    assert relations.seen_from("r2").by_field("other", "OtherName", "a").items == [_GOOD, _BAD]
    assert relations.seen_from("r1").all("other") is relations.seen_from("r2").all("other")


def test_relation_within_a_quantifier_starts_from_the_element() -> None:
    condition = {
        "any_of": "Parts",
        "where": {"exists": {"type": "other", "key": {"OtherName": "Key"}, "where": {"Good": False}}},
    }
    relations = Relations({"other": {"r1": Listing([_BAD])}})

    assert judge(condition, _parts("b", "a"), relations) == "FAIL"
    assert judge(condition, _parts("b"), relations) == "PASS"


@pytest.mark.parametrize(
    ("permission", "expected"),
    [
        ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}, "FAIL"),
        ({"IpProtocol": "6", "FromPort": 0, "ToPort": 1024}, "FAIL"),
        ({"IpProtocol": "-1"}, "FAIL"),
        ({"IpProtocol": "tcp", "FromPort": -1, "ToPort": -1}, "FAIL"),
        ({"IpProtocol": "udp", "FromPort": 22, "ToPort": 22}, "PASS"),
        ({"IpProtocol": "tcp", "FromPort": 23, "ToPort": 80}, "PASS"),
        ({"IpProtocol": _DENIED, "FromPort": 23, "ToPort": 80}, "PASS"),
        ({"IpProtocol": _DENIED, "FromPort": 22, "ToPort": 22}, "NOT_EVALUATED"),
    ],
)
def test_protocol_and_port(permission: dict[str, Any], expected: str) -> None:
    condition = {
        "any_of": "Rules",
        "where": [
            {"protocol_covers": {"field": "IpProtocol", "protocol": "tcp"}},
            {"port_covers": {"from": "FromPort", "to": "ToPort", "port": 22}},
        ],
    }

    assert judge(condition, {"Rules": [permission]}) == expected

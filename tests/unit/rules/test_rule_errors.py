"""A rule that is not right is refused at load, by file, line and field, and never by repeating what was written."""

import textwrap
from typing import Any

import pytest

from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.errors import DefinitionError, ParameterError
from coreo_shared.rules.values import Relations
from tests.support.rules import rule_from, rule_of

_TEXT = """\
id: thing-bad
title: Things are good
resource: thing
severity: low
rationale: Because.
remediation: {console: Make it good.}
fail_when:
  and:
    - Name: a
    - any_of: Parts
      where:
        - Kez: a
message: "{Name} is bad"
"""


def test_error_names_file_line_and_field() -> None:
    with pytest.raises(DefinitionError) as caught:
        rule_from(_TEXT, "things.yaml")

    assert str(caught.value) == ("things.yaml:12: fail_when.and.1.where.0: part has no such field; did you mean Key?")
    assert (caught.value.file, caught.value.line) == ("things.yaml", 12)


@pytest.mark.parametrize(
    ("condition", "place", "problem"),
    [
        ({"Nmae": "a"}, "fail_when", "thing has no such field; did you mean Name?"),
        ({"Home.Stret": "a"}, "fail_when", "home has no such field; did you mean Street?"),
        ({"any_off": "Parts", "where": {"Key": "a"}}, "fail_when", "no keyword of this name; did you mean any_of?"),
        ({"Parts.Key": "a"}, "fail_when", "this is a list: write Name[] for all its elements, or use any_of"),
        ({"Name[]": "a"}, "fail_when", "[] after Name, which is a string and no list"),
        ({"Name.First": "a"}, "fail_when", "a string has no fields"),
        ({"../x": "a"}, "fail_when", "not a field path"),
        ({"Name": {"equal": "a"}}, "fail_when.Name", "no such operator; did you mean equals?"),
        ({"Name": {"less_than": 3}}, "fail_when.Name", "less_than does not fit a string; these do: absent, equals"),
        ({"Size": {"matches": "a"}}, "fail_when.Size", "matches does not fit an integer"),
        ({"Parts": {"equals": "a"}}, "fail_when.Parts", "equals does not fit a list"),
        ({"Home": {"equals": "a"}}, "fail_when.Home", "equals does not fit a structure; these do: absent"),
        ({"Name": {"is_public": True}}, "fail_when.Name", "is_public does not fit a string"),
        ({"Size": "3"}, "fail_when.Size.equals", "must be an integer, or {var: a parameter}"),
        ({"Size": True}, "fail_when.Size.equals", "must be an integer"),
        ({"On": 1}, "fail_when.On.equals", "must be a boolean"),
        ({"On": "true"}, "fail_when.On.equals", "must be a boolean"),
        ({"Mode": "fast"}, "fail_when.Mode.equals", "this value cannot occur here; did you mean Fast?"),
        ({"Mode": {"in": ["Fast", "Sow"]}}, "fail_when.Mode.in.1", "did you mean Slow?"),
        ({"Name": {"in": "a"}}, "fail_when.Name.in", "must be a list of 1 to 500"),
        ({"Name": {"in": []}}, "fail_when.Name.in", "must be a list of 1 to 500"),
        ({"Name": {"in": ["a"] * 501}}, "fail_when.Name.in", "must be a list of 1 to 500"),
        ({"Name": {"absent": "yes"}}, "fail_when.Name.absent", "must be a boolean"),
        ({"Name": {"matches": "(a"}}, "fail_when.Name.matches", "not a regular expression that RE2 takes"),
        ({"Name": {"matches": "(?=a)"}}, "fail_when.Name.matches", "no look-around"),
        ({"Name": {"matches": "a" * 501}}, "fail_when.Name.matches", "longer than 500 characters"),
        ({"Name": "a" * 1001}, "fail_when.Name.equals", "longer than 1000 characters"),
        ({"Made": {"older_than_days": -1}}, "fail_when.Made.older_than_days", "must be from 0 to 36500"),
        ({"Made": {"older_than_days": 10**9}}, "fail_when.Made.older_than_days", "must be from 0 to 36500"),
        ({"Words": {"contains": 1}}, "fail_when.Words.contains", "must be a string"),
        ({"Parts": {"contains": "a"}}, "fail_when.Parts.contains", "needs a list of strings or integers"),
        ({"Share": {"less_than": float("inf")}}, "fail_when.Share.less_than", "must be a number"),
        ({"Size": {"less_than": 10**300}}, "fail_when.Size.less_than", "must be from"),
        ({"Name": {}}, "fail_when.Name", "must have an operator"),
        ({"Name": ["a"]}, "fail_when.Name.equals", "must be a string"),
        ({"Name": {"equals": {"var": "x"}}}, "fail_when.Name.equals", "the rule has no such parameter"),
        ({"Name": {"equals": {"var": "x", "y": 1}}}, "fail_when.Name.equals", "must be a value or {var: a parameter}"),
        ({}, "fail_when", "must be a condition"),
        ([], "fail_when", "must be a condition"),
        (None, "fail_when", "must be a condition"),
        ("Name", "fail_when", "must be a condition"),
        ({"and": []}, "fail_when.and", "must be a list of conditions"),
        ({"or": {"Name": "a"}}, "fail_when.or", "must be a list of conditions"),
        ({"not": []}, "fail_when.not", "must be a condition"),
        ({"where": {"Name": "a"}}, "fail_when.where", "where without any_of"),
        ({"any_of": "Parts"}, "fail_when", "any_of stands alone with its where"),
        ({"any_of": "Parts", "where": {"Key": "a"}, "Name": "a"}, "fail_when", "any_of stands alone with its where"),
        ({"any_of": "Name", "where": {"this": "a"}}, "fail_when.any_of", "needs a list, and this is a string"),
        ({"any_of": ["Parts"], "where": {"Key": "a"}}, "fail_when.any_of", "must be text"),
        ({"exists": "other"}, "fail_when.exists", "must have type"),
        ({"exists": {"type": "othre"}}, "fail_when.exists.type", "no such resource type; did you mean other?"),
        ({"exists": {"type": "other", "wher": {}}}, "fail_when.exists", "must have type"),
        ({"exists": {"type": "other", "same_region": 1}}, "fail_when.exists.same_region", "must be true or false"),
        ({"related": {"type": "other", "where": {"Good": True}}}, "fail_when.related", "related needs key and where"),
        ({"exists": {"type": "other", "key": {"OtherNam": "Name"}}}, "fail_when.exists.key", "did you mean OtherName?"),
        ({"exists": {"type": "other", "key": {"OtherName": "Size"}}}, "fail_when.exists.key", "the two sides differ"),
        ({"exists": {"type": "other", "key": {"Parts": "Parts"}}}, "fail_when.exists.key", "must be a top-level field"),
        ({"protocol_covers": {"field": "Name"}}, "fail_when.protocol_covers", "protocol is missing"),
        (
            {"protocol_covers": {"field": "Name", "protocl": "tcp"}},
            "fail_when.protocol_covers",
            "did you mean protocol?",
        ),
        (
            {"protocol_covers": {"field": "Size", "protocol": "tcp"}},
            "fail_when.protocol_covers.field",
            "needs a string",
        ),
        ({"denies_plain_http": {"policy": "Name", "bucket": "Name"}}, "fail_when.denies_plain_http.policy", "a policy"),
        (
            {"protocol_covers": {"field": "Name", "protocol": "tpc"}},
            "fail_when.protocol_covers.protocol",
            "this value cannot occur here; did you mean tcp?",
        ),
        (
            {"reachable_from_internet": {"permissions": "Rules", "ports": [22], "other_than": [443]}},
            "fail_when.reachable_from_internet",
            "takes only one of other_than, ports",
        ),
        (
            {"reachable_from_internet": {"permissions": "Rules", "ports": [65536]}},
            "fail_when.reachable_from_internet.ports.0",
            "must be from 0 to 65535",
        ),
        (
            {"reachable_from_internet": {"permissions": "Parts"}},
            "fail_when.reachable_from_internet.permissions",
            "needs a list of structures with IpProtocol",
        ),
        (
            {"reachable_from_internet": {"permissions": "Rules", "ports": [-1]}},
            "fail_when.reachable_from_internet.ports.0",
            "must be from 0",
        ),
        (
            {"policy_gains": {"policy": "Policy", "what": "more"}},
            "fail_when.policy_gains.what",
            "this value cannot occur here",
        ),
        ({"policy_gains": {"policy": "Name", "what": "everything"}}, "fail_when.policy_gains.policy", "needs a policy"),
        (
            {"allows_on_all": {"policy": "Policy", "actions": ["Decrypt"]}},
            "fail_when.allows_on_all.actions",
            "not of the form service:Name",
        ),
        (
            {"allows_on_all": {"policy": "Policy", "actions": ["kms:Decrypt"], "of": "key"}},
            "fail_when.allows_on_all.of",
            "not of the form service:Name",
        ),
        (
            {"principal_gains": {"inline": "Parts", "attached": "Parts", "what": "everything"}},
            "fail_when.principal_gains.inline",
            "needs a list of structures with PolicyName, PolicyDocument",
        ),
        (
            {"opens_to_other_accounts": {"policy": "Policy", "trusted": "x"}},
            "fail_when.opens_to_other_accounts.trusted",
            "must be a list",
        ),
    ],
)
def test_condition_is_refused(condition: Any, place: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        rule_of(condition)

    assert str(caught.value).startswith(f"{place}: ")
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("change", "place", "problem"),
    [
        ({"id": "Thing Bad"}, "id", "must be words of a to z"),
        ({"id": "bad"}, "id", "must be words of a to z"),
        ({"id": "a-" + "b" * 100}, "id", "must be words of a to z"),
        ({"severity": "huge"}, "severity", "not one of the known values"),
        ({"title": ""}, "title", "must have 1 to 200 characters"),
        ({"title": 5}, "title", "Expected `str`"),
        ({"rationale": "a" * 9000}, "rationale", "must have 1 to 8000 characters"),
        ({"resource": "thin"}, "resource", "no such resource type; did you mean thing?"),
        ({"tittle": "x"}, "", "a key that does not belong here; did you mean title?"),
        ({"remediation": {}}, "remediation", "Object missing required field `console`"),
        ({"evidence": ["Nmae"]}, "evidence.0", "did you mean Name?"),
        ({"evidence": ["Name"] * 21}, "evidence", "more than 20 fields"),
        ({"controls": {"cis": "5.2"}}, "controls.*", "Expected `array`"),
        ({"message": "{Nmae}"}, "message", "did you mean Name?"),
        ({"message": "{Name"}, "message", "a brace without its partner"),
        ({"message": "{Name.__class__}"}, "message", "not a field path"),
        ({"message": "{Name!r}"}, "message", "not a field path"),
        ({"message": "{var.x}"}, "message", "the rule has no such parameter"),
        ({"message": "{account}"}, "message", "has no such field"),
        ({"message": "{Name}" * 21}, "message", "more than 20 placeholders"),
        ({"message": "a" * 8001}, "message", "must have 1 to 8000 characters"),
        ({"applies_when": {"Nmae": "a"}}, "applies_when", "did you mean Name?"),
        (
            {"parameters": {"a": {"type": "integer", "default": "x", "description": ""}}},
            "parameters.a.default",
            "an int",
        ),
        (
            {"parameters": {"a": {"type": "integer", "default": 5, "maximum": 3, "description": ""}}},
            "parameters.a.default",
            "must be from",
        ),
        (
            {"parameters": {"A b": {"type": "integer", "default": 5, "description": ""}}},
            "parameters",
            "a parameter's name",
        ),
        ({"parameters": {"a": {"type": "float", "default": 5, "description": ""}}}, "parameters.*.type", "not one of"),
    ],
)
def test_rule_is_refused(change: dict[str, Any], place: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        rule_of({"Name": "a"}, **change)

    text = str(caught.value)
    assert text.startswith(f"{place}: " if place else "")
    assert problem in caught.value.problem


def test_missing_field_is_named() -> None:
    with pytest.raises(DefinitionError, match="missing required field `fail_when`"):
        rule_from("".join(line for line in _TEXT.splitlines(keepends=True) if not line.startswith((" ", "fail"))))


@pytest.mark.parametrize(
    "condition",
    [
        {"SECRETWORD": "a"},
        {"Name": {"SECRETWORD": 1}},
        {"Size": "SECRETWORD"},
        {"Mode": "SECRETWORD"},
        {"Name": {"matches": "(SECRETWORD"}},
        {"any_of": "SECRETWORD", "where": {"Key": "a"}},
        {"exists": {"type": "SECRETWORD"}},
        {"exists": {"type": "other", "key": {"SECRETWORD": "Name"}}},
        {"port_covers": {"SECRETWORD": 1}},
        {"Name": {"equals": {"var": "SECRETWORD"}}},
        {"Tags": {"equals": "SECRETWORD"}},
    ],
)
def test_errors_do_not_repeat_the_input(condition: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError) as caught:
        rule_of(condition)

    assert "SECRETWORD" not in str(caught.value)


_PARAMETERS = {
    "days": {"type": "integer", "default": 90, "minimum": 1, "maximum": 100, "description": "d"},
    "words": {"type": "strings", "default": ["a"], "description": "w"},
    "pattern": {"type": "string", "default": "^a", "description": "p"},
    "mode": {"type": "string", "default": "x", "choices": ["x", "y"], "description": "m"},
}
_USES = {
    "and": [
        {"Size": {"more_than": {"var": "days"}}},
        {"Name": {"in": {"var": "words"}}},
        {"Name": {"matches": {"var": "pattern"}}},
        {"Name": {"not_equals": {"var": "mode"}}},
    ]
}


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"thing-bad": {"days": "5"}}, "parameters.thing-bad.days", "must be an integer"),
        ({"thing-bad": {"days": True}}, "parameters.thing-bad.days", "must be an integer"),
        ({"thing-bad": {"days": 101}}, "parameters.thing-bad.days", "must be from 1 to 100"),
        ({"thing-bad": {"words": "a"}}, "parameters.thing-bad.words", "must be a list"),
        ({"thing-bad": {"words": [1]}}, "parameters.thing-bad.words", "must be a string"),
        ({"thing-bad": {"pattern": "("}}, "parameters.thing-bad.pattern", "not a regular expression"),
        ({"thing-bad": {"mode": "z"}}, "parameters.thing-bad.mode", "must be one of x, y"),
        ({"thing-bad": {"dayz": 5}}, "parameters.thing-bad", "did you mean days?"),
        ({"thing-bad": 5}, "parameters.thing-bad", "must be an object"),
    ],
)
def test_parameter_is_refused_by_name(given: dict[str, Any], field: str, problem: str) -> None:
    rule = rule_of(_USES, parameters=_PARAMETERS)

    with pytest.raises(ParameterError) as caught:
        compile_rule(rule, given)

    assert caught.value.field == field
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ({"Name": {"equals": {"var": "days"}}}, "of type integer, and string is needed"),
        ({"Name": {"equals": {"var": "words"}}}, "of type strings, and string is needed"),
        ({"Name": {"in": {"var": "mode"}}}, "of type string, and strings is needed"),
        ({"Size": {"equals": {"var": "dayz"}}}, "did you mean days?"),
        ({"Mode": {"equals": {"var": "mode"}}}, "the parameter must have choices, all of them values that can occur"),
        ({"Mode": {"equals": {"var": "pattern"}}}, "the parameter must have choices"),
    ],
)
def test_parameter_must_be_of_the_type_of_its_place(condition: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        rule_of(condition, parameters=_PARAMETERS)


def test_parameter_with_fitting_choices_may_stand_for_an_enum() -> None:
    parameter = {"type": "string", "default": "Fast", "choices": ["Fast", "Slow"], "description": "m"}
    rule = rule_of({"Mode": {"equals": {"var": "mode"}}}, parameters={"mode": parameter})

    verdict = compile_rule(rule, {"thing-bad": {"mode": "Slow"}}).evaluate({"Mode": "Slow"}, Relations())

    assert verdict is not None
    assert verdict.status == "FAIL"


def test_comments_and_quotes_do_not_move_the_line() -> None:
    text = textwrap.dedent("""\
        # a comment
        id: "thing-bad"
        title: >-
          Things
          are good
        resource: thing
        severity: lowest
        """)

    with pytest.raises(DefinitionError) as caught:
        rule_from(text)

    assert caught.value.line == 7

"""What is said of a template: by line, against the plan's values, and of hostile ones without following them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_lint.examine import examine
from coreo_lint.limits import MEMORY_BYTES
from coreo_lint.linting import decode
from coreo_lint.protocol import BEATEN, MAX_FINDINGS, MAX_TEMPLATE_BYTES, Answer, Misfit, Request
from coreo_lint.shape import MAX_DEPTH, shape_problem
from coreo_lint.values import misfits

GOOD = """\
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Env: {Type: String, AllowedValues: [dev, prod], Default: dev}
  Size: {Type: Number, MinValue: 1, MaxValue: 10, Default: 2}
  Zones: {Type: CommaDelimitedList, AllowedValues: [a, b], Default: a}
  Name: {Type: String, AllowedPattern: "[a-z]+", MinLength: 2, MaxLength: 5, Default: ab}
  Odd: {Type: String, AllowedPattern: "(?<!x)y", Default: y}
  Flag: {Type: String, AllowedValues: [true, false], Default: true}
  Secret: {Type: String, NoEcho: true}
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      TopicName: !Ref Name
"""
SECRET = {"Secret": "{{resolve:secretsmanager:db:SecretString:password}}"}


def looked(template: str = GOOD) -> Answer:
    return examine(Request(template, ("eu-west-1",), SECRET))


def misfits_of(template: str, parameters: dict[str, str], *capabilities: str) -> list[Misfit]:
    """Without cfn-lint's rules, which take half a second to load."""
    decoded, problems = decode(template)
    assert decoded is not None, problems
    return misfits(decoded, Request(template, (), parameters, capabilities))


def test_findings_have_lines_and_what_a_template_declares_is_told() -> None:
    answer = looked(GOOD.replace("TopicName: !Ref Name", "Nonsense: 1"))
    errors = [(finding.rule, finding.line, finding.column) for finding in answer.findings if finding.level == "error"]
    assert errors == [("E3002", 14, 7)]
    assert [(each.logical_id, each.type, each.line) for each in answer.resources] == [("Topic", "AWS::SNS::Topic", 11)]
    assert [each.name for each in answer.parameters if each.no_echo] == ["Secret"]
    assert {finding.level for finding in answer.findings} == {"error", "warning"}
    assert [finding.line for finding in answer.findings] == sorted(finding.line for finding in answer.findings)


FITTING = [
    {"Env": "prod"}, {"Size": "10"}, {"Size": "1.5"}, {"Zones": "a, b"}, {"Name": "abc"}, {"Odd": "whatever"},
    {"Flag": "false"}, {"Name": "{{resolve:ssm:/name:1}}"}, {"Secret": "{{resolve:ssm-secure:/db/password:3}}"},
]  # fmt: skip
UNFITTING = [
    ({"Env": "test"}, "AllowedValues"), ({"Size": "11"}, "MaxValue"), ({"Size": "0"}, "MinValue"),
    ({"Size": "many"}, "not a number"), ({"Size": "NaN"}, "not a number"), ({"Size": "1e999"}, "not a number"),
    ({"Zones": "a,c"}, "AllowedValues"), ({"Name": "ABC"}, "AllowedPattern"), ({"Name": "a"}, "MinLength"),
    ({"Name": "abcdef"}, "MaxLength"), ({"Flag": "yes"}, "AllowedValues"), ({"Nobody": "x"}, "no such parameter"),
    ({"Secret": "hunter2"}, "never as its value"), ({"Secret": "x{{resolve:ssm-secure:/a}}"}, "never as its value"),
    # A plain SSM parameter shows its value in the stack.
    ({"Secret": "{{resolve:ssm:/db/password}}"}, "never as its value"),
]  # fmt: skip


@pytest.mark.parametrize("values", FITTING, ids=str)
def test_values_that_fit_are_taken(values: dict[str, str]) -> None:
    assert misfits_of(GOOD, SECRET | values) == []


@pytest.mark.parametrize(("values", "words"), UNFITTING, ids=str)
def test_values_that_do_not_fit_are_named_and_not_repeated(values: dict[str, str], words: str) -> None:
    ((name, value),) = values.items()
    found = misfits_of(GOOD, SECRET | values)
    assert [misfit.field for misfit in found] == [f"parameters.{name}"] * len(found)
    assert words in " ".join(misfit.message for misfit in found)
    assert "hunter2" not in str(found) or value != "hunter2"


def test_what_is_missing_is_named_with_its_line() -> None:
    (misfit,) = misfits_of(GOOD, {})
    assert (misfit.field, misfit.message) == (
        "parameters.Secret",
        "missing: it has no default (line 9 of the template)",
    )
    (plain,) = misfits_of(GOOD.replace("NoEcho: true", "NoEcho: true, Default: hunter2"), {})
    assert "stands in the template (line 9)" in plain.message


ROLE = "Resources:\n  R: {Type: 'AWS::IAM::Role', Properties: {AssumeRolePolicyDocument: {}%s}}\n"


@pytest.mark.parametrize(
    ("template", "needed"),
    [
        (ROLE % "", "CAPABILITY_IAM"),
        (ROLE % ", RoleName: x", "CAPABILITY_NAMED_IAM"),
        ("Transform: AWS::Serverless-2016-10-31\nResources: {}\n", "CAPABILITY_AUTO_EXPAND"),
        ("Resources:\n  T: {Type: 'AWS::SNS::Topic', 'Fn::Transform': {Name: X}}\n", "CAPABILITY_AUTO_EXPAND"),
    ],
)
def test_a_missing_capability_is_named(template: str, needed: str) -> None:
    assert [misfit.message for misfit in misfits_of(template, {})] == [f"the template needs {needed}"]
    enough = "CAPABILITY_NAMED_IAM" if needed == "CAPABILITY_IAM" else needed
    assert misfits_of(template, {}, enough) == []


BOMB = "a: &a [x,x,x,x]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
SHAPES = {
    "aliases": (BOMB, 2, "refuses YAML aliases"),
    "merge": ("a: &a {b: c}\nd: {<<: *a}\n", 2, "refuses YAML aliases"),
    "deep YAML": ("a: " + "[" * 5_000, 1, "levels deep"),
    "deep block": ("".join(f"{' ' * n}a:\n" for n in range(300)), MAX_DEPTH + 1, "levels deep"),
    "deep JSON": ('{"a":' * 5_000, 1, "levels deep"),
    "large": ("# " + "x" * MAX_TEMPLATE_BYTES, 1, "give template_url"),
    "empty": (" \n\t", 1, "empty"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, "second YAML document"),
    "no YAML": ("a: b: c\n", 1, "not YAML"),
    "control characters": ("a: \x01\n", 1, "not YAML"),
}


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_what_no_template_looks_like_is_refused_before_anything_follows_it(case: tuple[str, int, str]) -> None:
    text, line, words = case
    problem = shape_problem(text)
    assert problem is not None
    assert problem.level == "error"
    assert words in problem.message
    if "characters" not in words:
        assert problem.line == line


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_any_text_is_judged_without_an_exception(text: str) -> None:
    problem = shape_problem(text)
    assert problem is None or problem.line >= 1


NO_TEMPLATES = (
    "- a\n- b",
    "42",
    "Metadata: []\nResources: {}",
    "Metadata: {cfn-lint: x}\nResources: {}",
    "Resources: []",
)
WRONG = ("Parameters: {P: 1}\nResources: {A: x}", "{}", "Resources: {A: {Type: AWS::SNS::Topic}, A: {}}")


def test_what_is_no_template_has_an_error_and_no_exception() -> None:
    for text in NO_TEMPLATES:
        assert decode(text)[0] is None, text
    for text in (*NO_TEMPLATES, *WRONG):
        assert [finding for finding in examine(Request(text)).findings if finding.level == "error"], text


def test_a_template_cannot_have_the_linter_load_code_or_read_files(tmp_path: Path) -> None:
    code = tmp_path / "rules" / "own.py"
    code.parent.mkdir()
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (tmp_path / "nested.yaml").write_text("Parameters: {Hidden: {Type: String}}\nResources: {}\n")
    config = {"append_rules": [str(code.parent)], "custom_rules": str(code), "parameter_files": [str(code)]}
    config |= {"override_spec": str(code), "regions": ["nowhere"]}  # as a template may
    nested = {"TemplateURL": str(tmp_path / "nested.yaml"), "Parameters": {"Wrong": "x"}}
    template = {
        "Metadata": {"cfn-lint": {"config": config}},
        "Resources": {"Stack": {"Type": "AWS::CloudFormation::Stack", "Properties": nested}},
    }
    answer = examine(Request(json.dumps(template)))
    assert not (tmp_path / "ran").exists()
    assert "Hidden" not in str(answer)


def test_a_template_may_turn_off_a_check_of_its_own() -> None:
    unused = "Parameters: {P: {Type: String, Default: a}}\nResources: {T: {Type: AWS::SNS::Topic}}\n"
    assert [finding.rule for finding in examine(Request(unused)).findings] == ["W2001"]
    metadata = "Metadata: {cfn-lint: {config: {ignore_checks: [W2001]}}}\n"
    assert examine(Request(metadata + unused)).findings == []


def test_errors_are_told_before_warnings_where_there_are_too_many() -> None:
    lines = [f"  P{number}: {{Type: String, Default: a}}" for number in range(MAX_FINDINGS + 20)]
    text = "Parameters:\n" + "\n".join(lines) + "\nResources: {T: {Type: AWS::SNS::Topic, Properties: {No: 1}}}\n"
    answer = examine(Request(text))
    assert len(answer.findings) == MAX_FINDINGS
    assert answer.left_out == 21
    assert answer.findings[-1].rule == "E3002"


def run(code: str, **request: Any) -> subprocess.CompletedProcess[str]:
    """Code in a process that has given up what it may."""
    script = f"from coreo_lint.limits import give_up\ngive_up()\n{code}"
    return subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)


def test_the_process_has_bounds_that_it_cannot_lift(tmp_path: Path) -> None:
    assert "MemoryError" in run(f"bytearray({MEMORY_BYTES})").stderr
    written = run(f"open({str(tmp_path / 'x')!r}, 'w').write('x' * 100_000)")
    assert written.returncode != 0
    assert run("import resource as r\nprint(r.getrlimit(r.RLIMIT_CPU))").stdout == "(20, 20)\n"
    raised = run("import resource as r\nr.setrlimit(r.RLIMIT_CPU, (30, 30))")
    assert raised.returncode != 0 or "root" in run("import getpass; print(getpass.getuser())").stdout


def test_the_command_answers_once_and_says_when_it_is_beaten() -> None:
    def ask(template: Any) -> subprocess.CompletedProcess[str]:
        request = {"template": template, "regions": ["eu-west-1"], "parameters": SECRET, "capabilities": []}
        command = [sys.executable, "-I", "-B", "-m", "coreo_lint"]
        return subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, env={}, check=False)

    assert {each["rule"] for each in json.loads(ask(GOOD).stdout)["findings"]} == {"W2001"}
    beaten = ask(7)  # whatever breaks it: nothing of a template is in what it says
    assert (beaten.returncode, beaten.stdout, beaten.stderr) == (BEATEN, "", "AttributeError")

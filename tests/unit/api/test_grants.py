"""One grant, many texts: each makes the same role, whatever is in its values."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import cfnlint
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from coreo_api.grants import cloudformation, commands, terraform
from coreo_api.grants.grant import (
    MAX_INLINE,
    Grant,
    GrantTooLargeError,
    Level,
    security_audit,
)
from coreo_api.grants.yaml_text import to_yaml
from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.needs import needs_of
from coreo_shared.rules.policy import MAX_MANAGED_POLICY, size_of, split_policy
from tests.support.templates import CUSTOMER_TEMPLATE

ACCOUNT = "210987654321"
# Digits with one e: taken for a number by readers of YAML that are less careful than ours.
EXTERNAL_ID = "12345678901234567890123456789e12"
WORKERS = ["arn:aws:iam::111111111111:role/coreo-worker-audit", "arn:aws:iam::111111111111:role/coreo-worker-onboard"]
# All beginnings of all actions of a benchmark: real ones, and many.
LONG = tuple(
    sorted(
        action[:length] + end
        for action in needs_of(load_catalogue(), load_catalogue().rule_sets["cis-aws-5.0"]).actions
        for length in range(action.index(":") + 2, len(action))
        for end in ("*", "?*")
    )
)


def trust(*external_ids: str) -> dict[str, Any]:
    statement = {
        "Sid": "CoreoAudit",
        "Effect": "Allow",
        "Principal": {"AWS": WORKERS},
        "Action": "sts:AssumeRole",
        "Condition": {
            "StringEquals": {"sts:ExternalId": external_ids[0] if len(external_ids) == 1 else list(external_ids)}
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def make(level: Level = Level.AUDIT, *actions: str, ids: tuple[str, ...] = (EXTERNAL_ID,), **fields: Any) -> Grant:
    managed = () if actions else (security_audit("aws"),)
    values: dict[str, Any] = {"partition": "aws", "account_id": ACCOUNT, "role_name": "CoreoAudit"}
    return Grant(
        level=level,
        external_ids=ids,
        trust_policy=trust(*ids),
        managed_policy_arns=managed,
        actions=actions,
        **values | fields,
    )


GRANTS = {
    "audit": make(),
    "exact": make(Level.EXACT, "ec2:DescribeRegions", "s3:ListAllMyBuckets"),
    "deploy": make(Level.DEPLOY, "cloudformation:*", "s3:PutObject"),
    "everything": make(Level.DEPLOY, "*"),
    "rotating": make(ids=(EXTERNAL_ID, "f" * 32)),
    "odd name": make(role_name="-a+b=c,d.e@f_g"),
    "too long for the role": make(Level.EXACT, *LONG),
}
every_grant = pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)


def made_by_template(grant: Grant) -> dict[str, Any]:
    """The role that the template makes in the grant's account: its properties and the policies attached to it."""
    document = yaml.safe_load(cloudformation.template(grant))
    ids = document["Parameters"]["ExternalId"]["Default"].split(",")

    def resolved(value: Any) -> Any:
        match value:
            case {"Ref": "ExternalId"}:
                return ids
            case {"Fn::Sub": str(text)}:
                return text.replace("${AWS::Partition}", grant.partition).replace("${AWS::AccountId}", ACCOUNT)
            case dict():
                return {key: resolved(item) for key, item in value.items()}
            case list():
                return [resolved(item) for item in value]
        return value

    resources = resolved(document["Resources"])
    properties: dict[str, Any] = resources.pop("CoreoRole")["Properties"]
    return properties | {"Attached": [each["Properties"]["PolicyDocument"] for each in resources.values()]}


@every_grant
def test_template_makes_the_grants_role(grant: Grant) -> None:
    role = made_by_template(grant)

    assert role["RoleName"] == grant.role_name
    assert role["AssumeRolePolicyDocument"] == trust_with_list(grant)
    assert role.get("ManagedPolicyArns", []) == list(grant.managed_policy_arns)
    assert [each["PolicyDocument"] for each in role.get("Policies", [])] == [
        policy.document for policy in grant.inline_policies
    ]
    assert role["Attached"] == [policy.document for policy in grant.attached_policies]


def trust_with_list(grant: Grant) -> dict[str, Any]:
    """The grant's trust policy as the template's parameter gives it: one external id is a list of one."""
    return trust(*grant.external_ids) if len(grant.external_ids) > 1 else _listed(trust(*grant.external_ids))


def _listed(policy: dict[str, Any]) -> dict[str, Any]:
    policy["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"] = [EXTERNAL_ID]
    return policy


@every_grant
def test_template_is_lint_clean(grant: Grant, tmp_path: Path) -> None:
    path = tmp_path / cloudformation.FILE_NAME
    path.write_text(cloudformation.template(grant))

    assert [str(finding) for finding in cfnlint.lint_file(path)] == []


def test_the_customers_template_is_lint_clean() -> None:
    assert [str(finding) for finding in cfnlint.lint_file(CUSTOMER_TEMPLATE)] == []


def test_a_trust_policy_without_external_id_makes_no_template() -> None:
    grant = make()
    del grant.trust_policy["Statement"][0]["Condition"]

    with pytest.raises(KeyError):
        cloudformation.template(grant)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF))
KEYS = st.text("abcNORyY0157:- '\"{#", min_size=1, max_size=6)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES))
def test_yaml_reads_as_what_was_written(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml({"all": value}))["all"] == value


def test_every_string_of_the_template_is_in_quotes() -> None:
    text = cloudformation.template(GRANTS["exact"])

    assert f'"{EXTERNAL_ID}"' in text
    plain = [line for line in text.splitlines() if re.search(r": [^\"\[{0-9]|- [^\"\[{A-Z]", line)]
    assert plain == []


# Terraform

HEREDOC = re.compile(r"<<-JSON\n(.*?)\n {2}JSON$", re.MULTILINE | re.DOTALL)


def unescaped(text: str) -> str:
    """The text of a template without templates in it."""
    assert not re.search(r"(?<![$])[$]\{|(?<![%])%\{", text)
    return text.replace("$${", "${").replace("%%{", "%{")


@every_grant
def test_terraform_makes_the_grants_role(grant: Grant) -> None:
    text = terraform.configuration(grant)
    documents = [json.loads(unescaped(each)) for each in HEREDOC.findall(text)]
    rest = re.sub(" +", " ", HEREDOC.sub("", text))

    policies = [policy.document for policy in (*grant.inline_policies, *grant.attached_policies)]
    assert documents == [grant.trust_policy, *policies]
    assert f'name = "{grant.role_name}"' in rest
    for arn in grant.managed_policy_arns:
        assert f'policy_arn = "{arn}"' in rest
    assert rest.count("aws_iam_role_policy_attachment") == len(grant.managed_policy_arns) + len(grant.attached_policies)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("${path.module}", "$${path.module}"),
        ("%{ if true }", "%%{ if true }"),
        ("100% {x} $5", "100% {x} $5"),
        ("a${b%{c", "a$${b%%{c"),
    ],
)
def test_nothing_in_terraforms_texts_is_a_template(text: str, written: str) -> None:
    assert terraform.escaped(text) == written


# Commands


@every_grant
def test_commands_are_for_a_shell(grant: Grant) -> None:
    script = "\n".join([*commands.role_commands(grant), *cloudformation.stack_set(grant)])

    subprocess.run(["/bin/bash", "-n", "-c", script], check=True, capture_output=True, timeout=30)


@every_grant
def test_commands_make_the_grants_role(grant: Grant) -> None:
    made = list(calls(commands.role_commands(grant)))
    names = [name for name, _ in made]
    documents = [json.loads(options["policy-document"]) for _, options in made if "policy-document" in options]

    assert names[0] == "create-role"
    assert json.loads(made[0][1]["assume-role-policy-document"]) == grant.trust_policy
    assert all(options["role-name"] == grant.role_name for name, options in made if name != "create-policy")
    assert documents == [policy.document for policy in (*grant.inline_policies, *grant.attached_policies)]
    attached = [options["policy-arn"] for name, options in made if name == "attach-role-policy"]
    assert attached[: len(grant.managed_policy_arns)] == list(grant.managed_policy_arns)
    assert [arn.rpartition("/")[2] for arn in attached[len(grant.managed_policy_arns) :]] == [
        options["policy-name"] for name, options in made if name == "create-policy"
    ]


def calls(lines: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The operation and options of each line, as the shell and the CLI take them apart."""
    for line in lines:
        _aws, _service, name, *rest = shlex.split(line)
        options: dict[str, str] = {}
        while rest:
            option, equals, value = rest.pop(0).partition("=")
            options[option.removeprefix("--")] = value if equals else rest.pop(0)
        yield name, options


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_value_reaches_the_command_as_it_is(value: str) -> None:
    [(_, options)] = calls([commands.line("aws iam x", ("--name", value))])

    assert options == {"name": value}


def test_stack_set_gives_each_account_an_external_id_of_its_own() -> None:
    both = cloudformation.stack_set(GRANTS["rotating"])
    (made, first), (added, second) = calls(both)

    assert (made, added) == ("create-stack-set", "create-stack-instances")
    assert first["permission-model"] == "SERVICE_MANAGED"
    assert first["auto-deployment"] == "Enabled=false"  # new accounts would get another account's external id
    assert first["capabilities"] == "CAPABILITY_NAMED_IAM"
    assert f"Accounts={ACCOUNT},AccountFilterType=INTERSECTION" in second["deployment-targets"]
    assert second["parameter-overrides"] == f"ParameterKey=ExternalId,ParameterValue={EXTERNAL_ID}\\,{'f' * 32}"


def test_stack_set_says_which_variable_is_missing() -> None:
    [_, command] = cloudformation.stack_set(make())
    done = subprocess.run(
        ["/bin/bash", "-c", command.replace("aws ", "echo ", 1)], check=False, capture_output=True, env={}, timeout=30
    )

    assert done.returncode != 0
    assert b"ORGANIZATIONAL_UNIT: Set it to" in done.stderr


# Quick-create links


def test_link_fills_in_every_parameter_of_the_customers_template() -> None:
    grant = make(Level.EXACT, "ec2:DescribeRegions", "s3:List*", role_name="a+b=c,d@e")
    url = cloudformation.quick_create_url(grant, "https://example.com/a b/coreo-role.yaml?v=1&x=2")
    assert url is not None
    address = urlsplit(url)
    path, _, query = address.fragment.partition("?")
    sent = {name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()}

    assert address.netloc == "us-east-1.console.aws.amazon.com"
    assert path == "/stacks/create/review"
    assert sent == {
        "templateURL": "https://example.com/a b/coreo-role.yaml?v=1&x=2",
        "stackName": "coreo-role",
        "param_RoleName": "a+b=c,d@e",
        "param_ExternalId": EXTERNAL_ID,
        "param_TrustedPrincipals": ",".join(WORKERS),
        "param_Actions": "ec2:DescribeRegions,s3:List*",
    }
    assert unquote(query) != query
    known = yaml.load(CUSTOMER_TEMPLATE.read_text(), _tolerant())["Parameters"]  # noqa: S506  a SafeLoader
    assert {name.removeprefix("param_") for name in sent if name.startswith("param_")} <= set(known)


def _tolerant() -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Takes CloudFormation's tags for their values."""

    Loader.add_multi_constructor("!", lambda _loader, _suffix, node: node.value)
    return Loader


@pytest.mark.parametrize(
    ("partition", "host"),
    [("aws-us-gov", "us-gov-west-1.console.amazonaws-us-gov.com"), ("aws-cn", "cn-north-1.console.amazonaws.cn")],
)
def test_link_leads_to_the_partitions_console(partition: str, host: str) -> None:
    url = cloudformation.quick_create_url(make(partition=partition), "https://example.com/coreo-role.yaml")

    assert url is not None
    assert url.startswith(f"https://{host}/cloudformation/home?region=")


def test_what_is_too_long_for_a_link_has_none() -> None:
    assert cloudformation.quick_create_url(GRANTS["too long for the role"], "https://example.com/x.yaml") is None


# Policies


def test_own_policy_asks_about_this_role_alone() -> None:
    policy = GRANTS["exact"].policy
    assert policy is not None
    asking = [each for each in policy["Statement"] if "iam:SimulatePrincipalPolicy" in each["Action"]]

    assert [each["Resource"] for each in asking] == [f"arn:aws:iam::{ACCOUNT}:role/CoreoAudit"]


def test_policy_too_long_for_the_role_is_put_into_policies_of_their_own() -> None:
    grant = GRANTS["too long for the role"]
    assert grant.policy is not None
    assert size_of(grant.policy) > MAX_INLINE

    assert grant.inline_policies == ()
    assert len(grant.attached_policies) > 1
    assert len({policy.name for policy in grant.attached_policies}) == len(grant.attached_policies)


def test_more_than_policies_can_hold_is_refused() -> None:
    many = tuple(f"service:Action{'x' * 100}{number}" for number in range(700))

    with pytest.raises(GrantTooLargeError):
        _ = make(Level.DEPLOY, *many).attached_policies


ACTIONS = st.lists(st.from_regex(r"[a-c]{1,3}:[A-Za-z*]{1,40}", fullmatch=True), min_size=1, max_size=60, unique=True)


@given(ACTIONS, st.integers(min_value=300, max_value=MAX_MANAGED_POLICY))
def test_split_policies_allow_the_same_and_each_fits(actions: list[str], limit: int) -> None:
    policy = make(Level.DEPLOY, *actions).policy
    assert policy is not None
    parts = split_policy(policy, limit)

    def allowed(document: dict[str, Any]) -> set[tuple[str, str]]:
        return {(action, each["Resource"]) for each in document["Statement"] for action in each["Action"]}

    assert all(size_of(part) <= limit for part in parts)
    assert set().union(*map(allowed, parts)) == allowed(policy)
    assert sum(len(allowed(part)) for part in parts) == len(allowed(policy))

"""Every text of a grant makes the same role in AWS, and that role lets Coreo in with the external id alone."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from coreo_api.accounts.trust import trust_policy
from coreo_api.grants import cloudformation, commands
from coreo_api.grants.grant import Grant, Level, security_audit
from coreo_api.settings import ApiSettings
from coreo_embedded.deploy import COREO_ACCOUNT, Deployment
from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.catalogue import load_catalogue
from coreo_shared.crypto.jose import generate_key, public_jwk
from coreo_shared.rules.needs import needs_of
from tests.support.aws import refusal, role_credentials
from tests.support.templates import CUSTOMER_TEMPLATE

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient

EXTERNAL_ID, WRONG = "5f0c" * 8, "0" * 32
LEVELS = [Level.AUDIT, Level.EXACT]
NewAccount = Callable[[], str]


@pytest.fixture
def grant(deployment: Deployment, new_account: NewAccount, level: Level) -> Grant:
    """A grant in an untouched account, as the api makes it for the deployed roles."""
    url = "postgresql+asyncpg://coreo_api:x@127.0.0.1:9/coreo_api"
    settings = ApiSettings(
        database_url=url,
        system_database_url=url,
        results_url="http://results",
        signing_jwk=json.dumps(generate_key()),
        queue_url_audit="http://queue/1/audit",
        queue_url_deploy="http://queue/1/deploy",
        queue_url_onboard="http://queue/1/onboard",
        onboard_fleet_jwks=json.dumps({"keys": [public_jwk(generate_key())]}),
        aws_account_id=COREO_ACCOUNT,
        audit_worker_role_arn=deployment.role_arns["worker-audit"],
        deploy_worker_role_arn=deployment.role_arns["worker-deploy"],
        onboard_worker_role_arn=deployment.role_arns["worker-onboard"],
    )
    actions = (
        needs_of(load_catalogue(), load_catalogue().rule_sets["cis-aws-5.0"]).actions
        if level is Level.EXACT
        else frozenset()
    )
    return Grant(
        level=level,
        partition="aws",
        account_id=new_account(),
        role_name="CoreoAudit",
        external_ids=(EXTERNAL_ID,),
        trust_policy=trust_policy(settings, EXTERNAL_ID),
        managed_policy_arns=() if actions else (security_audit("aws"),),
        actions=tuple(sorted(actions)),
    )


def deploy(aws: Simulator, account: str, template: str, parameters: Mapping[str, str]) -> None:
    """Makes the stack as a customer would."""
    made: CloudFormationClient = aws.root_client("cloudformation", account)
    made.create_stack(
        StackName="coreo-role",
        TemplateBody=template,
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    made.get_waiter("stack_create_complete").wait(StackName="coreo-role", WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def role_in(aws: Simulator, grant: Grant) -> dict[str, Any]:
    """What is there now: trust, attached policies, and all (effect, action, resource) of inline policies."""
    iam: IAMClient = aws.root_client("iam", grant.account_id)
    role = iam.get_role(RoleName=grant.role_name)["Role"]
    inline: list[Any] = [
        iam.get_role_policy(RoleName=grant.role_name, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=grant.role_name)["PolicyNames"]
    ]
    attached = iam.list_attached_role_policies(RoleName=grant.role_name)["AttachedPolicies"]
    return {
        "arn": role["Arn"],
        "description": role.get("Description"),
        "session": role.get("MaxSessionDuration"),
        "trust": [_plain(each) for each in _document(role["AssumeRolePolicyDocument"])["Statement"]],
        "attached": sorted(each["PolicyArn"] for each in attached),
        "allowed": {
            (each["Effect"], action, each["Resource"])
            for document in inline
            for each in _document(document)["Statement"]
            for action in _list(each["Action"])
        },
    }


def _document(document: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    return read


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _plain(statement: dict[str, Any]) -> dict[str, Any]:
    """The statement with one way of writing one principal and one external id."""
    condition = {"StringEquals": {"sts:ExternalId": _list(statement["Condition"]["StringEquals"]["sts:ExternalId"])}}
    return {**statement, "Principal": {"AWS": _list(statement["Principal"]["AWS"])}, "Condition": condition}


def run(aws: Simulator, grant: Grant) -> None:
    """The grant's commands, each taken apart as shell and CLI do and done through the SDK."""
    iam: IAMClient = aws.root_client("iam", grant.account_id)
    for line in commands.role_commands(grant):
        _aws, service, name, *rest = shlex.split(line)
        assert service == "iam"
        options = dict(zip(rest[::2], rest[1::2], strict=True))
        arguments: dict[str, Any] = {
            "".join(word.capitalize() for word in option.removeprefix("--").split("-")): value
            for option, value in options.items()
            if option not in {"--query", "--output"}
        }
        if "MaxSessionDuration" in arguments:
            arguments["MaxSessionDuration"] = int(arguments["MaxSessionDuration"])
        if "PolicyArn" in arguments:
            arguments["PolicyArn"] = options["--policy-arn"]
        getattr(iam, name.replace("-", "_"))(**arguments)


@pytest.fixture(scope="session")
def worker(aws: Simulator, deployment: Deployment) -> Credentials:
    return role_credentials(aws, deployment, "worker-audit")


@pytest.mark.parametrize("level", LEVELS)
def test_all_texts_make_the_same_role(aws: Simulator, grant: Grant, new_account: NewAccount) -> None:
    def elsewhere() -> Grant:
        return replace(grant, account_id=new_account())

    by_template, by_link, by_commands = grant, elsewhere(), elsewhere()
    deploy(aws, by_template.account_id, cloudformation.template(by_template), {})
    url = cloudformation.quick_create_url(by_link, "https://example.com/coreo-role.yaml")
    assert url is not None
    query = parse_qs(urlsplit(url).fragment.partition("?")[2])
    parameters = {name.removeprefix("param_"): each[0] for name, each in query.items() if name.startswith("param_")}
    deploy(aws, by_link.account_id, CUSTOMER_TEMPLATE.read_text(), parameters)
    run(aws, by_commands)

    one, two, three = (
        json.loads(json.dumps(role_in(aws, each), default=sorted).replace(each.account_id, grant.account_id))
        for each in (by_template, by_link, by_commands)
    )
    assert one["arn"] == grant.role_arn
    assert one["attached"] or one["allowed"]
    assert one == two == three


@pytest.mark.parametrize("level", LEVELS)
def test_role_of_the_template_lets_coreo_in_with_the_external_id_alone(
    aws: Simulator, grant: Grant, worker: Credentials
) -> None:
    deploy(aws, grant.account_id, cloudformation.template(grant), {})
    sts: STSClient = aws.client("sts", worker)

    def tried(**arguments: str) -> str | None:
        return refusal(lambda: sts.assume_role(RoleArn=grant.role_arn, RoleSessionName="coreo", **arguments))  # type: ignore[arg-type]  # optional arguments by name

    assert tried(ExternalId=EXTERNAL_ID) is None
    assert tried() == "AccessDenied"
    assert tried(ExternalId=WRONG) == "AccessDenied"


@pytest.mark.parametrize("level", [Level.EXACT])
def test_exact_role_does_what_its_rules_need_and_no_more(aws: Simulator, grant: Grant, worker: Credentials) -> None:
    deploy(aws, grant.account_id, cloudformation.template(grant), {})
    sts: STSClient = aws.client("sts", worker)
    keys = sts.assume_role(RoleArn=grant.role_arn, RoleSessionName="coreo", ExternalId=EXTERNAL_ID)["Credentials"]
    session = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    assert refusal(lambda: aws.client("s3", session).list_buckets()) is None
    assert refusal(lambda: aws.client("iam", session).create_user(UserName="x")) == "AccessDenied"


@pytest.mark.parametrize("level", [Level.AUDIT])
def test_stack_of_another_account_takes_its_own_external_id(
    aws: Simulator, grant: Grant, new_account: NewAccount, worker: Credentials
) -> None:
    """As a stack set makes it: the same template, with the external id given for each account."""
    other, its_own = replace(grant, account_id=new_account()), "ab12" * 8
    deploy(aws, other.account_id, cloudformation.template(grant), {"ExternalId": its_own})
    sts: STSClient = aws.client("sts", worker)

    def tried(external_id: str) -> str | None:
        return refusal(lambda: sts.assume_role(RoleArn=other.role_arn, RoleSessionName="coreo", ExternalId=external_id))

    assert tried(its_own) is None
    assert tried(EXTERNAL_ID) == "AccessDenied"

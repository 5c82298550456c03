"""Our roles in the simulator, made by infra/cloudformation: each can do its work there and nothing else."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from coreo_embedded.deploy import COREO_ACCOUNT, Deployment, Pool, Service
from coreo_embedded.simulator import Credentials, Simulator
from tests.support.aws import refusal, role_credentials

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient

SERVICES: tuple[Service, ...] = ("api", "results", "worker-audit", "worker-deploy", "worker-onboard")
POOLS: tuple[Pool, ...] = ("audit", "deploy", "onboard")
CUSTOMER = "333333333333"
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")

# What each role may do, of everything that CALLS tries.
ALLOWED: dict[Service, set[str]] = {
    "api": {f"sqs:SendMessage {pool}" for pool in POOLS},
    "results": {"kms:Encrypt", "kms:Decrypt"},
    "worker-audit": {"sts:AssumeRole customer"},
    "worker-deploy": {"sts:AssumeRole customer"},
    "worker-onboard": {"sts:AssumeRole customer"},
}
for _pool in POOLS:
    ALLOWED[f"worker-{_pool}"] |= {  # type: ignore[index]  # the pools' roles, by name
        f"sqs:{action} {_pool}" for action in ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
    }


@pytest.fixture(scope="session")
def customer_role(aws: Simulator) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{COREO_ACCOUNT}:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": "right"}},
            }
        ],
    }
    iam: IAMClient = aws.root_client("iam", CUSTOMER)
    return iam.create_role(RoleName="customer", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]


def queue_calls(sqs: Any, deployment: Deployment) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {"sqs:CreateQueue": lambda: sqs.create_queue(QueueName="new")}
    urls = {pool: deployment.queue_urls[pool] for pool in POOLS}
    urls |= {f"{pool} dead letters": url for pool, url in deployment.dead_letter_urls.items()}  # type: ignore[misc]  # labels
    for name, url in urls.items():

        def receive(url: str = url) -> object:
            return sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0, VisibilityTimeout=0)

        def delete(url: str = url) -> object:
            return sqs.delete_message(QueueUrl=url, ReceiptHandle="unknown")

        def change(url: str = url) -> object:
            return sqs.change_message_visibility(QueueUrl=url, ReceiptHandle="unknown", VisibilityTimeout=0)

        def send(url: str = url) -> object:
            return sqs.send_message(QueueUrl=url, MessageBody="job")

        def purge(url: str = url) -> object:
            return sqs.purge_queue(QueueUrl=url)

        def read(url: str = url) -> object:
            return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

        calls |= {
            f"sqs:ReceiveMessage {name}": receive,
            f"sqs:DeleteMessage {name}": delete,
            f"sqs:ChangeMessageVisibility {name}": change,
            f"sqs:SendMessage {name}": send,
            f"sqs:PurgeQueue {name}": purge,
            f"sqs:GetQueueAttributes {name}": read,
        }
    return calls


def other_calls(
    aws: Simulator, credentials: Credentials, deployment: Deployment, customer_role: str, ciphertext: bytes
) -> dict[str, Callable[[], object]]:
    sts: STSClient = aws.client("sts", credentials)
    kms = aws.client("kms", credentials)
    s3, iam, ec2 = (aws.client(name, credentials) for name in ("s3", "iam", "ec2"))
    key = deployment.key_arn

    def assume(role: str) -> object:
        return sts.assume_role(RoleArn=role, RoleSessionName="test", ExternalId="right")

    return {
        "sts:AssumeRole customer": lambda: assume(customer_role),
        "kms:Encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=b"key", EncryptionContext={"team": "1"}),
        "kms:Decrypt": lambda: kms.decrypt(CiphertextBlob=ciphertext, KeyId=key, EncryptionContext={"team": "1"}),
        "kms:GenerateDataKey": lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        "kms:DescribeKey": lambda: kms.describe_key(KeyId=key),
        "kms:ScheduleKeyDeletion": lambda: kms.schedule_key_deletion(KeyId=key),
        "kms:PutKeyPolicy": lambda: kms.put_key_policy(KeyId=key, Policy="{}"),
        "kms:ListKeys": kms.list_keys,
        "s3:ListAllMyBuckets": s3.list_buckets,
        "s3:CreateBucket": lambda: s3.create_bucket(Bucket="coreo-own"),
        "iam:ListRoles": iam.list_roles,
        "iam:CreateUser": lambda: iam.create_user(UserName="intruder"),
        "ec2:DescribeInstances": ec2.describe_instances,
    } | {f"sts:AssumeRole {arn}": lambda arn=arn: assume(arn) for arn in deployment.role_arns.values()}


@pytest.mark.parametrize("service", SERVICES)
def test_role_can_do_its_work_and_nothing_else(
    aws: Simulator, deployment: Deployment, customer_role: str, service: Service
) -> None:
    results = aws.client("kms", role_credentials(aws, deployment, "results"))
    encrypted = results.encrypt(KeyId=deployment.key_arn, Plaintext=b"key", EncryptionContext={"team": "1"})
    credentials = role_credentials(aws, deployment, service)
    calls = queue_calls(aws.client("sqs", credentials), deployment)
    calls |= other_calls(aws, credentials, deployment, customer_role, encrypted["CiphertextBlob"])

    allowed = {name for name, call in calls.items() if refusal(call) not in DENIED}

    assert allowed == ALLOWED[service]


def test_launcher_can_only_become_our_roles(aws: Simulator, deployment: Deployment, customer_role: str) -> None:
    sts: STSClient = aws.client("sts", deployment.launcher)
    queue = deployment.queue_urls["audit"]

    assert (
        refusal(lambda: sts.assume_role(RoleArn=customer_role, RoleSessionName="test", ExternalId="right"))
        == "AccessDenied"
    )
    assert (
        refusal(lambda: aws.client("sqs", deployment.launcher).send_message(QueueUrl=queue, MessageBody="job"))
        == "AccessDenied"
    )


def test_batch_operations_need_actions_that_aws_does_not_have(aws: Simulator, deployment: Deployment) -> None:
    """A difference to AWS, where it counts as sqs:SendMessage: so our services send and delete one by one."""
    sqs = aws.client("sqs", role_credentials(aws, deployment, "api"))
    entries = [{"Id": "1", "MessageBody": "job"}]

    assert (
        refusal(lambda: sqs.send_message_batch(QueueUrl=deployment.queue_urls["audit"], Entries=entries))
        == "AccessDenied"
    )


def test_external_id_is_unknown_in_the_callers_policies(
    aws: Simulator, customer_role: str, new_account: Callable[[], str]
) -> None:
    """A difference to AWS, and why the stack deploys roles.yaml with RequireExternalId=false."""
    iam: IAMClient = aws.root_client("iam", COREO_ACCOUNT)
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Resource": customer_role,
        "Condition": {"Null": {"sts:ExternalId": "false"}},
    }
    name = f"user-{new_account()}"
    iam.create_user(UserName=name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="assume", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    sts: STSClient = aws.client("sts", Credentials(key["AccessKeyId"], key["SecretAccessKey"]))

    assert (
        refusal(lambda: sts.assume_role(RoleArn=customer_role, RoleSessionName="test", ExternalId="right"))
        == "AccessDenied"
    )

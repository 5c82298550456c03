"""SQS as the dispatcher and the workers rely on it: visibility, redelivery, dead letters, long polls."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ReadTimeoutError

from coreo_embedded.deploy import Deployment, deploy
from coreo_embedded.simulator import Simulator
from tests.support.aws import refusal, role_credentials

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef


@pytest.fixture
def sqs(aws: Simulator, new_account: Callable[[], str]) -> "SQSClient":
    client: SQSClient = aws.root_client("sqs", new_account())
    return client


def receive(sqs: "SQSClient", queue: str, *, wait: int = 0, visibility: int = 60) -> "MessageTypeDef | None":
    answer = sqs.receive_message(
        QueueUrl=queue,
        WaitTimeSeconds=wait,
        VisibilityTimeout=visibility,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    return next(iter(answer.get("Messages", [])), None)


def test_received_message_stays_hidden_until_its_visibility_ends(sqs: "SQSClient") -> None:
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="job")

    first = receive(sqs, queue, visibility=1)
    hidden = receive(sqs, queue)
    again = receive(sqs, queue, wait=5)

    assert first is not None
    assert hidden is None
    assert again is not None
    assert again["MessageId"] == first["MessageId"]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


def test_visibility_can_be_prolonged_and_given_up(sqs: "SQSClient") -> None:
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="job")
    message = receive(sqs, queue, visibility=1)
    assert message is not None

    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60)
    prolonged = receive(sqs, queue, wait=2)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)

    assert prolonged is None
    assert receive(sqs, queue) is not None


def test_deleted_message_never_comes_back(sqs: "SQSClient") -> None:
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="job")
    message = receive(sqs, queue, visibility=1)
    assert message is not None

    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    assert receive(sqs, queue, wait=2) is None


def test_batches_are_received_and_answered_one_by_one(sqs: "SQSClient") -> None:
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    sent = sqs.send_message_batch(
        QueueUrl=queue, Entries=[{"Id": str(number), "MessageBody": f"job {number}"} for number in range(10)]
    )
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    deleted = sqs.delete_message_batch(
        QueueUrl=queue,
        Entries=[{"Id": "good", "ReceiptHandle": messages[0]["ReceiptHandle"]}, {"Id": "bad", "ReceiptHandle": ""}],
    )

    assert len(sent["Successful"]) == 10
    assert {message["Body"] for message in messages} == {f"job {number}" for number in range(10)}
    assert [entry["Id"] for entry in deleted["Successful"]] == ["good"]
    assert [entry["Id"] for entry in deleted["Failed"]] == ["bad"]


def test_job_given_up_five_times_becomes_a_dead_letter(aws: Simulator, new_account: Callable[[], str]) -> None:
    own = deploy(aws, account_id=new_account())
    sqs: SQSClient = aws.root_client("sqs", own.account_id)
    sqs.send_message(QueueUrl=own.queue_urls["audit"], MessageBody="poison")

    counts = []
    while (message := receive(sqs, own.queue_urls["audit"], visibility=0)) is not None:
        counts.append(message["Attributes"]["ApproximateReceiveCount"])
    dead = receive(sqs, own.dead_letter_urls["audit"])

    assert counts == ["1", "2", "3", "4", "5"]
    assert dead is not None
    assert dead["Body"] == "poison"


def test_onboarding_jobs_are_never_kept_as_dead_letters(aws: Simulator, deployment: Deployment) -> None:
    sqs: SQSClient = aws.root_client("sqs", deployment.account_id)
    attributes = sqs.get_queue_attributes(QueueUrl=deployment.queue_urls["onboard"], AttributeNames=["All"])[
        "Attributes"
    ]

    assert attributes["MessageRetentionPeriod"] == "300"
    assert "RedrivePolicy" not in attributes


@pytest.mark.parametrize("pool", ["audit", "deploy", "onboard"])
def test_queues_are_encrypted_without_a_customer_key(aws: Simulator, deployment: Deployment, pool: str) -> None:
    sqs: SQSClient = aws.root_client("sqs", deployment.account_id)
    url = deployment.queue_urls[pool]  # type: ignore[index]  # a pool by its name
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]

    assert attributes["SqsManagedSseEnabled"] == "true"
    assert "KmsMasterKeyId" not in attributes


def test_long_poll_wakes_when_a_message_comes(aws: Simulator, sqs: "SQSClient") -> None:
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    before = len(aws.requests)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive, sqs, queue, wait=20)
        while not any(request.operation == "ReceiveMessage" for request in aws.requests[before:]):
            assert not waiting.done()
        sqs.send_message(QueueUrl=queue, MessageBody="job")
        message = waiting.result(timeout=5)

    assert message is not None


def test_consumer_that_hangs_up_swallows_no_message(aws: Simulator, sqs: "SQSClient") -> None:
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    credentials = aws.root_credentials(queue.split("/")[-2])
    impatient: SQSClient = aws.client("sqs", credentials, read_timeout=1)
    with pytest.raises(ReadTimeoutError):
        receive(impatient, queue, wait=20)
    sqs.send_message(QueueUrl=queue, MessageBody="job")

    assert receive(sqs, queue, wait=5) is not None


def test_messages_may_carry_a_group_on_a_standard_queue(aws: Simulator, deployment: Deployment) -> None:
    sqs: SQSClient = aws.client("sqs", role_credentials(aws, deployment, "api"))

    answer = sqs.send_message(QueueUrl=deployment.queue_urls["deploy"], MessageBody="job", MessageGroupId="team")

    assert answer["MessageId"]


def test_queue_urls_lead_through_the_proxy(aws: Simulator, deployment: Deployment, sqs: "SQSClient") -> None:
    created = sqs.create_queue(QueueName="jobs")["QueueUrl"]

    assert created.startswith(aws.endpoint_url)
    assert all(url.startswith(aws.endpoint_url) for url in deployment.queue_urls.values())


def test_plain_http_is_refused_where_the_template_asks_for_tls(aws: Simulator, sqs: "SQSClient") -> None:
    """Why the stack deploys queues.yaml with RequireTls=false: its statement works, and loopback speaks HTTP."""
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})

    assert refusal(lambda: sqs.send_message(QueueUrl=queue, MessageBody="job")) == "AccessDenied"

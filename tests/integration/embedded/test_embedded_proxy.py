"""The proxy in front of the simulated AWS: nothing passes unseen, and faults come as ordered."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
import psutil
import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from coreo_embedded.calls import AwsRequest
from coreo_embedded.deploy import Deployment
from coreo_embedded.faults import Fault, FaultError, Kind
from coreo_embedded.simulator import Credentials, Simulator, SimulatorError
from tests.support.aws import refusal, role_credentials

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient


def last(aws: Simulator, service: str) -> AwsRequest:
    return [request for request in aws.requests if request.service == service][-1]


def test_log_names_service_operation_and_role(aws: Simulator, deployment: Deployment) -> None:
    credentials = role_credentials(aws, deployment, "api")
    aws.client("sqs", credentials).send_message(QueueUrl=deployment.queue_urls["audit"], MessageBody="job")

    request = last(aws, "sqs")

    assert (request.operation, request.role, request.account) == ("SendMessage", "coreo-api", deployment.account_id)
    assert request.access_key_id == credentials.access_key_id
    assert request.status == 200


def test_log_keeps_what_an_assume_role_asked_for(aws: Simulator, deployment: Deployment) -> None:
    sts = aws.client("sts", role_credentials(aws, deployment, "worker-audit"))
    role = "arn:aws:iam::555555555555:role/customer"
    refused = refusal(lambda: sts.assume_role(RoleArn=role, RoleSessionName="run", ExternalId="id", Policy="{}"))

    request = last(aws, "sts")

    assert refused is not None
    assert request.role == "coreo-worker-audit"
    assert request.parameters == {"RoleArn": role, "RoleSessionName": "run", "ExternalId": "id", "Policy": "{}"}


def test_rest_operations_are_named_and_uploads_pass_whole(aws: Simulator, new_account: Callable[[], str]) -> None:
    account = new_account()
    s3: S3Client = aws.root_client("s3", account)
    before = len(aws.requests)
    bucket, body = f"bucket-{account}", b"x" * 3_000_000
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a b/c+d.bin", Body=body)
    read = s3.get_object(Bucket=bucket, Key="a b/c+d.bin")["Body"].read()
    s3.get_bucket_encryption(Bucket=bucket)

    assert read == body
    operations = [request.operation for request in aws.requests[before:]]
    assert operations == ["CreateBucket", "PutObject", "GetObject", "GetBucketEncryption"]


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        (
            "throttle",
            {"sqs": "ThrottlingException", "s3": "SlowDown", "iam": "Throttling", "ec2": "RequestLimitExceeded"},
        ),
        (
            "deny",
            {
                "sqs": "AccessDeniedException",
                "s3": "AccessDenied",
                "iam": "AccessDenied",
                "ec2": "UnauthorizedOperation",
            },
        ),
        (
            "expired",
            {"sqs": "ExpiredTokenException", "s3": "ExpiredToken", "iam": "ExpiredToken", "ec2": "RequestExpired"},
        ),
        ("error", dict.fromkeys(("sqs", "s3", "iam", "ec2"), "InternalFailure")),
        ("unavailable", dict.fromkeys(("sqs", "s3", "iam", "ec2"), "ServiceUnavailable")),
    ],
)
def test_fault_comes_in_each_services_own_form(
    aws: Simulator, new_account: Callable[[], str], kind: Kind, codes: dict[str, str]
) -> None:
    account = new_account()
    calls = {"sqs": "list_queues", "s3": "list_buckets", "iam": "list_users", "ec2": "describe_vpcs"}
    for service, operation in calls.items():
        call = getattr(aws.root_client(service, account), operation)
        with aws.fault(kind=kind, service=service) as fault:
            assert refusal(call) == codes[service]
        assert refusal(call) is None
        assert fault.hits == 1


def test_fault_hits_only_what_it_names_and_as_often_as_told(aws: Simulator, deployment: Deployment) -> None:
    api = aws.client("sqs", role_credentials(aws, deployment, "api"))
    worker = aws.client("sqs", role_credentials(aws, deployment, "worker-audit"))
    queue = deployment.queue_urls["audit"]

    def send() -> object:
        return api.send_message(QueueUrl=queue, MessageBody="job")

    def receive() -> object:
        return worker.receive_message(QueueUrl=queue, WaitTimeSeconds=0, VisibilityTimeout=0)

    with aws.fault(kind="error", service="sqs", role="coreo-api", times=2):
        answers = [refusal(call) for call in (receive, send, receive, send, send)]

    assert answers == [None, "InternalFailure", None, "InternalFailure", None]


def test_disconnect_and_hang_look_like_a_broken_network(aws: Simulator, new_account: Callable[[], str]) -> None:
    sqs: SQSClient = aws.client("sqs", aws.root_credentials(new_account()), read_timeout=0.3)

    with aws.fault(kind="disconnect", service="sqs"), pytest.raises(ConnectionClosedError):
        sqs.list_queues()
    assert last(aws, "sqs").status is None
    with aws.fault(kind="hang", service="sqs"), pytest.raises(ReadTimeoutError):
        sqs.list_queues()
    assert sqs.list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_what_is_lost_or_muted_was_done(aws: Simulator, new_account: Callable[[], str]) -> None:
    sqs: SQSClient = aws.client("sqs", aws.root_credentials(new_account()), read_timeout=0.5)

    with aws.fault(kind="lose", operation="CreateQueue") as fault, pytest.raises(ConnectionClosedError):
        sqs.create_queue(QueueName="lost")
    with aws.fault(kind="mute", operation="CreateQueue"), pytest.raises(ReadTimeoutError):
        sqs.create_queue(QueueName="muted")

    assert fault.hits == 1
    assert [url.rpartition("/")[2] for url in sqs.list_queues()["QueueUrls"]] == ["lost", "muted"]
    made = [request.status for request in aws.requests if request.operation == "CreateQueue"]
    assert made[-2:] == [200, 200]


def test_what_a_client_gave_up_waiting_for_is_in_the_log(aws: Simulator, new_account: Callable[[], str]) -> None:
    sqs: SQSClient = aws.client("sqs", aws.root_credentials(new_account()), read_timeout=0.5)
    simulator = psutil.Process(aws.pid)

    simulator.suspend()
    try:
        with pytest.raises(ReadTimeoutError):
            sqs.create_queue(QueueName="slow")
        given_up = last(aws, "sqs")
        assert last(aws, "sqs").status is None
    finally:
        simulator.resume()

    assert [url.rpartition("/")[2] for url in sqs.list_queues()["QueueUrls"]] == ["slow"]
    while given_up.status is None:
        time.sleep(0.01)
    assert given_up.status == 200


def test_fault_for_what_names_a_thing_spares_the_rest(aws: Simulator, new_account: Callable[[], str]) -> None:
    cloudformation = aws.root_client("cloudformation", new_account())

    def ask(name: str) -> str | None:
        return refusal(lambda: cloudformation.list_change_sets(StackName=name))

    with aws.fault(kind="throttle", service="cloudformation", containing="this-one"):
        codes = [ask("this-one"), ask("other")]

    assert codes == ["Throttling", None]


def test_lifted_hang_lets_the_request_through(aws: Simulator, new_account: Callable[[], str]) -> None:
    sqs: SQSClient = aws.root_client("sqs", new_account())
    with ThreadPoolExecutor(1) as pool:
        with aws.fault(kind="hang", service="sqs") as fault:
            asking = pool.submit(sqs.list_queues)
            while fault.hits == 0:
                assert not asking.done()
            assert not asking.done()

        assert asking.result(timeout=5)["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("sqs", "list_queues", "InvalidSignatureException"),
        ("iam", "list_users", "SignatureDoesNotMatch"),
        ("ec2", "describe_vpcs", "RequestExpired"),
        ("s3", "list_buckets", "RequestTimeTooSkewed"),
    ],
)
def test_requests_signed_more_than_five_minutes_ago_are_refused_when_asked_for(
    aws: Simulator, new_account: Callable[[], str], service: str, call: str, code: str
) -> None:
    ask = getattr(aws.root_client(service, new_account()), call)
    with aws.fault(kind="stale", service=service):
        assert refusal(ask) is None
    with aws.fault(kind="stale", service=service, seconds=290):
        assert refusal(ask) is None
    with aws.fault(kind="stale", service=service, seconds=310):
        assert refusal(ask) == code


def test_a_new_role_cannot_be_assumed_until_it_has_settled(aws: Simulator, new_account: Callable[[], str]) -> None:
    account = new_account()
    iam, sts = aws.root_client("iam", account), aws.root_client("sts", account)
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    new = iam.create_role(RoleName="new", Path="/a/", AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def assume() -> object:
        return sts.assume_role(RoleArn=new, RoleSessionName="settled")

    with aws.fault(kind="settle", seconds=3600) as fault:
        assert refusal(assume) == "AccessDenied"
        assert refusal(sts.get_caller_identity) is None
    assert fault.hits == 1
    with aws.fault(kind="settle", seconds=0.001):
        assert refusal(assume) is None


def test_other_processes_order_faults_and_read_the_log(aws: Simulator, new_account: Callable[[], str]) -> None:
    sqs: SQSClient = aws.root_client("sqs", new_account())
    control = f"{aws.endpoint_url}/_coreo"
    before = httpx.get(f"{control}/requests", params={"after": 10**9}).json()["next"]
    ordered = httpx.post(f"{control}/faults", json={"kind": "throttle", "service": "sqs"})

    assert refusal(sqs.list_queues) == "ThrottlingException"
    assert httpx.delete(f"{control}/faults/{ordered.json()['id']}").status_code == 204
    assert refusal(sqs.list_queues) is None
    seen = httpx.get(f"{control}/requests", params={"after": before}).json()["requests"]
    assert [(request["operation"], request["status"]) for request in seen] == [("ListQueues", 400), ("ListQueues", 200)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "explode"}, "kind"),
        ({"kind": "delay"}, "seconds"),
        ({"kind": "error", "times": "two"}, "times"),
        ({"kind": "error", "times": True}, "times"),
        ({"kind": "error", "colour": "red"}, "unknown field"),
    ],
)
def test_fault_that_makes_no_sense_is_refused_by_field(aws: Simulator, body: dict[str, object], field: str) -> None:
    answer = httpx.post(f"{aws.endpoint_url}/_coreo/faults", json=body)

    assert answer.status_code == 400
    assert field in answer.json()["detail"]


def test_unknown_kind_of_fault_is_refused() -> None:
    with pytest.raises(FaultError, match="kind"):
        Fault(kind="explode")  # type: ignore[arg-type]  # the point of the test


def test_account_root_needs_the_launchers_token(aws: Simulator, new_account: Callable[[], str]) -> None:
    root = aws.root_credentials(new_account())
    impostors = [
        Credentials(root.access_key_id, root.secret_access_key),
        Credentials(root.access_key_id, root.secret_access_key, "guessed"),
        Credentials("test", "test"),
    ]

    assert refusal(aws.client("sqs", root).list_queues) is None
    for impostor in impostors:
        assert refusal(aws.client("sqs", impostor).list_queues) == "AccessDeniedException"


@pytest.mark.parametrize("path", ["/", "/some-bucket/some-key", "/_ministack/health", "/_localstack/health"])
def test_unsigned_request_gets_nowhere(aws: Simulator, path: str) -> None:
    assert httpx.get(aws.endpoint_url + path).status_code == 403
    assert httpx.post(aws.endpoint_url + path).status_code == 403


def test_simulator_listens_on_the_proxys_port_alone(aws: Simulator) -> None:
    listening = [connection.laddr for connection in psutil.Process(aws.pid).net_connections("inet")]

    assert listening == []


def test_too_long_a_folder_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="shorter folder"):
        Simulator.start(tmp_path / ("x" * 120))


def test_missing_interpreter_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREO_SIMULATOR_PYTHON", str(tmp_path / "python"))

    with pytest.raises(SimulatorError, match="make setup"):
        Simulator.start(tmp_path)


def test_secrets_do_not_show_in_a_repr(aws: Simulator) -> None:
    root = aws.root_credentials("555555555555")

    assert root.session_token is not None
    assert root.session_token not in repr(root)


def test_boto3_works_with_the_environment_alone(
    aws: Simulator, new_account: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = new_account()
    for name, value in aws.root_credentials(account).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)

    assert boto3.session.Session(region_name="eu-west-1").client("sts").get_caller_identity()["Account"] == account

"""An estate in moto for counting requests. It imports nothing of Coreo: another tool's interpreter can make it too."""

import json
import os
from typing import Any

import boto3

ACCOUNT = "123456789012"  # moto's
REGION = "eu-west-1"
BUCKETS, GROUPS, USERS, ROLES, POLICIES, KEYS, TOPICS = 20, 30, 20, 10, 10, 5, 5
SERVICES = ("cloudtrail", "ec2", "iam", "kms", "rds", "s3", "sns", "sqs")


def prepare() -> None:
    """What moto and the SDK read at their start."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_DEFAULT_REGION=REGION,
        MOTO_EC2_LOAD_DEFAULT_AMIS="false",
        MOTO_IAM_LOAD_MANAGED_POLICIES="true",
    )
    os.environ.pop("AWS_ENDPOINT_URL", None)


def make() -> None:
    """The resources, within moto's mock_aws."""
    _storage()
    _network()
    _identities()
    _others()


def _client(service: Any) -> Any:
    return boto3.client(service, region_name=REGION)


def _storage() -> None:
    s3 = _client("s3")
    for number in range(BUCKETS):
        s3.create_bucket(Bucket=f"bucket-{number}", CreateBucketConfiguration={"LocationConstraint": REGION})
    _client("cloudtrail").create_trail(Name="trail", S3BucketName="bucket-0", IsMultiRegionTrail=True)
    _client("rds").create_db_instance(
        DBInstanceIdentifier="db",
        DBInstanceClass="db.t3.medium",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        MasterUserPassword="Correct-horse-9",
    )


def _network() -> None:
    ec2 = _client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for number in range(GROUPS):
        group = ec2.create_security_group(GroupName=f"group-{number}", Description="d", VpcId=vpc)["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
    image = ec2.register_image(Name="image", RootDeviceName="/dev/sda1")["ImageId"]
    ec2.run_instances(ImageId=image, MinCount=5, MaxCount=5)


def _identities() -> None:
    iam = _client("iam")
    trust = _document(Principal={"Service": "ec2.amazonaws.com"}, Action="sts:AssumeRole")
    for number in range(USERS):
        iam.create_user(UserName=f"user-{number}")
        iam.create_access_key(UserName=f"user-{number}")
        iam.create_login_profile(UserName=f"user-{number}", Password="Correct-horse-9")
    for number in range(POLICIES):
        iam.create_policy(PolicyName=f"policy-{number}", PolicyDocument=_document(Action="s3:*", Resource="*"))
    for number in range(ROLES):
        iam.create_role(RoleName=f"role-{number}", AssumeRolePolicyDocument=trust)
        arn = f"arn:aws:iam::{ACCOUNT}:policy/policy-{number % POLICIES}"
        iam.attach_role_policy(RoleName=f"role-{number}", PolicyArn=arn)
    iam.attach_role_policy(RoleName="role-0", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")


def _others() -> None:
    for _ in range(KEYS):
        _client("kms").create_key()
    for number in range(TOPICS):
        _client("sns").create_topic(Name=f"topic-{number}")
        _client("sqs").create_queue(QueueName=f"queue-{number}")


def _document(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow"} | statement})

"""What is stored: buckets, keys, secrets, tables, streams, files."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.moto_aws import ACCOUNT, REGION
from tests.support.moto_estate.base import Expected, both, client, function, plant, public, said


@plant
def _s3() -> Iterator[Expected]:
    s3 = client("s3")
    where = {"LocationConstraint": REGION}
    for name in ("bad-bucket", "good-bucket", "logs-bucket"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    s3.put_bucket_policy(Bucket="bad-bucket", Policy=public("s3:GetObject", "arn:aws:s3:::bad-bucket/*"))
    s3.put_bucket_acl(Bucket="bad-bucket", ACL="public-read")
    s3.delete_public_access_block(Bucket="bad-bucket")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::good-bucket", "arn:aws:s3:::good-bucket/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket="good-bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    rule: Any = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="good-bucket", ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_versioning(Bucket="good-bucket", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_acl(Bucket="logs-bucket", ACL="log-delivery-write")
    s3.put_bucket_logging(
        Bucket="good-bucket",
        BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": "logs-bucket", "TargetPrefix": "good/"}},
    )
    block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket="good-bucket", PublicAccessBlockConfiguration=block)
    s3.put_bucket_ownership_controls(
        Bucket="good-bucket", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    expiry = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    s3.put_bucket_lifecycle_configuration(Bucket="good-bucket", LifecycleConfiguration={"Rules": [expiry]})
    s3.put_bucket_tagging(Bucket="good-bucket", Tagging={"TagSet": [{"Key": "Owner", "Value": "web"}]})
    yield from both(
        "bad-bucket",
        "good-bucket",
        "s3-bucket-acl-public",
        "s3-bucket-kms-encryption",
        "s3-bucket-lifecycle",
        "s3-bucket-plain-http",
        "s3-bucket-policy-public",
        "s3-bucket-public-access-block",
        "s3-bucket-access-logging",
        "s3-bucket-acl-enabled",
        "s3-bucket-tags",
        "s3-bucket-versioning",
    )
    control = client("s3control")
    for name, wanted in (("bad-point", block | {"BlockPublicPolicy": False}), ("good-point", block)):
        control.create_access_point(
            AccountId=ACCOUNT, Name=name, Bucket="good-bucket", PublicAccessBlockConfiguration=wanted
        )
    control.put_public_access_block(AccountId=ACCOUNT, PublicAccessBlockConfiguration=block)
    yield said("s3-access-point-public-access-block", "bad-point", "good-point")
    yield said("s3-account-public-access-block", passes=ACCOUNT)


@plant
def _keys_and_secrets() -> Iterator[Expected]:
    kms = client("kms")
    bad = kms.create_key(Policy=public("kms:*", "*"))["KeyMetadata"]["KeyId"]
    good = kms.create_key()["KeyMetadata"]["KeyId"]
    gone = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.enable_key_rotation(KeyId=good)
    kms.schedule_key_deletion(KeyId=gone)
    yield from both(bad, good, "kms-key-public", "kms-key-rotation")
    yield said("kms-key-pending-deletion", gone, good)
    secrets = client("secretsmanager")
    secrets.create_secret(Name="bad", SecretString="x")
    secrets.put_resource_policy(SecretId="bad", ResourcePolicy=public("secretsmanager:GetSecretValue", "*"))
    secrets.create_secret(Name="good", SecretString="x")
    secrets.rotate_secret(
        SecretId="good",
        RotationLambdaARN=function("rotate"),
        RotationRules={"AutomaticallyAfterDays": 30},
    )
    yield from both("bad", "good", "secret-public", "secret-rotation")
    yield said("secret-rotation-failing", passes="good")


@plant
def _tables_and_streams() -> Iterator[Expected]:
    table = client("dynamodb")
    schema = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    }
    table.create_table(
        TableName="bad", ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}, **schema
    )
    table.create_table(
        TableName="good",
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
        SSESpecification={"Enabled": True, "SSEType": "KMS"},
        Tags=[{"Key": "Owner", "Value": "web"}],
        **schema,
    )
    table.update_continuous_backups(
        TableName="good", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    yield from both(
        "bad",
        "good",
        "dynamodb-capacity-scaling",
        "dynamodb-deletion-protection",
        "dynamodb-point-in-time-recovery",
        "dynamodb-table-kms",
        "dynamodb-table-tags",
    )
    scaling = client("application-autoscaling")
    table.create_table(
        TableName="grows", ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}, **schema
    )
    for dimension in ("Read", "Write"):
        scaling.register_scalable_target(
            ServiceNamespace="dynamodb",
            ResourceId="table/grows",
            ScalableDimension=f"dynamodb:table:{dimension}CapacityUnits",
            MinCapacity=1,
            MaxCapacity=10,
        )
    yield said("dynamodb-capacity-scaling", passes="grows")
    kinesis = client("kinesis")
    for name in ("bad", "good"):
        kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.start_stream_encryption(StreamName="good", EncryptionType="KMS", KeyId="alias/aws/kinesis")
    kinesis.increase_stream_retention_period(StreamName="good", RetentionPeriodHours=192)
    yield from both("bad", "good", "kinesis-unencrypted", "kinesis-retention")
    firehose = client("firehose")
    target = {"RoleARN": f"arn:aws:iam::{ACCOUNT}:role/r", "BucketARN": "arn:aws:s3:::good-bucket"}
    for name in ("bad", "good"):
        firehose.create_delivery_stream(DeliveryStreamName=name, S3DestinationConfiguration=target)
    firehose.start_delivery_stream_encryption(
        DeliveryStreamName="good", DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"}
    )
    yield from both("bad", "good", "firehose-unencrypted")


@plant
def _files() -> Iterator[Expected]:
    efs = client("efs")
    bad = efs.create_file_system(CreationToken="bad", Encrypted=False)["FileSystemId"]
    good = efs.create_file_system(CreationToken="good", Encrypted=True)["FileSystemId"]
    efs.put_file_system_policy(
        FileSystemId=bad, Policy=public("elasticfilesystem:ClientMount", "*"), BypassPolicyLockoutSafetyCheck=True
    )
    yield from both(bad, good, "efs-file-system-unencrypted", "efs-file-system-policy-public")
    yield said("efs-file-system-backups", good)  # moto takes no backup policy
    open_ = efs.create_access_point(FileSystemId=good, ClientToken="a")["AccessPointId"]
    shut = efs.create_access_point(
        FileSystemId=good, ClientToken="b", PosixUser={"Uid": 1, "Gid": 1}, RootDirectory={"Path": "/app"}
    )["AccessPointId"]
    yield from both(open_, shut, "efs-access-point-root-directory", "efs-access-point-user")
    ec2 = client("ec2")
    subnets = ec2.describe_subnets()["Subnets"]
    ec2.modify_subnet_attribute(SubnetId=subnets[0]["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    ec2.modify_subnet_attribute(SubnetId=subnets[1]["SubnetId"], MapPublicIpOnLaunch={"Value": False})
    targets = [
        efs.create_mount_target(FileSystemId=good, SubnetId=subnet["SubnetId"])["MountTargetId"]
        for subnet in subnets[:2]
    ]
    yield said("efs-mount-target-public-subnet", *targets)
    yield said("ec2-subnet-public-ip", subnets[0]["SubnetId"], subnets[1]["SubnetId"])
    fsx = client("fsx")
    common: Any = {"FileSystemType": "WINDOWS", "StorageCapacity": 32, "SubnetIds": [subnets[0]["SubnetId"]]}
    bad, good = (
        fsx.create_file_system(**common, WindowsConfiguration={"ThroughputCapacity": 8, **more})["FileSystem"][
            "FileSystemId"
        ]
        for more in (
            {"DeploymentType": "SINGLE_AZ_2", "AutomaticBackupRetentionDays": 0},
            {"DeploymentType": "MULTI_AZ_1", "AutomaticBackupRetentionDays": 7},
        )
    )
    yield from both(bad, good, "fsx-backups", "fsx-multi-az")

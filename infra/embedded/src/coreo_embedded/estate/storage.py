"""Buckets, trails and databases of the estate."""

import json
from typing import TYPE_CHECKING, Any

from coreo_embedded.estate.iam import HOME
from coreo_embedded.estate.planted import Account

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail import CloudTrailClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_s3 import S3Client

# What a bucket lacks when nobody sets anything. The simulator does not keep MFA delete.
_PLAIN = frozenset(
    {
        "s3-bucket-kms-encryption",
        "s3-bucket-versioning",
        "s3-bucket-mfa-delete",
        "s3-bucket-access-logging",
        "s3-bucket-plain-http",
        "s3-bucket-lifecycle",
    }
)


def plant_storage(account: Account) -> str:
    """Makes buckets, trails and databases; returns the name of the bucket that serves as canary."""
    kms: KMSClient = account.client("kms", HOME)
    key = kms.create_key(Description="Log files")["KeyMetadata"]["Arn"]
    _log_buckets(account, key)
    canary = _open_buckets(account)
    _trails(account, key)
    _databases(account, key)
    return canary


def _bucket(account: Account, name: str, region: str, **settings: Any) -> "S3Client":
    s3: S3Client = account.client("s3", region)
    if region != HOME:
        settings["CreateBucketConfiguration"] = {"LocationConstraint": region}
    s3.create_bucket(Bucket=name, **settings)
    return s3


def _log_buckets(account: Account, key: str) -> None:
    access_logs = f"access-logs-{account.id}"
    _bucket(account, access_logs, HOME)
    account.plant("aws.s3.bucket", access_logs, HOME, fails=_PLAIN)

    name = f"audit-trail-{account.id}"
    s3 = _bucket(account, name, HOME)
    encryption: Any = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": encryption}]},
    )
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_logging(
        Bucket=name, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": access_logs, "TargetPrefix": "trail/"}}
    )
    lifecycle: Any = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 400}}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [lifecycle]})
    # A policy against plain HTTP would shut everyone out: the simulator is on plain HTTP, and enforces it.
    account.plant("aws.s3.bucket", name, HOME, fails={"s3-bucket-mfa-delete", "s3-bucket-plain-http"})


def _open_buckets(account: Account) -> str:
    website = f"website-{account.id}"
    s3 = _bucket(account, website, "eu-west-1")
    s3.delete_public_access_block(Bucket=website)
    everyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{website}/*"}
    s3.put_bucket_policy(Bucket=website, Policy=json.dumps({"Version": "2012-10-17", "Statement": everyone}))
    fails = _PLAIN | {"s3-bucket-public-access-block", "s3-bucket-policy-public"}
    account.plant("aws.s3.bucket", website, "eu-west-1", fails=fails)

    uploads = f"uploads-{account.id}"
    s3 = _bucket(account, uploads, "eu-west-1", ObjectOwnership="ObjectWriter")
    s3.delete_public_access_block(Bucket=uploads)
    s3.put_bucket_acl(Bucket=uploads, ACL="public-read")
    fails = _PLAIN | {"s3-bucket-public-access-block", "s3-bucket-acl-public", "s3-bucket-acl-enabled"}
    account.plant("aws.s3.bucket", uploads, "eu-west-1", fails=fails)

    canary = f"payroll-canary-{account.id}"
    s3 = _bucket(account, canary, "ap-southeast-2")
    s3.put_bucket_versioning(Bucket=canary, VersioningConfiguration={"Status": "Enabled"})
    account.plant("aws.s3.bucket", canary, "ap-southeast-2", fails=_PLAIN - {"s3-bucket-versioning"})
    return canary


def _trails(account: Account, key: str) -> None:
    trails: CloudTrailClient = account.client("cloudtrail", HOME)
    trails.create_trail(
        Name="organization",
        S3BucketName=f"audit-trail-{account.id}",
        IsMultiRegionTrail=True,
        EnableLogFileValidation=True,
        KmsKeyId=key,
    )
    trails.start_logging(Name="organization")
    account.plant("aws.cloudtrail.trail", "organization", HOME, fails={"cloudtrail-cloudwatch-logs"})
    account.plant("aws.cloudtrail.account", account.id, "global")

    trails = account.client("cloudtrail", "eu-west-1")
    trails.create_trail(Name="forgotten", S3BucketName=f"access-logs-{account.id}")
    fails = {
        "cloudtrail-not-logging",
        "cloudtrail-log-validation",
        "cloudtrail-kms-encryption",
        "cloudtrail-cloudwatch-logs",
        "cloudtrail-bucket-access-logging",
    }
    account.plant("aws.cloudtrail.trail", "forgotten", "eu-west-1", fails=fails)


def _databases(account: Account, key: str) -> None:
    common: Any = {
        "DBInstanceClass": "db.t3.medium",
        "AllocatedStorage": 20,
        "MasterUsername": "owner",
        "MasterUserPassword": "Correct-horse-9-battery",
    }
    rds: RDSClient = account.client("rds", HOME)
    rds.create_db_instance(
        DBInstanceIdentifier="orders",
        Engine="postgres",
        StorageEncrypted=True,
        KmsKeyId=key,
        MultiAZ=True,
        BackupRetentionPeriod=14,
        DeletionProtection=True,
        EnableIAMDatabaseAuthentication=True,
        AutoMinorVersionUpgrade=True,
        PubliclyAccessible=False,
        **common,
    )
    account.plant("aws.rds.instance", "orders", HOME)

    rds = account.client("rds", "eu-west-1")
    rds.create_db_instance(
        DBInstanceIdentifier="legacy-crm",
        Engine="mysql",
        BackupRetentionPeriod=1,
        AutoMinorVersionUpgrade=False,
        PubliclyAccessible=True,
        **common,
    )
    fails = {
        "rds-instance-public",
        "rds-instance-unencrypted",
        "rds-instance-backups",
        "rds-instance-deletion-protection",
        "rds-instance-multi-az",
        "rds-instance-minor-upgrades",
        "rds-instance-iam-authentication",
    }
    account.plant("aws.rds.instance", "legacy-crm", "eu-west-1", fails=fails)

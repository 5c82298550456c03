"""Who may do what, and who watches: identities, trails, alarms, messages."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.moto_aws import ACCOUNT, REGION
from tests.support.moto_estate.base import Expected, both, client, plant, public, role, said


@plant
def _identities() -> Iterator[Expected]:
    iam = client("iam")
    everything_ = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    little = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    for name, document in (("everything", everything_), ("little", little)):
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))
    # moto leaves the names of policies out of GetAccountAuthorizationDetails: shapes judge the rules on policies.
    for name in ("bad", "good"):
        iam.create_user(UserName=name)
    iam.create_login_profile(UserName="bad", Password="Correct-horse-9")
    iam.create_access_key(UserName="bad")
    iam.create_access_key(UserName="bad")
    iam.put_user_policy(UserName="bad", PolicyName="all", PolicyDocument=json.dumps(everything_))
    iam.create_access_key(UserName="good")
    yield from both("bad", "good", "iam-user-two-active-keys", "iam-user-direct-policies", "iam-user-admin")
    yield said("iam-user-console-mfa", "bad")
    trust: Any = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"},
    }
    iam.create_role(RoleName="open", AssumeRolePolicyDocument=json.dumps(trust))
    role("shut")
    yield said("iam-role-trusts-everyone", "open", "shut")
    iam.update_account_password_policy(MinimumPasswordLength=8, RequireSymbols=True)
    yield said("iam-password-policy-length", ACCOUNT)
    yield said("iam-password-policy-missing", passes=ACCOUNT)
    audience = {"ThumbprintList": ["a" * 40]}
    iam.create_open_id_connect_provider(Url="https://idp.example.org", **audience)
    iam.create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"], **audience
    )
    yield from both(
        "idp.example.org",
        "token.actions.githubusercontent.com",
        "iam-oidc-provider-no-audience",
        "iam-oidc-provider-unknown",
    )
    iam.create_saml_provider(SAMLMetadataDocument="a" * 1_024, Name="corporate")
    yield said("iam-saml-provider-expiring", passes="corporate")


@plant
def _watching() -> Iterator[Expected]:
    logs = client("logs")
    for name in ("bad", "good"):
        logs.create_log_group(
            logGroupName=name, **({"kmsKeyId": "arn:aws:kms:eu-west-1:1:key/k"} if name == "good" else {})
        )
    logs.put_retention_policy(logGroupName="bad", retentionInDays=7)
    logs.put_retention_policy(logGroupName="good", retentionInDays=400)
    yield from both("bad", "good", "log-group-kms", "log-group-retention")
    trails = client("cloudtrail")
    client("s3").create_bucket(Bucket="trail-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    trails.create_trail(Name="bad", S3BucketName="trail-bucket")
    trails.create_trail(
        Name="good",
        S3BucketName="trail-bucket",
        IsMultiRegionTrail=True,
        EnableLogFileValidation=True,
        KmsKeyId="alias/k",
        CloudWatchLogsLogGroupArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:good:*",
        CloudWatchLogsRoleArn=role("trail"),
    )
    trails.put_event_selectors(
        TrailName="good", EventSelectors=[{"ReadWriteType": "All", "IncludeManagementEvents": True}]
    )
    trails.start_logging(Name="good")
    yield from both("bad", "good", "cloudtrail-log-validation", "cloudtrail-not-logging", "cloudtrail-kms-encryption")
    yield said("cloudtrail-missing", passes=ACCOUNT)
    alarms = client("cloudwatch")
    alarm: Any = {
        "MetricName": "m",
        "Namespace": "n",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    alarms.put_metric_alarm(AlarmName="bad", **alarm)
    alarms.put_metric_alarm(AlarmName="good", AlarmActions=[f"arn:aws:sns:{REGION}:{ACCOUNT}:t"], **alarm)
    yield from both("bad", "good", "alarm-without-action")
    guard = client("guardduty")
    bad = guard.create_detector(Enable=False)["DetectorId"]
    good = guard.create_detector(
        Enable=True,
        Features=[{"Name": name, "Status": "ENABLED"} for name in ("S3_DATA_EVENTS", "RDS_LOGIN_EVENTS")],
    )["DetectorId"]
    yield from both(bad, good, "guardduty-suspended")
    yield said("guardduty-off", passes=ACCOUNT)
    yield said("guardduty-eks-audit-protection", good)
    client("securityhub").enable_security_hub()
    yield said("securityhub-off", passes=ACCOUNT)
    recorder = client("config")
    recorder.put_configuration_recorder(
        ConfigurationRecorder={
            "name": "default",
            "roleARN": role("config"),
            "recordingGroup": {"allSupported": True, "includeGlobalResourceTypes": True},
        }
    )
    recorder.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": "trail-bucket"})
    recorder.start_configuration_recorder(ConfigurationRecorderName="default")
    yield said("config-not-recording", passes=ACCOUNT)
    yield said("config-delivery-channel", passes=ACCOUNT)


@plant
def _messages() -> Iterator[Expected]:
    sqs = client("sqs")
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
    redrive = json.dumps({"deadLetterTargetArn": f"{arn}dead", "maxReceiveCount": "5"})
    sqs.create_queue(QueueName="dead")
    bad = sqs.create_queue(
        QueueName="bad", Attributes={"Policy": public("sqs:SendMessage", f"{arn}bad"), "SqsManagedSseEnabled": "false"}
    )["QueueUrl"]
    good = sqs.create_queue(QueueName="good", Attributes={"KmsMasterKeyId": "alias/k", "RedrivePolicy": redrive})[
        "QueueUrl"
    ]
    yield from both(
        bad.rpartition("/")[2],
        good.rpartition("/")[2],
        "sqs-queue-public",
        "sqs-queue-unencrypted",
        "sqs-dead-letters",
    )
    sns = client("sns")
    bad = sns.create_topic(Name="bad", Attributes={"Policy": public("sns:Publish", "*")})["TopicArn"]
    good = sns.create_topic(Name="good", Attributes={"KmsMasterKeyId": "alias/k"})["TopicArn"]
    yield from both(bad, good, "sns-topic-public", "sns-topic-unencrypted")
    sns.subscribe(TopicArn=good, Protocol="http", Endpoint="http://example.com/hook")
    sns.subscribe(TopicArn=good, Protocol="https", Endpoint="https://example.com/hook")
    yield Expected(
        "sns-subscription-plain-http",
        (f"{good} http http://example.com/hook",),
        (f"{good} https https://example.com/hook",),
    )

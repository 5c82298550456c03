"""The templates give each part exactly what the design says: this is the whole list, and nothing passes beside it."""

import copy
from collections.abc import Callable
from typing import Any

import cfnlint
import pytest

from tests.support.templates import TEMPLATES, Templates, facts, load_templates

ACCOUNT = "arn:${AWS::Partition}:iam::${AWS::AccountId}"
ECS = "Allow {Service: ecs-tasks.amazonaws.com} sts:AssumeRole when {StringEquals: {aws:SourceAccount: AWS::AccountId}"
ECS_HERE = ECS + ", ArnLike: {aws:SourceArn: arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:*}}"
LAUNCHER = "Allow {AWS: LauncherPrincipal} sts:AssumeRole [if HasLauncher]"
CUSTOMERS = "Allow sts:AssumeRole arn:${AWS::Partition}:iam::*:role/*"
WITH_EXTERNAL_ID = " when [if ExternalIdRequired: {Null: {sts:ExternalId: false}}]"
NOT_OURS = f"Deny sts:AssumeRole {ACCOUNT}:role/*"
STARTS_TASKS = "managed arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"

SERVICE_ROLES = {
    "api": ["Allow sqs:SendMessage AuditQueueArn, DeployQueueArn, OnboardQueueArn"],
    "results": [],  # the policies of its key and its buckets below are all it has
    "worker-audit": [
        "Allow sqs:ReceiveMessage AuditQueueArn",
        "Allow sqs:DeleteMessage AuditQueueArn",
        "Allow sqs:ChangeMessageVisibility AuditQueueArn",
        CUSTOMERS + WITH_EXTERNAL_ID,
        NOT_OURS,
    ],
    "worker-deploy": [
        "Allow sqs:ReceiveMessage DeployQueueArn",
        "Allow sqs:DeleteMessage DeployQueueArn",
        "Allow sqs:ChangeMessageVisibility DeployQueueArn",
        CUSTOMERS + WITH_EXTERNAL_ID,
        NOT_OURS,
    ],
    "worker-onboard": [
        "Allow sqs:ReceiveMessage OnboardQueueArn",
        "Allow sqs:DeleteMessage OnboardQueueArn",
        "Allow sqs:ChangeMessageVisibility OnboardQueueArn",
        CUSTOMERS,
        NOT_OURS,
    ],
}
# ECS starts a task with these; no service ever holds them.
START_ROLES = {
    "ApiExecutionRole": "ApiSecretArn",
    "ResultsExecutionRole": "ResultsSecretArn",
    "ExecutionRole": "FleetKeySecretArn",
}
KEY = [
    "Allow {AWS: ResultsRoleArn} kms:Decrypt *",
    "Allow {AWS: ResultsRoleArn} kms:Encrypt *",
    *(
        f"Allow {{AWS: {ACCOUNT}:root}} kms:{action} *"
        for action in (
            "CancelKeyDeletion",
            "DescribeKey",
            "DisableKey",
            "EnableKey",
            "EnableKeyRotation",
            "GetKeyPolicy",
            "GetKeyRotationStatus",
            "ListKeyPolicies",
            "ListResourceTags",
            "PutKeyPolicy",
            "ScheduleKeyDeletion",
            "TagResource",
            "UntagResource",
            "UpdateKeyDescription",
        )
    ),
]
QUEUES = [
    (
        "queue AuditQueue: MessageRetentionPeriod 345600, "
        "RedrivePolicy {deadLetterTargetArn: AuditDeadLetters.Arn, maxReceiveCount: 5}, SqsManagedSseEnabled true"
    ),
    "queue AuditDeadLetters: MessageRetentionPeriod 1209600, SqsManagedSseEnabled true",
    (
        "queue DeployQueue: MessageRetentionPeriod 345600, "
        "RedrivePolicy {deadLetterTargetArn: DeployDeadLetters.Arn, maxReceiveCount: 5}, SqsManagedSseEnabled true"
    ),
    "queue DeployDeadLetters: MessageRetentionPeriod 1209600, SqsManagedSseEnabled true",
    "queue OnboardQueue: MessageRetentionPeriod 300, SqsManagedSseEnabled true",
    (
        "queues AuditQueue, AuditDeadLetters, DeployQueue, DeployDeadLetters, OnboardQueue: "
        "Deny * sqs:* * when {Bool: {aws:SecureTransport: false}}"
    ),
]
NOT_RESULTS = "when {ArnNotEquals: {aws:PrincipalArn: ResultsRoleArn}}"
OBJECTS = ("DeleteObject", "DeleteObjectVersion", "GetObject", "PutObject")
# What each bucket has of its own. Vault and ledger have no VersioningConfiguration: what is deleted is gone.
UPLOADS = "AbortIncompleteMultipartUpload: {DaysAfterInitiation: 1}"
LIFECYCLES = {
    "Vault": "",
    "Backups": (
        "LifecycleConfiguration {Rules: {Id: five-years, Status: Enabled, Prefix: runs/, ExpirationInDays: 1830}, "
        f"{{Id: leftovers, Status: Enabled, {UPLOADS}, NoncurrentVersionExpiration: {{NoncurrentDays: 30}}, "
        "ExpiredObjectDeleteMarker: true}}, "
    ),
    "Ledger": (
        f"LifecycleConfiguration {{Rules: {{Id: eight-days, Status: Enabled, ExpirationInDays: 8, {UPLOADS}}}}}, "
    ),
}


def bucket_facts(name: str) -> list[str]:
    """All that is to be said of a bucket."""
    versions = ", VersioningConfiguration {Status: Enabled}" if name == "Backups" else ""
    actions = OBJECTS if name == "Vault" else ("AbortMultipartUpload", *OBJECTS)
    looks = ("GetBucketVersioning", "ListBucket", "ListBucketVersions")
    statements = [f"Allow {{AWS: ResultsRoleArn}} s3:{action} ${{{name}.Arn}}/*" for action in actions]
    statements += [f"Allow {{AWS: ResultsRoleArn}} s3:{action} {name}.Arn" for action in looks]
    statements += [
        f"Deny * s3:{action} ${{{name}.Arn}}/* {NOT_RESULTS} [if OthersDenied]"
        for action in ("GetObject", "GetObjectVersion")
    ]
    statements += [] if versions else [f"Deny * s3:PutBucketVersioning {name}.Arn"]
    tls = "when {Bool: {aws:SecureTransport: false}} [if TlsOnly]"
    statements += [f"Deny * s3:* {name}.Arn, ${{{name}.Arn}}/* {tls}"]
    own = (
        "BucketEncryption {ServerSideEncryptionConfiguration: "
        "{ServerSideEncryptionByDefault: {SSEAlgorithm: AES256}}}, "
        + LIFECYCLES[name]
        + "OwnershipControls {Rules: {ObjectOwnership: BucketOwnerEnforced}}, PublicAccessBlockConfiguration "
        "{BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true}"
        + versions
    )
    return [f"bucket {name}: {fact}" for fact in (own, *statements)]


BUCKETS = [fact for name in LIFECYCLES for fact in bucket_facts(name)]
WORKER_GROUPS = ("AuditWorkerGroup", "DeployWorkerGroup", "OnboardWorkerGroup")
GROUPS = {
    "LoadBalancerGroup": ["in tcp 443-443 ClientCidr", "out tcp 8080-8080 ApiGroup"],
    "ApiGroup": [
        "in tcp 8080-8080 LoadBalancerGroup",
        "out tcp 8081-8081 ResultsGroup",
        "out tcp 5432-5432 DatabaseGroup",
        "out tcp 443-443 EndpointGroup",
        "out tcp 443-443 S3PrefixListId",
    ],
    "ResultsGroup": [
        "in tcp 8081-8081 ApiGroup",
        *(f"in tcp 8081-8081 {group}" for group in WORKER_GROUPS),
        "out tcp 5432-5432 DatabaseGroup",
        "out tcp 443-443 EndpointGroup",
        "out tcp 443-443 S3PrefixListId",
    ],
    "DatabaseGroup": ["in tcp 5432-5432 ApiGroup", "in tcp 5432-5432 ResultsGroup", "out -1 all-all 127.0.0.1/32"],
    "EndpointGroup": ["in tcp 443-443 ApiGroup", "in tcp 443-443 ResultsGroup", "out -1 all-all 127.0.0.1/32"],
} | {key: ["out tcp 8081-8081 ResultsGroup", "out tcp 443-443 0.0.0.0/0"] for key in WORKER_GROUPS}
PROCESSES = [
    "task ${Prefix}-api: listens on 8080",
    "task ${Prefix}-results: listens on 8081",
    "task ${Prefix}-worker-${Pool}: listens on nothing",
    "service ${Prefix}-api: public address DISABLED, behind a load balancer",
    "service ${Prefix}-results: public address DISABLED, behind no load balancer",
    "service ${Prefix}-worker-${Pool}: public address DISABLED, behind no load balancer",
]
# Every kind of resource in use. One more kind may open a door that the facts do not know: teach them first.
KINDS = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::EC2::EIP",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::NatGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECS::Cluster",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBParameterGroup",
    "AWS::RDS::DBSubnetGroup",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::ServiceDiscovery::PrivateDnsNamespace",
    "AWS::ServiceDiscovery::Service",
}


def expected() -> list[str]:
    lines = [*QUEUES, *BUCKETS, *PROCESSES, *(f"key ResultsKey: {statement}" for statement in KEY)]
    for name, statements in SERVICE_ROLES.items():
        role = f"role ${{Prefix}}-{name}"
        lines += [f"{role} trust: {ECS_HERE}", f"{role} trust: {LAUNCHER}"]
        lines += [f"{role}: {statement}" for statement in statements]
    for name, secret in START_ROLES.items():
        lines += [f"role {name} trust: {ECS}}}", f"role {name}: {STARTS_TASKS}"]
        lines += [f"role {name}: Allow secretsmanager:GetSecretValue {secret}"]
    for group, rules in GROUPS.items():
        lines += [f"group {group}: {rule}" for rule in rules]
    return sorted(lines)


def test_templates_allow_exactly_what_the_design_says() -> None:
    assert facts(load_templates()) == expected()


def test_no_kind_of_resource_escapes_the_facts() -> None:
    kinds = {r["Type"] for template in load_templates().values() for r in template["Resources"].values()}

    assert kinds == KINDS


def test_production_is_the_default() -> None:
    roles, queues = (load_templates()[name] for name in ("roles.yaml", "queues.yaml"))

    assert roles["Parameters"]["LauncherPrincipal"]["Default"] == ""
    assert roles["Parameters"]["RequireExternalId"]["Default"] == "true"
    assert queues["Parameters"]["RequireTls"]["Default"] == "true"
    assert roles["Conditions"] == {
        "HasLauncher": {"Fn::Not": [{"Fn::Equals": [{"Ref": "LauncherPrincipal"}, ""]}]},
        "ExternalIdRequired": {"Fn::Equals": [{"Ref": "RequireExternalId"}, "true"]},
    }
    tls_only = {"TlsOnly": {"Fn::Equals": [{"Ref": "RequireTls"}, "true"]}}
    assert queues["Conditions"] == tls_only
    for name in ("vault.yaml", "backups.yaml"):
        template = load_templates()[name]
        assert {template["Parameters"][each]["Default"] for each in ("RequireTls", "DenyOthers")} == {"true"}
        assert template["Conditions"] == tls_only | {"OthersDenied": {"Fn::Equals": [{"Ref": "DenyOthers"}, "true"]}}


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.yaml")), ids=lambda path: path.stem)
def test_template_is_lint_clean(path: Any) -> None:
    findings = cfnlint.lint_file(path)

    assert [str(finding) for finding in findings] == []


def _policy(templates: Templates, role: str) -> dict[str, Any]:
    statements = templates["roles.yaml"]["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    first: dict[str, Any] = statements[0]
    return first


def _second_permission_for_the_api(templates: Templates) -> None:
    _policy(templates, "ApiRole")["Action"] = ["sqs:SendMessage", "sqs:ReceiveMessage"]


def _wildcard_for_the_api(templates: Templates) -> None:
    _policy(templates, "ApiRole")["Resource"] = "*"


def _second_policy_for_the_api(templates: Templates) -> None:
    properties = templates["roles.yaml"]["Resources"]["ApiRole"]["Properties"]
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    properties["Policies"].append({"PolicyName": "more", "PolicyDocument": {"Statement": [statement]}})


def _managed_policy_for_the_api(templates: Templates) -> None:
    properties = templates["roles.yaml"]["Resources"]["ApiRole"]["Properties"]
    properties["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/ReadOnlyAccess"]


def _policy_attached_from_elsewhere(templates: Templates) -> None:
    templates["keys.yaml"]["Resources"]["More"] = {"Type": "AWS::IAM::RolePolicy", "Properties": {}}


def _another_pools_queue(templates: Templates) -> None:
    _policy(templates, "AuditWorkerRole")["Resource"] = [{"Ref": "AuditQueueArn"}, {"Ref": "DeployQueueArn"}]


def _worker_may_enter_our_own_account(templates: Templates) -> None:
    policies = templates["roles.yaml"]["Resources"]["AuditWorkerRole"]["Properties"]["Policies"]
    del policies[1]["PolicyDocument"]["Statement"][1]


def _worker_without_external_id(templates: Templates) -> None:
    policies = templates["roles.yaml"]["Resources"]["DeployWorkerRole"]["Properties"]["Policies"]
    del policies[1]["PolicyDocument"]["Statement"][0]["Condition"]


def _anyone_may_be_the_results_role(templates: Templates) -> None:
    trust = templates["roles.yaml"]["Resources"]["ResultsRole"]["Properties"]["AssumeRolePolicyDocument"]
    trust["Statement"].append({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"})


def _administrators_may_decrypt(templates: Templates) -> None:
    policy = templates["keys.yaml"]["Resources"]["ResultsKey"]["Properties"]["KeyPolicy"]
    policy["Statement"][0]["Action"].append("kms:Decrypt")


def _one_more_role(templates: Templates) -> None:
    templates["roles.yaml"]["Resources"]["More"] = copy.deepcopy(templates["roles.yaml"]["Resources"]["ResultsRole"])


def _one_more_user(templates: Templates) -> None:
    templates["roles.yaml"]["Resources"]["More"] = {"Type": "AWS::IAM::User", "Properties": {}}


def _one_more_queue(templates: Templates) -> None:
    templates["queues.yaml"]["Resources"]["More"] = {"Type": "AWS::SQS::Queue", "Properties": {}}


def _onboarding_keeps_dead_letters(templates: Templates) -> None:
    queues = templates["queues.yaml"]["Resources"]
    queues["OnboardQueue"]["Properties"]["RedrivePolicy"] = queues["AuditQueue"]["Properties"]["RedrivePolicy"]


def _queue_without_encryption(templates: Templates) -> None:
    templates["queues.yaml"]["Resources"]["AuditQueue"]["Properties"]["SqsManagedSseEnabled"] = False


def _vault_with_versions(templates: Templates) -> None:
    properties = templates["vault.yaml"]["Resources"]["Vault"]["Properties"]
    properties["VersioningConfiguration"] = {"Status": "Enabled"}


def _vault_that_others_may_read(templates: Templates) -> None:
    del templates["vault.yaml"]["Resources"]["VaultPolicy"]["Properties"]["PolicyDocument"]["Statement"][2]


def _ledger_with_versions(templates: Templates) -> None:
    properties = templates["backups.yaml"]["Resources"]["Ledger"]["Properties"]
    properties["VersioningConfiguration"] = {"Status": "Enabled"}


def _ledger_kept_for_ever(templates: Templates) -> None:
    del templates["backups.yaml"]["Resources"]["Ledger"]["Properties"]["LifecycleConfiguration"]


def _backups_that_workers_may_read(templates: Templates) -> None:
    statements = templates["backups.yaml"]["Resources"]["BackupsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    statements[0]["Principal"]["AWS"] = [statements[0]["Principal"]["AWS"], {"Ref": "AuditWorkerRoleArn"}]


def _workers_may_delete_from_the_vault(templates: Templates) -> None:
    statements = templates["vault.yaml"]["Resources"]["VaultPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    statements[0]["Principal"]["AWS"] = [statements[0]["Principal"]["AWS"], {"Ref": "AuditWorkerRoleArn"}]


def _worker_group_with_ingress(templates: Templates) -> None:
    group = templates["network.yaml"]["Resources"]["AuditWorkerGroup"]["Properties"]
    group["SecurityGroupIngress"] = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "10.0.0.0/8"}]


def _worker_group_with_ingress_from_elsewhere(templates: Templates) -> None:
    rule = {"GroupId": {"Ref": "DeployWorkerGroup"}, "IpProtocol": "-1", "CidrIp": "10.0.0.0/8"}
    templates["database.yaml"]["Resources"]["More"] = {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": rule}


def _worker_group_with_open_egress(templates: Templates) -> None:
    del templates["network.yaml"]["Resources"]["OnboardWorkerGroup"]["Properties"]["SecurityGroupEgress"]


def _workers_reach_the_database(templates: Templates) -> None:
    rules = templates["network.yaml"]["Resources"]
    rules["More"] = copy.deepcopy(rules["ApiToDatabase"])
    rules["More"]["Properties"]["SourceSecurityGroupId"] = {"Ref": "AuditWorkerGroup"}


def _worker_listens(templates: Templates) -> None:
    task = templates["worker-pool.yaml"]["Resources"]["Task"]["Properties"]
    task["ContainerDefinitions"][0]["PortMappings"] = [{"ContainerPort": 8080}]


def _worker_with_a_public_address(templates: Templates) -> None:
    service = templates["worker-pool.yaml"]["Resources"]["Service"]["Properties"]
    service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] = "ENABLED"


MUTATIONS: list[Callable[[Templates], None]] = [
    _second_permission_for_the_api,
    _wildcard_for_the_api,
    _second_policy_for_the_api,
    _managed_policy_for_the_api,
    _policy_attached_from_elsewhere,
    _another_pools_queue,
    _worker_may_enter_our_own_account,
    _worker_without_external_id,
    _anyone_may_be_the_results_role,
    _administrators_may_decrypt,
    _one_more_role,
    _one_more_user,
    _one_more_queue,
    _onboarding_keeps_dead_letters,
    _queue_without_encryption,
    _vault_with_versions,
    _vault_that_others_may_read,
    _workers_may_delete_from_the_vault,
    _ledger_with_versions,
    _ledger_kept_for_ever,
    _backups_that_workers_may_read,
    _worker_group_with_ingress,
    _worker_group_with_ingress_from_elsewhere,
    _worker_group_with_open_egress,
    _workers_reach_the_database,
    _worker_listens,
    _worker_with_a_public_address,
]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__.strip("_"))
def test_anything_more_shows(mutate: Callable[[Templates], None]) -> None:
    templates = load_templates()
    mutate(templates)

    assert facts(templates) != expected()

"""Audit rules on templates: what the template tells decides, what it does not tell is NOT_EVALUATED, never a pass."""

from collections.abc import Iterator
from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.cloudformation.items import TemplateItems, TemplateResource
from coreo_shared.cloudformation.mapping import SourceDefinition, TypeMapping, load_mappings, read_mapping
from coreo_shared.cloudformation.resolving import Place, Resolver
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.errors import DefinitionError
from coreo_shared.rules.values import Relations, Unknown

PLACE = Place("222222222222", "eu-west-1", "aws", "web")
OPEN = {"IpProtocol": "tcp", "FromPort": "22", "ToPort": 22, "CidrIp": "0.0.0.0/0"}
PUBLIC = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}]}


def judged(resources: dict[str, Any], rule_id: str, **parameters: str) -> dict[str, str | None]:
    """The rule's verdict on each resource, by logical id."""
    sections = {"Parameters": {"P": {"Type": "String"}}, "Conditions": {"C": {"Fn::Equals": [{"Ref": "P"}, "1"]}}}
    items = TemplateItems({"Resources": resources, **sections}, PLACE, parameters)
    compiled = compile_rule(load_catalogue().rules[rule_id])
    found = {}
    for resource in items.read():
        if resource.resource_type == compiled.rule.resource:
            verdict = compiled.evaluate(resource.item if resource.told is None else resource.told, Relations())
            if resource.told is not None and verdict is not None and verdict.status is not FindingStatus.FAIL:
                verdict = compiled.evaluate(resource.item, Relations())
            found[resource.logical_id] = None if verdict is None else str(verdict.status)
    return found


def verdict(kind: str, properties: dict[str, Any], rule_id: str, **others: Any) -> str | None:
    return judged({"X": {"Type": kind, "Properties": properties}, **others}, rule_id)["X"]


def bucket_policy(document: Any, bucket: Any) -> dict[str, Any]:
    return {"Type": "AWS::S3::BucketPolicy", "Properties": {"Bucket": bucket, "PolicyDocument": document}}


CASES: list[tuple[str, dict[str, Any], str, str | None]] = [
    # A new bucket has what AWS gives it, and what the template says.
    ("AWS::S3::Bucket", {}, "s3-bucket-public-access-block", "PASS"),
    ("AWS::S3::Bucket", {}, "s3-bucket-unencrypted", "PASS"),
    ("AWS::S3::Bucket", {}, "s3-bucket-kms-encryption", "FAIL"),
    ("AWS::S3::Bucket", {}, "s3-bucket-versioning", "FAIL"),
    ("AWS::S3::Bucket", {"VersioningConfiguration": {"Status": "Enabled"}}, "s3-bucket-versioning", "PASS"),
    ("AWS::S3::Bucket", {"VersioningConfiguration": {"Status": {"Ref": "P"}}}, "s3-bucket-versioning", "NOT_EVALUATED"),
    (
        "AWS::S3::Bucket",
        {"PublicAccessBlockConfiguration": {"BlockPublicAcls": "true"}},
        "s3-bucket-public-access-block",
        "FAIL",
    ),
    ("AWS::S3::Bucket", {"AccessControl": "Private"}, "s3-bucket-acl-public", "PASS"),
    (
        "AWS::S3::Bucket",
        {
            "AccessControl": "PublicRead",
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]},
            "PublicAccessBlockConfiguration": {"BlockPublicAcls": False},
        },
        "s3-bucket-acl-public",
        "FAIL",
    ),
    ("AWS::EC2::SecurityGroup", {"SecurityGroupIngress": [OPEN]}, "ec2-security-group-open-ssh", "FAIL"),
    ("AWS::EC2::SecurityGroup", {"SecurityGroupIngress": OPEN}, "ec2-security-group-open-ssh", "FAIL"),
    ("AWS::EC2::SecurityGroup", {}, "ec2-security-group-open-ssh", "PASS"),
    (
        "AWS::EC2::SecurityGroup",
        {"SecurityGroupIngress": [{**OPEN, "CidrIp": "10.0.0.0/8"}]},
        "ec2-security-group-open-ssh",
        "PASS",
    ),
    (
        "AWS::EC2::SecurityGroup",
        {"SecurityGroupIngress": [{**OPEN, "CidrIp": {"Ref": "P"}}]},
        "ec2-security-group-open-ssh",
        "NOT_EVALUATED",
    ),
    (  # what is told suffices, whatever the rest is
        "AWS::EC2::SecurityGroup",
        {"SecurityGroupIngress": [{**OPEN, "CidrIp": {"Ref": "P"}}, OPEN]},
        "ec2-security-group-open-ssh",
        "FAIL",
    ),
    ("AWS::EC2::SecurityGroup", {"SecurityGroupIngress": {"Ref": "P"}}, "ec2-security-group-open-ssh", "NOT_EVALUATED"),
    ("AWS::EC2::Instance", {"Monitoring": "true"}, "ec2-instance-detailed-monitoring", "PASS"),
    ("AWS::EC2::Instance", {}, "ec2-instance-detailed-monitoring", "FAIL"),
    ("AWS::EC2::Instance", {}, "ec2-instance-profile", "FAIL"),
    ("AWS::EC2::Instance", {"IamInstanceProfile": {"Ref": "P"}}, "ec2-instance-profile", "NOT_EVALUATED"),
    ("AWS::EC2::Instance", {"IamInstanceProfile": "web"}, "ec2-instance-profile", "PASS"),
    ("AWS::EC2::Instance", {}, "ec2-instance-imdsv1", "NOT_EVALUATED"),
    ("AWS::EC2::Instance", {"MetadataOptions": {"HttpTokens": "required"}}, "ec2-instance-imdsv1", "PASS"),
    (
        "AWS::EC2::Instance",
        {"NetworkInterfaces": [{"AssociatePublicIpAddress": True}]},
        "ec2-instance-public-ip",
        "FAIL",
    ),
    ("AWS::EC2::Instance", {}, "ec2-instance-public-ip", "NOT_EVALUATED"),
    ("AWS::EC2::Volume", {"Encrypted": "true"}, "ebs-volume-unencrypted", "PASS"),
    ("AWS::EC2::Volume", {"Encrypted": False}, "ebs-volume-unencrypted", "FAIL"),
    ("AWS::EC2::Volume", {}, "ebs-volume-unencrypted", "NOT_EVALUATED"),
    ("AWS::EC2::Subnet", {"MapPublicIpOnLaunch": True}, "ec2-subnet-public-ip", "FAIL"),
    ("AWS::EC2::Subnet", {}, "ec2-subnet-public-ip", "PASS"),
    (
        "AWS::IAM::Role",
        {
            "AssumeRolePolicyDocument": {
                "Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
            }
        },
        "iam-role-trusts-everyone",
        "FAIL",
    ),
    (
        "AWS::IAM::Role",
        {
            "AssumeRolePolicyDocument": {
                "Statement": {"Effect": "Allow", "Principal": {"AWS": 123456789012}, "Action": "sts:AssumeRole"}
            }
        },
        "iam-role-trusts-everyone",
        "PASS",
    ),
    (
        "AWS::IAM::Role",
        {
            "AssumeRolePolicyDocument": {
                "Statement": {"Effect": "Allow", "Principal": {"AWS": {"Ref": "P"}}, "Action": "sts:AssumeRole"}
            }
        },
        "iam-role-trusts-everyone",
        "NOT_EVALUATED",
    ),
    (
        "AWS::IAM::ManagedPolicy",
        {"PolicyDocument": {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}},
        "iam-policy-admin",
        "FAIL",
    ),
    (
        "AWS::IAM::User",
        {"ManagedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]},
        "iam-user-direct-policies",
        "FAIL",
    ),
    ("AWS::IAM::User", {}, "iam-user-direct-policies", "PASS"),
    ("AWS::KMS::Key", {}, "kms-key-rotation", "FAIL"),
    ("AWS::KMS::Key", {"EnableKeyRotation": True}, "kms-key-rotation", "PASS"),
    ("AWS::KMS::Key", {"Enabled": "false"}, "kms-key-disabled", "FAIL"),
    ("AWS::KMS::Key", {"KeySpec": "RSA_2048"}, "kms-key-rotation", None),
    ("AWS::SQS::Queue", {}, "sqs-queue-unencrypted", "PASS"),
    ("AWS::SQS::Queue", {"SqsManagedSseEnabled": False}, "sqs-queue-unencrypted", "FAIL"),
    ("AWS::SQS::Queue", {"KmsMasterKeyId": {"Ref": "P"}}, "sqs-queue-unencrypted", "NOT_EVALUATED"),
    ("AWS::SQS::Queue", {}, "sqs-dead-letters", "FAIL"),
    ("AWS::SNS::Topic", {}, "sns-topic-unencrypted", "FAIL"),
    ("AWS::SNS::Topic", {"KmsMasterKeyId": "alias/aws/sns"}, "sns-topic-unencrypted", "PASS"),
    ("AWS::Lambda::Function", {}, "lambda-tracing", "FAIL"),
    ("AWS::Lambda::Function", {"VpcConfig": {"SubnetIds": ["a", "b"]}}, "lambda-not-in-vpc", "PASS"),
    ("AWS::Lambda::Function", {"VpcConfig": {"SubnetIds": ["a"]}}, "lambda-multi-az", "FAIL"),
    ("AWS::Lambda::Function", {}, "lambda-public", "NOT_EVALUATED"),
    ("AWS::DynamoDB::Table", {}, "dynamodb-point-in-time-recovery", "FAIL"),
    (
        "AWS::DynamoDB::Table",
        {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}},
        "dynamodb-point-in-time-recovery",
        "PASS",
    ),
    ("AWS::DynamoDB::Table", {"SSESpecification": {"SSEEnabled": True}}, "dynamodb-table-kms", "PASS"),
    ("AWS::Logs::LogGroup", {"RetentionInDays": "7"}, "log-group-retention", "FAIL"),
    ("AWS::EFS::FileSystem", {}, "efs-file-system-unencrypted", "FAIL"),
    ("AWS::CloudTrail::Trail", {"IsLogging": True}, "cloudtrail-not-logging", "PASS"),
    ("AWS::CloudTrail::Trail", {}, "cloudtrail-log-validation", "FAIL"),
    ("AWS::ECR::Repository", {"ImageScanningConfiguration": {"ScanOnPush": True}}, "ecr-scan-on-push", "PASS"),
    ("AWS::ECR::Repository", {}, "ecr-mutable-tags", "FAIL"),
    (
        "AWS::ElasticLoadBalancingV2::Listener",
        {"Protocol": "HTTP", "DefaultActions": []},
        "elbv2-listener-plain-http",
        "FAIL",
    ),
    (
        "AWS::ElasticLoadBalancingV2::Listener",
        {"Protocol": "HTTP", "DefaultActions": [{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS"}}]},
        "elbv2-listener-plain-http",
        "PASS",
    ),
    ("AWS::SecretsManager::Secret", {}, "secret-rotation", "FAIL"),
    ("AWS::RDS::DBInstance", {"Engine": "mysql"}, "rds-instance-unencrypted", "FAIL"),
    ("AWS::RDS::DBInstance", {"DBClusterIdentifier": "c"}, "rds-instance-unencrypted", "NOT_EVALUATED"),
    ("AWS::RDS::DBInstance", {"PubliclyAccessible": "true"}, "rds-instance-public", "FAIL"),
    ("AWS::RDS::DBInstance", {}, "rds-instance-public", "NOT_EVALUATED"),
    ("AWS::RDS::DBInstance", {"BackupRetentionPeriod": "0"}, "rds-instance-backups", "FAIL"),
    ("AWS::RDS::DBCluster", {"Engine": "aurora-mysql", "StorageEncrypted": True}, "rds-cluster-unencrypted", "PASS"),
]


@pytest.mark.parametrize(("kind", "properties", "rule_id", "expected"), CASES)
def test_verdict_before_the_resource_is_made(
    kind: str, properties: dict[str, Any], rule_id: str, expected: str | None
) -> None:
    assert verdict(kind, properties, rule_id) == expected


def test_every_mapped_type_has_a_case() -> None:
    assert {kind for kind, *_ in CASES} == set(load_mappings())


@pytest.mark.parametrize(
    ("document", "bucket", "expected"),
    [
        (PUBLIC, {"Ref": "X"}, "FAIL"),
        (PUBLIC, {"Ref": "Y"}, "PASS"),  # another bucket's
        (PUBLIC, {"Ref": "P"}, "NOT_EVALUATED"),  # maybe this one's
        (PUBLIC, "other", "PASS"),
    ],
)
def test_policy_of_a_bucket_is_a_resource_of_its_own(document: Any, bucket: Any, expected: str) -> None:
    others = {"Y": {"Type": "AWS::S3::Bucket"}, "Policy": bucket_policy(document, bucket)}
    block = {"PublicAccessBlockConfiguration": {"BlockPublicAcls": False}}

    assert verdict("AWS::S3::Bucket", block, "s3-bucket-policy-public", **others) == expected


@pytest.mark.parametrize("name", [None, "logs-1"])
@pytest.mark.parametrize(
    "resource",
    [
        {"Fn::Sub": "arn:aws:s3:::${X}/*"},
        {"Fn::Sub": "${X.Arn}/*"},
        {"Fn::Join": ["", [{"Fn::GetAtt": ["X", "Arn"]}, "/*"]]},
    ],
)
def test_policy_may_name_the_bucket_in_any_way(resource: Any, name: str | None) -> None:
    tls = {"Bool": {"aws:SecureTransport": False}}
    both = [resource, {"Fn::GetAtt": ["X", "Arn"]}]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": both, "Condition": tls}
    policy = bucket_policy({"Statement": [deny]}, {"Ref": "X"})
    properties = {} if name is None else {"BucketName": name}

    assert verdict("AWS::S3::Bucket", properties, "s3-bucket-plain-http", Policy=policy) == "PASS"


def test_ingress_rules_of_their_own_count() -> None:
    def rule(group: Any) -> dict[str, Any]:
        return {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": {**OPEN, "GroupId": group}}

    group = "AWS::EC2::SecurityGroup"
    for reference, expected in (
        ({"Ref": "X"}, "FAIL"),
        ({"Fn::GetAtt": ["X", "GroupId"]}, "FAIL"),
        ({"Ref": "P"}, "NOT_EVALUATED"),
        ("sg-1", "PASS"),
    ):
        assert verdict(group, {}, "ec2-security-group-open-ssh", Rule=rule(reference)) == expected


def test_resource_that_may_not_be_made_is_uncertain() -> None:
    resources = {"X": {"Type": "AWS::SNS::Topic", "Condition": "C"}}
    sections = {"Parameters": {"P": {"Type": "String"}}, "Conditions": {"C": {"Fn::Equals": [{"Ref": "P"}, "1"]}}}

    def read(**parameters: str) -> list[Any]:
        return list(TemplateItems({"Resources": resources, **sections}, PLACE, parameters).read())

    assert read(P="2") == []
    assert read(P="1")[0].uncertain is None
    assert isinstance(read()[0].uncertain, Unknown)


def test_types_that_no_rule_can_judge_are_told() -> None:
    items = TemplateItems({"Resources": {"X": {"Type": "AWS::Glue::Job"}, "Y": "nonsense"}}, PLACE, {})

    assert list(items.read()) == []
    assert items.unmapped == {"AWS::Glue::Job"}


@pytest.mark.parametrize(
    "properties", [None, "x", [], {"Ref": "P"}, {"AccessControl": {}}, {"VersioningConfiguration": []}]
)
def test_nonsense_is_no_pass(properties: Any) -> None:
    found = judged({"X": {"Type": "AWS::S3::Bucket", "Properties": properties}}, "s3-bucket-versioning")

    assert found["X"] in {"FAIL", "NOT_EVALUATED"}


def property_paths(fields: dict[str, SourceDefinition], kind: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(type, path) of every property that these sources read."""
    for source in fields.values():
        yield from ((kind, prefix + name) for name in source.unless)
        of, start = (kind, prefix) if source.attached is None else (source.attached.type, "")
        if source.attached is not None:
            yield of, source.attached.by
        if source.also is not None:
            yield kind, prefix + source.also
            yield from property_paths(_plain(source.each or {}), kind, f"{prefix}{source.also}.")
        if source.path is not None and source.path != "this":
            yield of, start + source.path
            start = f"{start}{source.path}."
        yield from property_paths(source.fields or {}, of, start)
        yield from property_paths(_plain(source.each or {}), of, start)


def _plain(each: dict[str, SourceDefinition]) -> dict[str, SourceDefinition]:
    return {name: source for name, source in each.items() if source.path != "this"}


@pytest.mark.parametrize("mapping", load_mappings().values(), ids=lambda mapping: mapping.cloudformation)
def test_properties_are_those_that_cloudformation_has(mapping: TypeMapping) -> None:
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # noqa: PLC0415  takes a second

    for kind, path in property_paths(mapping.definition.fields, mapping.cloudformation):
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        here: Any = schema
        for name in path.split("."):
            here = _resolved(here, schema)
            assert name in here["properties"], (kind, path)
            here = here["properties"][name]


def _resolved(node: Any, schema: Any) -> Any:
    """The object that a node of the schema means, through references and arrays."""
    while "properties" not in node:
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rpartition("/")[2]]
        elif "items" in node:
            node = node["items"]
        else:
            node = next(one for one in node.get("anyOf", node.get("oneOf", [])) if one.get("type") != "string")
    return node


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each value that is resolved."""
    taken: list[None] = []
    resolve = Resolver.resolve

    def counted(self: Resolver, value: Any) -> Any:
        taken.append(None)
        return resolve(self, value)

    monkeypatch.setattr(Resolver, "resolve", counted)
    return taken


def items_of(resources: dict[str, Any]) -> list[TemplateResource]:
    return list(TemplateItems({"Resources": resources}, PLACE, {}).read())


def test_names_that_hang_on_each_other_are_made_once(steps: list[None]) -> None:
    def bucket(name: Any) -> dict[str, Any]:
        return {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name}}

    chain = {f"B{n}": bucket({"Fn::Sub": f"${{B{n + 1}}}${{B{n + 1}}}"}) for n in range(12)}
    chain["B12"] = bucket("x")

    first, *_ = items_of(chain)

    assert first.item["Name"] == "x" * 2**12
    assert len(steps) < 500


def test_names_that_hang_on_too_many_others_are_unknown() -> None:
    kind = "AWS::S3::Bucket"
    chain = {f"B{n}": {"Type": kind, "Properties": {"BucketName": {"Ref": f"B{n + 1}"}}} for n in range(60)}
    chain["B60"] = {"Type": kind, "Properties": {"BucketName": "x"}}

    first, *_, last = items_of(chain)

    assert isinstance(first.item["Name"], Unknown)
    assert last.item["Name"] == "x"


def test_attached_resources_cost_no_square(steps: list[None]) -> None:
    names = range(60)
    policies = {f"P{n}": bucket_policy(PUBLIC, {"Ref": f"B{n}"}) for n in names}

    found = items_of({f"B{n}": {"Type": "AWS::S3::Bucket"} for n in names} | policies)

    assert all("s3:GetObject" in one.item["Policy"] for one in found)
    assert len(steps) < 60 * 60


@pytest.mark.parametrize("size", [10**400, "1e999", "nan", "-inf"], ids=lambda size: str(size)[:6])
def test_number_that_no_computer_holds_is_unknown(size: Any) -> None:
    (only,) = items_of({"X": {"Type": "AWS::RDS::DBInstance", "Properties": {"BackupRetentionPeriod": size}}})

    assert isinstance(only.item["BackupRetentionPeriod"], Unknown)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"type": "aws.s3.buckett"}, "type: no such resource type; did you mean aws.s3.bucket"),
        ({"names": "Nam"}, "names: "),
        ({"fields": {"Nam": {}}}, "no such field; did you mean Name"),
        ({"fields": {"Name": {"fields": {}}}}, "`fields` make a structure"),
        ({"fields": {"Name": {"each": {}}}}, "`each` makes a list"),
        ({"fields": {"Name": {"wrap": "X"}}}, "`wrap` makes a list"),
        ({"fields": {"Name": {"absent": 5}}}, "AWS gives a string here"),
        ({"fields": {"Versioning": {"absent": {"Status": "On"}}}}, "this value cannot occur here"),
        ({"fields": {"Name": {"attached": {"type": "T", "by": "B"}}}}, "needs `from` or `each`"),
        ({"fields": {"Name": {"form": "X"}}}, "fields.*: a key that does not belong here"),
    ],
)
def test_mapping_that_is_not_right_is_said(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        read_mapping({"type": "aws.s3.bucket", "cloudformation": "AWS::S3::Bucket", "fields": {}, **change})

    assert problem in str(raised.value)

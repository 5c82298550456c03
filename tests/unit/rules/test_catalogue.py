"""The catalogue as a whole: what it holds, that it agrees with the SDK's models, how names are chosen from it."""

import re
import time

import pytest

from coreo_shared.catalogue import load_catalogue, read_resource_documents
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.rules.needs import needs_of
from coreo_shared.rules.tags import TAG_FIELDS
from tests.support import shapes as shapes_script

CATALOGUE = load_catalogue()


def test_shapes_are_what_the_sdk_models_say() -> None:
    """After a new operation or SDK: `python -m tests.support.shapes`."""
    files = {file.stem: file.read_text(encoding="utf-8") for file in (shapes_script.FOLDER / "shapes").glob("*.json")}

    assert files == shapes_script.shapes_texts()


def test_regions_are_what_the_sdk_knows() -> None:
    assert (shapes_script.FOLDER / "regions.json").read_text(encoding="utf-8") == shapes_script.regions_text()
    assert {"us-east-1", "eu-west-1"} <= set(CATALOGUE.regions["aws"])
    assert all(partition.home in partition.regions for partition in CATALOGUE.partitions.values())


def test_catalogue_loads_within_a_second() -> None:
    load_catalogue.cache_clear()
    start = time.process_time()
    load_catalogue()
    assert time.process_time() - start < 1


def test_every_enrichment_serves_some_rule() -> None:
    """A call that nothing reads would still be asked of the customer's role."""
    needs = needs_of(CATALOGUE, CATALOGUE.rules)

    assert set(needs.types) == set(CATALOGUE.resource_types)
    for name, resource_type in CATALOGUE.resource_types.items():
        of_type = needs.types[name]
        assert {*of_type.enrichments, *of_type.looked_up} == set(resource_type.enrichments), name


# It makes AWS write the report that GetCredentialReport reads, and changes nothing else.
REPORTS = {"iam:GenerateCredentialReport"}


def test_actions_only_read() -> None:
    for action in needs_of(CATALOGUE, CATALOGUE.rules).actions - REPORTS:
        assert re.fullmatch(r"[a-z0-9-]+:(Describe|Get|List|GET|BatchGet)[A-Za-z0-9]*", action), action


def test_region_of_a_bucket_is_always_known() -> None:
    """Enrichments that tell the region are read even when no rule asks for them."""
    assert "Location" in needs_of(CATALOGUE, ["s3-bucket-versioning"]).types["aws.s3.bucket"].enrichments


# The root user signs in with a browser alone; a tunnel and an instance are mended at their other end.
WITHOUT_A_COMMAND = {
    "ec2-vpn-tunnel-down",
    "iam-root-access-key",
    "iam-root-hardware-mfa",
    "iam-root-mfa",
    "iam-root-used",
    "ssm-instance-lost",
}


@pytest.mark.parametrize("rule_id", sorted(CATALOGUE.rules))
def test_rules_carry_what_people_need(rule_id: str) -> None:
    definition = CATALOGUE.rules[rule_id].definition

    assert len(definition.rationale) > 40
    assert definition.remediation.console
    assert definition.references
    assert all(url.startswith("https://docs.aws.amazon.com/") for url in definition.references)
    assert definition.evidence
    assert definition.objectives
    assert (definition.remediation.cli is None) is (rule_id in WITHOUT_A_COMMAND)
    for alias in definition.aliases:
        assert re.fullmatch(r"prowler:[a-z0-9_]+|securityhub:[A-Za-z0-9]+\.[0-9]+", alias), alias


def test_most_rules_say_how_a_template_puts_it_right_and_what_others_call_it() -> None:
    definitions = [rule.definition for rule in CATALOGUE.rules.values()]

    assert sum(each.remediation.cloudformation is not None for each in definitions) > 0.8 * len(definitions)
    assert sum(bool(each.aliases) for each in definitions) > 0.9 * len(definitions)


# What people expect of a scanner of AWS accounts, by kind of resource.
FAMILIES = """
    aws.accessanalyzer.region aws.acm.certificate aws.acmpca.authority aws.apigateway.stage aws.apigatewayv2.stage
    aws.appsync.api aws.athena.workgroup aws.autoscaling.group aws.backup.vault aws.bedrock.guardrail
    aws.cloudfront.distribution aws.cloudtrail.trail aws.cloudwatch.alarm aws.codebuild.project aws.cognito.user_pool
    aws.cognitoidentity.identity_pool aws.config.region aws.dms.instance aws.dynamodb.table aws.ec2.address
    aws.ec2.image aws.ec2.instance aws.ec2.launch_template aws.ec2.network_acl aws.ec2.security_group aws.ec2.snapshot
    aws.ec2.volume aws.ec2.vpc aws.ec2.vpc_endpoint aws.ecr.repository aws.ecs.task_definition aws.efs.file_system
    aws.eks.cluster aws.elasticache.replication_group aws.elb.load_balancer aws.elbv2.load_balancer aws.emr.cluster
    aws.events.bus aws.firehose.stream aws.fsx.file_system aws.glue.job aws.guardduty.detector aws.iam.account
    aws.iam.credential_report aws.iam.oidc_provider aws.iam.policy aws.iam.role aws.iam.saml_provider aws.iam.user
    aws.inspector2.region aws.kafka.cluster aws.kinesis.stream aws.kms.key aws.lambda.function aws.logs.account
    aws.logs.log_group aws.macie2.region aws.networkfirewall.firewall aws.opensearch.domain
    aws.organizations.organization aws.rds.cluster aws.rds.instance aws.redshift.cluster aws.route53.hosted_zone
    aws.s3.bucket aws.sagemaker.notebook aws.secretsmanager.secret aws.securityhub.region aws.sns.topic aws.sqs.queue
    aws.ssm.document aws.stepfunctions.state_machine aws.transfer.server aws.wafv2.web_acl
""".split()  # noqa: SIM905  a list of 76 is longer than the words


def test_no_kind_of_resource_is_left_out_that_people_ask_for() -> None:
    judged = {rule.resource for rule in CATALOGUE.rules.values()}

    assert set(FAMILIES) - judged == set()
    assert len(CATALOGUE.rules) >= 450
    assert len({name.split(".")[1] for name in judged}) >= 65


def test_tags_that_are_read_anyway_go_with_the_evidence() -> None:
    """People find owners by them, and suppressions by tag what they fit."""
    evidence = {rule.id: {str(path) for path in rule.evidence} for rule in CATALOGUE.rules.values()}

    assert "Tags" in evidence["ec2-security-group-open-ssh"]
    assert "TagList" in evidence["rds-instance-public"]
    assert "Cluster.tags" in evidence["eks-public-endpoint"]
    assert "Service[].tags[]" in evidence["ecs-service-public-ip"]
    # These would take a call of their own.
    assert "Tags" not in evidence["s3-bucket-versioning"]
    assert needs_of(CATALOGUE, ["s3-bucket-versioning"]).actions.isdisjoint({"s3:GetBucketTagging"})
    tagged = {
        rule.resource
        for rule in CATALOGUE.rules.values()
        if any(path.rpartition(".")[2].removesuffix("[]") in TAG_FIELDS for path in evidence[rule.id])
    }
    assert len(tagged) > 45


def test_aliases_are_not_given_twice() -> None:
    aliases = [alias for rule in CATALOGUE.rules.values() for alias in rule.definition.aliases]
    assert len(aliases) == len(set(aliases))


def test_rule_sets_hold_what_maps_to_their_framework() -> None:
    assert "s3-bucket-mfa-delete" in CATALOGUE.rule_sets["cis-aws-5.0"]
    assert "s3-bucket-versioning" not in CATALOGUE.rule_sets["cis-aws-5.0"]
    assert len(CATALOGUE.rule_sets["baseline"]) >= 30


def test_selection_joins_rules_and_rule_sets() -> None:
    chosen = CATALOGUE.select(["s3-bucket-versioning", "iam-root-mfa"], ["cis-aws-5.0"])

    assert chosen == sorted({"s3-bucket-versioning", *CATALOGUE.rule_sets["cis-aws-5.0"]})


@pytest.mark.parametrize(
    ("rules", "rule_sets", "field", "hint"),
    [
        (["iam-root-mfa", "s3-bucket-versionning"], [], "rules.1", "did you mean s3-bucket-versioning?"),
        ([], ["baseline", "cis-aws-5"], "rule_sets.1", "did you mean cis-aws-5.0?"),
        (["x" * 100_000], [], "rules.0", "no rule of this name"),
    ],
)
def test_unknown_names_are_refused_by_place(rules: list[str], rule_sets: list[str], field: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        CATALOGUE.select(rules, rule_sets)

    assert caught.value.field == field
    assert hint in str(caught.value)
    assert not any(name in str(caught.value) for name in rules if name.endswith(("nning", "xx")))


def test_resource_documents_are_named_after_their_type() -> None:
    assert {f"{document.type}.yaml" for document in read_resource_documents().values()} == set(
        read_resource_documents()
    )

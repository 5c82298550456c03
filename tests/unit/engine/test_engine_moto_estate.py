"""Rules judge resources that were made in moto: a good one and a bad one of each kind, by way of the real SDK.

What moto does not have is judged by recorded shapes alone (`test_engine_cases`): which operations, stands here.
"""

from collections import defaultdict

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus
from coreo_worker.audit.engine import AuditRequest
from tests.support.engine import RememberingSink, audit
from tests.support.moto_aws import ACCOUNT, REGION, MotoClients, moto
from tests.support.moto_estate import PLANTS, Plant

CATALOGUE = load_catalogue()
# Of the operations that the catalogue reads, those that moto 5.2 has not.
UNKNOWN_TO_MOTO = {
    "accessanalyzer.list_analyzers",
    "account.get_contact_information",
    "bedrock.list_guardrails",
    "codebuild.list_report_groups",
    "ec2.describe_client_vpn_endpoints",
    "ec2.describe_vpc_block_public_access_options",
    "ec2.get_image_block_public_access_state",
    "ec2.get_instance_metadata_defaults",
    "ec2.get_serial_console_access_status",
    "ec2.get_snapshot_block_public_access_state",
    "emr.list_security_configurations",
    "kafkaconnect.list_connectors",
    "macie2.get_automated_discovery_configuration",
    "network-firewall.list_firewall_policies",
    "network-firewall.list_rule_groups",
    "redshift-serverless.list_namespaces",
    "redshift-serverless.list_workgroups",
    "securityhub.get_enabled_standards",
    "ssm.describe_instance_information",
    "ssm.get_service_setting",
    "ssm.list_resource_compliance_summaries",
}


async def audited(*rules: str) -> tuple[RememberingSink, MotoClients]:
    clients = MotoClients()
    sink = await audit(AuditRequest(ACCOUNT, "aws", rules, (REGION,), {}, frozenset()), clients)
    return sink, clients


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__.strip("_"))
async def test_bad_resources_fail_and_good_ones_pass(plant: Plant) -> None:
    with moto():
        expected = list(plant())
        sink, _ = await audited(*sorted({each.rule for each in expected}))
    found: defaultdict[str, dict[str, FindingStatus]] = defaultdict(dict)
    for finding in sink.findings:
        found[finding.rule_id][finding.resource_id] = finding.status
    for each in expected:
        wanted = dict.fromkeys(each.fails, FindingStatus.FAIL) | dict.fromkeys(each.passes, FindingStatus.PASS)
        assert {name: found[each.rule].get(name) for name in wanted} == wanted, each.rule


async def test_an_empty_account_is_read_to_its_end_where_moto_can() -> None:
    """Every resource type is listed by the real SDK: what it refuses to send would be undecided here."""
    with moto():
        sink, clients = await audited(*CATALOGUE.rules)
    assert clients.unknown == UNKNOWN_TO_MOTO
    undecided = {
        name
        for finding in sink.findings
        if finding.status is FindingStatus.NOT_EVALUATED
        for name in [(finding.reason or "").partition(" in ")[0].replace(":", ".")]
    }
    assert undecided <= UNKNOWN_TO_MOTO

"""Every rule's example cases through the whole engine, by answers that AWS could give."""

import pytest
import time_machine

from coreo_shared.catalogue import load_cases, load_catalogue
from coreo_shared.rules.cases import NOW, REGION, Case
from coreo_worker.audit.engine import AuditRequest, run_audit
from tests.support.case_aws import CaseAws
from tests.support.engine import ACCOUNT, RememberingSink

CATALOGUE = load_catalogue()
HOME = CATALOGUE.partitions["aws"].home
CASES = load_cases()


@pytest.mark.parametrize("rule_id", sorted(CASES))
async def test_cases_come_out_the_same_by_way_of_the_apis(rule_id: str) -> None:
    for case in CASES[rule_id]:
        found, whole = await statuses(case)
        expected = case.expect if whole else "NOT_EVALUATED"
        assert found == ([] if expected == "NOT_APPLICABLE" else [expected]), case.name


async def statuses(case: Case) -> tuple[list[str], bool]:
    """What the engine says of the case's item, or of all items where they could not be listed; whether they could."""
    kind = CATALOGUE.resource_types[case.rule.resource]
    aws = CaseAws(CATALOGUE, case, HOME)
    parameters = {case.rule.id: case.parameters} if case.parameters else {}
    request = AuditRequest(ACCOUNT, "aws", (case.rule.id,), (REGION,), parameters, frozenset())
    sink = RememberingSink()
    with time_machine.travel(NOW, tick=True):
        await run_audit(request, aws, sink)
    region = "global" if kind.scope == "global" else REGION
    item = aws.listed[kind.name][-1]
    owner = item if kind.listing is not None else item | {"AccountId": ACCOUNT, "Region": region}
    named = kind.identify(owner, account=ACCOUNT, region=region, partition="aws")
    names = {named.id, f"{kind.name}@{region}"}
    found = [str(finding.status) for finding in sink.findings if finding.resource_id in names]
    return found, not aws.is_partly_listed

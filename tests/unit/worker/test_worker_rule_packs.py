"""Packs in jobs: the worker checks them anew, and takes permissions for their rules alone."""

import json
import zlib

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.catalogue.packs import PackError, catalogue_with, squeeze
from coreo_shared.contracts.jobs import AuditSpec
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.contracts.terms import FindingStatus
from coreo_worker.audit.engine import AuditRequest, run_audit
from coreo_worker.aws.errors import PermanentError
from coreo_worker.runner.permissions import policies_for
from tests.support.engine import ACCOUNT, PlainAws, RememberingSink

PACK = json.dumps(
    {
        "pack": "acme",
        "rules": [
            {
                "id": "user-name",
                "title": "Users have no temporary names",
                "resource": "aws.iam.user",
                "severity": "low",
                "rationale": "Temporary users have to be removed after some days.",
                "fail_when": {"UserName": {"matches": "^tmp-"}},
                "message": "{UserName} has a temporary name",
                "remediation": {"console": "Remove it."},
            }
        ],
    }
)
RULE = "x-acme-user-name"


def spec(text: bytes) -> AuditSpec:
    return AuditSpec(rules=[RULE], regions=["eu-west-1"], packs=[RulePack(name="acme", version=3, text=text)])


def test_session_is_narrowed_to_the_calls_of_the_packs_rules() -> None:
    document = json.loads(policies_for(spec(squeeze(PACK)))[0].document)
    assert document["Statement"][0]["Action"] == ["iam:GetAccountAuthorizationDetails"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(squeeze(PACK.replace("UserName", "UserNam")), id="a field that is not there"),
        pytest.param(squeeze(PACK)[:-10], id="cut off"),
        pytest.param(b"not compressed", id="not compressed"),
        pytest.param(zlib.compress(b"a" * 100_000_000), id="a bomb"),
        pytest.param(zlib.compress(b"\xff\xfe"), id="not text"),
    ],
)
def test_pack_that_is_not_right_ends_the_run_and_names_itself(text: bytes) -> None:
    with pytest.raises(PermanentError, match=r"acme@3"):
        policies_for(spec(text))
    with pytest.raises(PackError):
        catalogue_with((text,))


async def test_engine_judges_by_the_packs_rules_and_the_catalogue_stays_as_it_is() -> None:
    aws = PlainAws({"iam.get_account_authorization_details": lambda *_: {"UserDetailList": [{"UserName": "tmp-x"}]}})
    request = AuditRequest(ACCOUNT, "aws", (RULE,), ("eu-west-1",), {}, frozenset())
    sink = RememberingSink()
    await run_audit(request, aws, sink, catalogue=catalogue_with((squeeze(PACK),)))
    (finding,) = sink.findings
    assert (finding.rule_id, finding.status, finding.resource_id) == (RULE, FindingStatus.FAIL, "tmp-x")
    assert RULE not in load_catalogue().rules

"""What the takers of these formats refuse, though the schemas allow it."""

import json
import string

import msgspec
import pytest
from botocore.session import get_session

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.exports import Format
from coreo_shared.exports.asff_types import TYPES
from tests.support.exports import finding, written

CATALOGUE = load_catalogue()


def one_of_each_rule() -> list[Finding]:
    return [finding(number, rule=rule) for number, rule in enumerate(CATALOGUE.rules)]


def details(**evidence: object) -> dict[str, str]:
    found = msgspec.structs.replace(finding(1), evidence=evidence)
    (one,) = json.loads(written(Format.ASFF, [found]))
    told = one["Resources"][0]["Details"]["Other"]
    assert isinstance(told, dict)
    return told


def test_security_hubs_limits_of_details_hold_for_any_evidence() -> None:
    """https://docs.aws.amazon.com/securityhub/latest/userguide/asff-resourcedetails-other.html"""
    evidence: dict[str, object] = {f"{number:03}" + "n" * 200: ["v" * 700, "w" * 700] for number in range(60)}
    told = details(**evidence)
    assert len(told) == 50
    assert max(map(len, told)) < 128
    assert max(map(len, told.values())) < 1_024


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_security_hub_is_given_no_blank_value(blank: str) -> None:
    """Its strings have the pattern `.*\\S.*`, and one that is blank has the whole batch refused."""
    assert details(Description=blank, Kept="1") == {
        "ResourceType": "aws.s3.bucket",
        "ResourceName": "bucket-1",
        "Kept": "1",
    }
    (one,) = json.loads(written(Format.ASFF, [msgspec.structs.replace(finding(1), message=blank)]))
    assert one["Description"] == one["Title"]


def test_each_type_is_one_of_ours_and_one_of_security_hubs() -> None:
    shape = get_session().get_service_model("securityhub").shape_for("ResourceDetails")
    known = {*getattr(shape, "members", {}), "AwsAccount"}  # an account has no details of its own
    assert len(known) > 50
    assert set(TYPES) <= set(CATALOGUE.resource_types)
    assert set(TYPES.values()) <= known


def test_what_is_of_the_whole_account_is_told_so() -> None:
    plain = {"account", "region", "settings"}
    types = {name for name in CATALOGUE.resource_types if name.rpartition(".")[2] in plain}
    assert {TYPES.get(name) for name in types} == {"AwsAccount", "AwsS3AccountPublicAccessBlock"}


def test_no_rule_has_more_tags_than_github_takes() -> None:
    """https://docs.github.com/en/code-security/code-scanning/troubleshooting-sarif-uploads/results-exceed-limit"""
    (run,) = json.loads(written(Format.SARIF, one_of_each_rule()))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(rules) == len(CATALOGUE.rules)
    for rule in rules:
        tags = rule["properties"]["tags"]
        assert len(set(tags)) == len(tags) <= 20
        assert rule["properties"]["controls"] == {
            name: list(ids) for name, ids in CATALOGUE.controls[rule["id"]].items()
        }


def test_github_finds_a_line_and_knows_an_alert_again() -> None:
    (run,) = json.loads(written(Format.SARIF, [finding(1, text="a b/c"), finding(2, FindingStatus.NOT_EVALUATED)]))[
        "runs"
    ]
    for number, result in enumerate(run["results"], 1):
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] == 1
        assert set(place["artifactLocation"]["uri"]) <= set(string.ascii_letters + string.digits + "-._/")
        assert result["partialFingerprints"]["primaryLocationLineHash"] == f"{number:032x}"

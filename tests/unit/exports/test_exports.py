"""Each format holds each finding, whatever its text, and fits the format's schema."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
from pydantic import BaseModel
from sarif_pydantic import Sarif

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports import SUFFIXES, Format, export
from tests import support
from tests.support.exports import ODD, finding, odd_findings, subject, written

FINDINGS = odd_findings()
EACH = len(ODD)  # findings of each status


def _xml(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  our own


def test_every_format_has_an_ending_of_its_own() -> None:
    assert set(SUFFIXES) == set(Format)
    assert len(set(SUFFIXES.values())) == len(Format)


@pytest.mark.parametrize("format_", Format)
def test_no_findings_make_a_file_that_says_so(format_: Format) -> None:
    text = written(format_, [])
    match format_:
        case Format.JSONL:
            assert text == ""
        case Format.CSV:
            assert text.count("\r\n") == 1
        case Format.JSON:
            assert json.loads(text)["findings"] == []
        case Format.OCSF | Format.ASFF:
            assert json.loads(text) == []
        case Format.SARIF:
            assert json.loads(text)["runs"][0]["results"] == []
        case Format.JUNIT:
            assert _xml(text).attrib["tests"] == "0"
        case Format.HTML:
            assert "Nothing was found to check." in text


@pytest.mark.parametrize("format_", [Format.JSON, Format.JSONL, Format.CSV, Format.OCSF, Format.ASFF, Format.SARIF])
def test_findings_are_written_as_they_come(format_: Format) -> None:
    """When the last is asked for, the first is in the file."""
    out = io.StringIO(newline="")

    def coming() -> Iterator[Finding]:
        yield finding(1, text="the-first")
        yield finding(2)
        assert "the-first" in out.getvalue()
        yield finding(3)

    export(format_, coming(), subject(), load_catalogue(), out)
    assert "bucket-3" in out.getvalue()


def test_json_lines_hold_what_somebody_needs_who_has_nothing_else() -> None:
    (line,) = written(Format.JSONL, [finding(1, FindingStatus.NOT_EVALUATED)]).splitlines()
    row = json.loads(line)
    assert row["status"] == "NOT_EVALUATED"
    assert row["account_id"] == "210987654321"
    assert row["missing_actions"] == ["s3:GetBucketVersioning"]
    assert row["title"] == load_catalogue().rules["s3-bucket-versioning"].title
    assert row["remediation"]["console"]
    assert row["controls"]["nist-800-53-r5"]
    assert row["evidence"]["Nested"][0]["Value"] == 2**63


def test_json_and_json_lines_are_the_same_rows() -> None:
    lines = [json.loads(line) for line in written(Format.JSONL, FINDINGS).split("\n")[:-1]]
    document = json.loads(written(Format.JSON, FINDINGS))
    assert document["findings"] == lines
    assert document["subject"]["account_id"] == "210987654321"
    assert Counter(line["status"] for line in lines) == dict.fromkeys(map(str, FindingStatus), EACH)


def test_csv_holds_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(written(Format.CSV, FINDINGS), newline="")))
    assert len(rows) == len(FINDINGS)
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert json.loads(rows[0]["evidence"])["Name"] == "plain"


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d", "\uff0b", "\u00a0="])
def test_a_text_that_a_spreadsheet_runs_is_defused(beginning: str) -> None:
    (row,) = csv.DictReader(io.StringIO(written(Format.CSV, [finding(1, text=f"{beginning}1+1")]), newline=""))
    assert row["message"].startswith("'")


def test_ocsf_events_fit_the_model_and_lose_nothing_to_it() -> None:
    events = json.loads(written(Format.OCSF, FINDINGS))
    assert len(events) == len(FINDINGS)
    for event in events:
        kept = ComplianceFinding.model_validate(event).model_dump(mode="json", exclude_none=True)
        lost = _lost(event, kept)
        # The model has no place for the cloud profile's object and for the words of a check's status: the schema has.
        assert lost <= {"cloud"}, lost


def _lost(given: Any, kept: Any, path: str = "") -> set[str]:
    if isinstance(given, dict):
        if not isinstance(kept, dict):
            return {path}
        return set().union(
            *(
                _lost(value, kept[name], f"{path}.{name}".strip(".")) if name in kept else {f"{path}.{name}".strip(".")}
                for name, value in given.items()
                if value is not None and path != "resources.data.evidence"
            )
        )
    if isinstance(given, list):
        return set().union(*(_lost(one, other, path) for one, other in zip(given, kept, strict=True)))
    return set()


@pytest.mark.parametrize(
    ("status", "compliance", "workflow"),
    [
        (FindingStatus.PASS, 1, 1),
        (FindingStatus.FAIL, 3, 1),
        (FindingStatus.NOT_EVALUATED, 2, 1),
        (FindingStatus.SUPPRESSED, 3, 3),
    ],
)
def test_ocsf_takes_the_unknown_for_no_pass(status: FindingStatus, compliance: int, workflow: int) -> None:
    (event,) = json.loads(written(Format.OCSF, [finding(1, status)]))
    assert (event["compliance"]["status_id"], event["status_id"]) == (compliance, workflow)
    assert event["type_uid"] == 200301
    assert event["time"] == 1_780_315_212_345


def test_asff_is_what_security_hub_takes() -> None:
    """By the SDK's model of BatchImportFindings, and the lengths that its documentation gives."""
    service = get_session().get_service_model("securityhub")
    shape = service.operation_model("BatchImportFindings").input_shape
    found = json.loads(written(Format.ASFF, FINDINGS))
    assert len(found) == len(FINDINGS)
    assert shape is not None
    report = ParamValidator().validate({"Findings": found}, shape)
    assert not report.has_errors(), report.generate_report()
    for one in found:
        assert 1 <= len(one["Title"]) <= 256
        assert 1 <= len(one["Description"]) <= 1_024
        assert len(one["Remediation"]["Recommendation"]["Text"]) <= 512
        assert len(one["Resources"][0]["Id"]) <= 512
        assert len(one["Resources"][0]["Details"]["Other"]) <= 50
        assert len(one["Compliance"]["RelatedRequirements"]) <= 32
        assert len(json.dumps(one)) < 240_000
    verdicts = Counter((one["Compliance"]["Status"], one["Workflow"]["Status"]) for one in found)
    assert verdicts == {
        ("PASSED", "NEW"): EACH,
        ("FAILED", "NEW"): EACH,
        ("NOT_AVAILABLE", "NEW"): EACH,
        ("FAILED", "SUPPRESSED"): EACH,
    }


def test_sarif_fits_the_model_and_has_no_unknown_key() -> None:
    log = json.loads(written(Format.SARIF, FINDINGS))
    # These three the model leaves out; the specification has them (3.14.17, 3.19.4, 3.27.23).
    assert _extras(Sarif.model_validate(log)) == {"columnKind", "organization", "suppressions"}
    (run,) = log["runs"]
    assert len(run["results"]) == len(FINDINGS)
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    kinds = Counter((result["kind"], result["level"] != "none", "suppressions" in result) for result in run["results"])
    assert kinds == {
        ("fail", True, False): EACH,
        ("pass", False, False): EACH,
        ("open", False, False): EACH,
        ("fail", True, True): EACH,
    }


def test_sarif_fits_the_schema() -> None:
    """That of OASIS (revision rtm.5), without its descriptions."""
    schema = json.loads((Path(support.__file__).parent / "schemas" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    checked = Draft4Validator(schema, format_checker=Draft4Validator.FORMAT_CHECKER)
    log = json.loads(written(Format.SARIF, FINDINGS))
    assert [error.message for error in checked.iter_errors(log)] == []
    log["runs"][0]["results"][0]["kind"] = "perhaps"
    assert len(list(checked.iter_errors(log))) == 1


def _extras(model: BaseModel) -> set[str]:
    """The keys that the models do not know."""
    found = set(model.model_extra or {}) - {"$schema"}
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                found |= _extras(each)
    return found


# The elements and attributes of the schema that Jenkins publishes (junit-10.xsd), which others read as well.
JUNIT = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "hostname", "timestamp", "time", "id", "package"},
    "testcase": {"name", "assertions", "time", "classname", "status"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"type", "message"},
}
WITHIN = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "error", "skipped"}}


def test_junit_counts_the_unknown_as_error() -> None:
    root = _xml(written(Format.JUNIT, FINDINGS))
    for element in root.iter():
        assert set(element.attrib) <= JUNIT[element.tag]
        assert {child.tag for child in element} <= WITHIN.get(element.tag, set())
        assert element.tag not in {"testsuite", "testcase"} or element.attrib["name"]
    assert root.attrib["tests"] == str(len(FINDINGS))
    assert root.attrib["failures"] == root.attrib["errors"] == str(EACH)
    cases = root.findall("testsuite/testcase")
    assert Counter(child.tag for case in cases for child in case) == {"failure": EACH, "error": EACH, "skipped": EACH}
    for suite in root.findall("testsuite"):
        assert suite.attrib["tests"] == str(len(suite.findall("testcase")))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(FindingStatus)),
            st.sampled_from(list(Severity)),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        ),
        max_size=12,
    )
)
def test_what_goes_in_is_counted_in_every_format(given: list[tuple[FindingStatus, Severity, str]]) -> None:
    findings = [
        Finding(
            fingerprint=f"{number:032x}",
            rule_id="s3-bucket-versioning",
            status=status,
            severity=severity,
            resource_type="aws.s3.bucket",
            resource_id=text,
            resource_arn=text,
            region="eu-west-1",
            message=text,
            evidence={"Text": text},
            reason=text,
        )
        for number, (status, severity, text) in enumerate(given)
    ]
    count = len(findings)
    assert written(Format.JSONL, findings).count("\n") == count
    assert len(list(csv.reader(io.StringIO(written(Format.CSV, findings), newline="")))) == count + 1
    assert len(json.loads(written(Format.JSON, findings))["findings"]) == count
    assert len(json.loads(written(Format.OCSF, findings))) == count
    assert len(json.loads(written(Format.ASFF, findings))) == count
    assert len(json.loads(written(Format.SARIF, findings))["runs"][0]["results"]) == count
    assert len(_xml(written(Format.JUNIT, findings)).findall("testsuite/testcase")) == count
    assert f"of {count:,} checks failed" in written(Format.HTML, findings) or count == 0

"""Text that no UTF-8 file can hold does not stop an export, and does not change what can be told."""

import json

import msgspec
import pytest

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.exports import Format
from tests.support.exports import finding, written

HALF = "half\ud800character"
PAIR = "pair\ud83d\ude42joined"


def odd(text: str, status: FindingStatus) -> Finding:
    return msgspec.structs.replace(finding(1, status, text), evidence={text: [{"Deep": text}, 1, None, True, 0.5]})


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("status", FindingStatus)
def test_half_a_character_stops_no_export(format_: Format, status: FindingStatus) -> None:
    text = written(format_, [odd(HALF, status), finding(2)])
    assert text.encode("utf-8")


def test_half_a_character_is_replaced_and_a_pair_joined() -> None:
    findings = [odd(HALF, FindingStatus.FAIL), odd(PAIR, FindingStatus.FAIL), finding(3)]
    half, pair, plain = (json.loads(line) for line in written(Format.JSONL, findings).splitlines())
    assert half["resource_id"] == "half\N{REPLACEMENT CHARACTER}character-1"
    assert half["evidence"] == {
        "half\N{REPLACEMENT CHARACTER}character": [
            {"Deep": "half\N{REPLACEMENT CHARACTER}character"}, 1, None, True, 0.5,
        ]
    }  # fmt: skip
    assert pair["message"] == "pair\N{SLIGHTLY SMILING FACE}joined is not right"
    assert plain["evidence"] == finding(3).evidence


@pytest.mark.parametrize("format_", Format)
def test_evidence_of_a_megabyte_is_written_or_cut(format_: Format) -> None:
    huge = msgspec.structs.replace(finding(1), evidence={"Policy": "x" * 1_000_000, "Deep": _nested(200)})
    text = written(format_, [huge])
    bounded = format_ in {Format.ASFF, Format.HTML}
    assert (len(text) < 200_000) is bounded


def _nested(depth: int) -> object:
    return [_nested(depth - 1)] if depth else "bottom"

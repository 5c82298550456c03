"""What a person is told to check where nobody knows what became of a change."""

from dataclasses import replace

from coreo_api.deploys.outcome import Unknown, checks, verdicts
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.ids import new_id

UNKNOWN = Unknown(new_id(), DeployAction.APPLY, "aws", "eu-west-1", "web", "arn:stack", "arn:set", "2026-01-01")


def test_protection_leaves_no_trace_but_itself() -> None:
    alone = replace(UNKNOWN, change_set_arn=None, protects_alone=True)
    (check,) = checks(alone)
    assert "EnableTerminationProtection" in check.command
    assert [each.do.partition("{")[2] for each in verdicts(alone)][:2] == [
        '"outcome": "SUCCEEDED"}',
        '"outcome": "FAILED"}',
    ]
    assert len(checks(UNKNOWN)) == 4
    assert all("EnableTerminationProtection" not in each.command for each in checks(UNKNOWN))

"""Network ACLs: the order of the entries decides, and address blocks are sets."""

from typing import Any

import pytest

from coreo_shared.rules.nacl import lets_in

DENY_ALL = {"RuleNumber": 32767, "Protocol": "-1", "RuleAction": "deny", "Egress": False, "CidrBlock": "0.0.0.0/0"}


def entry(number: int, action: str, block: str, protocol: str = "6", ports: tuple[int, int] | None = (22, 22)) -> Any:
    made: dict[str, Any] = {"RuleNumber": number, "Protocol": protocol, "RuleAction": action, "Egress": False}
    made["Ipv6CidrBlock" if ":" in block else "CidrBlock"] = block
    if ports:
        made["PortRange"] = {"From": ports[0], "To": ports[1]}
    return made


@pytest.mark.parametrize(
    ("entries", "open_"),
    [
        ([], False),
        ([entry(100, "allow", "0.0.0.0/0")], True),
        ([entry(100, "allow", "0.0.0.0/0", "-1", None)], True),
        ([entry(100, "allow", "0.0.0.0/0", ports=(0, 1024))], True),
        ([entry(100, "allow", "0.0.0.0/0", ports=(80, 443))], False),
        ([entry(100, "allow", "0.0.0.0/0", "17")], False),
        ([entry(100, "allow", "::/0")], True),
        ([entry(100, "allow", "10.0.0.0/8")], False),
        ([entry(100, "allow", "0.0.0.0/1"), entry(101, "allow", "128.0.0.0/1")], True),
        ([entry(90, "deny", "0.0.0.0/0"), entry(100, "allow", "0.0.0.0/0")], False),
        ([entry(110, "deny", "0.0.0.0/0"), entry(100, "allow", "0.0.0.0/0")], True),
        ([entry(90, "deny", "0.0.0.0/0"), entry(100, "allow", "::/0")], True),
        ([entry(90, "deny", "10.0.0.0/8"), entry(100, "allow", "0.0.0.0/0")], True),
        ([entry(90, "deny", "0.0.0.0/1"), entry(91, "deny", "128.0.0.0/1"), entry(92, "allow", "0.0.0.0/0")], False),
        ([{**entry(100, "allow", "0.0.0.0/0"), "Egress": True}], False),
    ],
)
def test_first_entry_that_fits_decides(entries: list[Any], *, open_: bool) -> None:
    assert lets_in([*reversed(entries), DENY_ALL], "tcp", 22) is open_


def test_block_that_does_not_parse_is_unknown() -> None:
    assert lets_in([entry(100, "allow", "all")], "tcp", 22) is None

"""Addresses as sets: what is the internet, however it is written."""

import ipaddress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_shared.rules.functions import PREFIX_LIST
from coreo_shared.rules.network import AddressRange, is_internet, parse_cidr, port_range, protocol_covers
from coreo_shared.rules.values import Listing, Relations, Unknown
from tests.support.rules import judge


def _parsed(blocks: list[str]) -> list[AddressRange]:
    parsed = [parse_cidr(block) for block in blocks]
    assert all(parsed)
    return [block for block in parsed if block]


@pytest.mark.parametrize(
    "blocks",
    [
        ["0.0.0.0/0"],
        ["::/0"],
        ["1.2.3.4/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["0.0.0.0/1"],
        ["128.0.0.0/1"],
        ["::/1", "8000::/1"],
        ["2000::/3"],
        ["2000::/4", "3000::/4"],
        ["8.0.0.0/7"],
        ["8.0.0.0/8", "9.0.0.0/24"],
        [f"{first}.0.0.0/8" for first in range(1, 224)],
        [f"8.{second}.0.0/16" for second in range(256)] + ["9.9.0.0/16"],
    ],
)
def test_is_the_internet(blocks: list[str]) -> None:
    assert is_internet(_parsed(blocks))


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        ["10.0.0.0/8"],
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
        ["224.0.0.0/3"],
        ["fc00::/7", "fe80::/10", "::1/128"],
        ["17.0.0.0/8"],
        ["17.0.0.0/8", "17.0.0.0/9", "17.128.0.0/9", "17.1.2.3/32"],
        ["198.35.26.96/32"],
        ["2001:db8::/32"],
        ["2600::/16"],
        ["8000::/1"],
    ],
)
def test_is_not_the_internet(blocks: list[str]) -> None:
    assert not is_internet(_parsed(blocks))


@pytest.mark.parametrize("text", ["", "everyone", "0.0.0.0/33", "1.2.3/8", "::g/1", "10.0.0.0/-1", "0.0.0.0/0 "])
def test_what_is_no_block_does_not_parse(text: str) -> None:
    assert parse_cidr(text) is None


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 32), st.randoms(use_true_random=False))
def test_splitting_a_block_changes_nothing(splits: int, random: Random) -> None:
    """However an attacker or a tool cuts the internet into pieces, in whatever order they come."""
    blocks = [ipaddress.ip_network("0.0.0.0/0")]
    for _ in range(splits):
        chosen = blocks.pop(random.randrange(len(blocks)))
        blocks.extend(chosen.subnets() if chosen.prefixlen < 32 else [chosen])
    random.shuffle(blocks)

    assert is_internet(_parsed([str(block) for block in blocks]))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.ip_addresses(v=4).map(str).flatmap(lambda a: st.integers(0, 32).map(lambda n: f"{a}/{n}"))), st.data()
)
def test_more_ranges_never_make_it_less_open(blocks: list[str], data: st.DataObject) -> None:
    part = data.draw(st.lists(st.sampled_from(blocks), unique=True)) if blocks else []

    assert is_internet(_parsed(blocks)) or not is_internet(_parsed(part))


@pytest.mark.parametrize(
    ("given_", "wanted", "covers"),
    [
        ("tcp", "tcp", True),
        ("TCP", "tcp", True),
        ("6", "tcp", True),
        ("-1", "tcp", True),
        ("-1", "udp", True),
        ("17", "udp", True),
        ("udp", "tcp", False),
        ("icmp", "tcp", False),
        ("58", "icmpv6", True),
        ("50", "tcp", False),
    ],
)
def test_protocols(given_: str, wanted: str, covers: bool) -> None:  # noqa: FBT001  a column of the table
    assert protocol_covers(given_, wanted) is covers


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(22, 22, (22, 22)), (None, None, (0, 65535)), (-1, -1, (0, 65535)), (0, 65535, (0, 65535)), (0, 0, (0, 0))],
)
def test_ports(first: int | None, last: int | None, expected: tuple[int, int]) -> None:
    assert port_range(first, last) == expected


def _rule(first: int, last: int, *blocks: str) -> dict[str, object]:
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last, "IpRanges": [{"CidrIp": block} for block in blocks]}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"]))
    ),
    st.sets(st.integers(0, 40), min_size=1, max_size=5),
)
def test_other_than_agrees_with_asking_every_port(spans: list[tuple[int, int, str]], authorized: set[int]) -> None:
    item = {"Rules": [_rule(min(first, last), max(first, last), block) for first, last, block in spans]}
    every_other = [port for port in range(42) if port not in authorized]

    quick = judge({"reachable_from_internet": {"permissions": "Rules", "other_than": sorted(authorized)}}, item, _EMPTY)
    slow = judge({"reachable_from_internet": {"permissions": "Rules", "ports": every_other}}, item, _EMPTY)

    assert quick == slow


_EMPTY = Relations({PREFIX_LIST: {"r": Listing()}}, "r")


def test_address_that_does_not_parse_is_unknown_unless_the_rest_decides() -> None:
    condition = {"reachable_from_internet": {"permissions": "Rules", "ports": [22]}}

    assert judge(condition, {"Rules": [_rule(22, 22, "nonsense")]}, _EMPTY) == "NOT_EVALUATED"
    assert judge(condition, {"Rules": [_rule(22, 22, "nonsense", "0.0.0.0/0")]}, _EMPTY) == "FAIL"
    assert judge(condition, {"Rules": [_rule(23, 23, "nonsense")]}, _EMPTY) == "PASS"


def test_thousand_permissions_are_judged_within_the_step_limit() -> None:
    item = {"Rules": [_rule(port * 7, port * 7 + 3, "10.0.0.0/8") for port in range(500)]}

    assert judge({"reachable_from_internet": {"permissions": "Rules", "other_than": [80, 443]}}, item, _EMPTY) == "PASS"


@pytest.mark.parametrize(
    ("prefix_list", "expected"),
    [
        ({"Entries": [{"Cidr": "0.0.0.0/0"}]}, "FAIL"),
        ({"Entries": [{"Cidr": "10.0.0.0/8"}]}, "PASS"),
        ({"Entries": Unknown("denied", ("ec2:GetManagedPrefixListEntries",))}, "NOT_EVALUATED"),
        ({}, "NOT_EVALUATED"),
        ({"OwnerId": "AWS"}, "PASS"),
    ],
)
def test_prefix_list_counts_as_what_it_holds(prefix_list: dict[str, object], expected: str) -> None:
    item = {"Rules": [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}]}
    relations = Relations({PREFIX_LIST: {"r": Listing([{"PrefixListId": "pl-1"} | prefix_list])}}, "r")

    assert judge({"reachable_from_internet": {"permissions": "Rules", "ports": [22]}}, item, relations) == expected


def test_prefix_list_of_another_region_is_another_list() -> None:
    item = {"Rules": [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}]}
    elsewhere = Listing([{"PrefixListId": "pl-1", "Entries": [{"Cidr": "0.0.0.0/0"}]}])
    relations = Relations({PREFIX_LIST: {"r": Listing(), "s": elsewhere}}, "r")

    condition = {"reachable_from_internet": {"permissions": "Rules", "ports": [22]}}
    assert judge(condition, item, relations) == "NOT_EVALUATED"

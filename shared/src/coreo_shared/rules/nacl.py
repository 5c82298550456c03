"""What a network ACL lets in: its entries in the order of their numbers, the first that fits deciding.

https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html
"""

from collections.abc import Iterable, Mapping
from typing import Any

from coreo_shared.rules.network import AddressRange, is_internet, parse_cidr, port_range, protocol_covers

_V4, _V6 = 32, 128
Span = tuple[int, int]  # first and last address


def lets_in(entries: Iterable[Mapping[str, Any]], protocol: str, port: int) -> bool | None:
    """Whether the internet gets in on the port; None when an address block does not parse."""
    ingress = sorted((entry for entry in entries if not entry.get("Egress")), key=lambda entry: entry["RuleNumber"])
    undecided: dict[int, list[Span]] = {bits: [(0, (1 << bits) - 1)] for bits in (_V4, _V6)}
    allowed: list[AddressRange] = []
    for entry in ingress:
        if not _covers(entry, protocol, port):
            continue
        block = parse_cidr(entry.get("CidrBlock") or entry.get("Ipv6CidrBlock") or "")
        if block is None:
            return None
        inside, outside = _split(undecided[block.bits], (block.first, block.last))
        undecided[block.bits] = outside
        if entry["RuleAction"] == "allow":
            allowed += (AddressRange(block.bits, first, last) for first, last in inside)
    return is_internet(allowed)


def _covers(entry: Mapping[str, Any], protocol: str, port: int) -> bool:
    if not protocol_covers(entry["Protocol"], protocol):
        return False
    if entry["Protocol"] == "-1":
        return True
    span = entry.get("PortRange") or {}
    first, last = port_range(span.get("From"), span.get("To"))
    return bool(first <= port <= last)


def _split(spans: Iterable[Span], block: Span) -> tuple[list[Span], list[Span]]:
    """The spans' parts inside the block and outside it."""
    inside: list[Span] = []
    outside: list[Span] = []
    for first, last in spans:
        low, high = max(first, block[0]), min(last, block[1])
        if low > high:
            outside.append((first, last))
            continue
        inside.append((low, high))
        if first < low:
            outside.append((first, low - 1))
        if high < last:
            outside.append((high + 1, last))
    return inside, outside

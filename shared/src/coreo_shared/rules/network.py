"""Addresses, ports and protocols as sets: what a list of permissions lets in, however it is written."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_V4, _V6 = 32, 128
_PROTOCOL_NAMES = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
LAST_PORT = 65_535

# Not reachable over the internet (IANA special-purpose registries): private, shared, loopback, link-local, …
_NOT_ROUTED_V4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
)  # fmt: skip
# Of IPv6 only 2000::/3 is routed; so everything around it is not.
_NOT_ROUTED_V6 = ("::/3", "4000::/2", "8000::/1", "2001:db8::/32", "2002::/16", "3fff::/20")

# More routed addresses than any one organisation has: "the internet". An IPv4 /8 and an IPv6 /16 are still allowed.
_MOST_V4 = 1 << 24
_MOST_V6 = 1 << 112


@dataclass(frozen=True, slots=True)
class AddressRange:
    """First and last address of a CIDR block, as numbers."""

    bits: int
    first: int
    last: int


@lru_cache(maxsize=8_192)
def parse_cidr(text: str) -> AddressRange | None:
    """The block, or None when the text is none. A bare address is a block of one."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return AddressRange(network.max_prefixlen, int(network.network_address), int(network.broadcast_address))


def _ranges(blocks: Iterable[str]) -> list[tuple[int, int]]:
    networks = (ipaddress.ip_network(block) for block in blocks)
    return sorted((int(network.network_address), int(network.broadcast_address)) for network in networks)


_HOLES = {_V4: _ranges(_NOT_ROUTED_V4), _V6: _ranges(_NOT_ROUTED_V6)}
_MOST = {_V4: _MOST_V4, _V6: _MOST_V6}


def is_internet(ranges: Iterable[AddressRange]) -> bool:
    """Whether these blocks together hold more routed addresses than one organisation has, in IPv4 or in IPv6.

    So 0.0.0.0/0, ::/0, 0.0.0.0/1 with 128.0.0.0/1, and 0.0.0.0/1 alone are the internet; 10.0.0.0/8 is not.
    """
    by_bits: dict[int, list[tuple[int, int]]] = {_V4: [], _V6: []}
    for block in ranges:
        by_bits[block.bits].append((block.first, block.last))
    return any(_holds_most(bits, blocks) for bits, blocks in by_bits.items() if blocks)


@lru_cache(maxsize=8_192)
def is_internet_block(text: str) -> bool | None:
    """Whether this block alone is the internet; None when the text is no block."""
    block = parse_cidr(text)
    return None if block is None else is_internet((block,))


def _holds_most(bits: int, blocks: list[tuple[int, int]]) -> bool:
    most = _MOST[bits]
    if sum(last - first + 1 for first, last in blocks) <= most:
        return False  # overlaps and private blocks only make it less
    routed = sum(last - first + 1 - _not_routed(bits, first, last) for first, last in _merged(blocks))
    return routed > most


def _merged(blocks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(blocks):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _not_routed(bits: int, first: int, last: int) -> int:
    return sum(max(0, min(last, end) - max(first, start) + 1) for start, end in _HOLES[bits])


@lru_cache(maxsize=1_024)
def protocol_covers(given: str, wanted: str) -> bool:
    """Whether a permission's protocol (a name, a number, or -1 for all) takes in `wanted` (tcp, udp, icmp, icmpv6)."""
    return given == "-1" or _PROTOCOL_NAMES.get(given, given.lower()) == wanted


def port_range(first: int | None, last: int | None) -> tuple[int, int]:
    """A permission's ports. None or -1 mean all, as with protocol -1."""
    if first is None or first == -1:
        first = 0
    return first, LAST_PORT if last is None or last == -1 else last

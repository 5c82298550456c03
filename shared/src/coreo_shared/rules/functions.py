"""Conditions on several fields at once: sets of addresses, ports and protocols, event patterns, policies."""

from collections.abc import Iterable
from typing import Any

from coreo_shared.rules.filter_pattern import SAMPLES, PatternError, catches
from coreo_shared.rules.nacl import lets_in
from coreo_shared.rules.network import LAST_PORT, AddressRange, is_internet, parse_cidr, port_range, protocol_covers
from coreo_shared.rules.operators import Judgement, Run
from coreo_shared.rules.policy_functions import POLICY_FUNCTIONS
from coreo_shared.rules.signatures import Bound, Function, FunctionArgument, Reference
from coreo_shared.rules.values import Unknown

PREFIX_LIST = "aws.ec2.prefix_list"
_PERMISSION = ("IpProtocol", "FromPort", "ToPort", "IpRanges", "Ipv6Ranges", "PrefixListIds")
_PROTOCOLS = ("tcp", "udp")


def _protocol_covers(bound: Bound, _run: Run) -> Judgement:
    return bound["field"] is not None and protocol_covers(bound["field"], bound["protocol"])


def _port_covers(bound: Bound, _run: Run) -> Judgement:
    first, last = port_range(bound["from"], bound["to"])
    return bool(first <= bound["port"] <= last)


def _reachable(bound: Bound, run: Run) -> Judgement | frozenset[Unknown]:
    """Whether the internet gets to a port: each permission opens its ports to the union of its ranges and lists."""
    permissions = bound["permissions"] or ()
    protocols = (bound["protocol"],) if bound.get("protocol") else _PROTOCOLS
    unknown: frozenset[Unknown] = frozenset()
    for protocol in protocols:
        covering = [
            (*_ports_of(permission), permission)
            for permission in permissions
            if protocol_covers(permission.get("IpProtocol", ""), protocol)
        ]
        for low, high in _spans(bound, covering):
            run.spend(1 + (len(covering) >> 3))
            open_ = _is_open([p for first, last, p in covering if first <= low and high <= last], run)
            if open_ is True:
                return True
            if open_ is not False:
                unknown |= open_
    return unknown or False


def _ports_of(permission: Any) -> tuple[int, int]:
    if permission["IpProtocol"] == "-1":
        return 0, LAST_PORT
    return port_range(permission.get("FromPort"), permission.get("ToPort"))


def _spans(bound: Bound, covering: list[tuple[int, int, Any]]) -> Iterable[tuple[int, int]]:
    """The port ranges to look at, each open or shut as a whole."""
    if "ports" in bound:
        return [(port, port) for port in bound["ports"]]
    if "other_than" not in bound:
        return [(1, LAST_PORT)] if covering else []  # nothing listens on port 0
    allowed = frozenset(bound["other_than"])
    edges = {first for first, _, _ in covering} | {last + 1 for _, last, _ in covering} | {port + 1 for port in allowed}
    return [(port, port) for port in sorted(edges) if port not in allowed and port <= LAST_PORT]


def _is_open(permissions: list[Any], run: Run) -> bool | frozenset[Unknown]:
    if not permissions:
        return False
    ranges: list[AddressRange] = []
    unknown: set[Unknown] = set()
    for permission in permissions:
        blocks = [block.get("CidrIp") for block in permission.get("IpRanges") or ()]
        blocks += [block.get("CidrIpv6") for block in permission.get("Ipv6Ranges") or ()]
        for prefix_list in permission.get("PrefixListIds") or ():
            blocks += _prefix_list_blocks(prefix_list.get("PrefixListId"), run, unknown)
        run.spend(len(blocks))
        for block in blocks:
            parsed = parse_cidr(block) if block else None
            if parsed is None:
                unknown.add(Unknown("an address block does not parse"))
            else:
                ranges.append(parsed)
    return is_internet(ranges) or frozenset(unknown) or False


def _prefix_list_blocks(list_id: Any, run: Run, unknown: set[Unknown]) -> list[Any]:
    listing = run.relations.by_field(PREFIX_LIST, "PrefixListId", list_id, here=True)
    if not listing.items:
        unknown.update(listing.missing or (Unknown("a prefix list is not among those of this account and region"),))
        return []
    prefix_list = listing.items[0]
    if prefix_list.get("OwnerId") == "AWS":
        return []  # AWS's own lists hold AWS's addresses
    entries = prefix_list.get("Entries", _NOT_READ)
    if isinstance(entries, Unknown):
        unknown.add(entries)
        return []
    return [entry.get("Cidr") for entry in entries or ()]


_NOT_READ = Unknown("the entries of a prefix list were not read", ("ec2:GetManagedPrefixListEntries",))


def _nacl_lets_in(bound: Bound, run: Run) -> Judgement:
    entries = bound["entries"] or ()
    run.spend(len(entries) * len(bound["ports"]))
    found = [lets_in(entries, bound["protocol"], port) for port in bound["ports"]]
    if any(found):
        return True
    return Unknown("an address block does not parse") if None in found else False


def _catches_events(bound: Bound, run: Run) -> Judgement:
    if bound["pattern"] is None:
        return False
    run.spend(len(SAMPLES[bound["events"]]) + (len(bound["pattern"]) >> 4))
    try:
        return catches(bound["pattern"], bound["events"])
    except PatternError:
        return Unknown("a filter pattern is in a form that is not understood")


_TRANSPORTS = frozenset(_PROTOCOLS)
FUNCTIONS: dict[str, Function] = {
    "protocol_covers": Function(
        {
            "field": FunctionArgument("string"),
            "protocol": FunctionArgument(value="same", choices=_TRANSPORTS | {"icmp", "icmpv6"}),
        },
        _protocol_covers,
        usually=("{field} == {protocol}", "True"),
    ),
    "port_covers": Function(
        {
            "from": FunctionArgument("integer"),
            "to": FunctionArgument("integer"),
            "port": FunctionArgument(value="port"),
        },
        _port_covers,
        usually=(
            "{from}.__class__ is int and {to}.__class__ is int and {from} >= 0 and {to} >= 0",
            "{from} <= {port} <= {to}",
        ),
    ),
    # Without ports and other_than: all ports. Without protocol: TCP or UDP.
    "reachable_from_internet": Function(
        {
            "permissions": FunctionArgument("list", _PERMISSION),
            "protocol": FunctionArgument(value="same", choices=_TRANSPORTS, optional=True),
            "ports": FunctionArgument(value="port_list", optional=True),
            "other_than": FunctionArgument(value="port_list", optional=True),
        },
        _reachable,
        references={
            "permissions": Reference(
                PREFIX_LIST, "PrefixListId", "PrefixListIds[].PrefixListId", ("PrefixListId", "OwnerId", "Entries")
            )
        },
        alternatives=frozenset({"ports", "other_than"}),
    ),
    # The entries in order, the first that fits deciding; any of the ports.
    "nacl_lets_in": Function(
        {
            "entries": FunctionArgument("list", ("RuleNumber", "Protocol", "RuleAction", "Egress", "CidrBlock")),
            "protocol": FunctionArgument(value="same", choices=_TRANSPORTS),
            "ports": FunctionArgument(value="port_list"),
        },
        _nacl_lets_in,
    ),
    # Whether a metric filter counts all that belongs to the matter.
    "catches_events": Function(
        {"pattern": FunctionArgument("string"), "events": FunctionArgument(value="same", choices=frozenset(SAMPLES))},
        _catches_events,
    ),
    **POLICY_FUNCTIONS,
}

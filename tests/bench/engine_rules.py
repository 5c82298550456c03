"""How fast rules judge: the compiled rules beside hand-written Python and JMESPath, each on 100,000 resources.

Run: `.venv/bin/python -m tests.bench.engine_rules [COUNT]`. The same predicates three times; verdicts are compared, and
only predicates are timed (evidence and message come on top for all alike). JMESPath has no address sets: it compares
texts there, which is less work.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jmespath

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.compiler import compile_condition
from coreo_shared.rules.definitions import build_rule
from coreo_shared.rules.generate import Condition
from coreo_shared.rules.network import is_internet_block, port_range, protocol_covers
from coreo_shared.rules.operators import Run
from coreo_shared.rules.values import Relations
from tests.support.rules import NOW

_STEPS = 200_000
_ROUNDS = 3
Predicate = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Case:
    """One predicate in three languages, and what it is applied to."""

    name: str
    resource: str
    fail_when: Any
    python: Predicate
    jmespath: str
    items: Callable[[int], list[dict[str, Any]]]


def _python_group(group: dict[str, Any]) -> bool:
    for permission in group.get("IpPermissions") or ():
        if not protocol_covers(permission.get("IpProtocol", ""), "tcp"):
            continue
        first, last = port_range(permission.get("FromPort"), permission.get("ToPort"))
        if not first <= 22 <= last:
            continue
        if any(_open(block.get("CidrIp")) for block in permission.get("IpRanges") or ()):
            return True
        if any(_open(block.get("CidrIpv6")) for block in permission.get("Ipv6Ranges") or ()):
            return True
    return False


def _open(cidr: str | None) -> bool:
    return cidr is not None and is_internet_block(cidr) is True


def _python_database(database: dict[str, Any]) -> bool:
    return (
        database.get("StorageEncrypted") is not True
        or database.get("PubliclyAccessible") is True
        or (database.get("BackupRetentionPeriod") or 0) < 7
    )


def _python_instance(instance: dict[str, Any]) -> bool:
    for tag in instance.get("Tags") or ():
        if tag.get("Key") == "Owner" and tag.get("Value"):
            return False
    return (instance.get("State") or {}).get("Name") == "running"


def _groups(count: int) -> list[dict[str, Any]]:
    def permission(number: int) -> dict[str, Any]:
        ranges = [
            {"CidrIp": f"10.{number % 200}.0.0/16"},
            {"CidrIp": "0.0.0.0/0" if number % 40 == 0 else "192.168.0.0/16"},
        ]
        ports = (22, 22) if number % 3 == 0 else (443, 443)
        return {"IpProtocol": "tcp", "FromPort": ports[0], "ToPort": ports[1], "IpRanges": ranges, "Ipv6Ranges": []}

    return [
        {"GroupId": f"sg-{n}", "GroupName": "web", "IpPermissions": [permission(n + k) for k in range(3)]}
        for n in range(count)
    ]


def _databases(count: int) -> list[dict[str, Any]]:
    return [
        {
            "DBInstanceIdentifier": f"db-{n}",
            "StorageEncrypted": n % 10 != 0,
            "PubliclyAccessible": n % 13 == 0,
            "BackupRetentionPeriod": n % 30,
        }
        for n in range(count)
    ]


def _instances(count: int) -> list[dict[str, Any]]:
    return [
        {
            "InstanceId": f"i-{n}",
            "State": {"Name": "running" if n % 4 else "stopped"},
            "Tags": [{"Key": key, "Value": "x"} for key in ("Name", "Stage", "Team", "Owner")[: 3 + n % 2]],
        }
        for n in range(count)
    ]


CASES = (
    Case(
        "group open on 22",
        "aws.ec2.security_group",
        {
            "any_of": "IpPermissions",
            "where": [
                {"protocol_covers": {"field": "IpProtocol", "protocol": "tcp"}},
                {"port_covers": {"from": "FromPort", "to": "ToPort", "port": 22}},
                {
                    "or": [
                        {"any_of": "IpRanges", "where": [{"CidrIp": {"is_internet": True}}]},
                        {"any_of": "Ipv6Ranges", "where": [{"CidrIpv6": {"is_internet": True}}]},
                    ]
                },
            ],
        },
        _python_group,
        "length(IpPermissions[?(IpProtocol=='tcp' || IpProtocol=='-1') && FromPort<=`22` && ToPort>=`22` && "
        "(IpRanges[?CidrIp=='0.0.0.0/0'] || Ipv6Ranges[?CidrIpv6=='::/0'])]) > `0`",
        _groups,
    ),
    Case(
        "database settings",
        "aws.rds.instance",
        {
            "or": [
                {"StorageEncrypted": {"not_equals": True}},
                {"PubliclyAccessible": {"equals": True}},
                {"BackupRetentionPeriod": {"less_than": 7}},
            ]
        },
        _python_database,
        "StorageEncrypted != `true` || PubliclyAccessible == `true` || BackupRetentionPeriod < `7`",
        _databases,
    ),
    Case(
        "instance without owner",
        "aws.ec2.instance",
        {
            "and": [
                {"State.Name": {"equals": "running"}},
                {"none_of": "Tags", "where": [{"Key": {"equals": "Owner"}}, {"Value": {"empty": False}}]},
            ]
        },
        _python_instance,
        "State.Name == 'running' && length(Tags[?Key=='Owner' && Value!='']) == `0`",
        _instances,
    ),
)


def _compiled(case: Case) -> Condition:
    catalogue = load_catalogue()
    data = {
        "id": "bench-rule",
        "title": "t",
        "resource": case.resource,
        "severity": "low",
        "rationale": "r",
        "remediation": {"console": "c"},
        "fail_when": case.fail_when,
        "message": "m",
    }
    return compile_condition(build_rule(data, (), catalogue.shapes, catalogue.item_types).fails, {}, steps=_STEPS)


def _rules(condition: Condition) -> Predicate:
    """As a compiled rule asks it."""
    run, nothing = Run(NOW, Relations(), _STEPS), Relations()

    def predicate(item: dict[str, Any]) -> Any:
        run.relations, run.steps = nothing, _STEPS
        return condition(item, run)

    return predicate


def _seconds(predicate: Predicate, items: Sequence[dict[str, Any]]) -> float:
    """The best of several rounds."""
    gc.collect()
    gc.disable()
    best = min(_once(predicate, items) for _ in range(_ROUNDS))
    gc.enable()
    return best


def _once(predicate: Predicate, items: Iterable[dict[str, Any]]) -> float:
    started = time.perf_counter()
    for item in items:
        predicate(item)
    return time.perf_counter() - started


def main() -> None:
    """Measures and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for case in CASES:
        items = case.items(count)
        rules, expression = _rules(_compiled(case)), jmespath.compile(case.jmespath)
        sample = items[: min(count, 1_000)]
        wanted = [case.python(item) for item in sample]
        if [rules(item) for item in sample] != wanted or [expression.search(item) for item in sample] != wanted:
            raise SystemExit(f"{case.name}: the verdicts differ")
        python, ours = _seconds(case.python, items), _seconds(rules, items)
        fewer = items[: count // 10]
        jmes = _seconds(expression.search, fewer) * len(items) / len(fewer)
        print(  # noqa: T201
            f"{case.name}: Python {python / count * 1e6:.2f} us, rule {ours / count * 1e6:.2f} us "
            f"({ours / python:.2f} x Python), JMESPath {jmes / count * 1e6:.1f} us ({jmes / ours:.0f} x the rule)"
        )


if __name__ == "__main__":
    main()

"""How fast rules judge: compiled rules beside hand-written Python, JMESPath and Cloud Custodian's filters.

`.venv/bin/python -m tests.bench.engine_rules [COUNT]`. The same predicates four times; verdicts are compared, and only
predicates are timed (evidence and message come on top for all alike). Rounds of Python, rules and JMESPath take turns;
of each the best counts, in time of the processor, since others may be at work. Cloud Custodian pins an SDK of its own:
it is measured where `make rivals` was run.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jmespath

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.compiler import compile_condition
from coreo_shared.rules.definitions import build_rule
from coreo_shared.rules.network import is_internet_block, port_range, protocol_covers
from coreo_shared.rules.operators import Run
from coreo_shared.rules.values import Relations
from tests.bench.bars import note, tell
from tests.bench.rule_items import ITEMS, JMESPATH
from tests.support.rules import NOW

_STEPS = 200_000
_ROUNDS = 40
_FOLDER = Path(__file__).parent
_RIVALS = _FOLDER.parents[1] / ".venv-rivals" / "bin" / "python"
Predicate = Callable[[dict[str, Any]], Any]


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


PYTHON: dict[str, Predicate] = {
    "group open on 22": _python_group,
    "database settings": _python_database,
    "instance without owner": _python_instance,
}
RULES: dict[str, tuple[str, Any]] = {
    "group open on 22": (
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
    ),
    "database settings": (
        "aws.rds.instance",
        {
            "or": [
                {"StorageEncrypted": {"not_equals": True}},
                {"PubliclyAccessible": {"equals": True}},
                {"BackupRetentionPeriod": {"less_than": 7}},
            ]
        },
    ),
    "instance without owner": (
        "aws.ec2.instance",
        {
            "and": [
                {"State.Name": {"equals": "running"}},
                {"none_of": "Tags", "where": [{"Key": {"equals": "Owner"}}, {"Value": {"empty": False}}]},
            ]
        },
    ),
}


def _compiled(name: str) -> Callable[[dict[str, Any], Run], Any]:
    """What a compiled rule calls to judge an item, with its run; it gives itself its steps."""
    catalogue = load_catalogue()
    resource, fail_when = RULES[name]
    data = {
        "id": "bench-rule",
        "title": "t",
        "resource": resource,
        "severity": "low",
        "rationale": "r",
        "remediation": {"console": "c"},
        "fail_when": fail_when,
        "message": "m",
    }
    rule = build_rule(data, (), catalogue.shapes, catalogue.item_types)
    return compile_condition(rule.fails, {}, steps=_STEPS)


def _best(predicates: Sequence[tuple[Callable[..., Any], *tuple[Run, ...]]], items: Sequence[Any]) -> list[float]:
    """Seconds for each item of each predicate's best round; a predicate comes with what it is called with besides."""
    best = [float("inf")] * len(predicates)
    gc.collect()
    gc.disable()
    for _ in range(_ROUNDS):
        for index, (predicate, *more) in enumerate(predicates):
            best[index] = min(best[index], _once(predicate, items, *more))
    gc.enable()
    return [seconds / len(items) for seconds in best]


def _once(predicate: Callable[..., Any], items: Iterable[Any], run: Run | None = None) -> float:
    started = time.thread_time()
    if run is None:
        for item in items:
            predicate(item)
    else:
        for item in items:
            predicate(item, run)
    return time.thread_time() - started


def _custodian(count: int) -> dict[str, Any]:
    """Of each predicate the seconds and matches of that many items; nothing where Cloud Custodian is not there."""
    if not _RIVALS.is_file():
        note("Cloud Custodian is left out: `make rivals` installs it into .venv-rivals")
        return {}
    done = subprocess.run(
        [str(_RIVALS), str(_FOLDER / "custodian.py"), str(count)], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measures and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    few = min(count, 5_000)
    custodian = _custodian(few)
    for name, python in PYTHON.items():
        items = ITEMS[name](count)
        rule, expression = _compiled(name), jmespath.compile(JMESPATH[name])
        run = Run(NOW, Relations(), 0)
        wanted = [python(item) for item in items[:few]]
        if [rule(item, run) for item in items[:few]] != wanted or [
            expression.search(item) for item in items[:few]
        ] != wanted:
            raise SystemExit(f"{name}: the verdicts differ")
        by_hand, ours, of_jmespath = _best([(python,), (rule, run), (expression.search,)], items[: count // _ROUNDS])
        told = f"Python {by_hand * 1e6:.2f} us, the rule {ours * 1e6:.2f} us"
        tell(f"rules, {name}, beside Python", ours / by_hand, 2, "x", detail=told)
        told = f"JMESPath {of_jmespath * 1e6:.1f} us; {of_jmespath / by_hand:.1f} x the hand-written Python"
        tell(f"rules, {name}, beside JMESPath", of_jmespath / ours, 15, "x faster", detail=told, at_least=True)
        if name in custodian:
            if custodian[name]["failed"] != sum(wanted):
                raise SystemExit(f"{name}: Cloud Custodian's verdicts differ")
            theirs = custodian[name]["seconds"] / few
            told = f"Cloud Custodian {theirs * 1e6:.1f} us; {theirs / by_hand:.1f} x the hand-written Python"
            tell(f"rules, {name}, beside Cloud Custodian", theirs / ours, 15, "x faster", detail=told, at_least=True)


if __name__ == "__main__":
    main()

"""How many requests a run makes beside Prowler's for the same checks on the same estate, in moto.

`.venv/bin/python -m tests.bench.engine_requests`. Prowler takes an environment of 2 GB, so that its numbers are kept in
`prowler.json`, as counted by `prowler_requests.py` on this very estate. With COREO_BENCH_PROWLER, the path of an
interpreter that has Prowler and moto, they are counted anew and written there.
"""

import asyncio
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from moto import mock_aws

from coreo_shared.catalogue import load_catalogue
from coreo_worker.audit.engine import AuditRequest, Limits
from tests.bench import moto_estate
from tests.bench.bars import note, tell
from tests.support.engine import audit
from tests.support.moto_aws import MotoClients

_FOLDER = Path(__file__).parent
_RECORDED = _FOLDER / "prowler.json"
_THREE = (moto_estate.REGION, "eu-central-1", "us-east-1")
_BARE = Limits(rates={}, rate=1e9)
_PREFIX = "prowler:"


def _same(services: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Rules on these services that name a check of Prowler's, and these checks."""
    catalogue = load_catalogue()
    pairs = [
        (rule.id, alias.removeprefix(_PREFIX))
        for rule in catalogue.rules.values()
        if catalogue.resource_types[rule.resource].service in services
        for alias in rule.definition.aliases
        if alias.startswith(_PREFIX)
    ]
    return sorted({rule for rule, _ in pairs}), sorted({check for _, check in pairs})


def _cases() -> dict[str, tuple[tuple[str, ...], list[str], list[str]]]:
    """Regions, rules and checks by name."""
    one = (["s3-bucket-versioning"], ["s3_bucket_object_versioning"])
    many = _same(moto_estate.SERVICES)
    return {
        "one check on 20 buckets": ((moto_estate.REGION,), *one),
        f"{len(moto_estate.SERVICES)} services in one region": ((moto_estate.REGION,), *many),
        f"{len(moto_estate.SERVICES)} services in three regions": (_THREE, *many),
    }


async def _ours(regions: tuple[str, ...], rules: list[str]) -> Counter[Any]:
    clients = MotoClients()
    await audit(AuditRequest(moto_estate.ACCOUNT, "aws", tuple(rules), regions, {}, frozenset()), clients, _BARE)
    return Counter(clients.calls)


def _theirs(interpreter: str) -> dict[str, Any]:
    """Counted anew, and kept."""
    found: dict[str, Any] = {}
    for name, (regions, _, checks) in _cases().items():
        command = [interpreter, str(_FOLDER / "prowler_requests.py"), ",".join(regions), *checks]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1]) | {"checks": checks}
    _RECORDED.write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> None:
    """Counts and tells."""
    interpreter = os.environ.get("COREO_BENCH_PROWLER")
    theirs: dict[str, Any] = _theirs(interpreter) if interpreter else json.loads(_RECORDED.read_text())
    versions = {one["version"] for one in theirs.values()}
    moto_estate.prepare()
    with mock_aws():
        moto_estate.make()
        for name, (regions, rules, checks) in _cases().items():
            calls = asyncio.run(_ours(regions, rules))
            rival = theirs[name]
            new = len(set(checks) - set(rival["checks"]))
            tell(
                f"requests beside Prowler's, {name}",
                calls.total() / rival["requests"],
                1 / 3,
                "x",
                detail=f"{calls.total()} for {len(rules)} rules, {rival['requests']} for {len(rival['checks'])} checks"
                + (f"; {new} rules are newer than Prowler's count" if new else ""),
            )
            tell(f"requests made twice, {name}", sum(times > 1 for times in calls.values()), 0, "")
    how = "counted now" if interpreter else "from prowler.json; COREO_BENCH_PROWLER=PYTHON counts them anew"
    note(f"Prowler {', '.join(versions)}: {how}")


if __name__ == "__main__":
    main()

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto import mock_aws

from coreo_shared.catalogue import load_catalogue
from coreo_worker.audit.engine import AuditRequest, Limits
from tests.bench import moto_estate
from tests.bench.bars import note, tell
from tests.bench.engine_runs import REGIONS
from tests.support.engine import audit
from tests.support.moto_aws import MotoClients

_FOLDER = Path(__file__).parent
_RECORDED = _FOLDER / "prowler.json"
_BARE = Limits(rates={}, rate=1e9)
_PREFIX = "prowler:"
_REPORT = "get_credential_report"  # asked for again until AWS has written it


@dataclass(frozen=True)
class Case:
    """What both are asked to do."""

    regions: tuple[str, ...]
    rules: list[str]
    arguments: list[str]  # Prowler's


def _cases() -> dict[str, Case]:
    here = (moto_estate.REGION,)
    cis, of_cis = load_catalogue().select([], ["cis-aws-5.0"]), ["--compliance", "cis_5.0_aws"]
    rules, checks = _same(moto_estate.SERVICES)
    return {
        "one check on 20 buckets": Case(here, ["s3-bucket-versioning"], ["--checks", "s3_bucket_object_versioning"]),
        "CIS 5.0 in one region": Case(here, cis, of_cis),
        f"CIS 5.0 in {len(REGIONS)} regions": Case(REGIONS, cis, of_cis),
        f"all checks of {len(moto_estate.SERVICES)} services in one region": Case(here, rules, ["--checks", *checks]),
    }


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


class _Estate(MotoClients):
    """S3 says with each bucket where it is; moto does not, and would be asked once more for each."""

    async def client(self, service: str, region: str) -> Any:
        made = await super().client(service, region)
        return _Located(made) if service == "s3" else made


class _Located:
    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)

    async def list_buckets(self, **params: Any) -> Any:
        answer = await self._client.list_buckets(**params)
        return answer | {"Buckets": [bucket | {"BucketRegion": moto_estate.REGION} for bucket in answer["Buckets"]]}


async def _ours(case: Case) -> Counter[Any]:
    clients = _Estate()
    asked = AuditRequest(moto_estate.ACCOUNT, "aws", tuple(case.rules), case.regions, {}, frozenset())
    await audit(asked, clients, _BARE)
    return Counter(clients.calls)


def _count_theirs(interpreter: str) -> dict[str, Any]:
    """Counted anew, and kept."""
    found: dict[str, Any] = {}
    for name, case in _cases().items():
        command = [interpreter, str(_FOLDER / "prowler_requests.py"), ",".join(case.regions), *case.arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1]) | {"arguments": case.arguments}
    _RECORDED.write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> None:
    """Counts and tells."""
    interpreter = os.environ.get("COREO_BENCH_PROWLER")
    theirs: dict[str, Any] = _count_theirs(interpreter) if interpreter else json.loads(_RECORDED.read_text())
    moto_estate.prepare()
    with mock_aws():
        moto_estate.make()
        for name, case in _cases().items():
            calls, rival = asyncio.run(_ours(case)), theirs[name]
            told = f"{calls.total()} requests for {len(case.rules)} rules, Prowler {rival['requests']}"
            if rival["arguments"] != case.arguments:
                told += "; counted when fewer rules had a check of Prowler's"
            tell(f"requests, {name}, beside Prowler's", calls.total() / rival["requests"], 1 / 3, "x", detail=told)
            twice = [call for call, times in calls.items() if times > 1 and call.operation != _REPORT]
            tell(f"requests, {name}, made more than once", len(twice), 0, "")
    how = "counted now" if interpreter else f"of {_RECORDED.name}; COREO_BENCH_PROWLER=PYTHON counts them anew"
    note(f"The numbers are Prowler {', '.join(sorted({one['version'] for one in theirs.values()}))}'s, {how}")
    note("A setting of a bucket, and of a user's keys, takes a request of its own from whoever asks")


if __name__ == "__main__":
    main()

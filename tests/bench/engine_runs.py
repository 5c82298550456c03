"""What whole audits cost, each in a process of its own: `.venv/bin/python -m tests.bench.engine_runs [NAME...]`.

- stream: 100,000 security groups through all their rules, with the memory that takes.
- latency: the CIS rules over 17 regions where each call takes 50 ms, beside the least that the limits allow.
- load: the catalogue, and all its rules made ready.
"""

import asyncio
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.rules.compiler import compile_rule
from coreo_shared.rules.needs import Needs, needs_of
from coreo_worker.audit.engine import AuditRequest, Limits, run_audit
from coreo_worker.aws.clients import Clients
from tests.bench.bars import note, note_load, tell
from tests.support.engine import ACCOUNT, LastingSession
from tests.support.shaped_aws import shaped_answers
from tests.support.virtual_time import virtually

_LATENCY = 0.05
_RUNS = 3
# Those that every account has from the start.
REGIONS = (
    "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
    "ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1",
    "us-east-2", "us-west-1", "us-west-2",
)  # fmt: skip


class _Counting:
    """A sink that hands everything on at once."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()

    async def planned(self, units_total: int) -> None:
        """As the engine's port says."""

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:  # noqa: ARG002  as above
        """As the engine's port says."""
        self.statuses.update(finding.status for finding in findings)


def _asking(rules: list[str], *regions: str) -> AuditRequest:
    return AuditRequest(ACCOUNT, "aws", tuple(rules), regions, {}, frozenset())


async def _audited(
    rules: list[str], regions: tuple[str, ...], clients: Clients, limits: Limits | None = None
) -> _Counting:
    sink = _Counting()
    await run_audit(_asking(rules, *regions), clients, sink, limits=limits)
    return sink


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _ManyGroups(LastingSession):
    """Pages of security groups, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    async def client(self, _service: str, _region: str) -> Any:
        return self

    async def describe_managed_prefix_lists(self, **_params: Any) -> dict[str, Any]:
        return {"PrefixLists": []}

    async def describe_security_groups(self, **params: Any) -> dict[str, Any]:
        start = int(params.get("NextToken", "0"))
        end = min(start + params["MaxResults"], self._count)
        more = {"NextToken": str(end)} if end < self._count else {}
        return {"SecurityGroups": [_group(number) for number in range(start, end)]} | more

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        async def nothing(**_params: Any) -> dict[str, Any]:
            return {}

        return nothing


def _group(number: int) -> dict[str, Any]:
    permissions = [
        {
            "IpProtocol": "tcp",
            "FromPort": port,
            "ToPort": port,
            "IpRanges": [{"CidrIp": "0.0.0.0/0" if (number + port) % 40 == 0 else f"10.{number % 200}.0.0/16"}],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [],
        }
        for port in (22, 443, 5432)
    ]
    return {"GroupId": f"sg-{number:08}", "GroupName": "web", "VpcId": "vpc-1", "IpPermissions": permissions}


async def stream() -> None:
    """Findings in a second, and memory."""
    count = 100_000
    rules = [rule.id for rule in load_catalogue().rules.values() if rule.resource == "aws.ec2.security_group"]
    cpu = time.process_time()
    sink = await _audited(rules, ("eu-west-1",), _ManyGroups(count), Limits(rates={"ec2": 1e6}))
    cpu = time.process_time() - cpu
    findings = sum(sink.statuses.values())
    tell(
        f"memory, {count:,} security groups through their rules",
        _memory_mb(),
        300,
        "MB",
        detail=f"{len(rules)} rules, {findings:,} findings, {cpu / findings * 1e6:.0f} us of CPU a finding",
    )


class _SlowAws(LastingSession):
    """One resource of each type, and 50 ms for each call. The first answer of an operation takes a while to be made."""

    def __init__(self, needs: Needs) -> None:
        self._answers = shaped_answers(load_catalogue(), needs.types)
        self._clients: dict[str, _SlowClient] = {}
        self.calls = 0

    async def client(self, service: str, _region: str) -> Any:
        return self._clients.setdefault(service, _SlowClient(self, service))

    def answer(self, service: str, operation: str, params: Mapping[str, Any]) -> Any:
        return self._answers[f"{service}.{operation}"]("", params)


class _SlowClient:
    def __init__(self, aws: _SlowAws, service: str) -> None:
        self._aws, self._service = aws, service

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        async def call(**params: Any) -> Any:
            self._aws.calls += 1
            await asyncio.sleep(_LATENCY)
            return self._aws.answer(self._service, operation, params)

        return call


async def latency() -> None:
    """Seconds of the quickest run beside the least there could be: the longest chain of calls, all over the slots."""
    catalogue, limits = load_catalogue(), Limits()
    rules = catalogue.select([], [name for name in catalogue.rule_sets if name.startswith("cis-aws-")])
    aws, seconds = _SlowAws(needs_of(catalogue, rules)), float("inf")
    for _ in range(_RUNS):  # others may be at work, and the first has answers made, which is not the engine's work
        aws.calls = 0
        started, used = time.perf_counter(), time.process_time()
        sink = await _audited(rules, REGIONS, aws, limits)
        took, used = time.perf_counter() - started, time.process_time() - used
        if took < seconds:
            seconds, cpu = took, used
    chain = await asyncio.to_thread(_longest_chain, rules)
    least = chain + aws.calls * _LATENCY / limits.account
    tell(
        f"time, CIS over {len(REGIONS)} regions at 50 ms a call, beside the least",
        seconds / least,
        1.3,
        "x",
        detail=f"{seconds:.2f} s and {cpu:.2f} s of CPU for {len(rules)} rules, {aws.calls} calls, "
        f"{sum(sink.statuses.values())} findings; the least is {least:.2f} s: {chain / _LATENCY:.0f} calls after each "
        f"other, and {limits.account} at once",
    )


def _longest_chain(rules: list[str]) -> float:
    """Seconds of the calls that wait for each other, with nothing else to wait for: on a clock that jumps."""

    async def measured() -> float:
        limits = Limits(account=10_000, service=10_000, region=10_000, rate=1e9, rates={})
        await _audited(rules, REGIONS, _SlowAws(needs_of(load_catalogue(), rules)), limits)
        return asyncio.get_running_loop().time()

    return virtually(measured())


async def load() -> None:
    """Seconds until every rule is ready."""
    before = time.process_time()
    catalogue = load_catalogue()
    loaded = time.process_time()
    for rule in catalogue.rules.values():
        compile_rule(rule)
    done = time.process_time()
    note(
        f"catalogue: {len(catalogue.rules)} rules on {len(catalogue.resource_types)} types read in "
        f"{(loaded - before) * 1e3:.0f} ms, made ready in {(done - loaded) * 1e3:.0f} ms"
    )


_PARTS = {"load": load, "latency": latency, "stream": stream}


def main() -> None:
    """One part in this process, or each of several in one of its own."""
    match sys.argv[1:]:
        case [name]:
            asyncio.run(_PARTS[name]())
        case names:
            note_load()
            for name in names or _PARTS:
                subprocess.run([sys.executable, "-m", __spec__.name, name], check=True)


if __name__ == "__main__":
    main()

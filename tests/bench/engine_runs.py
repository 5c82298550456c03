"""What whole audits cost, each in a process of its own: `.venv/bin/python -m tests.bench.engine_runs [NAME...]`.

- stream: 100,000 security groups through all their rules, with the memory that takes.
- latency: the CIS rules over 17 regions where each call takes 50 ms, beside the least that the limits allow.
- buckets: one rule on 20 buckets with the real SDK, against a server that answers at once.
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

import aiohttp
from aiohttp import web

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.rules.compiler import compile_rule
from coreo_worker.audit.engine import AuditRequest, Limits, run_audit
from coreo_worker.aws.clients import ClientFactory, Clients, SessionCredentials
from tests.support.engine import ACCOUNT, Answer, LastingSession, PlainAws
from tests.support.shaped_aws import shaped_answers
from tests.support.virtual_time import virtually

_LATENCY = 0.05
# Those that every account has from the start.
_REGIONS = (
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
    started, cpu = time.perf_counter(), time.process_time()
    sink = await _audited(rules, ("eu-west-1",), _ManyGroups(count), Limits(rates={"ec2": 1e6}))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    findings = sum(sink.statuses.values())
    _say(
        f"stream: {count:,} groups, {len(rules)} rules, {findings:,} findings in {seconds:.1f} s ({cpu:.1f} s of CPU, "
        f"{cpu / findings * 1e6:.0f} us a finding), peak memory {_memory_mb():.0f} MB of 300"
    )


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _slow_account(calls: list[int]) -> PlainAws:
    """One resource of each type, and 50 ms for each call."""
    catalogue = load_catalogue()

    def slow(answer: Answer) -> Answer:
        async def answered(region: str, params: Mapping[str, Any]) -> Any:
            calls.append(1)
            await asyncio.sleep(_LATENCY)
            return answer(region, params)

        return answered

    return PlainAws({name: slow(one) for name, one in shaped_answers(catalogue, catalogue.resource_types).items()})


async def latency() -> None:
    """Seconds beside the least there could be: the longest chain of calls, and all calls over the slots."""
    catalogue, limits, calls = load_catalogue(), Limits(), list[int]()
    rules = catalogue.select([], [name for name in catalogue.rule_sets if name.startswith("cis-aws-")])
    regions = _REGIONS
    chain = await asyncio.to_thread(_longest_chain, rules, regions)
    aws = _slow_account(calls)
    started, cpu = time.perf_counter(), time.process_time()
    sink = await _audited(rules, regions, aws, limits)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    least = chain + len(calls) * _LATENCY / limits.account
    _say(
        f"latency: {len(rules)} CIS rules, {len(regions)} regions, {len(calls)} calls of 50 ms, "
        f"{sum(sink.statuses.values())} findings in {seconds:.2f} s ({cpu:.2f} s of CPU): {seconds / least:.2f} x the "
        f"least, which is {least:.2f} s: a chain of {chain / _LATENCY:.0f}, and {limits.account} calls at once"
    )


def _longest_chain(rules: list[str], regions: tuple[str, ...]) -> float:
    """Seconds of the calls that wait for each other, with nothing else to wait for: on a clock that jumps."""

    async def measured() -> float:
        limits = Limits(account=10_000, service=10_000, region=10_000, rate=1e9, rates={})
        await _audited(rules, regions, _slow_account([]), limits)
        return asyncio.get_running_loop().time()

    return virtually(measured())


async def buckets() -> None:
    """Requests, CPU and memory of one rule on 20 buckets, imports included."""
    server = subprocess.Popen([sys.executable, "-m", __spec__.name, "serve"], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220  nothing else is under way
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        session = SessionCredentials("ASIABENCH", "bench", "bench", expires_at=2e9)
        started = time.perf_counter()
        async with ClientFactory(session, endpoint_url=url) as clients:
            sink = await _audited(["s3-bucket-versioning"], ("eu-west-1",), clients)
        seconds = time.perf_counter() - started
        async with aiohttp.ClientSession() as http, http.get(f"{url}/count") as answer:
            requests = int(await answer.text())
    finally:
        server.terminate()
        server.wait()
    _say(
        f"buckets: {sum(sink.statuses.values())} findings, {requests} requests (21 are needed), {seconds:.2f} s, "
        f"{time.process_time():.2f} s of CPU of 2 with all imports, {_memory_mb():.0f} MB of 100"
    )


def serve() -> None:
    """An S3 with 20 buckets; /count tells how often it was asked."""
    asked = [0]

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/count":
            return web.Response(text=str(asked[0]))
        asked[0] += 1
        if "versioning" in request.query:
            return web.Response(text="<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        names = "".join(f"<Bucket><Name>b{n}</Name><BucketRegion>eu-west-1</BucketRegion></Bucket>" for n in range(20))
        return web.Response(text=f"<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>")

    async def run() -> None:
        runner = web.AppRunner(_app(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print("http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)  # noqa: T201, UP031
        await asyncio.Event().wait()

    asyncio.run(run())


def _app(answer: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def load() -> None:
    """Seconds and memory until every rule is ready."""
    before = time.process_time()
    catalogue = load_catalogue()
    loaded = time.process_time()
    for rule in catalogue.rules.values():
        compile_rule(rule)
    done = time.process_time()
    _say(
        f"load: {len(catalogue.rules)} rules on {len(catalogue.resource_types)} types read in "
        f"{(loaded - before) * 1e3:.0f} ms, made ready in {(done - loaded) * 1e3:.0f} ms"
    )


_PARTS = {"load": load, "buckets": buckets, "latency": latency, "stream": stream}


def main() -> None:
    """One part in this process, or each of several in one of its own."""
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case [name]:
            asyncio.run(_PARTS[name]())
        case names:
            for name in names or _PARTS:
                subprocess.run([sys.executable, "-m", __spec__.name, name], check=True)


if __name__ == "__main__":
    main()

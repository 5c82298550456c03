"""What `coreo scan` costs as a process of its own: `.venv/bin/python -m tests.bench.scan_command`.

Help, the time until the first request, and one rule on 20 buckets, against a server that answers at once. Others may be
at work on the machine: of several runs the quickest counts, the largest for memory.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiohttp import web

from tests.bench.bars import note_load, tell

_RUNS = 5
_BUCKETS = 20
_COREO = Path(sys.executable).with_name("coreo")
_RULE = ("scan", "--rule", "s3-bucket-versioning", "--format", "none", "--quiet")
_IDENTITY = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:root</Arn><UserId>u</UserId>"
    "<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds, seconds of CPU, megabytes; seconds until its first request."""

    wall: float
    cpu: float
    memory: float
    first: float | None
    requests: int


def _cost(words: tuple[str, ...], url: str, home: str) -> Cost:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "AWS_ACCESS_KEY_ID": "AKIABENCH",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = len(_asked(url))
    started = time.time()
    process = subprocess.Popen([str(_COREO), *words], env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.time() - started
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"coreo {' '.join(words)} failed")
    asked = _asked(url)[before:]
    first = asked[0] - started if asked else None
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, first, len(asked))


def _asked(url: str) -> list[float]:
    with urlopen(f"{url}/asked") as answer:  # noqa: S310  our own server
        times: list[float] = json.load(answer)
    return times


def measure(url: str) -> None:
    """Measures and tells."""
    with tempfile.TemporaryDirectory() as home:
        helps = [_cost(("scan", "--help"), url, home) for _ in range(_RUNS)]
        scans = [_cost(_RULE, url, home) for _ in range(_RUNS)]
    cpu = min(cost.cpu for cost in helps)
    tell("`coreo scan --help`", min(cost.wall for cost in helps), 0.4, "s", detail=f"{cpu:.2f} s of CPU")
    first = min(cost.first for cost in scans if cost.first is not None)
    tell("a scan's first request after its start", first, 1, "s")
    of_buckets = f"one rule on {_BUCKETS} buckets"
    requests = {cost.requests for cost in scans}
    tell(
        f"{of_buckets}, requests",
        max(requests) - 1,
        _BUCKETS + 1,
        "",
        detail="one for each bucket and one for the list; besides, sts:GetCallerIdentity says whose account it is. "
        "Prowler: 264",
    )
    tell(f"{of_buckets}, memory", max(cost.memory for cost in scans), 100, "MB", detail="Prowler: 376")
    tell(f"{of_buckets}, CPU", min(cost.cpu for cost in scans), 2, "s", detail="Prowler: 11.6")


def serve() -> None:
    """An S3 with buckets, and STS; /asked tells when it was asked."""
    asked: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/asked":
            return web.json_response(asked)
        asked.append(time.time())
        if request.content_type == "application/x-www-form-urlencoded":
            return web.Response(text=_IDENTITY)
        if "versioning" in request.query:
            return web.Response(text="<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        region = "<BucketRegion>eu-west-1</BucketRegion>"
        names = "".join(f"<Bucket><Name>b{n}</Name>{region}</Bucket>" for n in range(_BUCKETS))
        return web.Response(text=f"<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>")

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address: Any = runner.addresses[0]
        print(f"http://127.0.0.1:{address[1]}", flush=True)  # noqa: T201  for `main`
        await asyncio.Event().wait()

    asyncio.run(run())


def main() -> None:
    """Beside a server."""
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    note_load()
    server = subprocess.Popen([sys.executable, "-m", __spec__.name, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        measure(server.stdout.readline().strip())
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

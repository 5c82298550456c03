"""The whole stack for end-to-end tests: one per module, with a customer account planted in it and short time-outs."""

import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.stack import Process, Stack
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus

T = TypeVar("T")
CUSTOMER_ACCOUNT = "222222220002"
ROLE_NAME = "CoreoAudit"
RULE_SET = "baseline"
SOME_REGIONS = ("ap-southeast-2", "eu-west-1", "us-east-1")  # where the estate has more than AWS's defaults
LEASE_SECONDS = "3"
ONBOARD_SETTINGS = {"visibility_seconds": "4", "trust_settle_seconds": "0"}


@dataclass
class Site:
    """A running stack and its one customer."""

    stack: Stack
    results: Process
    api: Process
    estate: Estate
    token: str
    team_id: str
    account: dict[str, Any]
    plans: dict[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> Counter[Expected]:
        """What an audit of all regions with the rule set must find."""
        return Counter(self.estate.expected_of(set(load_catalogue().rule_sets[RULE_SET])))

    def expected_in(self, regions: Iterable[str]) -> Counter[Expected]:
        """What an audit of these regions with the rule set must find."""
        return Counter({finding: 1 for finding in self.expected if finding.region in {*regions, "global"}})

    def client(self) -> httpx.AsyncClient:
        """The api as the customer."""
        return httpx.AsyncClient(base_url=self.api.url, headers={"authorization": f"Bearer {self.token}"}, timeout=30)

    def worker(self, **settings: str) -> Process:
        """A worker that notices losses within seconds."""
        return self.stack.start_worker("audit", **{"visibility_seconds": "4", **settings})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The stack without workers: each test starts those it needs."""
    directory = Path(tempfile.mkdtemp(prefix="coreo-e2e-"))
    try:
        with Stack(directory, durable=False) as stack:
            results = stack.start_results(lease_seconds=LEASE_SECONDS, sweep_seconds="0.5")
            api = stack.start_api()
            team = stack.create_team("e2e")
            headers = {"authorization": f"Bearer {team['token']}"}
            with httpx.Client(base_url=api.url, headers=headers, timeout=30) as http:
                asked = {"name": "acme", "account_id": CUSTOMER_ACCOUNT}
                account = _done(http.post("/v1/cloud-accounts", json=asked))
                estate = seed(stack.simulator, CUSTOMER_ACCOUNT, account["trust_policy"], ROLE_NAME)
                onboarding = stack.start_worker("onboard", **ONBOARD_SETTINGS)
                role = {"role_arn": estate.role_arn}
                _done(http.put(f"/v1/cloud-accounts/{account['id']}/role", json=role))
                account = _connected(http, account["id"])
                onboarding.stop()
            yield Site(stack, results, api, estate, team["token"], team["team_id"], account)
    finally:
        shutil.rmtree(directory)


@pytest.fixture
async def http(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The api as the site's customer."""
    async with site.client() as client:
        yield client


@pytest.fixture
def worker(site: Site) -> Iterator[Process]:
    """One audit worker for one test."""
    process = site.worker()
    yield process
    process.stop()


async def plan_for(
    http: httpx.AsyncClient, site: Site, *, rules: Iterable[str] = (), regions: Iterable[str] = ("all",)
) -> str:
    """The id of a plan; without `rules` it has the whole rule set."""
    what = {"rules": list(rules)} if rules else {"rule_sets": [RULE_SET]}
    spec = {**what, "regions": list(regions)}
    name = json.dumps(spec)
    if name not in site.plans:
        body = {"name": name[:90], "kind": "audit", "spec": spec, "cloud_account_ids": [site.account["id"]]}
        site.plans[name] = _done(await http.post("/v1/plans", json=body))["id"]
    return site.plans[name]


async def start_run(http: httpx.AsyncClient, plan_id: str) -> str:
    """Starts the plan; the id of its one run."""
    answer = _done(await http.post(f"/v1/plans/{plan_id}/runs"))
    run_id: str = answer["runs"][0]["id"]
    return run_id


async def get_run(http: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """The run as the api shows it."""
    return _done(await http.get(f"/v1/runs/{run_id}"))


async def until_run(
    http: httpx.AsyncClient, run_id: str, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 60
) -> dict[str, Any]:
    """The run as soon as the condition holds of it."""

    async def look() -> dict[str, Any] | None:
        run = await get_run(http, run_id)
        return run if condition(run) else None

    return await until(look, what=f"run {run_id}", seconds=seconds)


async def until_ended(http: httpx.AsyncClient, run_id: str, *, seconds: float = 90) -> dict[str, Any]:
    """The run once it has ended."""
    return await until_run(http, run_id, lambda run: run["ended_at"] is not None, seconds=seconds)


async def until(look: Callable[[], Awaitable[T | None]], *, what: str, seconds: float = 30) -> T:
    """What `look` gives once it is not None; AssertionError with the last look's time otherwise."""
    deadline = time.monotonic() + seconds
    while (seen := await look()) is None:
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.03)
    return seen


async def items_of(http: httpx.AsyncClient, run_id: str) -> list[dict[str, Any]]:
    """All findings of the run as the api gives them, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": "1000"} | ({"cursor": cursor} if cursor else {})
        page = _done(await http.get(f"/v1/runs/{run_id}/findings", params=query))
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def findings_of(http: httpx.AsyncClient, run_id: str) -> Counter[Expected]:
    """All findings of the run, each by what makes it what it is."""
    return Counter(
        Expected(item["rule_id"], FindingStatus(item["status"]), item["resource_id"], item["region"])
        for item in await items_of(http, run_id)
    )


def _connected(http: httpx.Client, account_id: str, *, seconds: float = 30) -> dict[str, Any]:
    """The cloud account once it has been verified; fails with the reason if it cannot be used."""
    deadline = time.monotonic() + seconds
    while (account := _done(http.get(f"/v1/cloud-accounts/{account_id}")))["state"] == "VERIFYING":
        assert time.monotonic() < deadline, account
        time.sleep(0.05)
    assert account["state"] == "CONNECTED", account
    return account


def _done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body

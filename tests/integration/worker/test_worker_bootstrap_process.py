"""Onboard workers as they are deployed, with the role that makes roles: killed in the middle, and looked at inside."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.onboarding import SEALING_KEY_AUDIENCE, SEALING_KEY_TYPE, BootstrapReport, SealingKey
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import Verifier, public_jwk
from tests.support.bootstrap import ADMINISTRATOR, Signing, bootstrap_job, make_user, role_in
from tests.support.ledger import Ledger, open_ledger
from tests.support.worker import until
from tests.support.worker_process import UNPRIVILEGED, WorkerSite, worker_site


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with open_ledger() as server:
        server.lease_seconds = 2
        yield server


@pytest.fixture
def site(aws: Simulator, new_account: Callable[[], str], tmp_path: Path) -> Iterator[WorkerSite]:
    with worker_site(aws, new_account(), tmp_path, "onboard") as made:
        yield made


async def announced(site: WorkerSite, ledger: Ledger, *worker_ids: str) -> list[SealingKey]:
    """The keys of these workers, once they have registered."""
    await until(lambda: all(worker_id in ledger.workers for worker_id in worker_ids))
    verifier = Verifier([public_jwk(site.jobs.tokens.fleet_jwks[Pool.ONBOARD])], issuer="coreo-worker")
    return [
        verifier.verify(
            str(ledger.workers[worker_id].sealing_key), SealingKey, typ=SEALING_KEY_TYPE, audience=SEALING_KEY_AUDIENCE
        )
        for worker_id in worker_ids
    ]


async def test_a_worker_killed_between_policy_and_role_is_followed_by_another(
    site: WorkerSite, ledger: Ledger, new_account: Callable[[], str]
) -> None:
    processes = {
        name: site.start(results_url=ledger.url, worker_id=name, visibility_seconds="2") for name in ("one", "two")
    }
    keys = await announced(site, ledger, "one", "two")
    customer = new_account()
    key = make_user(site.aws, customer, ADMINISTRATOR)
    requests = Signing(key, url=site.aws.endpoint_url, account_id=customer).requests()
    job = bootstrap_job(site.jobs, requests, *keys)
    with site.aws.fault(kind="hang", service="iam", operation="CreateRole") as fault:
        site.send(site.jobs.sign(job))
        await until(lambda: fault.hits, seconds=30)
        assert len(site.aws.root_client("iam", customer).list_policies(Scope="Local")["Policies"]) == 1
        assert role_in(site.aws, customer) is None
        (first,) = ledger.claimed[str(job.run_id)]
        children = psutil.Process(processes[first].pid).children()
        assert children
        processes[first].send_signal(signal.SIGKILL)
        processes[first].wait()
        await until(lambda: not any(child.is_running() for child in children))  # no onboarding outlives its worker
    await until(lambda: str(job.run_id) in ledger.finished, seconds=40)
    report = ledger.finished[str(job.run_id)].report
    assert report == BootstrapReport(role="created", policy="adopted", attached=True)
    assert ledger.claimed[str(job.run_id)] == [first, "two" if first == "one" else "one"]
    assert role_in(site.aws, customer) is not None
    log = (site.directory / "worker.log").read_text()
    signature = requests.get_user.headers["authorization"].rpartition("=")[2]
    assert [secret for secret in (key.access_key_id, key.secret_access_key, signature) if secret in log] == []


PEEK = """
import sys
try:
    open(f"/proc/{sys.argv[1]}/mem", "rb").read(1)
except PermissionError:
    print("refused")
except OSError:
    print("let in")  # and there is nothing at address 0
"""


def check_closed(process: psutil.Process, key_id: str) -> None:
    """Writes nothing, dumps nothing, gains nothing; no neighbour reads it; its surroundings tell no secret."""
    folder = Path(f"/proc/{process.pid}")
    assert process.rlimit(psutil.RLIMIT_CORE) == process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert "NoNewPrivs:\t1" in (folder / "status").read_text()
    peek = [*UNPRIVILEGED, sys.executable, "-I", "-c", PEEK, str(process.pid)]
    assert subprocess.run(peek, capture_output=True, text=True, check=True).stdout == "refused\n"
    around = " ".join(process.cmdline())
    if os.geteuid() == 0:  # nobody else may look
        around += (folder / "environ").read_text()
        assert "AWS_ENDPOINT_URL=" in around
    assert [word for word in ("COREO_", "CREDENTIALS", "TOKEN", "SECRET", key_id) if word in around] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl and /proc")
async def test_the_process_that_has_the_requests_is_closed(
    site: WorkerSite, ledger: Ledger, new_account: Callable[[], str]
) -> None:
    worker = site.start(results_url=ledger.url, worker_id="one")
    keys = await announced(site, ledger, "one")
    customer = new_account()
    key = make_user(site.aws, customer, ADMINISTRATOR)
    requests = Signing(key, url=site.aws.endpoint_url, account_id=customer).requests()
    with site.aws.fault(kind="hang", service="iam", operation="GetUser") as fault:
        site.send(site.jobs.sign(bootstrap_job(site.jobs, requests, *keys)))
        await until(lambda: fault.hits, seconds=30)
        (child,) = psutil.Process(worker.pid).children()
        await asyncio.to_thread(check_closed, child, key.access_key_id)
    await until(lambda: ledger.finished)


async def test_a_worker_that_drains_announces_no_key_any_more(site: WorkerSite, ledger: Ledger) -> None:
    process = site.start(results_url=ledger.url, worker_id="one")
    await announced(site, ledger, "one")
    assert site.end(process) == 0
    assert ledger.workers["one"].draining
    assert ledger.workers["one"].sealing_key is None

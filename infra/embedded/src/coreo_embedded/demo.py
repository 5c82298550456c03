"""The demo: a simulated AWS made from our templates, a planted customer account, and an audit through its role.

The engine runs in this process with nothing but the session of the customer's role: the external id, the trust policy
and the session policy are all enforced by the simulator.
"""

import asyncio
import secrets
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from coreo_embedded.deploy import Deployment, deploy
from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.simulator import Credentials, Simulator
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from coreo_shared.rules.policy import session_policy
from coreo_worker.audit.engine import AuditRequest, run_audit
from coreo_worker.aws.clients import ClientFactory, SessionCredentials

CUSTOMER_ACCOUNT = "222222222222"
ROLE_NAME = "CoreoAudit"


class _Sink:
    """Collects findings and moves the progress bar by a unit at a time."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.findings: list[Finding] = []
        self._progress = progress
        self._task = task

    async def planned(self, units_total: int) -> None:
        self._progress.update(self._task, total=units_total)

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:  # noqa: ARG002  port
        self.findings.extend(findings)
        if final:
            self._progress.advance(self._task)


def run_demo(*, check: bool) -> int:
    """Runs the demo; 0 when it worked and, with `check`, every finding is as planted."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="coreo-demo-") as directory:
        console.print("Starting the simulated AWS and deploying Coreo's templates into it …")
        simulator = Simulator.start(Path(directory))
        try:
            deployment = deploy(simulator)
            external_id = secrets.token_hex(16)
            console.print(f"Planting resources in customer account {CUSTOMER_ACCOUNT} …")
            estate = seed(simulator, CUSTOMER_ACCOUNT, _trust_policy(deployment, external_id), ROLE_NAME)
            credentials = _assume(simulator, deployment, estate, external_id)
            findings = asyncio.run(_audit(simulator, estate, credentials, console))
        finally:
            simulator.stop()
    _show(findings, console)
    return _compare(findings, estate, console) if check else 0


def _trust_policy(deployment: Deployment, external_id: str) -> dict[str, object]:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": deployment.role_arns["worker-audit"]},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _assume(simulator: Simulator, deployment: Deployment, estate: Estate, external_id: str) -> SessionCredentials:
    """Launcher, then our audit worker's role, then the customer's role narrowed to what the rules need."""
    own = simulator.client("sts", deployment.launcher).assume_role(
        RoleArn=deployment.role_arns["worker-audit"], RoleSessionName="demo"
    )["Credentials"]
    worker = Credentials(own["AccessKeyId"], own["SecretAccessKey"], own["SessionToken"])
    actions = needs_of(load_catalogue(), estate.rules).actions | REGION_ACTIONS
    keys = simulator.client("sts", worker).assume_role(
        RoleArn=estate.role_arn,
        RoleSessionName="coreo-demo",
        ExternalId=external_id,
        Policy=session_policy(actions).document,
    )["Credentials"]
    expiry = keys["Expiration"].timestamp()
    return SessionCredentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], expiry)


async def _audit(
    simulator: Simulator, estate: Estate, credentials: SessionCredentials, console: Console
) -> list[Finding]:
    request = AuditRequest(CUSTOMER_ACCOUNT, "aws", estate.rules, ("all",), {}, frozenset())
    with Progress(console=console) as progress:
        sink = _Sink(progress, progress.add_task("Auditing all regions, by unit", total=None))
        async with ClientFactory(credentials, endpoint_url=simulator.endpoint_url) as clients:
            await run_audit(request, clients, sink)
    return sink.findings


def _show(findings: list[Finding], console: Console) -> None:
    table = Table("Severity", "Rule", "Resource", "Region", title="Failed findings")
    failed = [finding for finding in findings if finding.status == FindingStatus.FAIL]
    for finding in sorted(failed, key=lambda item: (-item.severity.rank, item.rule_id, item.resource_id)):
        table.add_row(finding.severity, finding.rule_id, finding.resource_id, finding.region)
    console.print(table)
    statuses = Counter(finding.status for finding in findings)
    console.print(", ".join(f"{count} {status}" for status, count in sorted(statuses.items())))


def _compare(findings: list[Finding], estate: Estate, console: Console) -> int:
    given = Counter(Expected(f.rule_id, f.status, f.resource_id, f.region) for f in findings)
    wanted = Counter(estate.expected)
    for name, difference in (("not planted", given - wanted), ("missed", wanted - given)):
        for finding in sorted(difference.elements()):
            console.print(f"[red]{name}[/]: {finding}")
    if given != wanted:
        return 1
    console.print(f"[green]Check passed[/]: all {given.total()} findings are as planted.")
    return 0

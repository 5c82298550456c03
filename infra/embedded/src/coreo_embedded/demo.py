"""The demo: the main job on this machine, through the same commands a customer uses.

It starts the stack, adds a planted customer account, audits it, and prints the findings. With `check` it compares them
with what was planted, and ends; without, everything stays up until Ctrl-C.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.processes import ProcessFailedError
from coreo_embedded.stack import Stack
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus

CUSTOMER_ACCOUNT = "222222222222"
ROLE_NAME = "CoreoAudit"
RULE_SET = "baseline"
_COREO = Path(sys.executable).parent / "coreo"


class _Customer:
    """Runs `coreo` as a customer does, and shows each command before its output."""

    def __init__(self, url: str, token: str, home: Path, console: Console) -> None:
        self._environment = {
            **{name: os.environ[name] for name in ("TERM", "LANG", "COLUMNS", "NO_COLOR") if name in os.environ},
            "COREO_URL": url,
            "COREO_TOKEN": token,
            "HOME": str(home),
        }
        self._console = console

    def show(self, *arguments: str) -> int:
        """Runs it for people to see; its exit status."""
        self._console.print(f"\n[bold]$ coreo {shlex.join(arguments)}[/]", highlight=False, soft_wrap=True)
        return subprocess.run([str(_COREO), *arguments], env=self._environment, check=False).returncode

    def ask(self, *arguments: str) -> str:
        """Runs it for a program: its standard output. Raises ProcessFailedError with what it said."""
        done = subprocess.run(
            [str(_COREO), *arguments, "--output", "json"],
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ProcessFailedError(f"coreo {shlex.join(arguments)} failed:\n{done.stderr}")
        return done.stdout


def run_demo(*, check: bool) -> int:
    """Runs the demo; the exit status is 0 when it worked and, with `check`, every finding is as planted."""
    console = Console()
    signal.signal(signal.SIGTERM, _on_sigterm)  # unwinds the stack, as Ctrl-C does
    with tempfile.TemporaryDirectory(prefix="coreo-demo-") as directory, Stack(Path(directory)) as stack:
        console.print("PostgreSQL and the simulated AWS run; Coreo's queues and roles are made from its templates.")
        stack.start_results()
        api = stack.start_api()
        worker = stack.start_worker("audit")
        console.print(f"The services run: api, results, {worker.name} (logs in {stack.logs}).")
        token = stack.create_team("Demo")["token"]
        customer = _Customer(api.url, token, Path(directory), console)
        estate = _onboard(stack, customer)
        status = _audit(customer)
        if check:
            return max(status, _compare(customer, estate, console))
        console.print(f"\nAPI [link]{api.url}/docs[/]   team token {token}", highlight=False, soft_wrap=True)
        console.print(f"Go on in another shell:  export COREO_URL={api.url} COREO_TOKEN={token}", soft_wrap=True)
        console.print("Everything stays up until Ctrl-C.")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        console.print("\nStopping …")
    return 0


def _on_sigterm(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _onboard(stack: Stack, customer: _Customer) -> Estate:
    """What a customer does: add the account, make the role with the external id shown, say which role it is."""
    account = json.loads(customer.ask("account", "add", "--name", "acme", "--account-id", CUSTOMER_ACCOUNT))
    estate = seed(stack.simulator, CUSTOMER_ACCOUNT, account["trust_policy"], ROLE_NAME)
    customer.show("account", "set-role", "acme", "--role-arn", estate.role_arn)
    return estate


def _audit(customer: _Customer) -> int:
    customer.show("plan", "create", "--name", RULE_SET, "--account", "acme", "--rule-set", RULE_SET, "--region", "all")
    status = customer.show("run", "start", RULE_SET, "--watch")
    customer.show("findings", "--status", "FAIL", "--all")
    return status


def _compare(customer: _Customer, estate: Estate, console: Console) -> int:
    lines = customer.ask("findings", "--status", "ALL", "--all").splitlines()
    found = [json.loads(line) for line in lines]
    given = Counter(
        Expected(item["rule_id"], FindingStatus(item["status"]), item["resource_id"], item["region"]) for item in found
    )
    wanted = Counter(estate.expected_of(set(load_catalogue().rule_sets[RULE_SET])))
    for name, difference in (("not planted", given - wanted), ("missed", wanted - given)):
        _list(name, sorted(difference.elements()), console)
    if given != wanted:
        return 1
    console.print(f"\n[green]Check passed[/]: all {given.total()} findings are as planted.")
    return 0


def _list(name: str, findings: Sequence[Expected], console: Console) -> None:
    for finding in findings:
        console.print(f"[red]{name}[/]: {finding}", soft_wrap=True)

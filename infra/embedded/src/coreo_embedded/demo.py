"""The demo: the main job on this machine, through the same commands a customer uses.

It starts the stack and adds two planted customer accounts, one by its role and one by access keys, which Coreo proves
to be safe before it uses them. It audits both and prints the findings, and takes a small stack through its whole life
(`demo_deploy`). With `check` it compares what was found with what was planted, and ends; without, everything stays up
until Ctrl-C.
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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from coreo_embedded.demo_deploy import DeployDemo
from coreo_embedded.estate import Estate, Expected, seed
from coreo_embedded.estate.people import KeyEstate, seed_with_keys
from coreo_embedded.processes import ProcessFailedError
from coreo_embedded.stack import Stack
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus

CUSTOMER_ACCOUNT = "222222222222"
KEY_ACCOUNT = "333333333333"
KEY_RULES = ("s3-bucket-public-access-block", "s3-bucket-versioning")
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

    def show(self, *arguments: str, secret: str | None = None) -> int:
        """Runs it for people to see, with a secret on its standard input if there is one; its exit status."""
        before = "" if secret is None else "echo SECRET | "
        self._console.print(f"\n[bold]$ {before}coreo {shlex.join(arguments)}[/]", highlight=False, soft_wrap=True)
        command = [str(_COREO), *arguments]
        # Without a secret nothing stands on its standard input: nobody is there to be asked.
        return subprocess.run(command, env=self._environment, check=False, input=secret or "", text=True).returncode

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
        stack.start_worker("onboard")
        stack.start_worker("audit")
        stack.start_worker("deploy")
        console.print(
            "The services run: api, results, a worker for onboarding, one for audits, one for deploys "
            f"(logs in {stack.logs})."
        )
        token = stack.create_team("Demo")["token"]
        customer = _Customer(api.url, token, Path(directory), console)
        status, keys = _onboard_with_keys(stack, customer)
        estate = _onboard_with_role(stack, customer)
        status = max(status, _audit_with_keys(customer))
        if check:
            status = max(status, _compare(customer, keys.expected_of(set(KEY_RULES)), console))
        status = max(status, _audit(customer))
        if check:
            expected = estate.expected_of(set(load_catalogue().rule_sets[RULE_SET]))
            status = max(status, _compare(customer, expected, console))
        status = max(status, _deploy(stack, customer, Path(directory), console))
        if check:
            return status
        console.print(f"\nConsole  {api.url}/console/   team token {token}", highlight=False, soft_wrap=True)
        console.print(f"API      {api.url}/openapi.json", highlight=False, soft_wrap=True)
        console.print(f"Go on in another shell:  export COREO_URL={api.url} COREO_TOKEN={token}", soft_wrap=True)
        console.print("Everything stays up until Ctrl-C.")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        console.print("\nStopping …")
    return 0


def _on_sigterm(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _onboard_with_keys(stack: Stack, customer: _Customer) -> tuple[int, KeyEstate]:
    """What a customer does who wants Coreo to make the role: post access keys, once."""
    estate = seed_with_keys(stack.simulator, KEY_ACCOUNT)
    customer.show("account", "add", "zeta", "--account-id", KEY_ACCOUNT)
    key = estate.administrator
    arguments = ("account", "bootstrap", "zeta", "--access-key-id", key.access_key_id)
    return customer.show(*arguments, secret=key.secret_access_key), estate


def _onboard_with_role(stack: Stack, customer: _Customer) -> Estate:
    """What a customer does: add the account, make the role with the external id shown, say which role it is."""
    account = json.loads(customer.ask("account", "add", "acme", "--account-id", CUSTOMER_ACCOUNT))
    estate = seed(stack.simulator, CUSTOMER_ACCOUNT, account["trust_policy"], ROLE_NAME)
    customer.show("account", "set-role", "acme", "--role-arn", estate.role_arn)
    return estate


def _audit_with_keys(customer: _Customer) -> int:
    rules = [argument for rule in KEY_RULES for argument in ("--rule", rule)]
    customer.show("plan", "create", "--name", "buckets", "--account", "zeta", *rules, "--region", "all")
    return customer.show("run", "start", "buckets", "--watch")


def _audit(customer: _Customer) -> int:
    customer.show("plan", "create", "--name", RULE_SET, "--account", "acme", "--rule-set", RULE_SET, "--region", "all")
    status = customer.show("run", "start", RULE_SET, "--watch")
    customer.show("findings", "--status", "FAIL", "--all")
    return status


def _deploy(stack: Stack, customer: _Customer, directory: Path, console: Console) -> int:
    """A stack's life, in an account whose role allows nearly all: each run is limited by what its plan states."""
    demo = DeployDemo(customer, stack.simulator, KEY_ACCOUNT, directory, console)
    status = demo.run()
    for problem in demo.problems:
        console.print(f"[red]not as it should be[/]: {problem}", soft_wrap=True)
    if status == 0:
        console.print("\n[green]Deploy passed[/]: previewed, approved, applied, audited, drifted and destroyed.")
    return status


def _compare(customer: _Customer, expected: Iterable[Expected], console: Console) -> int:
    """Compares the findings of the latest run with what it must find."""
    lines = customer.ask("findings", "--status", "ALL", "--all").splitlines()
    found = [json.loads(line) for line in lines]
    given = Counter(
        Expected(item["rule_id"], FindingStatus(item["status"]), item["resource_id"], item["region"]) for item in found
    )
    wanted = Counter(expected)
    for name, difference in (("not planted", given - wanted), ("missed", wanted - given)):
        _list(name, sorted(difference.elements()), console)
    if given != wanted:
        return 1
    console.print(f"\n[green]Check passed[/]: all {given.total()} findings are as planted.")
    return 0


def _list(name: str, findings: Sequence[Expected], console: Console) -> None:
    for finding in findings:
        console.print(f"[red]{name}[/]: {finding}", soft_wrap=True)

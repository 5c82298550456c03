"""The demo's second act: a small stack in the customer's account is previewed, approved, applied, found by an audit,
changed by hand behind Coreo's back, found to have drifted, and destroyed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from coreo_embedded.estate import web_stack
from coreo_embedded.estate.planted import Expected, RootClients
from coreo_shared.contracts.terms import FindingStatus

_WAITS = 8  # `coreo deploy`: somebody has to decide
_DRIFTED = 5  # `coreo deploy drift --fail-on-drift`


class Customer(Protocol):
    """Runs `coreo` as a customer does."""

    def show(self, *arguments: str, secret: str | None = None) -> int:
        """Runs it for people to see; its exit status."""

    def ask(self, *arguments: str) -> str:
        """Runs it for a program: its standard output."""


class DeployDemo:
    """Deploys the directory `web` into the account, with everything shown. `problems` are what did not go as it should.

    The directory's coreo.yaml names the cloud account.
    """

    def __init__(
        self, customer: Customer, clients: RootClients, account_id: str, directory: Path, console: Console
    ) -> None:
        self._customer = customer
        self._clients = clients
        self._account_id = account_id
        self._directory = directory / "web"
        self._console = console
        self.problems: list[str] = []

    def run(self) -> int:
        """All of it; the exit status is 0 when each part ended as it should."""
        web_stack.copy_to(self._directory)
        self._say("A directory with coreo.yaml and a template, as a customer keeps it in git:")
        self._console.print((self._directory / "template.yaml").read_text(), markup=False, highlight=False)
        self._expect("preview", 0, "deploy", "preview", str(self._directory), "--watch")
        self._approved("apply")
        outputs = self._outputs()
        if outputs is not None:
            self._audit(outputs)
            self._drift(outputs)
        self._approved("destroy")
        return 1 if self.problems else 0

    def _approved(self, action: str) -> None:
        """Starts it, and approves what it shows."""
        self._expect(action, _WAITS, "deploy", action, str(self._directory), "--watch")
        waiting = self._waiting()
        if waiting is None:
            self.problems.append(f"{action}: nothing waits for approval")
            return
        self._expect(f"{action}, approved", 0, "deploy", "approve", waiting, "--yes", "--watch")

    def _waiting(self) -> str | None:
        runs = json.loads(self._customer.ask("deploy", "status", str(self._directory)))
        waiting = [run["id"] for run in runs if run["state"] == "AWAITING_APPROVAL"]
        return waiting[0] if waiting else None

    def _outputs(self) -> dict[str, str] | None:
        self._expect("outputs", 0, "deploy", "outputs", str(self._directory))
        found = json.loads(self._customer.ask("deploy", "outputs", str(self._directory)))
        if not found:
            self.problems.append("apply: it left no outputs")
            return None
        return {output["key"]: output["value"] for output in found[0]["outputs"]}

    def _audit(self, outputs: Mapping[str, str]) -> None:
        """An audit finds in the account what the preview had foretold of the template."""
        rules = [argument for rule in web_stack.AUDITED for argument in ("--rule", rule)]
        where = ["--account", "zeta", *rules, "--region", web_stack.REGION]
        self._customer.show("plan", "create", "--name", "web-audit", *where)
        self._customer.show("run", "start", "web-audit", "--watch")
        names = set(outputs.values())
        found = {expected_of(item) for item in self._findings("web-audit") if item["resource_id"] in names}
        wanted = web_stack.expected(outputs)
        for finding in sorted(found ^ wanted):
            self.problems.append(f"audit of the stack: {'missed' if finding in wanted else 'not expected'} {finding}")
        self._say(f"The audit found {len(found)} things to say of the stack's resources, as the preview did.")

    def _drift(self, outputs: Mapping[str, str]) -> None:
        self._say("Somebody changes the stack's role by hand …")
        web_stack.drift(self._clients, self._account_id, outputs)
        self._expect("drift", _DRIFTED, "deploy", "drift", str(self._directory), "--watch", "--fail-on-drift")
        drifted = {item["resource_id"] for item in self._findings("web") if item["status"] == FindingStatus.FAIL}
        if drifted != {outputs["RoleName"]}:
            self.problems.append(f"drift: found {sorted(drifted)}")

    def _findings(self, plan: str) -> list[dict[str, Any]]:
        """Of the plan's latest run that has some."""
        runs = json.loads(self._customer.ask("run", "list", "--plan", plan))
        newest = next(run["id"] for run in runs if run["deploy"] is None or run["deploy"]["action"] == "drift")
        lines = self._customer.ask("findings", newest, "--status", "ALL", "--all").splitlines()
        return [json.loads(line) for line in lines]

    def _expect(self, what: str, status: int, *arguments: str) -> None:
        ended = self._customer.show(*arguments)
        if ended != status:
            self.problems.append(f"{what}: coreo ended with status {ended} instead of {status}")

    def _say(self, text: str) -> None:
        self._console.print(f"\n{text}", highlight=False)


def expected_of(item: Mapping[str, Any]) -> Expected:
    """A finding as the estate describes it."""
    return Expected(item["rule_id"], FindingStatus(item["status"]), item["resource_id"], item["region"])

"""Judges items by the compiled rules of their resource type, and makes findings of the verdicts."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from coreo_shared.contracts.findings import Finding
from coreo_shared.rules.compiler import CompiledRule, not_evaluated
from coreo_shared.rules.model import Identity, ResourceType
from coreo_shared.rules.values import Item, Relations, Unknown, Verdict, fingerprint
from coreo_worker.audit.chunks import ChunkWriter
from coreo_worker.audit.evidence import PlainEvidence, plain_text
from coreo_worker.audit.fetch import Account

_log = structlog.get_logger(__name__)
_ITEMS_BETWEEN_PAUSES = 20  # heartbeats and calls go on between them


@dataclass(frozen=True)
class Judge:
    """The rules of one unit, and what they need to know of it."""

    account: Account
    kind: ResourceType
    region: str
    rules: Sequence[CompiledRule]
    relations: Relations

    async def page(self, items: Sequence[Item], writer: ChunkWriter) -> None:
        """Writes the findings on these items."""
        for number, item in enumerate(items, 1):
            for finding in self._findings(item):
                await writer.add(finding)
            if number % _ITEMS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)

    async def unread(self, unknown: Unknown, writer: ChunkWriter) -> None:
        """Writes one NOT_EVALUATED finding for each rule: the unit, or the rest of it, could not be listed."""
        identity = Identity(id=f"{self.kind.name}@{self.region}", arn=None, region=self.region)
        evidence = PlainEvidence()
        for compiled in self.rules:
            await writer.add(self._finding(compiled, identity, not_evaluated(frozenset({unknown})), evidence))

    def _findings(self, item: Item) -> Iterator[Finding]:
        account = self.account
        identity = self.kind.identify(item, account=account.id, region=self.region, partition=account.partition)
        evidence = PlainEvidence()
        for compiled in self.rules:
            verdict = self._verdict(compiled, item)
            if verdict is not None:
                yield self._finding(compiled, identity, verdict, evidence)

    def _verdict(self, compiled: CompiledRule, item: Item) -> Verdict | None:
        """A rule that trips over an odd resource says so, and takes nothing else down with it."""
        try:
            return compiled.evaluate(item, self.relations)
        except Exception as error:  # noqa: BLE001  reported twice: in the log, and as a finding that is no PASS
            # No traceback: its text may hold the customer's data.
            _log.error("rule_failed", rule_id=compiled.rule.id, error=type(error).__name__)
            return not_evaluated(frozenset({Unknown(f"the rule failed on this resource ({type(error).__name__})")}))

    def _finding(
        self, compiled: CompiledRule, identity: Identity, verdict: Verdict, evidence: PlainEvidence
    ) -> Finding:
        rule = compiled.rule
        arn = None if identity.arn is None else plain_text(identity.arn)
        name = plain_text(identity.id)
        return Finding(
            fingerprint=fingerprint(self.account.id, rule.id, arn or f"{rule.resource}/{identity.region}/{name}"),
            rule_id=rule.id,
            status=verdict.status,
            severity=rule.severity,
            resource_type=rule.resource,
            resource_id=name,
            resource_arn=arn,
            region=identity.region,
            message=plain_text(verdict.message),
            evidence=evidence.of(verdict.evidence),
            reason=verdict.reason,
            missing_actions=list(verdict.missing_actions),
        )


def rules_by_type(rules: Iterable[CompiledRule]) -> dict[str, list[CompiledRule]]:
    """The rules of each resource type, in the order of their ids."""
    by_type: dict[str, list[CompiledRule]] = {}
    for compiled in sorted(rules, key=lambda compiled: compiled.rule.id):
        by_type.setdefault(compiled.rule.resource, []).append(compiled)
    return by_type

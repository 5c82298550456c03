"""What a run has to do: its regions, its units, its rules made ready."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from coreo_shared.catalogue import Catalogue
from coreo_shared.rules.compiler import CompiledRule, compile_rule
from coreo_shared.rules.model import GLOBAL, Call
from coreo_shared.rules.needs import REGION_ACTIONS, Needs, TypeNeeds, needs_of
from coreo_shared.rules.values import Unknown
from coreo_worker.audit.asking import Asker
from coreo_worker.audit.fetch import Account, unknown_for
from coreo_worker.aws.calls import CallError

ALL_REGIONS = "all"
_DESCRIBE_REGIONS = Call("ec2", "describe_regions", params=(), actions=tuple(sorted(REGION_ACTIONS)), paginated=False)


class AuditRequestError(ValueError):
    """The run asks for something this worker does not know; the message names the field."""


@dataclass(frozen=True)
class AuditRequest:
    """What to audit. `rules` are rule ids, `regions` names or "all", `parameters` {rule id: {name: value}}.

    `units_done` are the units that an earlier attempt has stored whole.
    """

    account_id: str
    partition: str
    rules: tuple[str, ...]
    regions: tuple[str, ...]
    parameters: Mapping[str, Any]
    units_done: frozenset[str]


@dataclass(frozen=True)
class Unit:
    """One resource type in one region ("global" for a global type): what is done whole or again."""

    needs: TypeNeeds
    region: str

    @property
    def name(self) -> str:
        """As the results service knows it."""
        return f"{self.needs.resource_type.name}@{self.region}"


@dataclass(frozen=True)
class Plan:
    """A run made ready. `no_regions` is why the regional types cannot be read, if so; their region is "all" then."""

    account: Account
    needs: Needs
    rules: Mapping[str, list[CompiledRule]]  # by resource type, in the order of their ids
    no_regions: Unknown | None
    not_offered: Mapping[str, frozenset[str]] = field(default_factory=dict)  # service -> regions without it

    @property
    def units(self) -> list[Unit]:
        """The units of the run, those done earlier included."""
        return [
            Unit(needs, region)
            for needs in self.needs.types.values()
            if needs.rules
            for region in self.regions_of(needs)
        ]

    def regions_of(self, needs: TypeNeeds) -> tuple[str, ...]:
        """Where a resource type is listed: not in regions where AWS does not offer its service."""
        if needs.resource_type.scope == "global":
            return (GLOBAL,)
        without = self.not_offered.get(needs.resource_type.service, frozenset())
        return tuple(region for region in self.account.regions if region not in without)


async def plan_audit(request: AuditRequest, catalogue: Catalogue, asker: Asker) -> Plan:
    """Checks the request and finds out the account's regions; AuditRequestError or the rules' ParameterError."""
    for index, name in enumerate(request.rules):
        if name not in catalogue.rules:
            raise AuditRequestError(f"rules.{index}: this worker knows no such rule; bring the workers up to date")
    if request.partition not in catalogue.partitions:
        raise AuditRequestError("partition: this worker knows no such partition; bring the workers up to date")
    home = catalogue.partitions[request.partition].home
    needs = needs_of(catalogue, request.rules)
    regions, no_regions = await _regions(request, needs, home, asker)
    return Plan(
        account=Account(request.account_id, request.partition, home, regions),
        needs=needs,
        rules=_compiled(needs, catalogue, request.parameters),
        no_regions=no_regions,
        not_offered=catalogue.partitions[request.partition].not_offered,
    )


def _compiled(needs: Needs, catalogue: Catalogue, parameters: Mapping[str, Any]) -> dict[str, list[CompiledRule]]:
    now = datetime.now(UTC)  # one moment for the ages of the whole run
    return {
        name: [compile_rule(catalogue.rules[rule], parameters, now=now) for rule in sorted(of_type.rules)]
        for name, of_type in needs.types.items()
    }


async def _regions(
    request: AuditRequest, needs: Needs, home: str, asker: Asker
) -> tuple[tuple[str, ...], Unknown | None]:
    """The regions of the run, sorted; ("all",) and the reason where the account's could not be found out."""
    if ALL_REGIONS not in request.regions:
        return tuple(sorted(set(request.regions))), None
    if all(of_type.resource_type.scope == "global" for of_type in needs.types.values()):
        return (), None
    try:
        answer = await asker.ask(_DESCRIBE_REGIONS, home, {})
    except CallError as error:
        return (ALL_REGIONS,), unknown_for(error)
    return tuple(sorted(region["RegionName"] for region in answer["Regions"])), None

"""Runs the worker's engine in this process. It alone, of the command line, imports the worker and the SDK."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.scan.spool import Spool
from coreo_cli.text import plain
from coreo_shared.catalogue import Catalogue, load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.observability.logs import configure_logging
from coreo_shared.rules.errors import ParameterError, did_you_mean
from coreo_worker.audit.engine import AuditRequest, SessionExpiredError, run_audit
from coreo_worker.aws.ambient import AmbientClients, AmbientError, Identity

ALL_REGIONS = "all"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to scan. `parameters`: {rule id: {name: value}}; `account_id`: the one it must be, if that was said."""

    rules: Sequence[str]
    regions: Sequence[str]
    parameters: Mapping[str, Any]
    profile: str | None
    account_id: str | None


__all__ = ["ALL_REGIONS", "Ending", "Identity", "Scanned", "Wanted", "Watcher", "scan"]


class Ending(StrEnum):
    """How a scan ended."""

    WHOLE = "whole"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"


@dataclass
class Scanned:
    """What was scanned: who, where, when, and how it ended."""

    identity: Identity
    started_at: datetime
    ended_at: datetime
    ending: Ending
    units_total: int | None = None
    units_done: int = 0
    regions: set[str] = field(default_factory=set)


class Watcher(Protocol):
    """Who is told how far the scan is."""

    def begin(self, identity: Identity) -> None:
        """The credentials are good."""

    def see(self, scanned: Scanned) -> None:
        """Something was done."""


def scan(wanted: Wanted, catalogue: Catalogue, spool: Spool, watcher: Watcher) -> Scanned:
    """Audits the account of the user's credentials. What Ctrl-C, or the end of the credentials, left is in the spool.

    Raises CliError where nothing can be scanned.
    """
    configure_logging("coreo-scan", "ERROR")
    _check_regions(wanted.regions)
    return asyncio.run(_scan(wanted, catalogue, spool, watcher))


async def _scan(wanted: Wanted, catalogue: Catalogue, spool: Spool, watcher: Watcher) -> Scanned:
    async with AmbientClients(profile=wanted.profile) as clients:
        try:
            identity = await clients.identity()
        except AmbientError as error:
            raise CliError(error.problem, next_step=error.next_step) from None
        _check_identity(identity, wanted)
        watcher.begin(identity)
        now = datetime.now(UTC)
        scanned = Scanned(identity, now, now, Ending.WHOLE)
        request = AuditRequest(
            account_id=identity.account_id,
            partition=identity.partition,
            rules=tuple(wanted.rules),
            regions=tuple(wanted.regions),
            parameters=wanted.parameters,
            units_done=frozenset(),
        )
        try:
            await run_audit(request, clients, _Sink(spool, scanned, watcher), catalogue=catalogue)
        except ParameterError as error:
            raise UsageMistakeError(f"--param {error}.", next_step="`coreo rules show RULE` shows them.") from None
        except SessionExpiredError:
            scanned.ending = Ending.EXPIRED
        except asyncio.CancelledError:  # the first Ctrl-C; what was found until now is worth having
            scanned.ending = Ending.INTERRUPTED
        scanned.ended_at = datetime.now(UTC)
        return scanned


class _Sink:
    """The engine's sink."""

    def __init__(self, spool: Spool, scanned: Scanned, watcher: Watcher) -> None:
        self._spool = spool
        self._scanned = scanned
        self._watcher = watcher

    async def planned(self, units_total: int) -> None:
        """As the engine's port says."""
        self._scanned.units_total = units_total
        self._watcher.see(self._scanned)

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:  # noqa: ARG002  the port's
        """As the engine's port says."""
        self._spool.add(findings)
        self._scanned.regions.add(unit.rpartition("@")[2])
        self._scanned.units_done += final
        self._watcher.see(self._scanned)


def _check_regions(regions: Sequence[str]) -> None:
    known = {region for names in load_catalogue().regions.values() for region in names}
    for region in regions:
        if region != ALL_REGIONS and region not in known:
            raise UsageMistakeError(
                f"--regions: AWS has no region {plain(region)!r}{did_you_mean(region, known) or '.'}",
                next_step=f"Names such as eu-west-1, or `{ALL_REGIONS}` for those that the account has enabled.",
            )


def _check_identity(identity: Identity, wanted: Wanted) -> None:
    if wanted.account_id is not None and wanted.account_id != identity.account_id:
        raise CliError(
            f"The credentials are of account {identity.account_id}, not {plain(wanted.account_id)}.",
            next_step="Give the profile of that account: --profile NAME.",
        )
    regions = load_catalogue().regions.get(identity.partition)
    if regions is None:
        raise CliError(f"Coreo does not know the partition {plain(identity.partition)}.")
    for region in wanted.regions:
        if region != ALL_REGIONS and region not in regions:
            raise UsageMistakeError(
                f"--regions: {region} is not in the partition {identity.partition} of account {identity.account_id}."
            )

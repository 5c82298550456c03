"""The service's parts, made once by `create_app` and handed to endpoints."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from coreo_results.chunks.service import Chunks
from coreo_results.decisions.log import DecisionLog
from coreo_results.documents.service import Documents
from coreo_results.events.service import Events
from coreo_results.findings.service import Findings
from coreo_results.fleet.service import Fleet
from coreo_results.ledger.deploying import Deploys
from coreo_results.ledger.service import Ledger
from coreo_results.ledger.sweeper import Sweeper
from coreo_results.life.keeper import LifeKeeper
from coreo_results.life.service import Life
from coreo_results.overrides.service import Overrides
from coreo_results.suppressions.service import Suppressions
from coreo_shared.db import Database


@dataclass(frozen=True)
class Services:
    """All of them."""

    database: Database
    system_database: Database
    ledger: Ledger
    deploys: Deploys
    documents: Documents
    chunks: Chunks
    findings: Findings
    life: Life
    suppressions: Suppressions
    overrides: Overrides
    log: DecisionLog
    life_keeper: LifeKeeper
    events: Events
    fleet: Fleet
    sweeper: Sweeper


async def _wired(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Wired = Annotated[Services, Depends(_wired)]

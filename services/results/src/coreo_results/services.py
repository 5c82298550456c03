"""The service's parts, made once by `create_app` and handed to endpoints."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from coreo_results.access.service import AccessRecord
from coreo_results.backups.keeper import BackupKeeper
from coreo_results.backups.service import Backups
from coreo_results.chunks.rekey import Rekeying
from coreo_results.chunks.service import Chunks
from coreo_results.custody.service import Custody
from coreo_results.decisions.log import DecisionLog
from coreo_results.documents.service import Documents
from coreo_results.events.service import Events
from coreo_results.exclusions.keeper import ExclusionKeeper
from coreo_results.exclusions.service import Exclusions
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.findings.service import Findings
from coreo_results.fleet.service import Fleet
from coreo_results.keys.keeper import KeyKeeper
from coreo_results.keys.service import Keys
from coreo_results.keys.turnover import Turnovers
from coreo_results.ledger.deploying import Deploys
from coreo_results.ledger.service import Ledger
from coreo_results.ledger.sweeper import Sweeper
from coreo_results.life.keeper import LifeKeeper
from coreo_results.life.service import Life
from coreo_results.overrides.service import Overrides
from coreo_results.retention.service import Retention
from coreo_results.retention.sweeper import RetentionSweeper
from coreo_results.suppressions.service import Suppressions
from coreo_shared.db import Database


@dataclass(frozen=True)
class Services:
    """All of them."""

    database: Database
    system_database: Database
    keys: Keys
    turnovers: Turnovers
    rekeying: Rekeying
    ledger: Ledger
    deploys: Deploys
    documents: Documents
    chunks: Chunks
    findings: Findings
    life: Life
    suppressions: Suppressions
    backups: Backups | None  # None where COREO_BACKUP_STORE is none
    backup_keeper: BackupKeeper | None
    exclusions: Exclusions
    exclusion_worker: ExclusionWorker | None  # as backups
    exclusion_keeper: ExclusionKeeper | None
    custody_keys: list[dict[str, Any]]  # public JWKs
    overrides: Overrides
    log: DecisionLog
    access: AccessRecord
    custody: Custody
    retention: Retention
    retention_sweeper: RetentionSweeper
    life_keeper: LifeKeeper
    key_keeper: KeyKeeper
    events: Events
    fleet: Fleet
    sweeper: Sweeper


async def _wired(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Wired = Annotated[Services, Depends(_wired)]

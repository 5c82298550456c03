"""What a receipt says. Pure."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from coreo_results.backups.log import written
from coreo_results.exclusions.repository import STEPS, ExcludedRun, Stored
from coreo_shared.contracts.exclusions import LISTED_RUNS, RECEIPT_VERSION, Receipt, StepDone, Tombstone


def hash_of(run_ids: list[UUID]) -> str:
    """By which receipts and logs name runs: over the ids, sorted, one a line."""
    return hashlib.sha256("".join(f"{run_id}\n" for run_id in sorted(run_ids)).encode()).hexdigest()


def receipt_of(
    team_id: UUID, exclusion: Stored, runs: list[ExcludedRun], entries: dict[int, Tombstone], *, by: str
) -> Receipt:
    """Of an exclusion all of whose steps but this are through; with the log's entries on it, by number."""
    ids = sorted(run.run_id for run in runs)
    return Receipt(
        version=RECEIPT_VERSION,
        exclusion_id=exclusion.id,
        team_id=team_id,
        scope=exclusion.scope,
        scope_id=exclusion.scope_id,
        display=exclusion.display,
        reason=exclusion.reason,
        requested_at=written(exclusion.requested_at),
        requested_by=exclusion.requested_by,
        runs=len(ids),
        runs_sha256=hash_of(ids),
        run_ids=ids if len(ids) <= LISTED_RUNS else [],
        intent=None if exclusion.intent_seq is None else entries[exclusion.intent_seq],
        tombstones=[entry for seq, entry in entries.items() if seq != exclusion.intent_seq],
        backups_deleted=sum(run.was_stored for run in runs),
        display_rekeyed=sum(run.display == "rekeyed" for run in runs),
        display_deleted=sum(run.display == "deleted" for run in runs),
        key_destroyed=exclusion.key_old,
        key_now=exclusion.key_new,
        steps=[StepDone(step=step, at=exclusion.passed[step]) for step in STEPS if step in exclusion.passed],
        issued_at=written(datetime.now(UTC)),
        by=by,
    )

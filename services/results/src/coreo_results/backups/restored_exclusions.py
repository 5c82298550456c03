"""Puts exclusions from the log into a restored database: those that were through, and those that go on from there."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.log import LoggedExclusion
from coreo_shared.contracts.exclusions import RECEIPT_TYPE, Display, Receipt
from coreo_shared.crypto.statements import Statements

_ADD = text("""
    INSERT INTO exclusions (team_id, exclusion_id, scope, scope_id, display, reason, requested_at, requested_by,
        tombstone_at, display_at, backups_at, new_key_at, key_old, key_new, old_keys_at, receipt_at, receipt)
    VALUES (:team, :id, :scope, :scope_id, :display, :reason, :requested_at, :requested_by,
        :tombstone, :display_step, :backups, :new_key, :key_old, :key_new, :old_keys, :receipt_at, :receipt)
""")
_ADD_RUNS = text("""
    INSERT INTO exclusion_runs (team_id, run_id, exclusion_id, log_seq)
    SELECT :team, run_id, :id, :seq FROM unnest(CAST(:runs AS uuid[])) AS r (run_id)
""")


async def restore_exclusion(
    connection: AsyncConnection, team_id: UUID, exclusion: LoggedExclusion, statements: Statements
) -> None:
    """One exclusion. Where there is no receipt the keeper does the rest: nothing of these runs is there to be read.

    Raises StatementError for a receipt that is none.
    """
    said = exclusion.first
    values: dict[str, Any] = {"team": team_id, "id": said.exclusion_id, "scope": said.scope, "scope_id": said.scope_id}
    values |= {"reason": said.reason, "requested_by": said.requested_by}
    await connection.execute(_ADD, values | _progress(exclusion, statements))
    for seq, runs in exclusion.entries:
        await connection.execute(_ADD_RUNS, {"team": team_id, "id": said.exclusion_id, "seq": seq, "runs": runs})


def _progress(exclusion: LoggedExclusion, statements: Statements) -> dict[str, Any]:
    began = datetime.fromisoformat(exclusion.at)
    if exclusion.receipt is None:
        names = ("display_step", "backups", "new_key", "key_old", "key_new", "old_keys", "receipt_at", "receipt")
        nothing = dict.fromkeys(names)
        # More tombstones may have been due: who wrote the first knew all runs, and wrote them at once but for a crash.
        return {**nothing, "display": Display.KEEP, "requested_at": began, "tombstone": began}
    receipt = statements.read(exclusion.receipt.encode(), Receipt, typ=RECEIPT_TYPE)
    times = {f"{done.step}": done.at for done in receipt.steps}
    return {
        "display": receipt.display,
        "requested_at": datetime.fromisoformat(receipt.requested_at),
        "tombstone": times["tombstone"],
        "display_step": times["display"],
        "backups": times["backups"],
        "new_key": times["new_key"],
        "key_old": receipt.key_destroyed,
        "key_new": receipt.key_now,
        "old_keys": times["old_keys"],
        "receipt_at": datetime.fromisoformat(receipt.issued_at),
        "receipt": exclusion.receipt,
    }

"""Puts exclusions from the log into a restored database: those that were through, and those that go on from there."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.log import LoggedExclusion, LogState
from coreo_shared.contracts.exclusions import RECEIPT_TYPE, Display, Receipt
from coreo_shared.crypto.statements import Statements

_ADD = text("""
    INSERT INTO exclusions (team_id, exclusion_id, scope, scope_id, display, reason, requested_at, requested_by,
        intent_at, intent_seq, tombstone_at, display_at, backups_at, new_key_at, key_old, key_new, old_keys_at,
        receipt_at, receipt)
    VALUES (:team, :id, :scope, :scope_id, :display, :reason, :requested_at, :requested_by,
        :intent, :intent_seq, :tombstone, :display_step, :backups, :new_key, :key_old, :key_new, :old_keys,
        :receipt_at, :receipt)
""")
_ADD_RUNS = text("""
    INSERT INTO exclusion_runs (team_id, run_id, exclusion_id, log_seq, was_stored)
    SELECT :team, run_id, :id, :seq, run_id = ANY (CAST(:stored AS uuid[]))
    FROM unnest(CAST(:runs AS uuid[])) AS r (run_id)
""")


async def restore_exclusions(connection: AsyncConnection, log: LogState, statements: Statements) -> None:
    """All of them. Where there is no receipt the keeper does the rest: nothing of these runs is there to be read.

    Raises StatementError for a receipt that is none.
    """
    for exclusion in log.exclusions.values():
        said = exclusion.first
        values: dict[str, Any] = {"team": log.team_id, "id": said.exclusion_id, "scope": said.scope}
        values |= {"scope_id": said.scope_id, "reason": said.reason, "requested_by": said.requested_by}
        await connection.execute(_ADD, values | _progress(exclusion, statements))
        untold = [(None, sorted(exclusion.untold))] if exclusion.untold else []
        stored = list(exclusion.stored | exclusion.untold & log.runs.keys())
        for seq, runs in [*exclusion.entries, *untold]:
            chosen = {"team": log.team_id, "id": said.exclusion_id, "seq": seq, "runs": runs, "stored": stored}
            await connection.execute(_ADD_RUNS, chosen)


def _progress(exclusion: LoggedExclusion, statements: Statements) -> dict[str, Any]:
    began = datetime.fromisoformat(exclusion.at)
    if exclusion.receipt is not None:
        return _through(exclusion, statements.read(exclusion.receipt.encode(), Receipt, typ=RECEIPT_TYPE))
    names = ("display_step", "backups", "new_key", "key_old", "key_new", "old_keys", "receipt_at", "receipt")
    nothing: dict[str, Any] = dict.fromkeys(names)
    if exclusion.asked is None:  # a log of before such entries: what the first tombstone named is all that is known
        nothing |= {"display": Display.KEEP, "requested_at": began}
        return nothing | {"intent": began, "intent_seq": None, "tombstone": began}
    seq, asked = exclusion.asked
    nothing |= {"display": asked.display, "requested_at": datetime.fromisoformat(asked.requested_at)}
    return nothing | {"intent": began, "intent_seq": seq, "tombstone": None}


def _through(exclusion: LoggedExclusion, receipt: Receipt) -> dict[str, Any]:
    times = {f"{done.step}": done.at for done in receipt.steps}
    return {
        "display": receipt.display,
        "requested_at": datetime.fromisoformat(receipt.requested_at),
        "intent": times.get("intent", times["tombstone"]),
        "intent_seq": None if exclusion.asked is None else exclusion.asked[0],
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

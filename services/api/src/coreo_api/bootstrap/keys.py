"""The sealing keys of onboard workers that live: announced to the results service, signed with the pool's fleet key.

The results service only passes them on; the api believes the fleet keys that it has pinned, so that nothing in between
can put a key of its own in a worker's place.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from coreo_api.results import WorkerStatus
from coreo_shared.contracts.onboarding import (
    MAX_SEALING_KEY_SECONDS,
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    SealingKey,
)
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import TokenError, Verifier
from coreo_shared.observability.logs import get_logger

SEEN_SECONDS = 30  # workers report each ten seconds
_LEFT_SECONDS = 60
_log = get_logger(__name__)


def live_keys(workers: Sequence[WorkerStatus], verifier: Verifier, now: datetime) -> list[SealingKey]:
    """Keys that will open for a minute at least, of workers that take jobs, the longest-lived first."""
    keys = [key for worker in workers if _takes_jobs(worker, now) for key in _verified(worker, verifier, now)]
    return sorted(keys, key=lambda key: key.exp, reverse=True)


def _takes_jobs(worker: WorkerStatus, now: datetime) -> bool:
    is_seen = (now - worker.last_seen).total_seconds() <= SEEN_SECONDS
    return worker.pool is Pool.ONBOARD and is_seen and not (worker.drain or worker.draining)


def _verified(worker: WorkerStatus, verifier: Verifier, now: datetime) -> Iterator[SealingKey]:
    """The worker's key, unless there is something wrong with it."""
    if worker.sealing_key is None:
        return
    at = now.timestamp()
    try:
        key = verifier.verify(
            worker.sealing_key, SealingKey, typ=SEALING_KEY_TYPE, audience=SEALING_KEY_AUDIENCE, now=at
        )
    except TokenError as error:
        _refuse(worker, error.code)
        return
    if key.exp - key.iat > MAX_SEALING_KEY_SECONDS:
        _refuse(worker, "lives_too_long")
    elif key.pool is not Pool.ONBOARD or key.worker_id != worker.worker_id:
        _refuse(worker, "of_another_worker")
    elif key.exp - at >= _LEFT_SECONDS:
        yield key


def _refuse(worker: WorkerStatus, code: str) -> None:
    _log.warning("sealing_key_refused", worker_id=worker.worker_id, security_event=code)

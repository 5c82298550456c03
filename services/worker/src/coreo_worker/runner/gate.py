"""The first look at a message: only what the api signed for this pool gets any further."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from coreo_shared.contracts.jobs import JOB_TYPE, Job, job_audience, pool_of
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import TokenError, Verifier
from coreo_shared.observability.logs import get_logger

API_ISSUER = "coreo-api"
JOB_VERSION = 1
_log = get_logger(__name__)


# What a worker with other keys, a right clock or a newer version might take for a good job.
_MAYBE_OURS: Final = frozenset({"unknown_key", "not_yet_valid", "unreadable", "unknown_version"})


class JobRefusedError(Exception):
    """The message is no job for this worker. `code` is one of TokenError, unknown_version or wrong_work.

    `may_be_ours`: the fault may lie with this worker, so the message is not to be lost.
    """

    def __init__(self, code: str) -> None:
        super().__init__(f"job refused: {code}")
        self.code = code
        self.may_be_ours = code in _MAYBE_OURS


class JobGate:
    """Verifies jobs, and counts what it refused. Takes the api's public keys (JWKs)."""

    def __init__(self, api_keys: list[dict[str, Any]], pool: Pool) -> None:
        self._verifier = Verifier(api_keys, issuer=API_ISSUER)
        self._audience = job_audience(pool)
        self._pool = pool
        self._refused: Counter[str] = Counter()

    @property
    def refused(self) -> Mapping[str, int]:
        """How many messages were refused since the start, by code."""
        return self._refused

    def admit(self, body: str, *, message_id: str) -> Job:
        """The job in a message. Raises JobRefusedError; the log tells of it, and not what the message said."""
        try:
            job = self._verifier.verify(body, Job, typ=JOB_TYPE, audience=self._audience)
        except TokenError as error:
            raise self._refusal(error.code, message_id) from None
        if job.version != JOB_VERSION:
            raise self._refusal("unknown_version", message_id)
        if pool_of(job.work) is not self._pool:
            raise self._refusal("wrong_work", message_id)
        return job

    def _refusal(self, code: str, message_id: str) -> JobRefusedError:
        self._refused[code] += 1
        _log.warning("job_refused", security_event=code, message_id=message_id, total=self._refused.total())
        return JobRefusedError(code)

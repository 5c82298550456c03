"""One question to AWS, until it is answered: in its turn, within the limits, tried again where that may help."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from coreo_shared.rules.model import Call
from coreo_worker.audit.limits import Limits, Slots
from coreo_worker.aws.calls import CallError, SessionExpiredError, ThrottledError, call
from coreo_worker.aws.clients import Clients

_SESSIONS: Final = 3  # that may end during one call, before it is the sessions that are wrong


@dataclass
class _Streak:
    """Throttled answers in a row of one operation."""

    since: float
    last: ThrottledError
    length: int = 0


class Asker:
    """Asks one account for one run. Who waits for another try holds no slot, and who waits for its turn
    only one of its own service in its own region: nobody else is held up."""

    def __init__(self, clients: Clients, limits: Limits) -> None:
        self._clients = clients
        self._limits = limits
        self._slots = Slots(limits)
        self._streaks: dict[tuple[str, str, str], _Streak] = {}

    async def ask(self, made: Call, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One page of the answer. Raises CallError after the last try, SessionExpiredError when no session is left."""
        failures = throttles = sessions = 0
        while True:
            session = self._clients.generation
            try:
                return await self._try(made, region, arguments)
            except SessionExpiredError:
                sessions += 1
                if sessions > _SESSIONS or not await self._clients.renewed(session):
                    raise
                continue
            except ThrottledError:
                throttles += 1
                if throttles >= self._limits.throttled_tries or self._hopeless(made, region):
                    raise
            except CallError as error:
                failures += 1
                if not error.transient or failures >= self._limits.failed_tries:
                    raise
            await asyncio.sleep(self._limits.pause(failures + throttles))

    async def _try(self, made: Call, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        lane = self._slots.lane(made.service, region)
        async with lane.slots:
            hopeless = self._hopeless(made, region)
            if hopeless is not None:
                raise ThrottledError(str(hopeless), code=hopeless.code, actions=made.actions)
            started = await lane.pace.turn()
            try:
                async with self._slots.taken(made.service):
                    answer = await call(
                        self._clients,
                        made.service,
                        region,
                        made.operation,
                        arguments,
                        actions=made.actions,
                        absent_on=made.absent_on,
                    )
            except ThrottledError as error:
                lane.pace.throttled(started)
                self._note(made, region, error)
                raise
            except CallError as error:
                if not error.transient:  # an answer, if only a refusal
                    self._went_well(made, region)
                raise
            self._went_well(made, region)
            return answer

    def _went_well(self, made: Call, region: str) -> None:
        self._slots.lane(made.service, region).pace.went_well()
        self._streaks.pop((made.service, region, made.operation), None)

    def _note(self, made: Call, region: str, error: ThrottledError) -> None:
        streak = self._streaks.setdefault((made.service, region, made.operation), _Streak(_now(), error))
        streak.last = error
        streak.length += 1

    def _hopeless(self, made: Call, region: str) -> ThrottledError | None:
        """What AWS says to an operation that it has not answered once in a long time.

        Thousands of resources shall not each wait for it.
        """
        streak = self._streaks.get((made.service, region, made.operation))
        if streak is None or streak.length < self._limits.throttled_tries:
            return None
        return streak.last if _now() - streak.since >= self._limits.hopeless_seconds else None


def _now() -> float:
    return asyncio.get_running_loop().time()

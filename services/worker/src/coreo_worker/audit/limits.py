"""How hard an audit may lean on AWS: calls at once, calls in a second, tries of one call.

An audit stays below AWS's rates and gives way: the customer's own work runs against the same ones.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

# Calls in a second and region. EC2 gives 20 (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html);
# IAM and Organizations say no number and take few; S3 counts by the thousand.
_RATES: Final = MappingProxyType({"ec2": 20.0, "iam": 20.0, "organizations": 5.0, "s3": 200.0})
_BURST_SECONDS: Final = 2.0  # of its rate a service takes at once after a rest
_LOWEST_RATE: Final = 1.0
_GAIN: Final = 1.0  # calls in a second that a second without throttling adds
_CUT: Final = 0.5
_MEASURED_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Limits:
    """Calls under way at once: in the account, of one service, and of one service in one region.

    A service that hangs holds at most `service` of the account's slots, a region at most `region` of its service's.
    `rate` and `rates` (by service) are calls in a second in one region, before AWS throttles any. A call is tried
    `throttled_tries` times where AWS throttles and `failed_tries` times where it fails in a way that may pass, with
    `backoff_seconds` doubling in between up to `longest_backoff_seconds`. An operation that AWS does nothing but
    throttle for `hopeless_seconds` is not asked any more.
    """

    account: int = 48
    service: int = 24
    region: int = 6
    rate: float = 50.0
    rates: Mapping[str, float] = field(default_factory=lambda: _RATES)
    throttled_tries: int = 8
    failed_tries: int = 4
    backoff_seconds: float = 0.5
    longest_backoff_seconds: float = 20.0
    hopeless_seconds: float = 60.0

    def rate_of(self, service: str) -> float:
        """Calls in a second of a service in one region."""
        return self.rates.get(service, self.rate)

    def pause(self, tries: int) -> float:
        """Seconds before the next try: anywhere up to the doubled back-off, so that tries do not come together."""
        longest = min(self.longest_backoff_seconds, self.backoff_seconds * 2 ** (tries - 1))
        return random.uniform(0, longest)  # noqa: S311  spreads tries, hides nothing


class Lane:
    """One service in one region: its calls at once, and their pace."""

    def __init__(self, slots: int, rate: float) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.pace = Pace(rate)


class Slots:
    """What the calls of one run share. Take narrowest first: who waits for his own service holds nobody else up."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._account = asyncio.Semaphore(limits.account)
        self._services: dict[str, asyncio.Semaphore] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}

    def lane(self, service: str, region: str) -> Lane:
        """The service's own in the region."""
        if (service, region) not in self._lanes:
            self._lanes[service, region] = Lane(self._limits.region, self._limits.rate_of(service))
        return self._lanes[service, region]

    @asynccontextmanager
    async def taken(self, service: str) -> AsyncIterator[None]:
        """Holds a slot of the service's and one of the account's, for as long as a call takes."""
        async with self._services.setdefault(service, asyncio.Semaphore(self._limits.service)), self._account:
            yield


class Pace:
    """A token bucket for one service in one region, whose rate follows AWS's answers.

    Throttling halves the rate that calls really had; each second without adds one call in a second, up to `rate`.
    """

    def __init__(self, rate: float) -> None:
        self._ceiling = self._rate = rate
        self._tokens = max(1.0, rate * _BURST_SECONDS)
        self._filled_at = self._cut_at = _now()
        self._line = asyncio.Lock()  # first come, first served
        self._turns: deque[float] = deque()

    @property
    def rate(self) -> float:
        """Calls in a second, as of now."""
        return self._rate

    async def turn(self) -> float:
        """Waits until a call may be made; the time of its start, for `throttled`."""
        async with self._line:
            self._fill()
            while self._tokens < 1:
                await asyncio.sleep((1 - self._tokens) / self._rate + 0.001)  # clocks are coarse
                self._fill()
            self._tokens -= 1
            now = _now()
            self._turns.append(now)
            self._forget(now)
            return now

    def went_well(self) -> None:
        """A call was answered, if only with a refusal: AWS takes this rate."""
        self._rate = min(self._ceiling, self._rate + _GAIN / self._rate)

    def throttled(self, started: float) -> None:
        """A call that started then was throttled. Calls of before the last cut say nothing of the rate since."""
        if started < self._cut_at:
            return
        now = _now()
        self._fill()
        self._forget(now)
        measured = len(self._turns) / _MEASURED_SECONDS
        self._rate = max(_LOWEST_RATE, min(self._rate, measured or self._rate) * _CUT)
        self._tokens = 0.0
        self._cut_at = now

    def _fill(self) -> None:
        now = _now()
        most = max(1.0, self._rate * _BURST_SECONDS)
        self._tokens = min(most, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _forget(self, now: float) -> None:
        while self._turns and self._turns[0] <= now - _MEASURED_SECONDS:
            self._turns.popleft()


def _now() -> float:
    return asyncio.get_running_loop().time()

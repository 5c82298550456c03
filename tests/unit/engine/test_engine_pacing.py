"""How the engine leans on AWS: it keeps to a rate, gives way where AWS throttles, gives up in the end. Virtual time."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.model import Call
from coreo_worker.audit.asking import Asker
from coreo_worker.audit.engine import Limits
from coreo_worker.audit.limits import Pace
from coreo_worker.aws.calls import FailedError, ThrottledError
from tests.support.engine import Answer, PlainAws, audit, refuse, request

THROTTLES = ["Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown"]
READ = Call("ec2", "describe_things", params=(), actions=("ec2:DescribeThings",), paginated=False)
REGION = "eu-west-1"


def now() -> float:
    return asyncio.get_running_loop().time()


class Bucket:
    """AWS's own limiter: so many calls in a second, `burst` at once; what goes beyond is throttled."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, 0.0
        self.answered: list[float] = []
        self.throttled = 0

    def __call__(self, region: str, params: Mapping[str, Any]) -> Any:
        """Answers, or throttles."""
        self._tokens = min(self._burst, self._tokens + (now() - self._at) * self._rate)
        self._at = now()
        if self._tokens < 1:
            self.throttled += 1
            return refuse("RequestLimitExceeded", 503)(region, params)
        self._tokens -= 1
        self.answered.append(now())
        return {}


async def ask_many(asker: Asker, count: int, made: Call = READ) -> list[BaseException | dict[str, Any]]:
    return await asyncio.gather(*(asker.ask(made, REGION, {"n": n}) for n in range(count)), return_exceptions=True)


async def test_calls_keep_to_the_rate_after_the_first_burst() -> None:
    bucket = Bucket(1e9, 1e9)
    await ask_many(Asker(PlainAws({"ec2.describe_things": bucket}), Limits(rates={"ec2": 10.0})), 120)
    assert len(bucket.answered) == 120
    seconds = Counter(int(at) for at in bucket.answered)
    assert seconds[0] <= 20 + 10  # what two seconds of rest are worth, and the second's own
    assert max(seconds[second] for second in seconds if second) <= 11


async def test_the_rate_falls_to_what_aws_takes_and_everything_is_answered() -> None:
    bucket = Bucket(rate=5, burst=10)
    outcomes = await ask_many(Asker(PlainAws({"ec2.describe_things": bucket}), Limits(rates={"ec2": 100.0})), 400)
    assert outcomes == [{}] * 400
    assert bucket.throttled < 100  # less than one in four; without the rate it would be every one, again and again
    assert now() < 400 / 5 * 1.5  # and little of what AWS would have given is left unused


async def test_without_giving_way_calls_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with a pace that does not listen: what the test above would look like if nothing were done."""
    monkeypatch.setattr(Pace, "throttled", lambda _self, _started: None)
    bucket = Bucket(rate=5, burst=10)
    await ask_many(Asker(PlainAws({"ec2.describe_things": bucket}), Limits(rates={"ec2": 100.0})), 400)
    assert bucket.throttled > 400


async def test_a_cut_halves_and_good_answers_add_a_call_a_second_each_second() -> None:
    pace = Pace(40.0)
    starts = [await pace.turn() for _ in range(80)]
    pace.throttled(starts[-1])
    assert pace.rate == 20.0
    began = now()
    while now() < began + 10:
        await pace.turn()
        pace.went_well()
    assert 28 < pace.rate <= 31
    while now() < began + 60:
        await pace.turn()
        pace.went_well()
    assert pace.rate == 40.0  # and never beyond


async def test_the_throttling_of_one_burst_is_one_cut() -> None:
    pace = Pace(40.0)
    starts = [await pace.turn() for _ in range(30)]
    await asyncio.sleep(0.1)
    for started in starts:
        pace.throttled(started)
    assert pace.rate == 15.0  # half of the thirty of this second


async def test_a_slow_rate_is_cut_from_what_it_was_and_not_from_what_it_might_be() -> None:
    pace = Pace(1000.0)
    for _ in range(4):
        started = await pace.turn()
    pace.throttled(started)
    assert pace.rate == 2.0


@pytest.mark.parametrize("code", THROTTLES)
async def test_throttling_that_passes_is_not_seen_in_the_answer(code: str) -> None:
    tries: list[float] = []

    def at_third(region: str, params: Mapping[str, Any]) -> Any:
        tries.append(now())
        return refuse(code)(region, params) if len(tries) < 3 else {"Things": 1}

    assert await Asker(PlainAws({"ec2.describe_things": at_third}), Limits()).ask(READ, REGION, {}) == {"Things": 1}
    assert tries == sorted(set(tries))  # each later than the one before


@pytest.mark.parametrize("code", THROTTLES)
async def test_after_the_last_try_the_item_is_not_evaluated_and_says_why(code: str) -> None:
    aws = PlainAws(
        {
            "s3.list_buckets": lambda _r, _p: {"Buckets": [{"Name": "b", "BucketRegion": REGION}]},
            "s3.get_bucket_versioning": refuse(code),
            "s3.get_bucket_logging": lambda _r, _p: {},
        }
    )
    sink = await audit(request("s3-bucket-versioning", "s3-bucket-access-logging"), aws)
    [throttled], [read] = sink.of("s3-bucket-versioning"), sink.of("s3-bucket-access-logging")
    assert (throttled.status, throttled.missing_actions) == (FindingStatus.NOT_EVALUATED, [])
    assert str(throttled.reason).endswith(f"{code}; AWS throttled every try")
    assert read.status == FindingStatus.FAIL
    assert len(aws.asked("s3.get_bucket_versioning")) == Limits().throttled_tries


@pytest.mark.parametrize(
    ("code", "status"), [("InternalError", 500), ("ServiceUnavailable", 503), ("RequestTimeout", 400)]
)
async def test_a_failure_that_may_pass_is_tried_again_and_any_other_is_not(code: str, status: int) -> None:
    for refusal, tries in ((refuse(code, status), Limits().failed_tries), (refuse("ValidationError"), 1)):
        aws = PlainAws({"ec2.describe_things": refusal})
        with pytest.raises(FailedError):
            await Asker(aws, Limits()).ask(READ, REGION, {})
        assert len(aws.calls) == tries


async def test_a_throttled_service_holds_up_no_other() -> None:
    """Its calls wait without a slot: with one slot in all, the others still go through at once."""
    other = Call("rds", "describe_things", params=(), actions=(), paginated=False)
    answers: dict[str, Answer] = {"ec2.describe_things": refuse("Throttling"), "rds.describe_things": lambda _r, _p: {}}
    asker = Asker(PlainAws(answers), Limits(account=1, service=1, region=1))
    throttled = asyncio.create_task(ask_many(asker, 50))
    await asyncio.sleep(5)
    assert await ask_many(asker, 50, other) == [{}] * 50
    assert now() < 6
    assert not throttled.done()
    assert all(isinstance(outcome, ThrottledError) for outcome in await throttled)


async def test_an_operation_that_aws_does_nothing_but_throttle_is_given_up() -> None:
    """Else ten thousand buckets at a call a second would take a day."""
    aws = PlainAws({"ec2.describe_things": refuse("SlowDown", 503), "ec2.describe_others": lambda _r, _p: {}})
    asker = Asker(aws, Limits())
    outcomes = await ask_many(asker, 10_000)
    assert {(type(outcome), str(outcome)) for outcome in outcomes} == {
        (ThrottledError, "ec2:describe_things in eu-west-1: SlowDown; AWS throttled every try")
    }
    assert now() < 180
    assert len(aws.calls) < 500
    other = Call("ec2", "describe_others", params=(), actions=(), paginated=False)
    assert await asker.ask(other, REGION, {}) == {}  # other operations of the service are asked still


async def test_an_answer_in_between_keeps_hope() -> None:
    asked = 0

    def one_in_thirty(region: str, params: Mapping[str, Any]) -> Any:
        nonlocal asked
        asked += 1
        return {} if asked % 30 == 0 else refuse("Throttling")(region, params)

    asker = Asker(PlainAws({"ec2.describe_things": one_in_thirty}), Limits())
    outcomes = await ask_many(asker, 100)
    assert sum(outcome == {} for outcome in outcomes) > 5
    assert now() > Limits().hopeless_seconds * 3

"""A session that ends in the middle of a run: the run goes on with another one, and nothing is lost or told twice."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from coreo_worker.audit.engine import SessionExpiredError, run_audit
from coreo_worker.aws.clients import ClientFactory, SessionCredentials
from tests.support.engine import Answer, PlainAws, RememberingSink, audit, refuse, request

REGIONS = ("eu-central-1", "eu-west-1", "us-east-1")
RULES = ("ec2-security-group-open-ssh", "s3-bucket-versioning", "s3-bucket-access-logging")
CODES = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"]


class Sessions(PlainAws):
    """An AWS whose sessions last for so many calls; `asked_for` counts the new ones."""

    def __init__(
        self, answers: dict[str, Answer], lasts: int, code: str = "ExpiredToken", renewals: int = 1000
    ) -> None:
        super().__init__({name: self._in_session(answer) for name, answer in answers.items()})
        self._code = code
        self._lasts = self._left = lasts
        self._renewals = renewals
        self.answered: Counter[str] = Counter()

    def _in_session(self, answer: Answer) -> Answer:
        def asked(region: str, params: Mapping[str, Any]) -> Any:
            if self._left == 0:
                return refuse(self._code, 403)(region, params)
            self._left -= 1
            self.answered[f"{region} {params} {id(answer)}"] += 1
            return answer(region, params)

        return asked

    async def renewed(self, generation: int) -> bool:
        """A new session, if there is still one to be had."""
        await asyncio.sleep(0)
        if self.generation == generation and self.generation < self._renewals:
            self.generation += 1
            self._left = self._lasts
        return self.generation > generation


def groups(region: str, params: Mapping[str, Any]) -> dict[str, Any]:
    number = int(params.get("NextToken", "0"))
    permission = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    found = [
        {"GroupId": f"sg-{region}-{number}-{n}", "GroupName": "web", "IpPermissions": [permission]} for n in range(3)
    ]
    return {"SecurityGroups": found} | ({"NextToken": str(number + 1)} if number < 4 else {})


ANSWERS: dict[str, Answer] = {
    "ec2.describe_security_groups": groups,
    "ec2.describe_managed_prefix_lists": lambda _r, _p: {"PrefixLists": []},
    "s3.list_buckets": lambda _r, _p: {
        "Buckets": [{"Name": f"b{n}", "BucketRegion": REGIONS[n % 3]} for n in range(9)]
    },
    "s3.get_bucket_versioning": lambda _r, _p: {"Status": "Enabled"},
    "s3.get_bucket_logging": lambda _r, _p: {},
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("lasts", [8, 20])
async def test_findings_are_those_of_a_run_in_one_session(code: str, lasts: int) -> None:
    undisturbed = await audit(request(*RULES, regions=REGIONS), PlainAws(ANSWERS))
    aws = Sessions(ANSWERS, lasts, code)

    sink = await audit(request(*RULES, regions=REGIONS), aws)

    assert sink.findings == undisturbed.findings
    assert len(sink.findings) == 3 * 5 * 3 + 9 * 2
    assert aws.generation >= 1
    assert set(aws.answered.values()) == {1}  # nothing that was answered is asked again


async def test_a_run_without_another_session_ends_and_concludes_nothing() -> None:
    sink = RememberingSink()
    with pytest.raises(SessionExpiredError):
        await run_audit(request(*RULES, regions=REGIONS), Sessions(ANSWERS, 7, renewals=0), sink)
    assert not any(finding.reason for finding in sink.findings)


async def test_sessions_that_never_work_end_the_run() -> None:
    aws = Sessions(ANSWERS, 0)
    with pytest.raises(SessionExpiredError):
        await run_audit(request("s3-bucket-versioning"), aws, RememberingSink())
    assert len(aws.calls) == 4  # and three more were tried


FIRST = SessionCredentials("ASIAFIRST", "first-secret", "first-token", 1.0)
SECOND = SessionCredentials("ASIASECOND", "second-secret", "second-token", 2.0)


async def test_many_calls_that_find_out_at_once_ask_for_one_session() -> None:
    asked: list[int] = []

    async def renew() -> None:
        asked.append(clients.generation)
        await asyncio.sleep(1)
        await clients.replace_credentials(SECOND)

    async with ClientFactory(FIRST, renew=renew) as clients:
        assert await asyncio.gather(*(clients.renewed(0) for _ in range(20))) == [True] * 20
        assert asked == [0]
        assert await clients.renewed(0)  # late to find out
        assert asked == [0]


async def test_a_session_replaced_in_time_is_not_asked_for_again() -> None:
    async with ClientFactory(FIRST) as clients:
        assert not await clients.renewed(0)
        await clients.replace_credentials(SECOND)
        assert await clients.renewed(0)
        assert not await clients.renewed(1)


async def test_a_session_that_cannot_be_had_is_said_so() -> None:
    async def renew() -> None:
        await asyncio.sleep(60)

    async with ClientFactory(FIRST, renew=renew) as clients:
        assert not await clients.renewed(0)

"""What two places of a plan ask alike is asked once, whatever comes of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.needs import needs_of
from coreo_worker.audit.asking import Asker
from coreo_worker.audit.limits import Limits
from coreo_worker.audit.sharing import SharedAsker
from coreo_worker.aws.calls import CallError, DeniedError, FailedError
from tests.support.engine import Answer, PlainAws, refuse

CATALOGUE = load_catalogue()
# The detectors are listed as resources, and are a fact of their region.
BOTH = [
    rule.id for rule in CATALOGUE.rules.values() if rule.resource in ("aws.guardduty.detector", "aws.guardduty.region")
]
LIST = CATALOGUE.resource_types["aws.guardduty.detector"].listing
assert LIST is not None


def asker(answer: Answer, *rules: str) -> tuple[SharedAsker, PlainAws]:
    aws = PlainAws({"guardduty.list_detectors": answer})
    return SharedAsker(Asker(aws, Limits()), needs_of(CATALOGUE, rules or BOTH)), aws


async def ask(shared: SharedAsker, region: str = "eu-west-1", **params: Any) -> dict[str, Any]:
    assert LIST is not None
    return await shared.ask(LIST, region, params)


async def slowly(_region: str, _params: Mapping[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(1)
    return {"DetectorIds": ["d"]}


async def test_both_places_have_the_answer_of_one_call_at_once_or_later() -> None:
    for at_once in (True, False):
        shared, aws = asker(slowly)
        found = await asyncio.gather(ask(shared), ask(shared)) if at_once else [await ask(shared), await ask(shared)]
        assert found == [{"DetectorIds": ["d"]}] * 2
        assert len(aws.calls) == 1


async def test_what_one_place_puts_into_its_answer_the_other_does_not_see() -> None:
    shared, _ = asker(slowly)
    first, second = await ask(shared), await ask(shared)
    first["DetectorIds"].append("mine")
    assert second == {"DetectorIds": ["d"]}


@pytest.mark.parametrize(("code", "kind"), [("AccessDenied", DeniedError), ("ValidationException", FailedError)])
async def test_both_places_have_the_error(code: str, kind: type[CallError]) -> None:
    shared, aws = asker(refuse(code))
    outcomes = await asyncio.gather(ask(shared), ask(shared), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [kind, kind]
    assert len(aws.calls) == 1


async def test_other_regions_and_parameters_are_other_calls() -> None:
    shared, aws = asker(slowly)
    await asyncio.gather(ask(shared), ask(shared, "eu-west-2"), ask(shared, NextToken="2"))
    assert len(aws.calls) == 3


async def test_listings_of_several_types_by_one_operation_are_several_calls_and_none_is_kept() -> None:
    """Users, roles, groups and policies are told apart by a parameter that never changes."""
    kinds = [CATALOGUE.resource_types[f"aws.iam.{name}"] for name in ("user", "role", "group", "policy")]
    rules = [rule.id for rule in CATALOGUE.rules.values() if rule.resource in {kind.name for kind in kinds}]
    aws = PlainAws({"iam.get_account_authorization_details": lambda _r, params: {"Filter": params["Filter"]}})
    shared = SharedAsker(Asker(aws, Limits()), needs_of(CATALOGUE, rules))
    for kind in kinds:
        assert kind.listing is not None
        arguments = kind.listing.arguments({}, {"account": "1", "region": "r", "partition": "aws"})
        assert isinstance(arguments, dict)
        assert await shared.ask(kind.listing, "us-east-1", arguments) == {"Filter": arguments["Filter"]}
    assert len(aws.calls) == 4
    assert shared._answers == {}


async def test_no_answer_is_kept_longer_than_it_is_wanted() -> None:
    shared, _ = asker(slowly)
    await asyncio.gather(ask(shared), ask(shared))
    assert shared._answers == {}
    alone, aws = asker(slowly, next(rule for rule in BOTH if CATALOGUE.rules[rule].resource == "aws.guardduty.region"))
    await ask(alone)
    assert alone._answers == {}
    assert len(aws.calls) == 1

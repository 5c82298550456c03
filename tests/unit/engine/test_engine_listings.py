"""Listings beyond one call with structures: names, children of other types, services that are off, reports."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from coreo_shared.rules.errors import DefinitionError
from coreo_shared.rules.model import EnrichmentDefinition as Enrich
from coreo_shared.rules.model import (
    KeyDefinition,
    ListDefinition,
    PrepareDefinition,
    ResourceType,
    ResourceTypeDefinition,
)
from coreo_shared.rules.resources import define_resource_type
from coreo_shared.rules.shapes import Operation, Shapes, Snapshot
from coreo_shared.rules.values import Item, Unknown
from coreo_worker.audit import fetch
from coreo_worker.audit.asking import Asker
from coreo_worker.audit.fetch import Account, Reader
from coreo_worker.audit.limits import Limits
from coreo_worker.aws.calls import CallError, DeniedError
from tests.support.engine import PlainAws, refuse

_INPUTS = {"cluster": "string", "names": "list", "filter": "structure"}


def _shapes() -> Shapes:
    def operation(output: str) -> Operation:
        return Operation(api="ListX", output=output, input=_INPUTS)

    return Shapes(
        Snapshot(
            operations={
                "ecs.list_clusters": operation("ecs.Clusters"),
                "ecs.list_services": operation("ecs.Services"),
                "ecs.describe_services": operation("ecs.Described"),
                "ecs.get_report": operation("ecs.Report"),
                "ecs.make_report": operation("ecs.Report"),
            },
            structures={
                "ecs.Clusters": {"arns": "[string]"},
                "ecs.Services": {"arns": "[string]"},
                "ecs.Described": {"services": "[ecs.Service]"},
                "ecs.Service": {"name": "string"},
                "ecs.Report": {"Content": "blob"},
            },
            enums={},
        )
    )


def _cluster(shapes: Shapes, **enrich: Enrich) -> ResourceType:
    listing = ListDefinition(
        operation="list_clusters", items="arns[]", scalar="arn", absent_on=["Denied: is not enabled"]
    )
    return define_resource_type(
        ResourceTypeDefinition(
            type="aws.ecs.cluster",
            title="Cluster",
            service="ecs",
            scope="region",
            listing=listing,
            key=KeyDefinition(id="{arn}"),
            enrich=enrich,
        ),
        shapes,
        (),
    )


def _service(shapes: Shapes, params: Mapping[str, Any] | None = None) -> ResourceType:
    return define_resource_type(
        ResourceTypeDefinition(
            type="aws.ecs.service",
            title="Service",
            service="ecs",
            scope="region",
            listing=ListDefinition(
                operation="list_services",
                items="arns[]",
                scalar="serviceArn",
                for_each="aws.ecs.cluster",
                params=dict(params or {"cluster": "{arn}"}),
            ),
            key=KeyDefinition(id="{serviceArn}"),
            enrich={
                "Details": Enrich(
                    operation="describe_services",
                    params={"cluster": "{Parent.arn}", "names": ["{serviceArn}"], "filter": {"of": "{account}"}},
                    take="services",
                )
            },
        ),
        shapes,
        (),
    )


async def _read(
    aws: PlainAws, kind: ResourceType, parents: tuple[Item, ...] = (), fields: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    reader = Reader(Account("123456789012", "aws", "us-east-1", ("eu-west-1",)), Asker(aws, Limits()))
    return [item async for page in reader.pages(kind, "eu-west-1", fields, parents) for item in page]


async def test_names_become_items() -> None:
    aws = PlainAws({"ecs.list_clusters": lambda _r, _p: {"arns": ["a", "b"]}})

    assert await _read(aws, _cluster(_shapes())) == [{"arn": "a"}, {"arn": "b"}]


async def test_children_are_listed_for_each_parent_and_know_it() -> None:
    shapes = _shapes()
    _cluster(shapes)
    aws = PlainAws(
        {
            "ecs.list_services": lambda _r, p: {"arns": [f"{p['cluster']}/s"]},
            "ecs.describe_services": lambda _r, p: {"services": [{"name": repr(sorted(p.items()))}]},
        }
    )

    items = await _read(aws, _service(shapes), ({"arn": "a"}, {"arn": "b"}), ("Details",))

    assert [item["Parent"]["arn"] for item in items] == ["a", "b"]
    wanted = [("cluster", "a"), ("filter", {"of": "123456789012"}), ("names", ["a/s"])]
    assert items[0]["Details"] == [{"name": repr(wanted)}]


async def test_a_parent_that_cannot_be_looked_into_hides_no_other_and_is_told() -> None:
    shapes = _shapes()
    _cluster(shapes)

    def services(region: str, params: Mapping[str, Any]) -> Any:
        return refuse("AccessDenied")(region, params) if params["cluster"] == "a" else {"arns": ["s"]}

    reader = Reader(
        Account("123456789012", "aws", "us-east-1", ("eu-west-1",)),
        Asker(PlainAws({"ecs.list_services": services}), Limits()),
    )
    seen: list[Any] = []

    async def read() -> None:
        async for page in reader.pages(_service(shapes), "eu-west-1", (), ({"arn": "a"}, {"arn": "b"})):
            seen.extend(page)

    with pytest.raises(DeniedError):
        await read()
    assert [item["Parent"]["arn"] for item in seen] == ["b"]


def _says(text: str) -> Any:
    def answer(_region: str, _params: Mapping[str, Any]) -> Any:
        raise ClientError({"Error": {"Code": "Denied", "Message": text}}, "ListX")

    return answer


async def test_a_service_that_is_off_has_no_items() -> None:
    aws = PlainAws({"ecs.list_clusters": _says("The service is not enabled here")})

    assert await _read(aws, _cluster(_shapes())) == []


async def test_the_same_code_with_other_words_is_a_refusal() -> None:
    aws = PlainAws({"ecs.list_clusters": _says("You may not")})

    with pytest.raises(CallError):
        await _read(aws, _cluster(_shapes()))


def _reporting(shapes: Shapes) -> ResourceType:
    report = Enrich(
        operation="get_report",
        take="Content",
        csv=["user", "mfa"],
        prepare=PrepareDefinition(operation="make_report", on=["NotReady"]),
    )
    return _cluster(shapes, Report=report)


async def test_a_report_is_made_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_PREPARED_EVERY_SECONDS", 0)
    made: list[str] = []

    def report(region: str, params: Mapping[str, Any]) -> Any:
        return {"Content": b"user,other,mfa\nann,x,true\n"} if len(made) > 1 else refuse("NotReady")(region, params)

    def make(_region: str, _params: Mapping[str, Any]) -> Any:
        made.append("asked")
        return {}

    aws = PlainAws(
        {"ecs.list_clusters": lambda _r, _p: {"arns": ["a"]}, "ecs.get_report": report, "ecs.make_report": make}
    )

    items = await _read(aws, _reporting(_shapes()), (), ("Report",))

    assert items == [{"arn": "a", "Report": [{"user": "ann", "mfa": "true"}]}]
    assert len(made) == 2


async def test_a_report_that_may_not_be_made_is_unknown() -> None:
    aws = PlainAws(
        {
            "ecs.list_clusters": lambda _r, _p: {"arns": ["a"]},
            "ecs.get_report": refuse("NotReady"),
            "ecs.make_report": refuse("AccessDenied"),
        }
    )

    (item,) = await _read(aws, _reporting(_shapes()), (), ("Report",))

    assert isinstance(item["Report"], Unknown)
    assert item["Report"].actions == ("ecs:ListX",)


def test_a_child_names_the_fields_that_its_parent_lists() -> None:
    shapes = _shapes()
    _cluster(shapes)

    with pytest.raises(DefinitionError, match="no such field"):
        _service(shapes, {"cluster": "{name}"})


def test_a_child_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(DefinitionError, match="no such resource type"):
        _service(_shapes())

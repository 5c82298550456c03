"""What the production templates hand each service is what it reads: all that it needs, and nothing that it ignores."""

from collections.abc import Iterator
from typing import Any

import pytest

from coreo_api.settings import ApiSettings
from coreo_results.settings import ResultsSettings
from coreo_shared.settings import ServiceSettings
from coreo_worker.settings import WorkerSettings
from tests.support.templates import load_templates

READS: dict[str, type[ServiceSettings]] = {"api": ApiSettings, "results": ResultsSettings, "worker": WorkerSettings}


def containers() -> dict[str, dict[str, Any]]:
    """Container definitions of all task definitions, by name."""
    return {
        container["Name"]: container
        for template in load_templates().values()
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
        for container in resource["Properties"]["ContainerDefinitions"]
    }


def names(container: dict[str, Any]) -> Iterator[str]:
    """Its variables; those that depend on a condition too."""
    for entry in [*container.get("Environment", []), *container.get("Secrets", [])]:
        choices = entry["Fn::If"][1:] if "Fn::If" in entry else [entry]
        yield from (choice["Name"] for choice in choices if "Name" in choice)


def settings_of(kind: type[ServiceSettings], *, required: bool = False) -> set[str]:
    return {
        str(field.validation_alias or f"COREO_{name.upper()}")
        for name, field in kind.model_fields.items()
        if field.is_required() or not required
    }


def test_every_container_is_known() -> None:
    assert set(containers()) == set(READS)


@pytest.mark.parametrize("service", READS)
def test_a_container_gets_what_its_service_reads(service: str) -> None:
    given = list(names(containers()[service]))
    assert len(given) == len(set(given))
    assert settings_of(READS[service], required=True) <= set(given)
    assert {name for name in given if name.startswith("COREO_")} <= settings_of(READS[service])

"""The OpenAPI document says what the api does: every route described, every body with an example, every problem."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from coreo_api.app import create_app
from coreo_api.settings import ApiSettings
from coreo_shared.crypto.jose import generate_key, public_jwk


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    url = "postgresql+asyncpg://coreo_api:x@127.0.0.1:9/coreo_api"
    settings = ApiSettings(
        database_url=url,
        system_database_url=url,
        results_url="http://results",
        signing_jwk=json.dumps(generate_key()),
        queue_url_audit="http://queue/111111111111/coreo-audit",
        queue_url_deploy="http://queue/111111111111/coreo-deploy",
        queue_url_onboard="http://queue/111111111111/coreo-onboard",
        onboard_fleet_jwks=json.dumps({"keys": [public_jwk(generate_key())]}),
        aws_account_id="111111111111",
    )
    return dict(create_app(settings).openapi())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_of_the_design_is_there(document: dict[str, Any]) -> None:
    expected = """
        GET /v1/team
        POST /v1/tokens, GET /v1/tokens, DELETE /v1/tokens/{token_id}
        POST /v1/cloud-accounts, GET /v1/cloud-accounts
        GET /v1/cloud-accounts/{account_id}, PATCH /v1/cloud-accounts/{account_id}
        DELETE /v1/cloud-accounts/{account_id}, PUT /v1/cloud-accounts/{account_id}/role
        GET /v1/cloud-accounts/{account_id}/grant, GET /v1/cloud-accounts/{account_id}/grant/template
        POST /v1/cloud-accounts/{account_id}/verify, POST /v1/cloud-accounts/{account_id}/bootstrap
        GET /v1/cloud-accounts/{account_id}/history, GET /v1/cloud-accounts/{account_id}/history/{entry_id}
        POST /v1/cloud-accounts/{account_id}/external-id/rotate
        POST /v1/cloud-accounts/{account_id}/external-id/confirm
        DELETE /v1/cloud-accounts/{account_id}/external-id/next
        POST /v1/cloud-accounts/{account_id}/disconnect, POST /v1/cloud-accounts/{account_id}/discover
        GET /v1/rules, GET /v1/rules/{rule_id}, GET /v1/rule-sets
        POST /v1/rule-packs, GET /v1/rule-packs, POST /v1/rule-packs/validate, GET /v1/rule-packs/{pack_name}
        GET /v1/rule-packs/{pack_name}/source, GET /v1/rule-packs/{pack_name}/versions
        POST /v1/rule-packs/{pack_name}/dry-run, DELETE /v1/rule-packs/{pack_name}
        POST /v1/plans, GET /v1/plans, GET /v1/plans/{plan_id}, PATCH /v1/plans/{plan_id}, DELETE /v1/plans/{plan_id}
        GET /v1/plans/{plan_id}/template, POST /v1/templates/check, POST /v1/plans/check
        GET /v1/deploy-targets, GET /v1/deploy-targets/{target_id}, GET /v1/deploy-targets/{target_id}/queue
        POST /v1/deploy-targets/{target_id}/queue/reorder
        GET /v1/runs/{run_id}/preview, POST /v1/runs/{run_id}/approve, POST /v1/runs/{run_id}/reject
        GET /v1/runs/{run_id}/stack-events, GET /v1/runs/{run_id}/outputs, GET /v1/runs/{run_id}/drift
        GET /v1/runs/{run_id}/failure, GET /v1/runs/{run_id}/outcome
        POST /v1/runs/{run_id}/reconcile, POST /v1/runs/{run_id}/settle
        GET /v1/plans/{plan_id}/revisions, GET /v1/plans/{plan_id}/required-policy, POST /v1/plans/{plan_id}/runs
        GET /v1/runs, GET /v1/runs/{run_id}, POST /v1/runs/{run_id}/cancel
        GET /v1/runs/{run_id}/changes, GET /v1/runs/{run_id}/resolved, GET /v1/runs/{run_id}/counts
        POST /v1/suppressions, GET /v1/suppressions, GET /v1/suppressions/{suppression_id}
        PATCH /v1/suppressions/{suppression_id}, DELETE /v1/suppressions/{suppression_id}
        PUT /v1/severity-overrides, GET /v1/severity-overrides, GET /v1/severity-overrides/{override_id}
        DELETE /v1/severity-overrides/{override_id}, GET /v1/decisions
        GET /v1/custody/settings, PATCH /v1/custody/settings, GET /v1/custody/access
        POST /v1/exclusions, GET /v1/exclusions, GET /v1/exclusions/{exclusion_id}
        GET /v1/exclusions/{exclusion_id}/receipt, GET /v1/custody/keys
        GET /v1/custody/backups, POST /v1/custody/backups
        GET /v1/plans/{plan_id}/custody, PATCH /v1/plans/{plan_id}/custody
        DELETE /v1/plans/{plan_id}/results, DELETE /v1/runs/{run_id}/results
        GET /v1/frameworks, GET /v1/runs/{run_id}/compliance, GET /v1/cloud-accounts/{account_id}/controls
        PUT /v1/cloud-accounts/{account_id}/controls/{framework}/{control}
        DELETE /v1/cloud-accounts/{account_id}/controls/{framework}/{control}
        GET /v1/runs/{run_id}/findings, GET /v1/runs/{run_id}/rules, GET /v1/runs/{run_id}/events
        GET /v1/token
        GET /health/live, GET /health/ready
    """
    names = {name.strip() for line in expected.strip().splitlines() for name in line.split(",")}
    assert {name for name, _ in operations(document)} == names


def test_every_route_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["description"], name
        assert name.split(" ")[1].startswith("/health/") or operation["security"] == [{"HTTPBearer": []}], name


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            kinds = (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()))
            references = [each["$ref"] for each in kinds if "$ref" in each]
            assert references, name
            for reference in references:
                assert document["components"]["schemas"][reference.rsplit("/", 1)[1]]["examples"], name


def test_problems_are_described_as_they_are_sent(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        problems = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert problems, name
        for answer in problems.values():
            assert set(answer["content"]) == {"application/problem+json"}
        assert ("404" in problems) == ("{" in name), name


def test_all_references_lead_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)


def test_an_external_id_is_no_documented_input(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("CreateAccount", "ChangeAccount", "SetRole"):
        assert "external_id" not in schemas[name]["properties"]
    assert "external_id" in schemas["AccountView"]["properties"]

"""What compose hands each container is what its service reads, fits together, and lets nobody see another's secrets."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from coreo_api.settings import ApiSettings
from coreo_api.settings import MigrationSettings as ApiMigration
from coreo_embedded.compose_init import compose_init
from coreo_embedded.deploy import COREO_ACCOUNT
from coreo_embedded.postgres import ROLES
from coreo_results.settings import MigrationSettings as ResultsMigration
from coreo_results.settings import ResultsSettings
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import load_jwks, public_jwk
from coreo_shared.settings import ServiceSettings, load_settings
from coreo_worker.settings import HealthSettings, WorkerSettings
from tests.support.containers import Compose, load_compose, load_images
from tests.support.templates import load_templates

WORKERS = tuple(f"worker-{pool.value}" for pool in Pool)
# What each container's command reads, and all that its image's commands may read.
Kinds = tuple[type[ServiceSettings], ...]
_SERVICES: dict[str, Kinds] = {
    "api": (ApiSettings,),
    "api-migrate": (ApiMigration,),
    "results": (ResultsSettings,),
    "results-migrate": (ResultsMigration,),
}
_WORKER: Kinds = (WorkerSettings, HealthSettings)
READS = _SERVICES | dict.fromkeys(WORKERS, _WORKER)
OF_IMAGE: dict[str, Kinds] = {"api": (ApiSettings, ApiMigration), "results": (ResultsSettings, ResultsMigration)}
SDK = {"AWS_CONFIG_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_REGION", "PATH"}


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    folder = tmp_path_factory.mktemp("compose") / "settings"
    compose_init(folder)
    return load_compose(folder)


def environment(compose: Compose, container: str) -> dict[str, str]:
    """What a process in the container finds: of its image, then of compose."""
    service = compose["services"][container]
    image = load_images()[Path(service["build"]["dockerfile"]).name.partition(".")[0]]
    own: dict[str, str] = service.get("environment", {})
    return image.environment | own


def load(kind: type[ServiceSettings], values: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        for name in os.environ:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        return load_settings(kind)


def known_names(kinds: Kinds) -> set[str]:
    fields = [(name, field) for kind in kinds for name, field in kind.model_fields.items()]
    return {str(field.validation_alias or f"COREO_{name.upper()}") for name, field in fields}


@pytest.mark.parametrize("container", READS)
def test_service_starts_with_its_containers_settings(
    container: str, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = environment(compose, container)
    kinds = READS[container]

    for kind in kinds:
        load(kind, values, monkeypatch)
    assert set(values) - SDK <= known_names(OF_IMAGE.get(container.partition("-")[0], kinds))


@pytest.mark.parametrize(("container", "kind"), [(name, kind) for name, kinds in READS.items() for kind in kinds])
def test_service_names_the_setting_that_compose_would_forget(
    container: str,
    kind: type[ServiceSettings],
    compose: Compose,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = environment(compose, container)
    required = [f"COREO_{name.upper()}" for name, field in kind.model_fields.items() if field.is_required()]
    assert required

    for name in required:
        rest = {key: value for key, value in values.items() if key != name}
        with pytest.raises(SystemExit):
            load(kind, rest, monkeypatch)
        assert capsys.readouterr().err.startswith(f"{name}: ")


def test_addresses_are_containers_that_listen_there(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    images, services = load_images(), compose["services"]
    results = load(ResultsSettings, environment(compose, "results"), monkeypatch)
    assert (results.host, [str(results.port)]) == ("0.0.0.0", images["results"].ports)  # noqa: S104
    api = load(ApiSettings, environment(compose, "api"), monkeypatch)
    assert (api.host, [str(api.port)]) == ("0.0.0.0", images["api"].ports)  # noqa: S104
    assert services["api"]["ports"][0]["target"] == api.port

    for container in ("api", *WORKERS):
        values = environment(compose, container)
        assert values["COREO_RESULTS_URL"] == f"http://results:{results.port}"
        assert values["AWS_ENDPOINT_URL"] == f"http://platform:{images['platform'].ports[0]}"
    command = json.loads(images["platform"].final("CMD")[0])
    assert command[1:7] == ["--host", "0.0.0.0", "--port", images["platform"].ports[0], "--name", "platform"]  # noqa: S104


def test_queues_and_roles_are_those_of_the_templates(compose: Compose) -> None:
    templates = load_templates()
    queues = {
        item["Properties"]["QueueName"]["Fn::Sub"].replace("${Prefix}", "coreo")
        for item in templates["queues.yaml"]["Resources"].values()
        if item["Type"] == "AWS::SQS::Queue"
    }

    urls = {worker: environment(compose, worker)["COREO_QUEUE_URL"] for worker in WORKERS}
    api = environment(compose, "api")
    assert api["COREO_QUEUE_URL_AUDIT"] == urls["worker-audit"]
    assert api["COREO_QUEUE_URL_ONBOARD"] == urls["worker-onboard"]
    assert api["COREO_IAM_ENDPOINT_URL"] == environment(compose, "worker-onboard")["AWS_ENDPOINT_URL"]
    for pool in Pool:
        url = urlsplit(urls[f"worker-{pool.value}"])
        assert environment(compose, f"worker-{pool.value}")["COREO_POOL"] == pool.value
        assert (url.netloc, url.path) == ("platform:4566", f"/{COREO_ACCOUNT}/coreo-{pool.value}")
        assert f"coreo-{pool.value}" in queues
    roles = {
        item["Properties"]["RoleName"]["Fn::Sub"].replace("${Prefix}", "coreo")
        for item in templates["roles.yaml"]["Resources"].values()
    }
    for pool in (Pool.AUDIT, Pool.ONBOARD):
        role = f"coreo-worker-{pool.value}"
        assert api[f"COREO_{pool.name}_WORKER_ROLE_ARN"] == f"arn:aws:iam::{COREO_ACCOUNT}:role/{role}"
        assert role in roles
    assert api["COREO_AWS_ACCOUNT_ID"] == COREO_ACCOUNT


def test_keys_fit_each_other(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    api = load(ApiSettings, environment(compose, "api"), monkeypatch)
    results = load(ResultsSettings, environment(compose, "results"), monkeypatch)

    assert _public(api.signing_jwk) in results.api_keys()
    fleet = results.fleet_keys()
    assert set(fleet) == set(Pool)
    for pool in Pool:
        worker = load(WorkerSettings, environment(compose, f"worker-{pool.value}"), monkeypatch)
        assert worker.pool is pool
        assert worker.api_keys() == results.api_keys()
        assert [other for other in Pool if _public(worker.fleet_jwk) in fleet[other]] == [pool]
    assert load_jwks(api.onboard_fleet_jwks) == fleet[Pool.ONBOARD]


def _public(key: SecretStr) -> dict[str, Any]:
    return public_jwk(json.loads(key.get_secret_value()))


def secrets_of(compose: Compose) -> Iterator[str]:
    """Every password and private key in any container's settings."""
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if name.endswith("_PASSWORD"):
                yield value
            yield from re.findall(r"://[^:/]+:([^@]+)@", value)
            yield from re.findall(r'"d": "([^"]+)"', value)


def test_each_secret_is_seen_by_those_alone_who_need_it(compose: Compose) -> None:
    environments = {name: json.dumps(s.get("environment", {})) for name, s in compose["services"].items()}
    seen = sorted(
        tuple(sorted(name for name, text in environments.items() if secret in text))
        for secret in set(secrets_of(compose))
    )

    databases: list[tuple[str, ...]] = [(who, "postgres") for who in ("api", "api", "api-migrate")]
    databases += [("postgres", who) for who in ("results", "results", "results-migrate")]
    alone: list[tuple[str, ...]] = [
        ("postgres",),
        ("api",),
        *((worker,) for worker in WORKERS),
        ("results",),
    ]  # superuser, signing key, fleet keys, custody key
    assert seen == sorted(databases + alone)
    assert len(databases) == len(ROLES)


def test_a_worker_has_the_time_and_memory_that_its_settings_promise(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in WORKERS:
        service = compose["services"][name]
        worker = load(WorkerSettings, environment(compose, name), monkeypatch)
        minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", service["stop_grace_period"]).groups()  # type: ignore[union-attr]  # as compose writes it

        assert int(minutes or 0) * 60 + int(seconds) > worker.grace_seconds
        assert int(service["mem_limit"]) >> 20 >= worker.max_runs * worker.run_memory_mb + 100

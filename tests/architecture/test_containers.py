"""The containers are isolated as the design says: this is the whole list, and nothing passes beside it."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coreo_embedded.compose_init import compose_init
from coreo_embedded.main import _COMPOSE
from coreo_embedded.postgres import ROLES
from tests.support.containers import (
    DOCKERFILES,
    ROOT,
    Compose,
    Image,
    facts,
    load_compose,
    load_images,
    meetings,
    run_tool,
)

POOLS = ("audit", "deploy", "onboard")
WORKERS = [f"worker-{pool}" for pool in POOLS]
SDK = "AWS_CONFIG_FILE, AWS_EC2_METADATA_DISABLED, AWS_ENDPOINT_URL, AWS_REGION, "
ROLE_PASSWORDS = ", ".join(sorted(f"{role.upper()}_PASSWORD" for role in ROLES))
TMP = "in memory /tmp:mode=1777,size=64m"

# Who can reach whom. Everyone else cannot: the workers among themselves, results AWS, a worker a database.
MEET = [
    ("api", "postgres"),
    ("api", "results"),
    ("api", "platform"),
    ("results", "postgres"),
    ("api-migrate", "postgres"),
    ("results-migrate", "postgres"),
    *((worker, "results") for worker in WORKERS),
    *((worker, "platform") for worker in WORKERS),
    # These listen on nothing and end before the service starts.
    ("api-migrate", "api"),
    ("results-migrate", "results"),
]
CONTAINERS = {
    "api": [
        "image coreo-api as 10001:10001, listens on 8080",
        "networks aws-api, database-api, front, results-api",
        "published 127.0.0.1:8080 to 8080",
        "volume credentials-api at /run/coreo ro",
        "settings " + SDK + "COREO_AUDIT_WORKER_ROLE_ARN, COREO_AWS_ACCOUNT_ID, COREO_DATABASE_URL, "
        "COREO_IAM_ENDPOINT_URL, COREO_ONBOARD_FLEET_JWKS, COREO_ONBOARD_WORKER_ROLE_ARN, COREO_QUEUE_URL_AUDIT, "
        "COREO_QUEUE_URL_ONBOARD, COREO_RESULTS_URL, COREO_SIGNING_JWK, COREO_SYSTEM_DATABASE_URL",
        TMP,
    ],
    "api-migrate": [
        "image coreo-api as 10001:10001, listens on 8080",
        'command ["migrate"]',
        "networks database-api",
        "settings COREO_MIGRATION_DATABASE_URL",
        TMP,
    ],
    "results": [
        "image coreo-results as 10001:10001, listens on 8081",
        "networks database-results, results-api, results-audit, results-deploy, results-onboard",
        "volume root-key at /var/lib/coreo ro",
        *(f"volume {name} at /var/lib/coreo-{name} rw" for name in ("vault", "backups", "ledger")),
        (
            "settings COREO_API_JWKS, COREO_BACKUP_STORE, COREO_CUSTODY_KEY, COREO_DATABASE_URL, COREO_FLEET_JWKS, "
            "COREO_LEDGER_STORE, COREO_ROOT_KEY, COREO_SYSTEM_DATABASE_URL, COREO_VAULT"
        ),
        TMP,
    ],
    "results-migrate": [
        "image coreo-results as 10001:10001, listens on 8081",
        'command ["migrate"]',
        "networks database-results",
        "settings COREO_MIGRATION_DATABASE_URL",
        TMP,
    ],
    "results-root-key": [
        "image coreo-results as 10001:10001, listens on 8081",
        'command ["create-root-key", "--keep", "/var/lib/coreo/root-key.json"]',
        "networks none",
        'network_mode "none"',
        "volume root-key at /var/lib/coreo rw",
        "settings none",
        TMP,
    ],
    "platform": [
        "image coreo-platform as 10001:10001, listens on 4566",
        "networks aws-api, aws-audit, aws-deploy, aws-onboard",
        *(f"volume credentials-{name} at /run/coreo/{name} rw" for name in ("api", *WORKERS)),
        "settings none",
        TMP,
    ],
    "postgres": [
        "image postgres:18.4-trixie as 999:999",
        "networks database-api, database-results",
        "volume postgres at /var/lib/postgresql rw",
        "bind ./infra/database at /coreo/database ro",
        "bind ./infra/docker/postgres-init.sh at /docker-entrypoint-initdb.d/coreo.sh ro",
        "settings " + ROLE_PASSWORDS + ", POSTGRES_INITDB_ARGS, POSTGRES_PASSWORD",
        TMP + ", /var/run/postgresql:mode=1777,size=1m",
    ],
} | {
    f"worker-{pool}": [
        "image coreo-worker as 10001:10001, listens on nothing",
        f"networks aws-{pool}, results-{pool}",
        f"volume credentials-worker-{pool} at /run/coreo ro",
        "settings " + SDK + "COREO_API_JWKS, COREO_FLEET_JWK, COREO_POOL, COREO_QUEUE_URL, COREO_RESULTS_URL",
        TMP,
    ]
    for pool in POOLS
}
INTERNAL = ["database-api", "database-results"] + [
    f"{to}-{who}" for to in ("aws", "results") for who in ("api", *POOLS)
]
IN_MEMORY = '{"driver_opts": {"device": "tmpfs", "o": "size=64k,uid=10001,gid=10001,mode=0700", "type": "tmpfs"}}'


def expected() -> list[str]:
    return sorted(
        [f"{name}: {fact}" for name, container in CONTAINERS.items() for fact in container]
        + [f'network {name}: {{"internal": true}}' for name in INTERNAL]
        + ['network front: {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}']
        + [f"volume credentials-{name}: {IN_MEMORY}" for name in ("api", *WORKERS)]
        + [f"volume {name}: {{}}" for name in ("backups", "ledger", "postgres", "root-key", "vault")]
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that compose-init makes."""
    folder = tmp_path_factory.mktemp("compose") / "settings"
    assert compose_init(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(settings: Path) -> Compose:
    return load_compose(settings)


@pytest.fixture
def compose(loaded: Compose) -> Compose:
    """What compose makes of the file, for this test to change."""
    return copy.deepcopy(loaded)


def test_containers_may_exactly_what_the_design_says(compose: Compose) -> None:
    assert facts(compose, load_images()) == expected()


def test_who_can_reach_whom_is_exactly_what_the_design_says(compose: Compose) -> None:
    assert meetings(compose) == {frozenset(pair) for pair in MEET}


def test_each_file_of_settings_is_in_its_own_container_alone(settings: Path) -> None:
    services = load_compose(settings, "--no-env-resolution")["services"]

    seen = {name: [file["path"] for file in service.get("env_file", [])] for name, service in services.items()}
    own = {name: [str(settings / f"{name}.env")] for name in CONTAINERS}
    assert seen == own | {"platform": [], "results-root-key": []}
    assert {path.stem for path in settings.iterdir()} == {name for name, files in seen.items() if files}


def test_compose_without_settings_names_the_file_that_is_missing(tmp_path: Path) -> None:
    done = run_tool("docker-compose", "--env-file", "/dev/null", "config", COREO_COMPOSE_DIR=str(tmp_path))

    assert done.returncode != 0
    assert re.search(rf"{tmp_path}/[a-z-]+\.env", done.stderr)


def test_without_a_choice_compose_looks_where_compose_init_writes() -> None:
    files = re.findall(r"env_file: (.*)", (ROOT / "docker-compose.yml").read_text())

    assert len(files) == 8
    assert all(file.startswith('["${COREO_COMPOSE_DIR:-.coreo/compose}/') for file in files)
    assert _COMPOSE == ROOT / ".coreo" / "compose"


def test_every_container_is_limited(compose: Compose) -> None:
    for name, service in compose["services"].items():
        assert int(service["mem_limit"]) <= 2 << 30, name
        assert service["pids_limit"] <= 256, name
        assert service["restart"] == ("no" if name.endswith(("-migrate", "-root-key")) else "unless-stopped"), name


def test_nothing_starts_before_what_it_needs(compose: Compose) -> None:
    needs = {
        name: {k: v["condition"] for k, v in s.get("depends_on", {}).items()} for name, s in compose["services"].items()
    }

    well, done = "service_healthy", "service_completed_successfully"
    assert needs == {
        "postgres": {},
        "platform": {},
        "results-root-key": {},
        "api-migrate": {"postgres": well},
        "results-migrate": {"postgres": well},
        "results": {"results-migrate": done, "results-root-key": done},
        "api": {"api-migrate": done, "platform": well, "results": well},
        **{worker: {"platform": well, "results": well} for worker in WORKERS},
    }


def test_only_jobs_have_no_health_check(compose: Compose) -> None:
    images = load_images()
    for name, service in compose["services"].items():
        is_job = name.endswith(("-migrate", "-root-key"))
        own = service.get("healthcheck", {})
        assert own.get("disable", False) is is_job, name
        if not is_job and "build" in service:
            assert not own, name
            assert images[Path(service["build"]["dockerfile"]).name.partition(".")[0]].final("HEALTHCHECK"), name


def _databases_on_one_network(compose: Compose) -> None:
    compose["services"]["api"]["networks"]["database-results"] = None


def _worker_reaches_a_database(compose: Compose) -> None:
    compose["services"]["worker-audit"]["networks"]["database-results"] = None


def _worker_reaches_the_api(compose: Compose) -> None:
    compose["services"]["worker-audit"]["networks"]["results-api"] = None


def _workers_reach_each_other(compose: Compose) -> None:
    compose["services"]["worker-deploy"]["networks"] = {"aws-audit": None, "results-audit": None}


def _results_reach_aws(compose: Compose) -> None:
    compose["services"]["results"]["networks"]["aws-api"] = None


def _two_networks_are_one(compose: Compose) -> None:
    compose["networks"]["aws-audit"]["name"] = compose["networks"]["aws-deploy"]["name"]


def _network_of_somebody_else(compose: Compose) -> None:
    compose["networks"]["aws-audit"] |= {"name": "host", "external": True}


def _passes_for_another(compose: Compose) -> None:
    compose["services"]["platform"]["networks"]["aws-audit"] = {"aliases": ["results"]}


def _one_network_for_all(compose: Compose) -> None:
    compose["networks"]["default"] = {"name": "coreo_default", "ipam": {}}
    for service in compose["services"].values():
        service["networks"] = {"default": None}


BREACHES: list[Callable[[Compose], None]] = [
    _databases_on_one_network,
    _worker_reaches_a_database,
    _worker_reaches_the_api,
    _workers_reach_each_other,
    _results_reach_aws,
    _one_network_for_all,
]


@pytest.mark.parametrize("mutate", BREACHES, ids=lambda mutate: mutate.__name__.strip("_"))
def test_a_network_too_many_shows(mutate: Callable[[Compose], None], compose: Compose) -> None:
    mutate(compose)

    assert meetings(compose) != {frozenset(pair) for pair in MEET}
    assert facts(compose, load_images()) != expected()


def _volume(source: str, target: str) -> dict[str, Any]:
    return {"type": "volume", "source": source, "target": target, "read_only": True}


def _network_with_a_way_out(compose: Compose) -> None:
    del compose["networks"]["aws-audit"]["internal"]


def _masquerading(compose: Compose) -> None:
    del compose["networks"]["front"]["driver_opts"]


def _worker_publishes_a_port(compose: Compose) -> None:
    compose["services"]["worker-audit"]["ports"] = [{"target": 9000, "published": "9000", "host_ip": "127.0.0.1"}]


def _results_publish_a_port(compose: Compose) -> None:
    compose["services"]["results"]["ports"] = [{"target": 8081, "published": "8081", "host_ip": "127.0.0.1"}]


def _api_published_to_the_world(compose: Compose) -> None:
    del compose["services"]["api"]["ports"][0]["host_ip"]


def _worker_exposes_a_port(compose: Compose) -> None:
    compose["services"]["worker-audit"]["expose"] = ["9000"]


def _host_network(compose: Compose) -> None:
    compose["services"]["worker-audit"]["network_mode"] = "host"


def _privileged(compose: Compose) -> None:
    compose["services"]["worker-audit"]["privileged"] = True


def _docker_socket(compose: Compose) -> None:
    mount = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}
    compose["services"]["platform"]["volumes"].append(mount)


def _writable(compose: Compose) -> None:
    compose["services"]["postgres"]["read_only"] = False


def _capabilities_kept(compose: Compose) -> None:
    del compose["services"]["api"]["cap_drop"]


def _capability_added(compose: Compose) -> None:
    compose["services"]["results"]["cap_add"] = ["NET_RAW"]


def _new_privileges(compose: Compose) -> None:
    compose["services"]["platform"]["security_opt"] = ["no-new-privileges:false"]


def _no_confinement(compose: Compose) -> None:
    compose["services"]["worker-audit"]["security_opt"].append("seccomp:unconfined")


def _root(compose: Compose) -> None:
    compose["services"]["api"]["user"] = "0:0"


def _postgres_as_root(compose: Compose) -> None:
    del compose["services"]["postgres"]["user"]


def _processes_of_the_host(compose: Compose) -> None:
    compose["services"]["worker-audit"]["pid"] = "host"


def _credentials_of_another(compose: Compose) -> None:
    compose["services"]["results"]["volumes"].append(_volume("credentials-api", "/run/coreo"))


def _service_writes_its_credentials(compose: Compose) -> None:
    compose["services"]["worker-audit"]["volumes"][0]["read_only"] = False


def _credentials_on_disk(compose: Compose) -> None:
    del compose["volumes"]["credentials-worker-audit"]["driver_opts"]


def _root_key_in_the_api(compose: Compose) -> None:
    compose["services"]["api"]["volumes"].append(_volume("root-key", "/var/lib/coreo"))


def _root_key_maker_on_a_network(compose: Compose) -> None:
    del compose["services"]["results-root-key"]["network_mode"]
    compose["services"]["results-root-key"]["networks"] = {"results-api": None}


def _worker_knows_a_database(compose: Compose) -> None:
    compose["services"]["worker-audit"]["environment"]["COREO_DATABASE_URL"] = "postgresql+asyncpg://"


def _one_more_container(compose: Compose) -> None:
    compose["services"]["more"] = copy.deepcopy(compose["services"]["worker-audit"])


def _image_of_another_build(compose: Compose) -> None:
    compose["services"]["worker-audit"]["build"]["args"] = {"BASE": "other"}


def _one_more_kind_of_thing(compose: Compose) -> None:
    compose["secrets"] = {"key": {"file": "/etc/key"}}


DEPARTURES: list[Callable[[Compose], None]] = [
    _two_networks_are_one,
    _network_of_somebody_else,
    _passes_for_another,
    _network_with_a_way_out,
    _masquerading,
    _worker_publishes_a_port,
    _results_publish_a_port,
    _api_published_to_the_world,
    _worker_exposes_a_port,
    _host_network,
    _privileged,
    _docker_socket,
    _writable,
    _capabilities_kept,
    _capability_added,
    _new_privileges,
    _no_confinement,
    _root,
    _postgres_as_root,
    _processes_of_the_host,
    _credentials_of_another,
    _service_writes_its_credentials,
    _credentials_on_disk,
    _root_key_in_the_api,
    _root_key_maker_on_a_network,
    _worker_knows_a_database,
    _one_more_container,
    _image_of_another_build,
    _one_more_kind_of_thing,
]


@pytest.mark.parametrize("mutate", DEPARTURES, ids=lambda mutate: mutate.__name__.strip("_"))
def test_anything_more_shows(mutate: Callable[[Compose], None], compose: Compose) -> None:
    mutate(compose)

    assert facts(compose, load_images()) != expected()


def test_a_worker_image_that_says_to_listen_shows(compose: Compose) -> None:
    images = load_images()
    images["worker"] = Image(DOCKERFILES["worker"].read_text().replace("USER", "EXPOSE 9000\nUSER"))

    assert facts(compose, images) != expected()

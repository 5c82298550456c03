"""What the PostgreSQL container runs when it makes its data: the databases that compose's settings speak of."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from coreo_embedded.compose_init import compose_init
from coreo_embedded.postgres import Postgres, _wheel_binaries
from tests.support.containers import ROOT, load_compose


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # Not pytest's tmp_path, which is closed to the server's user when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="coreo-postgres-"))
    try:
        started = Postgres.start(directory, durable=False)
        yield started
        started.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def urls(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every database URL of compose's settings by its role, of a server on which the container's script has run."""
    folder = tmp_path_factory.mktemp("compose") / "settings"
    compose_init(folder)
    services = load_compose(folder)["services"]
    superuser = urlsplit(server.url("postgres", "postgres"))
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGPASSWORD": superuser.password or ""}
    script = (ROOT / "infra/docker/postgres-init.sh").read_text().replace("/coreo/database", f"{ROOT}/infra/database")
    done = subprocess.run(
        ["/bin/bash"],
        input=script,
        env=services["postgres"]["environment"] | login | {"PATH": f"{_wheel_binaries()}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    named = [
        value
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if name.endswith("DATABASE_URL")
    ]
    assert {urlsplit(url).netloc.rpartition("@")[2] for url in named} == {"postgres:5432"}
    here = f"127.0.0.1:{server.port}"
    return {urlsplit(url).username or "": url.replace("postgres:5432", here).replace("+asyncpg", "") for url in named}


async def test_every_role_of_the_settings_enters_its_own_database_alone(urls: dict[str, str]) -> None:
    assert set(urls) == {
        f"coreo_{service}{role}" for service in ("api", "results") for role in ("", "_system", "_owner")
    }

    for role, url in urls.items():
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT current_user") == role
        await connection.close()
        server, _, own = url.rpartition("/")
        (other,) = {"coreo_api", "coreo_results"} - {own}
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(f"{server}/{other}")


async def test_password_of_another_role_is_refused(urls: dict[str, str]) -> None:
    stolen = urls["coreo_api"].replace("coreo_api:", "coreo_api_owner:", 1)

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stolen)


def test_database_image_can_run_the_script() -> None:
    script = ROOT / "infra/docker/postgres-init.sh"

    assert os.access(script, os.X_OK)  # else the image's entry point would read it into itself, settings and all
    assert script.read_text().startswith("#!/bin/bash\n")

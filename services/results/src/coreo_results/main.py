"""The command `coreo-results`."""

import argparse
import sys
from pathlib import Path

from coreo_results.backups import commands as backup_commands
from coreo_results.integrity import commands as integrity_commands
from coreo_results.keys import commands as key_commands
from coreo_shared.observability.logs import configure_logging
from coreo_shared.settings import load_settings


def run() -> None:
    """Runs the command line and exits."""
    arguments = _parser().parse_args()
    if arguments.command == "serve":
        _serve()
    elif arguments.command == "migrate":
        _migrate()
    elif arguments.command in backup_commands.NAMES:
        backup_commands.run(arguments)
    elif arguments.command in key_commands.NAMES:
        key_commands.run(arguments)
    elif arguments.command in integrity_commands.NAMES:
        integrity_commands.run(arguments)
    else:
        _create_root_key(arguments.path, keep=arguments.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coreo-results",
        description="Coreo's results service: run ledger, encrypted findings, worker fleet registry. "
        "Settings come from COREO_ variables; a missing one is named at start.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve the internal HTTP API on COREO_HOST:COREO_PORT until SIGTERM")
    commands.add_parser("migrate", help="bring the database COREO_MIGRATION_DATABASE_URL to the newest schema")
    key_commands.add_to(commands)
    integrity_commands.add_to(commands)
    backup_commands.add_to(commands)
    root_key = commands.add_parser(
        "create-root-key", help="write a new root key to a file, for installations without AWS KMS"
    )
    root_key.add_argument("path", metavar="PATH", type=Path, help="a file that does not exist yet; it gets mode 0600")
    root_key.add_argument("--keep", action="store_true", help="when there is a root key in PATH already, leave it")
    return parser


# Each command imports what it needs, so that --help answers at once.


def _serve() -> None:
    from coreo_results.serve import serve  # noqa: PLC0415
    from coreo_results.settings import ResultsSettings  # noqa: PLC0415

    settings = load_settings(ResultsSettings)
    configure_logging("results", settings.log_level)
    serve(settings)


def _migrate() -> None:
    from coreo_results.migrate import migrate  # noqa: PLC0415
    from coreo_results.settings import MigrationSettings  # noqa: PLC0415

    settings = load_settings(MigrationSettings)
    configure_logging("results", settings.log_level)
    migrate(settings.migration_database_url.get_secret_value())


def _create_root_key(path: Path, *, keep: bool) -> None:
    from coreo_results.keys.errors import RootKeyError  # noqa: PLC0415
    from coreo_results.keys.file_root import FileRootKey  # noqa: PLC0415

    try:
        if keep and path.exists():
            FileRootKey.load(path)  # a file that is no root key must not pass for one
            return
        root = FileRootKey.create(path)
    except RootKeyError as error:
        sys.exit(f"coreo-results: {error}")
    name = root.name.removeprefix("file:")
    print(f"Root key {name} written to {path}. Whoever loses this file loses all findings; keep a copy.")  # noqa: T201


if __name__ == "__main__":
    run()

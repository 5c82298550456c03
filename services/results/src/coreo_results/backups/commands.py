"""The commands `coreo-results backups …` and `coreo-results restore`, as they are written."""

import argparse
from uuid import UUID

NAMES = ("backups", "restore")
_SCRATCH = "coreo_results_drill"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands' parsers."""
    backups = commands.add_parser("backups", help="run, list, verify backups, or drill a restore")
    of_backups = backups.add_subparsers(dest="backups_command", required=True)
    run_ = of_backups.add_parser("run", help="back up now what is due, of every team, and let go of what expired")
    list_ = of_backups.add_parser("list", help="say what is in the backups, by their logs")
    list_.add_argument("--runs", action="store_true", help="each run, not teams alone")
    verify = of_backups.add_parser(
        "verify",
        help="check signatures, chains, key ledgers and hashes, and decrypt every run; needs no database",
        description="Checks every signature, chain, key ledger and hash, and decrypts every run. Reports each object "
        "that is wrong and goes on. Needs the stores and the vault, and no database.",
    )
    drill = of_backups.add_parser(
        "drill",
        help="restore into a scratch database and compare it with the live one",
        description="Restores into a scratch database on the live database's server, compares that run by run with the "
        "live database, and empties it again. It must be there: make it with infra/database/database.sql.",
    )
    drill.add_argument(
        "--database",
        metavar="NAME",
        default=_SCRATCH,
        help=f"its name, which ends in _drill [{_SCRATCH}]",
    )
    drill.add_argument("--keep", action="store_true", help="leave what was restored in it")
    restore = commands.add_parser(
        "restore",
        help="fill an empty database from the backups",
        description="Fills the database of COREO_DATABASE_URL, which must be migrated and empty, from the backups. "
        "Everything is verified first; if anything is wrong, nothing is written.",
    )
    restore.add_argument(
        "--with-expired",
        action="store_true",
        help="also results that are too old to be shown; sets their teams' display_days to 1826, so that they stay",
    )
    for parser in (verify, restore):
        parser.add_argument(
            "--all", action="store_true", help="take every chunk of findings apart, not the first of each run alone"
        )
    for parser in (run_, list_, verify, drill, restore):
        parser.add_argument("--team", metavar="ID", type=UUID, help="this team alone")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command and exits."""
    from coreo_results.backups import operations  # noqa: PLC0415  it imports the whole service

    operations.run(arguments)

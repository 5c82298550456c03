"""The commands `coreo-results keys …`."""

import argparse
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from coreo_results.opening import Custody

NAMES = ("keys",)
_SETTINGS = "Needs COREO_DATABASE_URL, COREO_SYSTEM_DATABASE_URL, COREO_ROOT_KEY and COREO_VAULT. "


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands' parsers."""
    keys = commands.add_parser("keys", help="list teams' keys, change a team's key, replace the root key")
    of_keys = keys.add_subparsers(dest="keys_command", required=True)
    listing = of_keys.add_parser(
        "list",
        help="say which keys there are, and what is wrong with them",
        description=_SETTINGS + "Compares the register of the database with the vault. Exit status 1: they disagree.",
    )
    listing.add_argument("--team", metavar="ID", type=UUID, help="of this team alone")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    team = of_keys.add_parser(
        "rotate-team",
        help="give a team a new key, and destroy the old one for good",
        description=_SETTINGS + "Wraps all that the old key wraps anew, then destroys the old key in the vault. May be "
        "run while the service runs, and again where it was broken off. Afterwards copies of the database from before "
        "open nothing of the team.",
    )
    team.add_argument("team", metavar="TEAM", type=UUID, help="the team's id")
    root = of_keys.add_parser(
        "rotate-root",
        help="have the vault's keys wrapped by COREO_ROOT_KEY alone",
        description=_SETTINGS + "The root key that it takes over from must be in COREO_OTHER_ROOT_KEYS, here and for "
        "every replica of the service, until this is done. May be run again where it was broken off.",
    )
    root.add_argument("--to", metavar="LOCATION", required=True, help="COREO_ROOT_KEY once more, so that it is meant")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command and exits."""
    from coreo_results.commands import run_command  # noqa: PLC0415  --help answers at once

    work = {"list": _list, "rotate-team": _rotate_team, "rotate-root": _rotate_root}[arguments.keys_command]
    run_command(lambda custody: work(custody, arguments))


async def _list(custody: "Custody", arguments: argparse.Namespace) -> bool:
    import msgspec  # noqa: PLC0415  as above

    from coreo_results.keys.inventory import Inventory  # noqa: PLC0415

    found = await Inventory(custody.database, custody.system_database, custody.vault).of(arguments.team)
    if arguments.json:
        for entry in found:
            print(msgspec.json.encode(entry).decode())  # noqa: T201  the command's answer
    else:
        row = "{:36}  {:>7}  {:13}  {:>8}  {:20}  {}"
        print(row.format("TEAM", "VERSION", "STATE", "WRAPS", "CREATED", "ROOT KEY"))  # noqa: T201
        for entry in found:
            created = "" if entry.created_at is None else f"{entry.created_at:%Y-%m-%dT%H:%M:%SZ}"
            place = (str(entry.team_id), entry.version, entry.state, entry.wraps)
            print(row.format(*place, created, ", ".join(entry.root_keys)))  # noqa: T201
            if entry.problem is not None:
                print(f"  problem: {entry.problem}")  # noqa: T201
    return all(entry.problem is None for entry in found)


async def _rotate_team(custody: "Custody", arguments: argparse.Namespace) -> bool:
    from coreo_results.commands import CommandError  # noqa: PLC0415
    from coreo_results.keys.errors import NoTeamKeyError  # noqa: PLC0415

    try:
        turnover = await custody.turnovers.run(arguments.team)
    except NoTeamKeyError:
        raise CommandError(f"there is no team {arguments.team} with a key") from None
    print(f"Team {arguments.team} has version {turnover.new} of its key; version {turnover.old} is destroyed.")  # noqa: T201
    return True


async def _rotate_root(custody: "Custody", arguments: argparse.Namespace) -> bool:
    from coreo_results.commands import CommandError  # noqa: PLC0415
    from coreo_results.keys.root import open_root_key  # noqa: PLC0415
    from coreo_results.keys.root_rotation import RootRotation  # noqa: PLC0415

    current = custody.vault.roots.current
    async with open_root_key(arguments.to) as wanted:
        if wanted.name != current.name:
            raise CommandError(
                "--to is not COREO_ROOT_KEY. First give every replica the new root key as COREO_ROOT_KEY and the old "
                "one as COREO_OTHER_ROOT_KEYS, see docs/operations.md"
            )
    rotation = RootRotation(custody.database, custody.system_database, custody.keys, custody.vault)
    done = await rotation.run()
    print(f"{current.name} wraps all {done.wrapped + done.untouched} keys, {done.wrapped} of them from now on.")  # noqa: T201
    return True

"""The command `coreo-api`."""

import argparse
from importlib import import_module

# Each command's module has main(arguments); it is imported when the command runs, so that --help is quick.
_MODULES = {
    "serve": "coreo_api.server",
    "migrate": "coreo_api.migrate",
    "create-team": "coreo_api.teams.command",
}


def run() -> None:
    """Entry point."""
    arguments = _parser().parse_args()
    import_module(_MODULES[arguments.command]).main(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coreo-api",
        description="Coreo's ingress API. Settings come from the environment; a missing or wrong one is named.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "serve",
        help="serve HTTP and run the background tasks",
        description="Needs COREO_DATABASE_URL, COREO_SYSTEM_DATABASE_URL, COREO_RESULTS_URL, COREO_SIGNING_JWK, "
        "COREO_QUEUE_URL_AUDIT, COREO_QUEUE_URL_DEPLOY, "
        "COREO_AWS_ACCOUNT_ID and AWS_REGION. Listens on COREO_HOST (127.0.0.1), "
        "COREO_PORT (8080). Ends on SIGTERM when its requests are answered.",
    )
    commands.add_parser(
        "migrate",
        help="bring the database to the newest schema",
        description="Needs COREO_MIGRATION_DATABASE_URL, of the role that owns the tables. May run any number of "
        "times.",
    )
    create_team = commands.add_parser(
        "create-team",
        help="make a team and print its first token",
        description='Needs COREO_DATABASE_URL. Prints {"team_id": …, "token": …}; the token is shown this once.',
    )
    create_team.add_argument("name", metavar="NAME", help="the team's name, 1 to 100 characters")
    return parser

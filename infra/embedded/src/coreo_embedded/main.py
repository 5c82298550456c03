"""The `coreo-embedded` command: Coreo on one laptop."""

import argparse
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

_REPOSITORY = Path(__file__).parents[4]
_COMPOSE = _REPOSITORY / ".coreo" / "compose"
_PRIVATE = Path("/tmp/coreo-platform")  # noqa: S108  of the platform's container, whose /tmp is nobody else's

# Each command imports what it needs when it runs, so that --help is quick.


def run() -> None:
    """Entry point."""
    arguments = _parser().parse_args()
    sys.exit(arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coreo-embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="audit a simulated customer account through its role, and print the findings"
    )
    demo.add_argument("--check", action="store_true", help="compare with what was planted; exit 0 only if all match")
    demo.set_defaults(run=_demo)
    init = commands.add_parser(
        "compose-init",
        help="make keys and passwords for docker-compose.yml",
        description="Writes one file of settings per container, which only you can read. Files that are there stay.",
    )
    init.add_argument("directory", nargs="?", type=Path, default=_COMPOSE)
    init.set_defaults(run=_compose_init)
    platform = commands.add_parser(
        "platform",
        help="run the simulated AWS for services in containers",
        description="Makes Coreo's queues and roles in a simulated AWS from the templates, and keeps each service's "
        "credentials fresh in a folder of its own, until SIGTERM. All state is gone when it ends.",
    )
    _add_platform_options(platform)
    platform.set_defaults(run=_platform)
    health = commands.add_parser("platform-health", help="exit 0 when every service's credentials are fresh")
    health.add_argument("--credentials", type=Path, required=True)
    health.set_defaults(run=_platform_health)
    plant = commands.add_parser(
        "plant",
        help="make a customer's account with something to find, in a platform that runs",
        description="Reads the trust policy of the role for Coreo from standard input (JSON, as `coreo account "
        "show --trust-policy` gives it) and prints the role's ARN.",
    )
    plant.add_argument(
        "--account-id", required=True, type=_account_id, help="12 digits, an account without anything in it yet"
    )
    plant.add_argument("--role-name", default="CoreoAudit")
    plant.add_argument("--private", type=Path, default=_PRIVATE, help="the platform's own folder")
    plant.set_defaults(run=_plant)
    return parser


def _account_id(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text):
        raise argparse.ArgumentTypeError("expected 12 digits")
    return text


def _add_platform_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--credentials", type=Path, required=True, help="has a folder for each service")
    parser.add_argument("--mount", required=True, help="where a service's container sees its folder")
    parser.add_argument("--private", type=Path, default=_PRIVATE, help="for the simulator's own files")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1); 0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (any free one)")
    parser.add_argument("--name", default="127.0.0.1", help="what services call this host")


def _demo(arguments: argparse.Namespace) -> int:
    from coreo_embedded.demo import run_demo  # noqa: PLC0415

    return run_demo(check=arguments.check)


def _compose_init(arguments: argparse.Namespace) -> int | str:
    from coreo_embedded.compose_init import compose_init  # noqa: PLC0415

    directory = arguments.directory.absolute()
    compose = "docker compose" if directory == _COMPOSE else f"COREO_COMPOSE_DIR={directory} docker compose"
    try:
        is_new = compose_init(directory)
    except OSError as error:
        return f"coreo-embedded: {directory} cannot be made ({error.strerror}); choose another folder"
    if is_new:
        print(f"Keys and passwords are in {directory}. Next: {compose} up --build")  # noqa: T201
    else:
        print(  # noqa: T201
            f"{directory} is there already and stays. For new keys and empty databases: {compose} down --volumes, "
            "then remove the folder and run this again"
        )
    return 0


def _platform(arguments: argparse.Namespace) -> int | str:
    from coreo_embedded.deploy import DeployError  # noqa: PLC0415
    from coreo_embedded.platform_service import Places, PlatformError, run_platform  # noqa: PLC0415
    from coreo_embedded.processes import ProcessFailedError  # noqa: PLC0415
    from coreo_embedded.proxy import Listen, ProxyError  # noqa: PLC0415
    from coreo_embedded.simulator import SimulatorError  # noqa: PLC0415

    places = Places(arguments.private, arguments.credentials, arguments.mount)
    try:
        run_platform(places, Listen(arguments.host, arguments.port, arguments.name))
    except (PlatformError, SimulatorError, ProxyError, DeployError, ProcessFailedError) as error:
        return f"coreo-embedded: {error}"
    return 0


def _platform_health(arguments: argparse.Namespace) -> int | str:
    from coreo_embedded.platform_service import find_problem  # noqa: PLC0415

    problem = find_problem(arguments.credentials, now=datetime.now(UTC))
    return f"coreo-embedded: {problem}" if problem else 0


def _plant(arguments: argparse.Namespace) -> int | str:
    from coreo_embedded.platform_service import PlatformError, plant  # noqa: PLC0415

    try:
        trust_policy = json.load(sys.stdin)
    except ValueError:
        trust_policy = None
    if not isinstance(trust_policy, dict):
        return "coreo-embedded: standard input must be the role's trust policy, a JSON object"
    try:
        estate = plant(arguments.private, arguments.account_id, trust_policy, arguments.role_name)
    except PlatformError as error:
        return f"coreo-embedded: {error}"
    print(estate.role_arn)  # noqa: T201
    return 0


if __name__ == "__main__":
    run()

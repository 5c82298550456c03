"""The command `coreo-worker`."""

import argparse
from importlib import import_module

# Each command's module has main(); it is imported when the command runs, so that --help is quick.
_MODULES = {"serve": "coreo_worker.runner.serve", "health": "coreo_worker.health"}


def run() -> None:
    """Entry point."""
    import_module(_MODULES[_parser().parse_args().command]).main()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coreo-worker",
        description="Coreo's worker: takes signed jobs from its pool's queue, assumes the role of the target account, "
        "audits it or changes a stack there, and tells the results service. It listens on no port and writes no file. "
        "Settings come from the environment; a missing or wrong one is named.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "serve",
        help="work until SIGTERM",
        description="Needs COREO_POOL, COREO_QUEUE_URL, COREO_RESULTS_URL, COREO_API_JWKS, COREO_FLEET_JWK and the AWS "
        "credentials of the pool's role, with AWS_REGION. Does COREO_MAX_RUNS (2) runs at a time. A run of the pool "
        "`deploy` waits COREO_HOLD_SECONDS (20) for CloudFormation, then gives its place to others. On SIGTERM it "
        "takes no more jobs and gives its runs COREO_GRACE_SECONDS (100) to end, then gives them back for others to "
        "go on with; a second signal does that at once.",
    )
    commands.add_parser(
        "health",
        help="say whether the worker of this container is alive",
        description="Needs COREO_HEARTBEAT_FILE, as `serve` has it. Exit status 0 when the worker touched it within "
        "COREO_HEARTBEAT_MAX_AGE_SECONDS (60).",
    )
    return parser


if __name__ == "__main__":
    run()

"""The `coreo-embedded` command: Coreo on one laptop."""

import argparse
import sys


def run() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="coreo-embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="audit a simulated customer account through its role, and print the findings"
    )
    demo.add_argument("--check", action="store_true", help="compare with what was planted; exit 0 only if all match")
    arguments = parser.parse_args()
    from coreo_embedded.demo import run_demo  # noqa: PLC0415  --help stays quick

    sys.exit(run_demo(check=arguments.check))

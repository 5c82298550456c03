"""One request from standard input, one answer to standard output."""

import json
import sys
from dataclasses import asdict

from coreo_lint.limits import give_up
from coreo_lint.protocol import Answer, Request, request_of
from coreo_lint.shape import shape_problem


def main() -> None:
    """Gives up what it may, then reads."""
    give_up()
    sys.stdout.write(json.dumps(asdict(_answer(request_of(json.load(sys.stdin))))))


def _answer(request: Request) -> Answer:
    if (problem := shape_problem(request.template)) is not None:
        return Answer(findings=[problem])
    from coreo_lint.examine import examine  # noqa: PLC0415  cfn-lint takes its time to load, and is seldom needed before

    return examine(request)


main()

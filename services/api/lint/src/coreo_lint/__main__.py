"""One request from standard input, one answer to standard output."""

import json
import sys
from dataclasses import asdict

from coreo_lint.limits import give_up
from coreo_lint.protocol import BEATEN, Answer, Request, request_of
from coreo_lint.shape import shape_problem


def main() -> None:
    """Gives up what it may, then reads."""
    give_up()
    request = request_of(json.load(sys.stdin))
    try:
        answer = json.dumps(asdict(_answer(request)))
    except Exception as error:  # noqa: BLE001  whatever a template can do to a linter: its text may be in the error's
        sys.stderr.write(type(error).__name__)
        sys.exit(BEATEN)
    sys.stdout.write(answer)


def _answer(request: Request) -> Answer:
    if (problem := shape_problem(request.template)) is not None:
        return Answer(findings=[problem])
    from coreo_lint.examine import examine  # noqa: PLC0415  cfn-lint takes its time to load, and is seldom needed before

    return examine(request)


main()

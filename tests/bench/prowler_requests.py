"""Counts Prowler's requests on the estate in moto. Run by an interpreter with Prowler and moto in it:

    PYTHON tests/bench/prowler_requests.py REGION,REGION CHECK...

Prints {"version", "requests", "findings"}. What it is compared with: `engine_requests.py`.
"""

import csv
import io
import json
import sys
import tempfile
from contextlib import redirect_stdout
from importlib.metadata import version
from typing import Any

import moto_estate
from botocore.endpoint import Endpoint
from moto import mock_aws


def count(regions: list[str], checks: list[str]) -> dict[str, Any]:
    """Requests of one run, tries of the SDK included."""
    requests = [0]
    answered = Endpoint._do_get_response

    def counting(self: Endpoint, *given: Any, **more: Any) -> Any:
        requests[0] += 1
        return answered(self, *given, **more)

    moto_estate.prepare()
    with mock_aws(), tempfile.TemporaryDirectory() as folder:
        moto_estate.make()
        Endpoint._do_get_response = counting
        sys.argv = ["prowler", "aws", "--region", *regions, *checks, "--ignore-exit-code-3", "--no-banner"]
        sys.argv += ["--output-formats", "csv", "--output-directory", folder, "--output-filename", "out"]
        from prowler.__main__ import prowler  # noqa: PLC0415  reads sys.argv

        with redirect_stdout(io.StringIO()):
            try:
                prowler()
            except SystemExit as ending:
                if ending.code not in (0, None):
                    raise
        with open(f"{folder}/out.csv") as file:  # noqa: PTH123  Python as Prowler has it
            findings = sum(1 for _ in csv.reader(file, delimiter=";")) - 1
    return {"version": version("prowler"), "requests": requests[0], "findings": findings}


if __name__ == "__main__":
    print(json.dumps(count(sys.argv[1].split(","), sys.argv[2:])))  # noqa: T201

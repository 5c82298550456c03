"""Fixtures of the whole suite; each plugin holds one part's."""

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.aws",
    "tests.support.api",
    "tests.support.cli",
    "tests.support.cli_process",
    "tests.support.stack",
    "tests.support.deploys",
]

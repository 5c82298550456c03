"""Fixtures of the whole suite; each plugin holds one part's."""

import gc

from coreo_shared.heap import settle

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.aws",
    "tests.support.api",
    "tests.support.cli",
    "tests.support.cli_process",
    "tests.support.stack",
    "tests.support.deploys",
]


def pytest_collection_finish() -> None:
    """What collecting eleven thousand tests has made is there to the end; what each makes is looked at seldom.

    Simulated accounts are trees of small objects: with the collector's own pace they take twice the time.
    """
    settle()
    gc.set_threshold(20_000, 20, 10)

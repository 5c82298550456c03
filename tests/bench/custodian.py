"""What Cloud Custodian's filters take. Run by an interpreter that has c7n: `PYTHON tests/bench/custodian.py COUNT`.

Prints {name: {"seconds": of the best round, "failed": how many matched}}. `engine_rules.py` runs it where `make rivals`
has made such an environment.
"""

import gc
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import rule_items
from c7n.config import Config
from c7n.policy import PolicyCollection
from c7n.resources import load_resources

_ROUNDS = 3


def _filters(resource: str, filters: list[Any]) -> Any:
    data = {"policies": [{"name": "bench", "resource": resource, "filters": filters}]}
    config = Config.empty(account_id="123456789012", region="eu-west-1")
    return next(iter(PolicyCollection.from_data(data, config))).resource_manager


def _measured(manager: Any, items: Callable[[], list[dict[str, Any]]]) -> dict[str, float]:
    gc.disable()
    best, failed = float("inf"), 0
    for _ in range(_ROUNDS):
        found = items()  # anew: it notes on a resource what it has worked out
        gc.collect()
        started = time.thread_time()
        failed = len(manager.filter_resources(found))
        best = min(best, time.thread_time() - started)
    gc.enable()
    return {"seconds": best, "failed": failed}


def main(count: int) -> None:
    """Measures and prints."""
    logging.disable(logging.CRITICAL)
    load_resources(tuple(resource for resource, _ in rule_items.CUSTODIAN.values()))
    found = {
        name: _measured(_filters(resource, filters), partial(rule_items.ITEMS[name], count))
        for name, (resource, filters) in rule_items.CUSTODIAN.items()
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))

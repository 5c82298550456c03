"""Only keys of live onboard workers are sealed for, and only those that the pool's fleet key vouches for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog.testing

from coreo_api.bootstrap.keys import live_keys
from coreo_api.results import WorkerStatus
from coreo_shared.contracts.onboarding import SEALING_KEY_AUDIENCE, SEALING_KEY_TYPE, SealingKey
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import Signer, Verifier, generate_key, public_jwk

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FLEET, FOREIGN = generate_key("fleet-onboard"), generate_key("fleet-onboard")
VERIFIER = Verifier([public_jwk(FLEET)], issuer="coreo-worker")


def announced(key: dict[str, Any] = FLEET, typ: str = SEALING_KEY_TYPE, **fields: Any) -> str:
    """A sealing key's announcement, 100 seconds old."""
    issued = int(NOW.timestamp()) - 100
    values: dict[str, Any] = {
        "iss": "coreo-worker",
        "aud": SEALING_KEY_AUDIENCE,
        "jti": "key-1",
        "iat": issued,
        "exp": issued + 600,
        "pool": Pool.ONBOARD,
        "worker_id": "onboard-1",
        "public_key": "A" * 43,
    }
    return Signer(key).sign(SealingKey(**values | fields), typ=typ)


def worker(**fields: Any) -> WorkerStatus:
    values: dict[str, Any] = {
        "worker_id": "onboard-1",
        "pool": Pool.ONBOARD,
        "last_seen": NOW - timedelta(seconds=10),
        "drain": False,
        "draining": False,
        "sealing_key": announced(),
    }
    return WorkerStatus(**values | fields)


def ids(*workers: WorkerStatus) -> list[str]:
    return [key.jti for key in live_keys(workers, VERIFIER, NOW)]


def after(seconds: int) -> int:
    return int(NOW.timestamp()) + seconds


def test_key_of_a_live_worker_is_used() -> None:
    assert ids(worker()) == ["key-1"]


def test_longest_lived_is_first() -> None:
    keys = [("a", 100), ("b", 300), ("c", 200)]
    workers = [
        worker(worker_id=name, sealing_key=announced(jti=name, worker_id=name, exp=after(left))) for name, left in keys
    ]

    assert ids(*workers) == ["b", "c", "a"]


SILENT: dict[str, dict[str, Any]] = {
    "seen too long ago": {"last_seen": NOW - timedelta(seconds=31)},
    "drains": {"draining": True},
    "asked to drain": {"drain": True},
    "of another pool": {"pool": Pool.AUDIT},
    "without a key": {"sealing_key": None},
    "less than a minute left": {"sealing_key": announced(exp=after(59))},
}


@pytest.mark.parametrize("case", SILENT)
def test_worker_that_will_not_open_it_is_passed_over(case: str) -> None:
    assert ids(worker(**SILENT[case])) == []
    assert ids(worker(**SILENT[case]), worker()) == ["key-1"]


def test_last_moments_count() -> None:
    """The borders of the cases above, from the other side."""
    assert ids(worker(last_seen=NOW - timedelta(seconds=30), sealing_key=announced(exp=after(60)))) == ["key-1"]


REFUSED: dict[str, tuple[str | None, str]] = {
    "signed by nobody we know": (announced(generate_key("other")), "unknown_key"),
    "signed with another key of the same name": (announced(FOREIGN), "bad_signature"),
    "another kind of token": (announced(typ="coreo-fleet+jwt"), "wrong_type"),
    "for somebody else": (announced(aud="coreo-results"), "wrong_audience"),
    "by somebody else": (announced(iss="coreo-api"), "wrong_issuer"),
    "expired": (announced(exp=after(-1)), "expired"),
    "from the future": (announced(iat=after(60), exp=after(600)), "not_yet_valid"),
    "lives too long": (announced(exp=after(501)), "lives_too_long"),
    "of another pool": (announced(pool=Pool.AUDIT), "of_another_worker"),
    "of another worker": (announced(worker_id="onboard-2"), "of_another_worker"),
    "no token": ("x.y.z", "malformed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_key_with_something_wrong_is_refused_and_logged(case: str) -> None:
    token, code = REFUSED[case]
    with structlog.testing.capture_logs() as logs:
        assert ids(worker(sealing_key=token)) == []
    assert [(each["event"], each["security_event"], each["worker_id"]) for each in logs] == [
        ("sealing_key_refused", code, "onboard-1")
    ]

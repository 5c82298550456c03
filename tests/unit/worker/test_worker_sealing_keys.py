"""Sealing keys: fresh every four minutes, announced for ten at most, overwritten soon after. On a clock of the test."""

import asyncio
import itertools
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coreo_embedded.simulator import Credentials
from coreo_shared.contracts.onboarding import (
    BOOTSTRAP_SECONDS,
    MAX_SEALING_KEY_SECONDS,
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    BootstrapSpec,
    SealingKey,
)
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import Signer, Verifier, generate_key, public_jwk
from coreo_shared.crypto.sealing import SealError, open_seal, seal
from coreo_worker.onboard.keys import ROTATION_SECONDS, SealingKeys
from coreo_worker.runner.bootstrap import BootstrapTools
from coreo_worker.runner.fleet import Fleet, Identity
from coreo_worker.runner.process import open_process
from coreo_worker.runner.stopping import Stopping
from tests.support.bootstrap import Signing, bootstrap_job, context_of
from tests.support.worker import Jobs, MemoryResults, until

FLEET = generate_key("fleet")
VERIFIER = Verifier([public_jwk(FLEET)], issuer="coreo-worker")
START = 1_800_000_000


@dataclass
class Time:
    """Both clocks of the keys, which the test moves."""

    passed: float = 0.0
    set_back: float = 0.0  # of the one that people can set

    def clock(self) -> float:
        return START + self.passed - self.set_back

    def ticks(self) -> float:
        return 5000 + self.passed

    def keys(self) -> SealingKeys:
        return SealingKeys(Signer(FLEET), "w1", clock=self.clock, ticks=self.ticks)


def announced(keys: SealingKeys, time: Time) -> SealingKey:
    return VERIFIER.verify(
        keys.announcement(), SealingKey, typ=SEALING_KEY_TYPE, audience=SEALING_KEY_AUDIENCE, now=time.clock()
    )


def test_an_announcement_is_the_fleets_word_for_ten_minutes() -> None:
    time = Time()
    key = announced(time.keys(), time)
    assert (key.pool, key.worker_id, key.iat, key.exp) == (Pool.ONBOARD, "w1", START, START + MAX_SEALING_KEY_SECONDS)


def test_what_is_sealed_for_the_announced_key_the_held_one_opens() -> None:
    time = Time()
    keys = time.keys()
    key = announced(keys, time)
    context = context_of(Jobs().make())
    (private,) = keys.holding([key.jti, "another"]).values()
    sealed = seal(b"requests", key.public_key, context)
    assert open_seal(sealed, X25519PrivateKey.from_private_bytes(private), context) == b"requests"


def test_a_fresh_key_is_announced_every_four_minutes() -> None:
    time = Time()
    keys = time.keys()
    first = announced(keys, time)
    time.passed = ROTATION_SECONDS - 1
    assert (keys.turn(), announced(keys, time).jti, keys.due_in()) == (False, first.jti, 1)
    time.passed = ROTATION_SECONDS
    assert keys.turn()
    second = announced(keys, time)
    assert second.jti != first.jti
    assert second.public_key != first.public_key
    assert sorted(keys.holding([first.jti, second.jti])) == sorted([first.jti, second.jti])


def test_whatever_was_sealed_in_time_can_be_opened_for_as_long_as_its_requests_are_good() -> None:
    """The api uses keys with a minute left, and an announcement in its hands may be half a minute old."""
    time = Time()
    keys = time.keys()
    newest_known = announced(keys, time)
    time.passed = ROTATION_SECONDS + 30
    keys.turn()
    assert newest_known.exp - time.clock() >= 60
    time.passed += BOOTSTRAP_SECONDS
    keys.turn()
    assert keys.holding([newest_known.jti])


@pytest.mark.parametrize("set_back", [0, 3600])
def test_a_private_key_is_overwritten_within_a_minute_of_its_announcements_end(set_back: float) -> None:
    time = Time()
    keys = time.keys()
    key = announced(keys, time)
    private = keys.holding([key.jti])[key.jti]
    time.set_back = set_back  # a clock that somebody sets back keeps no key alive
    time.passed = MAX_SEALING_KEY_SECONDS + 60
    assert keys.holding([key.jti]) == {}
    assert private == bytes(32)


def test_the_turn_for_dropping_a_key_comes_in_time() -> None:
    time = Time()
    keys = time.keys()
    first = announced(keys, time)
    private = keys.holding([first.jti])[first.jti]
    while any(private):
        time.passed += keys.due_in()
        keys.turn()
    assert time.clock() <= first.exp + 60


def test_a_captured_message_opens_nowhere_once_all_keys_have_turned() -> None:
    time = Time()
    keys = time.keys()
    captured = announced(keys, time)
    job = bootstrap_job(Jobs(), Signing(_customer()).requests(), captured)
    assert isinstance(job.work, BootstrapSpec)
    tools = BootstrapTools(keys, lambda: open_process([], {}))
    everything = [keys.holding([captured.jti])[captured.jti]]
    opens = X25519PrivateKey.from_private_bytes(everything[0])
    assert open_seal(job.work.sealed[captured.jti], opens, context_of(job))
    assert tools.takes(job)
    while time.passed <= MAX_SEALING_KEY_SECONDS + 60:
        time.passed += keys.due_in()
        if keys.turn():
            fresh = announced(keys, time)
            everything += keys.holding([fresh.jti]).values()
    assert not tools.takes(job)
    assert len(everything) > 2
    for private in everything:  # all that this worker's memory ever held of keys, as it is now
        with pytest.raises(SealError):
            open_seal(job.work.sealed[captured.jti], X25519PrivateKey.from_private_bytes(private), context_of(job))


def test_after_a_long_standstill_the_announcement_is_fresh() -> None:
    time = Time()
    keys = time.keys()
    old = announced(keys, time)
    time.passed = 24 * 3600
    assert keys.holding([old.jti]) == {}
    assert keys.due_in() == 0
    assert announced(keys, time).iat == START + 24 * 3600


def test_no_key_is_in_a_text() -> None:
    time = Time()
    keys = time.keys()
    private = next(iter(keys.holding([announced(keys, time).jti]).values()))
    texts = repr(keys) + repr(keys._keys)  # as a traceback with locals would show it
    assert repr(bytes(private)) not in texts
    assert "private" not in texts


async def test_each_new_key_is_announced_at_once() -> None:
    time = Time()
    keys = time.keys()
    results = MemoryResults()
    fleet = Fleet(
        Identity("w1", Pool.ONBOARD),
        results,
        Stopping(grace_seconds=1),
        current_runs=list,
        refused={},
        sealing_key=keys.announcement,
    )
    pauses = itertools.count()

    async def pause(seconds: float) -> None:
        if next(pauses) == 3:
            await asyncio.Event().wait()
        time.passed += seconds

    task = asyncio.create_task(keys.run(fleet.report, pause=pause))
    await until(lambda: next(pauses) > 3)
    task.cancel()
    said = [worker.sealing_key for worker in results.workers]
    assert len(said) == len(set(said)) >= 2
    assert said[-1] == keys.announcement()


async def test_a_draining_worker_announces_no_key() -> None:
    time = Time()
    keys = time.keys()
    results, stopping = MemoryResults(), Stopping(grace_seconds=60)
    fleet = Fleet(
        Identity("w1", Pool.ONBOARD),
        results,
        stopping,
        current_runs=list,
        refused={},
        sealing_key=keys.announcement,
    )
    await fleet.report()
    stopping.drain("test")
    await fleet.report()
    stopping.close()
    assert [worker.sealing_key is None for worker in results.workers] == [False, True]


def _customer() -> Credentials:
    return Credentials("AKIA" + "A" * 16, "s" * 40)

"""`coreo account bootstrap` as an installed command against the real api: what is typed, piped, shown and kept."""

import asyncio
import os
import pty
from typing import Any

import pytest

from coreo_shared.contracts.onboarding import (
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    BootstrapProblem,
    BootstrapReport,
    Report,
    SealingKey,
)
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import Signer
from coreo_shared.crypto.sealing import generate_sealing_key, public_key_of
from tests.support.api import FLEET_KEY, VERIFIED
from tests.support.cli_process import Done, Served, finish, read_until

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYcanary4321"
BOOTSTRAP = ("account", "bootstrap", "production", "--access-key-id", "AKIAIOSFODNN7EXAMPLE")


def there_is_a_worker(served: Served) -> None:
    """An onboard worker reports, and announces a key to seal for."""
    now = served.api.context.clock()
    issued = int(now.timestamp())
    key = SealingKey(
        iss="coreo-worker",
        aud=SEALING_KEY_AUDIENCE,
        jti="key-1",
        iat=issued,
        exp=issued + 600,
        pool=Pool.ONBOARD,
        worker_id="onboard-1",
        public_key=public_key_of(generate_sealing_key()),
    )
    status: dict[str, Any] = {
        "worker_id": "onboard-1",
        "pool": "onboard",
        "version": "0.1.0",
        "host": "h",
        "current_runs": [],
    }
    status |= {"last_seen": now.isoformat(), "drain": False, "draining": False}
    served.api.results.workers = [status | {"sealing_key": Signer(FLEET_KEY).sign(key, typ=SEALING_KEY_TYPE)}]


async def bootstrapped(served: Served, *reports: tuple[str, Report | None, RunState], stdin: str = SECRET) -> Done:
    """`coreo account bootstrap`, whose tasks a worker ends with these reports."""
    there_is_a_worker(served)
    await served.coreo("account", "add", "production", "--account-id", "210987654321")
    following = await served.begin(*BOOTSTRAP)
    assert following.stdin is not None
    following.stdin.write(f"{stdin}\n".encode())
    await following.stdin.drain()
    for kind, report, state in reports:
        await served.report(kind, report, state)
    return await finish(following)


async def test_a_role_is_made_with_a_key_and_proven(served: Served) -> None:
    made = BootstrapReport(role="created", policy="created", attached=True)
    done = await bootstrapped(served, ("bootstrap", made, RunState.SUCCEEDED), ("verify", VERIFIED, RunState.SUCCEEDED))
    assert done.code == 0, done.err
    assert "The role was made. Its policy was made." in done.out
    assert "aws iam update-access-key --access-key-id AKIAIOSFODNN7EXAMPLE --status Inactive" in done.out
    assert "CONNECTED  production" in done.out
    assert SECRET not in done.out + done.err
    account = (await served.coreo("account", "show", "production", "-o", "json")).json
    assert account["role_arn"] == "arn:aws:iam::210987654321:role/CloudCoreoAssumedRole"


@pytest.mark.parametrize(
    ("report", "state", "said", "account_state"),
    [
        (
            BootstrapReport(problem=BootstrapProblem.WRONG_KEY, detail="AWS knows no such key."),
            RunState.SUCCEEDED,
            "AWS knows no such key.",
            "PENDING",
        ),
        (None, RunState.EXPIRED, "ost the keys again", "EXPIRED"),
    ],
)
async def test_a_role_that_was_not_made_says_why_and_how_to_go_on(
    served: Served, report: Report | None, state: RunState, said: str, account_state: str
) -> None:
    done = await bootstrapped(served, ("bootstrap", report, state))
    assert (done.code, done.out) == (4, "")
    assert said in done.err
    shown = await served.coreo("account", "show", "production")
    assert account_state in shown.out
    assert "coreo account bootstrap production" in shown.err


async def test_a_session_token_without_a_temporary_key_is_named_and_not_repeated(served: Served) -> None:
    there_is_a_worker(served)
    await served.coreo("account", "add", "production", "--account-id", "210987654321")
    done = await served.coreo(*BOOTSTRAP, "--session-token-stdin", stdin=f"{SECRET}\n{SECRET}session\n")
    assert done.code == 1
    assert "session token: " in done.err
    assert "canary" not in done.err


async def test_keys_that_no_worker_can_take_are_kept_nowhere(served: Served) -> None:
    await served.coreo("account", "add", "production", "--account-id", "210987654321")
    done = await served.coreo(*BOOTSTRAP, stdin=SECRET)
    assert (done.code, done.out) == (1, "")
    assert "Nothing was kept of the key." in done.err
    assert SECRET not in done.err
    assert (await served.coreo("account", "show", "production", "-o", "json")).json["state"] == "PENDING"


async def test_a_terminal_does_not_show_the_secret_that_is_typed(served: Served) -> None:
    await served.coreo("account", "add", "production", "--account-id", "210987654321")
    terminal, stream = pty.openpty()
    try:
        asking = await served.begin(*BOOTSTRAP, stdin=stream, stdout=stream, stderr=stream, start_new_session=True)
        drawn = await asyncio.to_thread(read_until, terminal, "(it is not shown)")
        await asyncio.to_thread(os.write, terminal, f"{SECRET}\n".encode())
        drawn += await asyncio.to_thread(read_until, terminal, "Request id")
        async with asyncio.timeout(30):
            await asking.wait()
    finally:
        os.close(stream)
        os.close(terminal)
    assert asking.returncode == 1
    assert "Nothing was kept of the key." in drawn
    assert "canary" not in drawn

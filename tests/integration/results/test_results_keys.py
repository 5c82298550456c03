"""The root key's two adapters under one suite; KMS going away and coming back; the keys of many teams."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coreo_embedded.deploy import Deployment, deploy
from coreo_embedded.simulator import Simulator
from coreo_results.keys.errors import KeyUnavailableError, RootKeyError
from coreo_results.keys.kms_root import kms_root_key
from coreo_results.keys.material import SecretKey
from coreo_results.keys.root import KeyPlace, RootKey, open_root_key
from coreo_results.keys.seal import DamagedError
from coreo_shared.ids import new_id
from tests.support.aws import role_credentials
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, Tokens, make_chunk, make_root_key, make_settings, make_vault, running

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

ACCOUNT = "555555555555"


@pytest.fixture(scope="module")
def kms(aws: Simulator) -> Deployment:
    """A key of our own, as it is disabled at times."""
    return deploy(aws, account_id=ACCOUNT)


@pytest.fixture
def kms_environment(aws: Simulator, kms: Deployment, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the process of the results service has: its role's credentials, and an endpoint. Gives COREO_ROOT_KEY."""
    credentials = role_credentials(aws, kms, "results")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", str(credentials.session_token))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    return f"kms:{kms.key_arn}"


@pytest.fixture
def disabled(aws: Simulator, kms: Deployment) -> Iterator[Any]:
    """`disabled(True)` disables the key; it is enabled again at the end."""
    root: KMSClient = aws.root_client("kms", ACCOUNT)

    def switch(*, off: bool) -> None:
        (root.disable_key if off else root.enable_key)(KeyId=kms.key_arn)

    yield switch
    switch(off=False)


@pytest.fixture(params=["file", "kms"])
async def root_key(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RootKey]:
    location = make_root_key(tmp_path) if request.param == "file" else request.getfixturevalue("kms_environment")
    async with open_root_key(location) as root:
        yield root


async def test_a_wrapped_key_comes_back_for_its_team(root_key: RootKey) -> None:
    key, team = SecretKey.generate(), KeyPlace(new_id(), 1)
    wrapped = await root_key.wrap(key, team)
    assert await root_key.unwrap(wrapped, team) == key
    assert key.reveal() not in bytes(wrapped)
    assert repr(wrapped) == "<encrypted>"


async def test_a_wrapped_key_opens_in_no_other_place(root_key: RootKey) -> None:
    team = new_id()
    places = [KeyPlace(team, 1), KeyPlace(team, 2), KeyPlace(team, None), KeyPlace(new_id(), 1)]
    for place in places:
        wrapped = await root_key.wrap(SecretKey.generate(), place)
        for other in places:
            if other != place:
                with pytest.raises(DamagedError):
                    await root_key.unwrap(wrapped, other)


async def test_a_changed_or_cut_wrapped_key_never_opens_as_another_key(root_key: RootKey) -> None:
    """The simulated KMS ignores some bytes of its ciphertexts and opens others as garbage; neither may do harm."""
    key, team = SecretKey.generate(), KeyPlace(new_id(), 1)
    wrapped = await root_key.wrap(key, team)
    refused = 0
    changed = [wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :] for at in range(len(wrapped))]
    for wrong in (*changed, wrapped[:-1], wrapped[:32], b""):
        try:
            assert await root_key.unwrap(wrong, team) == key
        except (DamagedError, KeyUnavailableError):
            refused += 1
    assert refused == len(changed) + 3 if root_key.name.startswith("file:") else refused > 32 + 32


async def test_two_wrapped_keys_swapped_are_an_error(root_key: RootKey) -> None:
    """The commitment in front of one does not match the key behind it, though KMS opens it."""
    team = KeyPlace(new_id(), 1)
    one, two = [await root_key.wrap(SecretKey.generate(), team) for _ in range(2)]
    with pytest.raises(DamagedError):
        await root_key.unwrap(one[:32] + two[32:], team)


@pytest.mark.parametrize("arn", ["", "arn", "arn:aws:kms:eu-west-1:1:alias/x", "arn:aws:s3:eu-west-1:1:key/x"])
async def test_what_is_no_key_arn_is_refused(arn: str) -> None:
    with pytest.raises(RootKeyError):
        async with kms_root_key(arn):
            pytest.fail("opened")


async def test_a_disabled_key_is_a_503_that_ends_when_the_key_is_back(
    results_database: ServiceDatabase, kms_environment: str, disabled: Any, tmp_path: Path
) -> None:
    tokens = Tokens()
    settings = make_settings(results_database, tokens, kms_environment, vault=make_vault(tmp_path))
    async with running(settings) as app:
        run = ResultsService(app, tokens).run()
        disabled(off=True)
        refused = await run.claim()
        assert (refused.status_code, refused.json()["code"]) == (503, "key_unavailable")
        assert "DisabledException" in refused.json()["detail"]
        assert refused.headers["retry-after"] == "5"
        disabled(off=False)
        await run.stored(make_chunk(await run.claimed()))

    async with running(settings) as app:  # a process that has nothing cached
        run = ResultsService(app, tokens).run(run.team_id, run.run_id)
        disabled(off=True)
        assert (await run.findings()).json()["code"] == "key_unavailable"
        assert (await run.put(make_chunk(1, unit="a.b@global"))).json()["code"] == "key_unavailable"
        disabled(off=False)
        assert (await run.findings()).json()["total"] == 1


async def test_no_answer_from_kms_is_a_503(
    results_database: ServiceDatabase, kms_environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    tokens = Tokens()
    async with running(make_settings(results_database, tokens, kms_environment, vault=make_vault(tmp_path))) as app:
        refused = await ResultsService(app, tokens).run().claim()
    assert (refused.status_code, refused.json()["code"]) == (503, "key_unavailable")


async def test_kms_is_asked_once_per_team_with_the_results_role_and_nothing_else(
    aws: Simulator, results_database: ServiceDatabase, kms_environment: str, tmp_path: Path
) -> None:
    before = len(aws.requests)
    tokens = Tokens()
    team = new_id()
    async with running(make_settings(results_database, tokens, kms_environment, vault=make_vault(tmp_path))) as app:
        service = ResultsService(app, tokens)
        await service.run(team).claimed()
        await asyncio.gather(*(service.run(team).claimed(str(number)) for number in range(5)))
    calls = [f"{request.service}:{request.operation}" for request in list(aws.requests)[before:]]
    assert sorted(calls) == ["kms:Decrypt", "kms:Encrypt"]  # read back from the vault once it is there


async def test_parallel_first_claims_of_a_team_agree_on_one_key(
    results_database: ServiceDatabase, tmp_path: Path
) -> None:
    tokens, team = Tokens(), new_id()
    settings = make_settings(results_database, tokens, make_root_key(tmp_path))
    async with running(settings) as one, running(settings) as two:
        services = [ResultsService(app, tokens) for app in (one, two)]
        runs = [services[number % 2].run(team) for number in range(8)]
        fences = await asyncio.gather(*(run.claimed() for run in runs))
        for run, fence in zip(runs, fences, strict=True):
            await run.stored(make_chunk(fence))
    async with running(settings) as app:
        fresh = ResultsService(app, tokens)
        for run in runs:
            assert (await fresh.run(team, run.run_id).findings()).json()["total"] == 1


async def test_another_root_key_opens_nothing(results_database: ServiceDatabase, tmp_path: Path) -> None:
    tokens, right, wrong = Tokens(), make_root_key(tmp_path), make_root_key(tmp_path / "other")
    vault = make_vault(tmp_path / "vault")
    async with running(make_settings(results_database, tokens, right, vault=vault)) as app:
        run = ResultsService(app, tokens).run()
        await run.stored(make_chunk(await run.claimed()))
    async with running(make_settings(results_database, tokens, wrong, vault=vault)) as app:
        again = ResultsService(app, tokens).run(run.team_id, run.run_id)
        for answer in (await again.findings(), await again.claim()):
            assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable")
            assert "another root key" in answer.json()["detail"]
    async with running(make_settings(results_database, tokens, right, vault=vault)) as app:
        assert (await ResultsService(app, tokens).run(run.team_id, run.run_id).findings()).json()["total"] == 1

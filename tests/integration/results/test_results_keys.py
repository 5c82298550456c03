"""The root key's two adapters under one suite; KMS going away and coming back; the keys of many teams."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from coreo_embedded.deploy import Deployment, deploy
from coreo_embedded.simulator import Simulator
from coreo_results.keys.errors import KeyUnavailableError, RootKeyError
from coreo_results.keys.kms_root import KmsRootKey, kms_root_key
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


@pytest.fixture(params=["disabled", "to be deleted", "denied"])
def trouble(
    request: pytest.FixtureRequest, aws: Simulator, kms: Deployment
) -> Callable[[], AbstractContextManager[None]]:
    """`with trouble():` KMS refuses the key, until the block ends."""
    root: KMSClient = aws.root_client("kms", ACCOUNT)

    @contextmanager
    def of_key() -> Iterator[None]:
        if request.param == "disabled":
            root.disable_key(KeyId=kms.key_arn)
        else:
            root.schedule_key_deletion(KeyId=kms.key_arn, PendingWindowInDays=7)
        try:
            yield
        finally:
            if request.param == "to be deleted":
                root.cancel_key_deletion(KeyId=kms.key_arn)
            root.enable_key(KeyId=kms.key_arn)

    @contextmanager
    def of_role() -> Iterator[None]:
        with aws.fault(kind="deny", service="kms"):
            yield

    return of_role if request.param == "denied" else of_key


async def test_a_key_that_kms_refuses_closes_everything_and_all_is_well_when_it_is_back(
    results_database: ServiceDatabase,
    kms_environment: str,
    trouble: Callable[[], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    """Another root key of the settings that could be used is not."""
    tokens = Tokens()
    others = (make_root_key(tmp_path / "other"),)
    vault = make_vault(tmp_path / "vault")
    settings = make_settings(results_database, tokens, kms_environment, vault=vault, other_root_keys=others)
    async with running(settings) as app:
        run = ResultsService(app, tokens).run()
        with trouble():
            refused = await run.claim()
            assert (refused.status_code, refused.json()["code"]) == (503, "key_unavailable")
            assert refused.headers["retry-after"] == "5"
            assert list((tmp_path / "vault").rglob("*.key")) == []
        await run.stored(make_chunk(await run.claimed()))

    async with running(settings) as app:  # a process that has nothing cached
        service = ResultsService(app, tokens)
        run = service.run(run.team_id, run.run_id)
        wish = {"resource": "bucket-0", "reason": "x", "author": "x"}
        with trouble():
            for refused in (
                await run.findings(),
                await run.put(make_chunk(1, unit="a.b@global")),
                await service.call("POST", "/suppressions", run.team_token, wish),
            ):
                assert (refused.status_code, refused.json()["code"]) == (503, "key_unavailable")
                assert "bucket-0" not in refused.text
            with pytest.raises(KeyUnavailableError):
                await app.state.services.turnovers.run(run.team_id)
        assert (await run.findings()).json()["total"] == 1
        with trouble(), pytest.raises(KeyUnavailableError):  # what is remembered of the old key makes no new one
            await app.state.services.turnovers.run(run.team_id)
        await app.state.services.turnovers.run(run.team_id)
        with trouble(), pytest.raises(KeyUnavailableError):  # begun, and its second half cannot be
            await app.state.services.turnovers.begin(run.team_id)
        assert (await run.findings()).json()["total"] == 1
    async with running(settings) as app:
        assert (await ResultsService(app, tokens).run(run.team_id, run.run_id).findings()).json()["total"] == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *(
            (code, KeyUnavailableError)
            for code in ("NotFoundException", "KMSInvalidStateException", "DisabledException")
        ),
        *((code, KeyUnavailableError) for code in ("AccessDeniedException", "KeyUnavailableException", "KMSInternal")),
        *((code, DamagedError) for code in ("InvalidCiphertextException", "IncorrectKeyException")),
    ],
)
async def test_what_kms_says_of_a_key_is_told_from_what_it_says_of_a_ciphertext(
    code: str, expected: type[Exception]
) -> None:
    """Among them what no simulator does: a key that is deleted for good."""

    class Refusing:
        async def decrypt(self, **_: object) -> None:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Decrypt")

    root = KmsRootKey(Refusing(), "arn:aws:kms:eu-west-1:1:key/x")  # type: ignore[arg-type]  # as much of one as it takes
    with pytest.raises(expected):
        await root.unwrap(bytes(64), KeyPlace(new_id(), 1))


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

"""POST …/bootstrap: keys are used and forgotten; what leaves can be opened by live onboard workers alone."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coreo_api.bootstrap import service
from coreo_api.bootstrap.requests import EVERYTHING
from coreo_shared.contracts.base import decode_msgpack
from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.onboarding import (
    SEALING_KEY_AUDIENCE,
    SEALING_KEY_TYPE,
    BootstrapProblem,
    BootstrapReport,
    BootstrapRequests,
    BootstrapSpec,
    SealContext,
    SealingKey,
)
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import Signer
from coreo_shared.crypto.sealing import SealError, generate_sealing_key, open_seal, public_key_of
from tests.support.api import CUSTOMER_ACCOUNT, FLEET_KEY, Api, ApiFactory, Team, VirtualClock, ok, problem, until
from tests.support.postgres import ServiceDatabase

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "canary3wJalrXUtnFEMI/K7MDENG+bPxcanaryKEY"
TOKEN = "canary5FwoGZXIvYXdzEBYaDEXAMPLEcanary=="
KEYS = {"access_key_id": KEY_ID, "secret_access_key": SECRET}
ROLE_ARN = f"arn:aws:iam::{CUSTOMER_ACCOUNT}:role/CloudCoreoAssumedRole"
NOBODY = "01900000-0000-7000-8000-000000000000"
MADE = BootstrapReport(role="created", policy="created", attached=True)


@dataclass
class Worker:
    """An onboard worker as far as sealing goes."""

    worker_id: str = "onboard-1"
    private: X25519PrivateKey = field(default_factory=generate_sealing_key)

    def status(self, api: Api, **fields: Any) -> dict[str, Any]:
        """As the results service lists it."""
        now = api.context.clock()
        key = SealingKey(
            iss="coreo-worker",
            aud=SEALING_KEY_AUDIENCE,
            jti=f"key-of-{self.worker_id}",
            iat=int(now.timestamp()),
            exp=int(now.timestamp()) + 600,
            pool=Pool.ONBOARD,
            worker_id=self.worker_id,
            public_key=public_key_of(self.private),
        )
        values: dict[str, Any] = {"worker_id": self.worker_id, "pool": "onboard", "version": "0.1.0", "host": "h"}
        values |= {"last_seen": now.isoformat(), "drain": False, "draining": False, "current_runs": []}
        return values | {"sealing_key": Signer(FLEET_KEY).sign(key, typ=SEALING_KEY_TYPE)} | fields

    def open(self, job: Job, **other: Any) -> BootstrapRequests:
        """What a job carries. Raises SealError."""
        assert isinstance(job.work, BootstrapSpec)
        bound_to = SealContext(
            team_id=job.team_id,
            run_id=job.run_id,
            cloud_account_id=job.target.cloud_account_id,
            account_id=job.target.account_id,
            expires_at=job.exp,
        )
        context = msgspec.structs.replace(bound_to, **other)
        sealed = job.work.sealed[f"key-of-{self.worker_id}"]
        return decode_msgpack(open_seal(sealed, self.private, context), BootstrapRequests)


@pytest.fixture
def worker(api: Api) -> Worker:
    """A live onboard worker of the fixture `api`."""
    made = Worker()
    api.results.workers = [made.status(api)]
    return made


def posting(team: Team, account: Any, **fields: Any) -> Any:
    """The call, to be awaited."""
    body = {name: value for name, value in (KEYS | fields).items() if value is not None}
    return team.http.post(f"/v1/cloud-accounts/{account['id']}/bootstrap", json=body)


async def history(team: Team, account: Any) -> list[Any]:
    return list(ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/history"))["items"])


async def show(team: Team, account: Any) -> Any:
    return ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}"))


async def everything_stored(database: ServiceDatabase) -> str:
    """All rows of all tables as one text."""
    connection = await asyncpg.connect(database.url("postgres").replace("+asyncpg", ""))
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
        rows = [
            str(await connection.fetch(f"SELECT * FROM {row['relname']} ORDER BY 1, 2"))
            for row in tables
            if row["relname"] not in {"alembic_version", "feed_position"}
        ]
        return "\n".join(rows)
    finally:
        await connection.close()


async def test_keys_become_a_job_that_a_live_worker_alone_can_open(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    answer = ok(await posting(team, account), 202)
    [job] = api.onboard_queue.jobs(Pool.ONBOARD)
    requests = worker.open(job)

    assert answer["role_arn"] == requests.role_arn == job.target.role_arn == ROLE_ARN
    assert (str(job.run_id), str(job.team_id)) == (answer["history"]["id"], str(team.id))
    assert (job.plan_id, job.target.external_id) == (None, account["external_id"])
    assert requests.account_id == CUSTOMER_ACCOUNT
    assert requests.trust_policy == account["trust_policy"]
    assert requests.policy == EVERYTHING
    assert requests.expires_at == job.exp <= api.context.clock().timestamp() + 300
    assert f"Credential={KEY_ID}/" in requests.get_user.headers["authorization"]
    assert api.queue.messages == []
    for other in ({"run_id": UUID(NOBODY)}, {"team_id": UUID(NOBODY)}, {"account_id": "1" * 12}, {"expires_at": 1}):
        with pytest.raises(SealError):
            worker.open(job, **other)


async def test_answer_says_what_to_do_with_the_key(api: Api, worker: Worker) -> None:
    team = await api.team()
    answer = ok(await posting(team, await team.add_account(role=None)), 202)

    assert (answer["history"]["kind"], answer["history"]["state"]) == ("bootstrap", "QUEUED")
    assert "deactivate it, and delete it" in " ".join(answer["advice"])
    assert answer["commands"] == [
        f"aws iam update-access-key --access-key-id {KEY_ID} --status Inactive",
        f"aws iam delete-access-key --access-key-id {KEY_ID}",
    ]


async def test_role_that_was_made_is_verified_like_any_other(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await posting(team, account), 202)
    assert (await show(team, account))["state"] == "BOOTSTRAPPING"

    after = await team.report(account, MADE)

    assert (after["state"], after["role_arn"]) == ("VERIFYING", ROLE_ARN)
    assert [entry["kind"] for entry in await history(team, account)] == ["verify", "bootstrap", "created"]


async def test_what_went_wrong_is_told_and_keys_can_be_posted_again(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await posting(team, account), 202)
    report = BootstrapReport(problem=BootstrapProblem.MISSING_PERMISSION, detail="The key may not.", missing_action="x")
    after = await team.report(account, report)

    assert (after["state"], after["reason"]) == ("PENDING", "The key may not.")
    ok(await posting(team, account), 202)


async def test_keys_that_make_nothing_take_no_role_away(api: Api, worker: Worker) -> None:
    """The role from before has to prove itself again; what was wrong with the keys stays in the history."""
    team = await api.team()
    account = await team.add_account()
    before = await show(team, account)
    ok(await posting(team, account), 202)
    report = BootstrapReport(problem=BootstrapProblem.MISSING_PERMISSION, detail="The key may not.", missing_action="x")
    after = await team.report(account, report)

    assert (after["state"], after["role_arn"]) == ("VERIFYING", before["role_arn"])
    entries = (await history(team, account))[:2]
    assert [entry["kind"] for entry in entries] == ["verify", "bootstrap"]
    assert entries[1]["report"]["detail"] == "The key may not."


async def test_every_live_worker_gets_a_seal_of_its_own(api: Api, worker: Worker) -> None:
    other, silent = Worker("onboard-2"), Worker("onboard-3")
    long_ago = (api.context.clock() - timedelta(seconds=60)).isoformat()
    api.results.workers += [other.status(api), silent.status(api, last_seen=long_ago)]
    team = await api.team()
    ok(await posting(team, await team.add_account(role=None)), 202)
    [job] = api.onboard_queue.jobs(Pool.ONBOARD)

    assert worker.open(job) == other.open(job)
    assert isinstance(job.work, BootstrapSpec)
    assert set(job.work.sealed) == {"key-of-onboard-1", "key-of-onboard-2"}


async def test_seals_are_as_many_as_a_message_holds(api: Api) -> None:
    workers = [Worker(f"onboard-{number}") for number in range(60)]
    api.results.workers = [each.status(api) for each in workers]
    team = await api.team()
    ok(await posting(team, await team.add_account(role=None)), 202)
    [message] = api.onboard_queue.messages
    [job] = api.onboard_queue.jobs(Pool.ONBOARD)

    assert len(message.body) < 256 * 1024
    assert isinstance(job.work, BootstrapSpec)
    assert 5 < len(job.work.sealed) < 60


async def test_audit_level_attaches_security_audit(api: Api, worker: Worker) -> None:
    team = await api.team()
    ok(await posting(team, await team.add_account(role=None), level="audit", role_name="CoreoAudit"), 202)
    requests = worker.open(api.onboard_queue.jobs(Pool.ONBOARD)[0])

    assert requests.policy is None
    assert requests.create_policy is None
    assert requests.policy_arn == "arn:aws:iam::aws:policy/SecurityAudit"
    assert requests.role_arn.endswith(":role/CoreoAudit")


async def test_exact_level_is_what_the_plans_need(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    plan = await team.add_plan(account["id"])
    ok(await posting(team, account, level="exact", plan_ids=[plan["id"]], rules=[]), 202)
    requests = worker.open(api.onboard_queue.jobs(Pool.ONBOARD)[0])
    query = {"level": "exact", "plan_id": plan["id"], "role_name": "CloudCoreoAssumedRole"}
    grant = ok(await team.http.get(f"/v1/cloud-accounts/{account['id']}/grant", params=query))

    assert requests.policy == grant["policy"]
    assert requests.create_policy is not None
    assert requests.policy_arn == f"arn:aws:iam::{CUSTOMER_ACCOUNT}:policy/CloudCoreoAssumedRole"


async def test_temporary_keys_are_taken_with_their_session_token(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    answer = ok(await posting(team, account, access_key_id="ASIAIOSFODNN7EXAMPLE", session_token=TOKEN), 202)
    requests = worker.open(api.onboard_queue.jobs(Pool.ONBOARD)[0])

    assert requests.create_role.headers["x-amz-security-token"] == TOKEN
    assert answer["commands"] == []
    assert "ends by itself" in " ".join(answer["advice"])


async def test_while_the_external_id_is_replaced_the_role_takes_both(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    rotating = ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/external-id/rotate"))
    ok(await posting(team, account), 202)
    requests = worker.open(api.onboard_queue.jobs(Pool.ONBOARD)[0])

    assert requests.trust_policy == rotating["trust_policy"]
    assert rotating["next_external_id"] in json.dumps(requests.trust_policy)


async def test_requests_go_to_the_iam_of_the_settings(make_api: ApiFactory) -> None:
    api, worker = make_api(iam_endpoint_url="http://127.0.0.1:4566"), Worker()
    api.results.workers = [worker.status(api)]
    team = await api.team()
    ok(await posting(team, await team.add_account(role=None)), 202)

    assert worker.open(api.onboard_queue.jobs(Pool.ONBOARD)[0]).get_user.url == "http://127.0.0.1:4566/"


# What is in the way


NOT_LIVE: dict[str, Callable[[Worker, Api], list[dict[str, Any]]]] = {
    "none": lambda _worker, _api: [],
    "silent": lambda worker, api: [
        worker.status(api, last_seen=(api.context.clock() - timedelta(seconds=31)).isoformat())
    ],
    "draining": lambda worker, api: [worker.status(api, draining=True)],
    "without key": lambda worker, api: [worker.status(api, sealing_key=None)],
    "with a key that nobody vouches for": lambda worker, api: [worker.status(api, sealing_key="x.y.z")],
}


@pytest.mark.parametrize("case", NOT_LIVE)
async def test_without_a_live_worker_nothing_is_queued_or_stored(
    api: Api, api_database: ServiceDatabase, case: str
) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    before = await everything_stored(api_database)
    api.results.workers = NOT_LIVE[case](Worker(), api)
    answer = await posting(team, account)

    assert problem(answer, 503)["code"] == "no_onboard_worker"
    assert answer.headers["retry-after"] == "10"
    assert api.onboard_queue.calls == 0
    assert await everything_stored(api_database) == before


async def test_while_the_results_service_is_down_nothing_is_queued_or_stored(
    api: Api, api_database: ServiceDatabase
) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    before = await everything_stored(api_database)
    api.results.down = True
    answer = await posting(team, account)

    assert problem(answer, 503)["code"] == "results_unavailable"
    assert answer.headers["retry-after"]
    assert api.onboard_queue.calls == 0
    assert await everything_stored(api_database) == before


@pytest.mark.parametrize("refusing", [False, True], ids=["down", "refuses"])
async def test_a_queue_that_takes_nothing_leaves_the_account_as_it_was(
    api: Api,
    worker: Worker,
    refusing: bool,  # noqa: FBT001  a case
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = await api.team()
    account = await team.add_account()

    async def refuse(messages: Any) -> dict[str, str]:
        return {message.id: "InvalidMessageContents" for message in messages}

    if refusing:
        monkeypatch.setattr(api.onboard_queue, "send", refuse)
    api.onboard_queue.available = False
    answer = await posting(team, account)

    assert problem(answer, 503)["code"] == "queue_unavailable"
    assert answer.headers["retry-after"]
    newest = (await history(team, account))[0]
    assert (newest["kind"], newest["state"]) == ("bootstrap", "FAILED")
    assert "Post the keys again" in newest["reason"]
    after = await show(team, account)
    assert (
        (after["state"], after["role_arn"])
        == (account["state"], account["role_arn"])
        == ("CONNECTED", account["role_arn"])
    )
    if not refusing:
        api.onboard_queue.available = True
        ok(await posting(team, account), 202)


async def test_one_bootstrap_at_a_time(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    answers = await asyncio.gather(*(posting(team, account) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    assert {problem(each, 409)["code"] for each in answers if each.status_code == 409} == {"bootstrap_under_way"}
    assert len(api.onboard_queue.messages) == 1


async def test_keys_nobody_used_in_time_are_to_be_posted_again(make_api: ApiFactory) -> None:
    clock = VirtualClock()
    api, worker = make_api(clock=clock), Worker()
    api.results.workers = [worker.status(api)]
    team = await api.team()
    account = await team.add_account(role=None)
    ok(await posting(team, account), 202)
    clock.now += timedelta(seconds=331)

    async def has_ended() -> bool:
        return bool((await show(team, account))["state"] != "BOOTSTRAPPING")

    async with api.running():
        await until(has_ended)
    after = await show(team, account)
    assert after["state"] == "EXPIRED"
    assert "Post the keys again" in after["reason"]


async def test_a_disconnected_account_is_connected_again(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account()
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/disconnect", json={"results": "keep"}))
    ok(await posting(team, account), 202)

    assert (await team.report(account, MADE))["state"] == "VERIFYING"


async def test_a_verification_under_way_gives_way(api: Api, worker: Worker) -> None:
    team = await api.team()
    account = await team.add_account()
    ok(await team.http.post(f"/v1/cloud-accounts/{account['id']}/verify"), 202)
    ok(await posting(team, account), 202)

    assert [(each["kind"], each["state"]) for each in (await history(team, account))[:2]] == [
        ("bootstrap", "QUEUED"),
        ("verify", "CANCELED"),
    ]


async def test_a_role_of_another_cloud_account_of_the_team_is_refused(api: Api, worker: Worker) -> None:
    team = await api.team()
    await team.add_account(role="CloudCoreoAssumedRole")
    answer = await posting(team, await team.add_account(role=None))

    problem(answer, 422, "body.role_name")


async def test_another_teams_account_is_as_if_it_were_not(api: Api, worker: Worker) -> None:
    team, other = await api.team(), await api.team("other")
    theirs = await other.add_account(role=None)

    assert (
        problem(await posting(team, theirs), 404)["detail"]
        == problem(await posting(team, {"id": NOBODY}), 404)["detail"]
    )
    assert (await api.client().post(f"/v1/cloud-accounts/{theirs['id']}/bootstrap", json=KEYS)).status_code == 401


# Bad input, and where the secret must not be

HEADERS = {"content-type": "application/json"}
MALFORMED: dict[str, tuple[Any, int]] = {
    "no JSON": (json.dumps(KEYS)[:-1], 422),
    "single quotes": (str(KEYS), 422),
    "form": (f"access_key_id={KEY_ID}&secret_access_key={SECRET}", 422),
    "twice": (json.dumps(KEYS) * 2, 422),
    "in a list": ([KEYS], 422),
    "as a text": (json.dumps(json.dumps(KEYS)), 422),
    "nested": ({"keys": KEYS}, 422),
    "UTF-16": (json.dumps(KEYS).encode("utf-16"), 422),
    "NaN beside it": (json.dumps(KEYS | {"role_name": float("nan")}), 422),
    "no key id": ({"secret_access_key": SECRET}, 422),
    "exchanged": ({"access_key_id": SECRET, "secret_access_key": KEY_ID}, 422),
    "the secret as key id too": (KEYS | {"access_key_id": SECRET}, 422),
    "in a list of its own": (KEYS | {"secret_access_key": [SECRET]}, 422),
    "with a line end": (KEYS | {"secret_access_key": SECRET + "\n"}, 422),
    "with a character beyond ASCII": (KEYS | {"secret_access_key": SECRET + "é"}, 422),
    "too long": (KEYS | {"secret_access_key": SECRET * 4}, 422),
    "as another field": (KEYS | {"secretAccessKey": SECRET}, 422),
    "as a field's name": (KEYS | {SECRET: True}, 422),
    "as role name": (KEYS | {"role_name": SECRET}, 422),
    "as level": (KEYS | {"level": SECRET}, 422),
    "as plan": (KEYS | {"level": "exact", "plan_ids": [SECRET]}, 422),
    "as rule": (KEYS | {"level": "exact", "rules": [SECRET]}, 422),
    "as rule set": (KEYS | {"level": "exact", "rule_sets": [SECRET]}, 422),
    "as account": (KEYS | {"account_id": SECRET}, 422),
    "as session token": (KEYS | {"session_token": SECRET}, 422),
    "too large": (KEYS | {"role_name": SECRET * 500}, 413),
    "far too large": (KEYS | {"role_name": SECRET * 10_000}, 413),
}


async def test_malformed_keys_are_not_repeated_logged_or_stored(
    api: Api,
    worker: Worker,
    api_database: ServiceDatabase,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    before = await everything_stored(api_database)
    with caplog.at_level(logging.DEBUG):
        for case, (body, status) in MALFORMED.items():
            content = body if isinstance(body, str | bytes) else json.dumps(body)
            answer = await team.http.post(
                f"/v1/cloud-accounts/{account['id']}/bootstrap", content=content, headers=HEADERS
            )
            assert answer.status_code == status, case
            assert answer.headers["content-type"] == "application/problem+json", case
            assert status == 413 or answer.json()["errors"][0]["field"].startswith("body"), case
            assert_unseen(answer.text, case)
    assert_unseen(caplog.text + "".join(capfd.readouterr()))
    assert await everything_stored(api_database) == before
    assert api.onboard_queue.calls == 0


def assert_unseen(text: str, case: str = "") -> None:
    for piece in (SECRET, SECRET[:20], SECRET[-20:], "canary"):
        assert piece not in text, case


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"account_id": "210987654322"}, "body.account_id"),
    ({"level": "exact"}, "body.plan_ids"),
    ({"level": "exact", "plan_ids": [NOBODY]}, "body.plan_ids.0"),
    ({"level": "exact", "rules": ["nothing"]}, "body.rules.0"),
    ({"level": "exact", "rule_sets": ["nothing"]}, "body.rule_sets.0"),
]


@pytest.mark.parametrize(("fields", "named"), REFUSED)
async def test_wishes_that_cannot_be_met_are_named(
    api: Api, worker: Worker, fields: dict[str, Any], named: str
) -> None:
    team = await api.team()
    problem(await posting(team, await team.add_account(role=None), **fields), 422, named)
    assert api.onboard_queue.calls == 0


async def test_the_accounts_own_id_may_be_sent_along(api: Api, worker: Worker) -> None:
    team = await api.team()
    ok(await posting(team, await team.add_account(role=None), account_id=CUSTOMER_ACCOUNT), 202)


@pytest.mark.parametrize("step", ["signed_requests", "_message", "live_keys"])
async def test_a_bug_in_the_middle_tells_nothing(
    api: Api,
    worker: Worker,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    api_database: ServiceDatabase,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    before = await everything_stored(api_database)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(service, step, broken)
    with caplog.at_level(logging.DEBUG):
        answer = await posting(team, account)
    said = "".join(capfd.readouterr())

    assert problem(answer, 500)["code"] == "internal_error"
    assert "broken on purpose" in said
    assert_unseen(answer.text + said + caplog.text)
    assert await everything_stored(api_database) == before


async def test_nothing_that_is_stored_or_sent_has_the_secret(
    api: Api, worker: Worker, api_database: ServiceDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    team = await api.team()
    account = await team.add_account(role=None)
    with caplog.at_level(logging.DEBUG):
        answer: httpx.Response = await posting(team, account, access_key_id="ASIAIOSFODNN7EXAMPLE", session_token=TOKEN)
    ok(answer, 202)
    [job] = api.onboard_queue.jobs(Pool.ONBOARD)

    for text in (answer.text, caplog.text, await everything_stored(api_database), str(job)):
        assert_unseen(text)
    for request in api.results.requests:
        assert_unseen(f"{request.url} {request.headers} {request.content!r}")
    assert SECRET not in str(worker.open(job))  # its signatures are enough

"""From a customer's key to a job for the onboard workers, within one request.

The secret is wiped before anything is stored or sent. What is sent can be opened by live workers alone, for five
minutes, and makes this role with this policy, and nothing else. The job is never stored: if the queue does not take it,
nothing is left but an entry of the history that says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api.accounts import history, repository, tasks
from coreo_api.accounts import service as accounts
from coreo_api.accounts.states import AccountState, Change, next_state
from coreo_api.accounts.trust import trust_policy
from coreo_api.bootstrap.body import KeysLevel, PostedKeys, Wish
from coreo_api.bootstrap.keys import live_keys
from coreo_api.bootstrap.requests import EVERYTHING, RoleWish, signed_requests
from coreo_api.context import Context
from coreo_api.dispatch.queue import JobQueue, QueueMessage, QueueUnavailableError
from coreo_api.grants.actions import Choice, Fields, actions_of
from coreo_api.grants.grant import own_policy, role_arn
from coreo_api.grants.service import external_ids
from coreo_api.results import ResultsUnavailableError
from coreo_api.teams.session import Caller, Session
from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.jobs import TargetAccount
from coreo_shared.contracts.onboarding import BootstrapRequests, BootstrapSpec, SealContext, SealingKey
from coreo_shared.crypto.jose import Verifier, load_jwks
from coreo_shared.crypto.sealing import seal
from coreo_shared.observability.logs import get_logger
from coreo_shared.rules.policy import MAX_MANAGED_POLICY, size_of
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid

WORKER_ISSUER = "coreo-worker"
_MAX_SEALED = 80_000  # characters in all: verifiers of signed jobs take 128,000 bytes of base64
_FIELDS = Fields(plans="body.plan_ids", rule_sets="body.rule_sets", rules="body.rules")
_log = get_logger(__name__)


@dataclass(frozen=True)
class Started:
    """The task that makes the role."""

    entry: Row[Any]
    role_arn: str


async def start(context: Context, queue: JobQueue, caller: Caller, account_id: UUID, keys: PostedKeys) -> Started:
    """Has the role made. Wipes the keys. Raises Problem."""
    async with caller.session() as session:
        role = await _role(session, context, account_id, keys.wish)
    sealing_keys = await _sealing_keys(context)
    endpoint = context.settings.iam_endpoint_url
    requests = signed_requests(role, keys, endpoint_url=endpoint, now=context.clock())
    try:
        async with caller.session() as session:
            return await _send(session, context, queue, account_id, requests, sealing_keys)
    except QueueUnavailableError as error:
        async with caller.session() as session:
            await _note_not_sent(session, account_id)
        _log.warning("bootstrap_not_sent", cloud_account_id=str(account_id), problem=str(error))
        detail = (
            "The queue to Coreo's workers does not answer just now. Nothing was sent; post the keys again in a minute."
        )
        raise Problem(503, "queue_unavailable", detail, headers={"Retry-After": "30"}) from error


async def _role(session: Session, context: Context, account_id: UUID, wish: Wish) -> RoleWish:
    """The role to be made. Raises Problem."""
    account = await accounts.find(session, account_id)
    if wish.account_id not in {None, account.account_id}:
        raise invalid("body.account_id", "This is not the AWS account of this cloud account.")
    _state_after(account)
    partition = context.settings.partition
    arn = role_arn(partition, account.account_id, wish.role_name)
    if await repository.has_role(session.connection, session.team_id, account_id, arn):
        raise invalid("body.role_name", "Another of your cloud accounts has this role; each needs a role of its own.")
    return RoleWish(
        partition=partition,
        account_id=account.account_id,
        name=wish.role_name,
        trust_policy=trust_policy(context.settings, *external_ids(account)),
        policy=await _policy(session, context, wish, arn),
    )


async def _policy(session: Session, context: Context, wish: Wish, arn: str) -> dict[str, Any] | None:
    """What the role allows; None for AWS's own policy. Raises Problem."""
    if wish.level is KeysLevel.FULL:
        return EVERYTHING
    if wish.level is KeysLevel.AUDIT:
        return None
    choice = Choice(wish.plan_ids, wish.rule_sets, wish.rules)
    policy = own_policy(await actions_of(session, context, choice, _FIELDS), arn)
    if size_of(policy) > MAX_MANAGED_POLICY:
        raise invalid("body.level", "The policy would be longer than IAM allows: choose fewer plans and rules.")
    return policy


def _state_after(account: Row[Any]) -> AccountState:
    """The state that the account gets. Raises a 409 Problem when a role is being made already."""
    state = next_state(AccountState(account.state), Change.POST_KEYS)
    if state is None:
        detail = "A role is being made in this cloud account. Wait for its end, five minutes at most, then try again."
        raise Problem(409, "bootstrap_under_way", detail, headers={"Retry-After": "10"})
    return state


async def _sealing_keys(context: Context) -> list[SealingKey]:
    """Keys of workers that live, of which there is at least one. Raises Problem."""
    try:
        workers = await context.results.workers()
    except ResultsUnavailableError as error:
        _log.warning("results_unavailable", problem=str(error))
        detail = "It is not known just now which workers there are. Nothing was sent; post the keys again in a minute."
        raise Problem(503, "results_unavailable", detail, headers={"Retry-After": "5"}) from error
    verifier = Verifier(load_jwks(context.settings.onboard_fleet_jwks), issuer=WORKER_ISSUER)
    keys = live_keys(workers, verifier, context.clock())
    if not keys:
        detail = (
            "No onboard worker is there to take this. Nothing was sent or stored; post the keys again in a minute, or "
            "make the role yourself: GET …/grant has what it takes."
        )
        raise Problem(503, "no_onboard_worker", detail, headers={"Retry-After": "10"})
    return keys


async def _send(
    session: Session,
    context: Context,
    queue: JobQueue,
    account_id: UUID,
    requests: BootstrapRequests,
    keys: Sequence[SealingKey],
) -> Started:
    """Sends the job within the transaction that notes it. Raises QueueUnavailableError or Problem."""
    account = await accounts.find(session, account_id, lock=True)
    state = _state_after(account)
    if requests.trust_policy != trust_policy(context.settings, *external_ids(account)):
        raise Problem(409, "conflict", "The external id was changed meanwhile. Post the keys again.")
    await _end_open_task(session, account_id)
    by = await history.by_token(session.connection, session.team_id, session.token_id)
    spec = {"made_role_arn": requests.role_arn}
    entry_id = await tasks.start(
        session.connection, session.team_id, account, tasks.BOOTSTRAP, by, session.now, spec=spec, sent=True
    )
    await repository.set_state(
        session.connection,
        session.team_id,
        account_id,
        role_arn=account.role_arn,
        state=state,
        now=session.now,
    )
    message = _message(session, context, account, entry_id, requests, keys)
    if refused := await queue.send([message]):
        raise QueueUnavailableError(", ".join(sorted(set(refused.values()))))
    _log.info("bootstrap_sent", cloud_account_id=str(account_id), run_id=str(entry_id), workers=len(keys))
    return Started(await accounts.find_entry(session, account_id, entry_id), requests.role_arn)


async def _end_open_task(session: Session, account_id: UUID) -> None:
    """A verification of the role that was there is of no use any more."""
    under_way = await history.open_task(session.connection, session.team_id, account_id)
    if under_way is not None:
        reason = "Keys were posted meanwhile."
        await history.end(
            session.connection, session.team_id, under_way.id, state="CANCELED", reason=reason, now=session.now
        )


def _message(
    session: Session,
    context: Context,
    account: Row[Any],
    entry_id: UUID,
    requests: BootstrapRequests,
    keys: Sequence[SealingKey],
) -> QueueMessage:
    """The job, which only the workers of these keys can make use of."""
    seal_context = SealContext(
        team_id=session.team_id,
        run_id=entry_id,
        cloud_account_id=account.id,
        account_id=account.account_id,
        expires_at=requests.expires_at,
    )
    body = tasks.signed_task_job(
        context.settings.signer(),
        team_id=session.team_id,
        run_id=entry_id,
        target=TargetAccount(
            cloud_account_id=account.id,
            account_id=account.account_id,
            partition=context.settings.partition,
            role_arn=requests.role_arn,
            external_id=account.external_id,
        ),
        work=BootstrapSpec(sealed=_sealed(requests, keys, seal_context)),
        now=context.clock(),
        expires_at=datetime.fromtimestamp(requests.expires_at, UTC),
    )
    return QueueMessage(str(entry_id), body, str(session.team_id))


def _sealed(requests: BootstrapRequests, keys: Sequence[SealingKey], context: SealContext) -> dict[str, str]:
    """A seal for each key, as many as a message holds: a worker without one gives the job back for another."""
    plaintext = encode_msgpack(requests)
    sealed: dict[str, str] = {}
    room = _MAX_SEALED
    for key in keys:
        text = seal(plaintext, key.public_key, context)
        room -= len(text)
        if sealed and room < 0:
            break
        sealed[key.jti] = text
    return sealed


async def _note_not_sent(session: Session, account_id: UUID) -> None:
    """An entry of the history: keys were posted, and nothing came of it."""
    account = await accounts.find(session, account_id, lock=True)
    by = await history.by_token(session.connection, session.team_id, session.token_id)
    reason = "The queue to Coreo's workers did not answer. Post the keys again."
    entry_id = await history.add(session.connection, session.team_id, account.id, tasks.BOOTSTRAP, by, session.now)
    await history.end(session.connection, session.team_id, entry_id, state="FAILED", reason=reason, now=session.now)

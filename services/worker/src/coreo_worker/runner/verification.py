"""A verification: the customer's role tried as itself, as others might, and asked what it may do."""

import asyncio
import secrets
from dataclasses import dataclass
from time import monotonic
from typing import Final

from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome, VerifyReport, VerifySpec
from coreo_shared.observability.logs import get_logger
from coreo_shared.rules.policy import session_policy
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.aws.inside import NOTHING, SIMULATE_ACTION, Inside, Simulated
from coreo_worker.aws.sts import Refusal, TrustGate
from coreo_worker.runner import verdicts
from coreo_worker.runner.planning import Completed, Ending
from coreo_worker.runner.verdicts import Attempt
from coreo_worker.runner.work import ClaimedRun, attended

_log = get_logger(__name__)
_WRONG_ID_BYTES: Final = 16
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 5.0
_DENIALS_OF_NEW_ROLE: Final = 3


@dataclass(frozen=True)
class VerifyTools:
    """What a verification is done with.

    `settle_seconds`: a role just made or changed is not known everywhere in AWS at once (IAM user guide,
    "Troubleshooting", eventual consistency), so a refusal of the right external id counts only after so long.
    """

    gate: TrustGate
    inside: Inside
    settle_seconds: float


class Verification:
    """A verification in this worker's hands. What AWS does not answer is in the report, never an error."""

    def __init__(self, tools: VerifyTools, claimed: ClaimedRun, spec: VerifySpec) -> None:
        self._tools = tools
        self._claimed = claimed
        self._target = claimed.job.target
        self._actions = sorted(set(spec.actions))
        self._was_settling = False

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """As the port says."""
        return await attended(self._work(), self._claimed, giving_back)

    async def _work(self) -> Ending:
        report = await self._verify()
        outcomes = {check.name: check.outcome for check in report.checks}
        _log.info("role_verified", verdict=report.verdict, **outcomes)
        return Completed(report)

    async def _verify(self) -> VerifyReport:
        """All parts, whatever comes of the first: a role that refuses the right id may still let in who has none."""
        answer = await self._enter()
        session = None if isinstance(answer, Refusal) else answer
        entry = verdicts.entry_check(_attempt(answer), self._target.role_arn)
        found = None if session is None else await self._tools.inside.account(session)
        account = verdicts.account_check(found, self._target.account_id)
        without = await self._try_negative(CheckName.WITHOUT_EXTERNAL_ID, None, entry)
        wrong = await self._try_negative(CheckName.WRONG_EXTERNAL_ID, secrets.token_hex(_WRONG_ID_BYTES), entry)
        simulated = None
        if session is not None and found == self._target.account_id and self._actions:
            simulated = await self._tools.inside.simulate(session, self._target.role_arn, self._actions)
        permissions = verdicts.permissions_check(simulated, self._actions)
        missing = simulated.denied if isinstance(simulated, Simulated) else ()
        return verdicts.report_of([entry, account, without, wrong, permissions], missing)

    async def _enter(self) -> SessionCredentials | Refusal:
        """In with the external id; a denial is asked again until the role has had its time to settle."""
        policy = session_policy([SIMULATE_ACTION]).document if self._actions else NOTHING
        deadline, pause = monotonic() + self._tools.settle_seconds, _FIRST_PAUSE_SECONDS
        while True:
            answer = await self._knock(self._target.external_id, policy)
            is_denied = isinstance(answer, Refusal) and answer.is_denial
            if not is_denied or monotonic() + pause > deadline:
                return answer
            self._was_settling = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _try_negative(self, name: CheckName, external_id: str | None, entry: Check) -> Check:
        """Where the role was seen to settle, one denial may come from a part of AWS that does not know it yet."""
        denials = _DENIALS_OF_NEW_ROLE if self._was_settling else 1
        check = verdicts.negative_check(name, await self._try_once(external_id), entry=entry)
        for _ in range(denials - 1):
            if check.outcome is not CheckOutcome.PASSED:
                break
            await asyncio.sleep(_FIRST_PAUSE_SECONDS)
            check = verdicts.negative_check(name, await self._try_once(external_id), entry=entry)
        return check

    async def _try_once(self, external_id: str | None) -> Attempt:
        """A session gained this way could do nothing, and is dropped."""
        return _attempt(await self._knock(external_id, NOTHING))

    async def _knock(self, external_id: str | None, policy: str) -> SessionCredentials | Refusal:
        return await self._tools.gate.try_role(
            self._target.role_arn, self._claimed.job.run_id, external_id=external_id, policy=policy
        )


def _attempt(answer: SessionCredentials | Refusal) -> Attempt:
    return Attempt(answer if isinstance(answer, Refusal) else None)

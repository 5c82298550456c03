"""A discovery: the accounts of the organization that the target manages, read through the target's role."""

import asyncio
from dataclasses import dataclass

from coreo_shared.contracts.onboarding import DiscoverReport, DiscoverSpec
from coreo_shared.observability.logs import get_logger
from coreo_shared.rules.policy import session_policy
from coreo_worker.aws.organizations import (
    DESCRIBE_ACTION,
    LIST_ACTION,
    MayNotListError,
    NoOrganizationError,
    Organizations,
)
from coreo_worker.aws.sts import RoleGate
from coreo_worker.runner.planning import Completed, Ending
from coreo_worker.runner.work import ClaimedRun, attended

_log = get_logger(__name__)


@dataclass(frozen=True)
class DiscoverTools:
    """What a discovery is done with."""

    roles: RoleGate
    organizations: Organizations


class Discovery:
    """A discovery in this worker's hands. That there is nothing to list is in its report; what passes raises."""

    def __init__(self, tools: DiscoverTools, claimed: ClaimedRun, _spec: DiscoverSpec) -> None:
        self._tools = tools
        self._claimed = claimed

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """As the port says. Raises PermanentError or TemporaryError."""
        return await attended(self._work(), self._claimed, giving_back)

    async def _work(self) -> Ending:
        job = self._claimed.job
        policy = session_policy([DESCRIBE_ACTION, LIST_ACTION])
        session = await self._tools.roles.assume(job.target, job.run_id, policy)
        try:
            found = await self._tools.organizations.read(session)
        except NoOrganizationError:
            problem = f"Account {job.target.account_id} belongs to no organization. Ask through its managing account."
            return Completed(DiscoverReport(problem=problem))
        except MayNotListError as refused:
            return Completed(
                DiscoverReport(
                    management_account_id=refused.management_account_id,
                    problem=_why_refused(refused, job.target.account_id),
                )
            )
        _log.info("organization_read", organization_id=found.id, accounts=len(found.accounts))
        return Completed(
            DiscoverReport(
                organization_id=found.id,
                management_account_id=found.management_account_id,
                accounts=list(found.accounts),
            )
        )


def _why_refused(refused: MayNotListError, account_id: str) -> str:
    if refused.management_account_id in (None, account_id):
        return f"The role may not list the organization's accounts. Allow it {refused.action}."
    return (
        f"Account {account_id} may not list the organization's accounts: only the managing account "
        f"({refused.management_account_id}) and delegated administrators may. Ask through a role of one of these; if "
        f"this account is a delegated administrator, allow its role {refused.action}."
    )

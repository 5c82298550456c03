"""What is checked here before a decision goes to the results service: who decides, and that what it names is there."""

from uuid import UUID

from coreo_api.accounts import history
from coreo_api.accounts import repository as accounts
from coreo_api.context import Context
from coreo_api.packs import repository as packs
from coreo_api.teams.session import Caller, Session
from coreo_shared.catalogue.packs import PREFIX
from coreo_shared.web.problems import invalid


async def author_of(caller: Caller, *, cloud_account_id: UUID | None = None) -> str:
    """The name of the token that asks. Raises Problem when the cloud account is none of the team's."""
    async with caller.session() as session:
        if cloud_account_id is not None:
            await _check_account(session, cloud_account_id)
        by = await history.by_token(session.connection, session.team_id, session.token_id)
    return by.name


async def check_rule(caller: Caller, context: Context, rule_id: str) -> None:
    """Raises Problem for a rule that is neither in the catalogue nor of one of the team's packs."""
    if rule_id in context.catalogue.rules:
        return
    pack, _, rest = rule_id.removeprefix(PREFIX).partition("-")
    if rule_id.startswith(PREFIX) and rest:
        async with caller.session() as session:
            if await packs.find(session.connection, session.team_id, pack) is not None:
                return
    raise invalid("body.rule_id", "There is no such rule; GET /v1/rules lists them.")


async def _check_account(session: Session, cloud_account_id: UUID) -> None:
    if await accounts.find(session.connection, session.team_id, cloud_account_id) is None:
        raise invalid("body.cloud_account_id", "There is no such cloud account.")

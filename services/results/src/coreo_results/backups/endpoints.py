"""A team's backups as the api asks for them, with a service token for the team."""

from uuid import UUID

import msgspec
from fastapi import APIRouter, Response

from coreo_results.auth import TeamToken
from coreo_results.backups.heads import HeadRepository
from coreo_results.bodies import json_answer
from coreo_results.services import Services, Wired
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.custody import BackupState
from coreo_shared.web import Problem, StrictRoute

router = APIRouter(prefix="/internal/v1/backups", route_class=StrictRoute)


@router.get("")
async def show(team_id: TeamToken, services: Wired) -> Response:
    """A contracts.custody.BackupState."""
    return json_answer(await _state(team_id, services))


@router.post("")
async def begin(team_id: TeamToken, services: Wired) -> Response:
    """Begins at once what would be done within minutes: a contracts.custody.BackupState; 409 no_backups."""
    state = await _state(team_id, services)
    if not state.wanted or services.backup_keeper is None:
        raise Problem(409, "no_backups", "There are no backups of this team, by its settings or the installation's.")
    services.backup_keeper.wake()
    return Response(encode_json(state), 202, media_type="application/json")


async def _state(team_id: UUID, services: Services) -> BackupState:
    async with services.database.transaction(team_id) as connection:
        state = await HeadRepository(connection, team_id).state()
    return msgspec.structs.replace(state, wanted=state.wanted and services.backups is not None)

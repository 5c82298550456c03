"""Deletion of results as the api asks for it, with a service token for the team."""

from uuid import UUID

from fastapi import APIRouter, Response

from coreo_results.auth import ByActor, TeamToken
from coreo_results.bodies import json_answer
from coreo_results.services import Services, Wired
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1", route_class=StrictRoute)


@router.delete("/runs/{run_id}/results")
async def delete_run(run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> Response:
    """A contracts.custody.Deleted; 409 run_at_work."""
    deleted = await services.retention.delete_run(team_id, run_id, actor)
    _tell_backups(services)
    return json_answer(deleted)


@router.delete("/plans/{plan_id}/results")
async def delete_plan(plan_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> Response:
    """A contracts.custody.Deleted; 409 runs_at_work."""
    deleted = await services.retention.delete_plan(team_id, plan_id, actor)
    _tell_backups(services)
    return json_answer(deleted)


@router.delete("/cloud-accounts/{cloud_account_id}/results", status_code=204)
async def purge_account(cloud_account_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> None:
    """Destroys all results of the cloud account's runs; 409 runs_at_work. Doing it again does no harm."""
    await services.retention.purge_account(team_id, cloud_account_id, actor)
    _tell_backups(services)


def _tell_backups(services: Services) -> None:
    """So that their log says soon that these results are not to be restored."""
    if services.backup_keeper is not None:
        services.backup_keeper.wake()

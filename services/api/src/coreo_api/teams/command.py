"""`coreo-api create-team NAME`."""

import argparse
import asyncio
import json
import sys

from pydantic import TypeAdapter, ValidationError

from coreo_api.context import utc_now
from coreo_api.schemas import Name
from coreo_api.settings import DatabaseSettings
from coreo_api.teams.service import create_team
from coreo_shared.db import Database
from coreo_shared.settings import load_settings


def main(arguments: argparse.Namespace) -> None:
    """Makes the team and prints its id and first token as JSON."""
    try:
        name = TypeAdapter[str](Name).validate_python(arguments.name)
    except ValidationError as error:
        sys.exit(f"NAME: {error.errors(include_input=False)[0]['msg']}")
    asyncio.run(_create(load_settings(DatabaseSettings).database_url.get_secret_value(), name))


async def _create(url: str, name: str) -> None:
    database = Database(url, pool_size=1)
    try:
        team_id, token = await create_team(database, name, utc_now())
    finally:
        await database.close()
    print(json.dumps({"team_id": str(team_id), "token": token}))  # noqa: T201  the command's answer

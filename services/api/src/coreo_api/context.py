"""What the parts of one api process share; made in create_app(), handed to endpoints and background tasks."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from coreo_api.plans.linter import Linter
from coreo_api.results import ResultsClient
from coreo_api.settings import ApiSettings
from coreo_api.signals import Signals
from coreo_shared.catalogue import Catalogue
from coreo_shared.db import Database

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Context:
    """`stopping` is set when the process is asked to end: long answers and background tasks then stop."""

    settings: ApiSettings
    database: Database  # as coreo_api: one team at a time
    system_database: Database  # as coreo_api_system: what background tasks need of all teams
    results: ResultsClient
    signals: Signals
    linter: Linter
    catalogue: Catalogue
    clock: Clock
    stopping: asyncio.Event


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]

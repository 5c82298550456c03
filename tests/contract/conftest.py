"""The results service as it is, and the api that speaks with it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.api import SIGNING_KEY, Api, ApiFactory
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, Tokens, make_root_key, make_settings, running


@pytest.fixture
async def service(results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[ResultsService]:
    tokens = Tokens(api_jwk=SIGNING_KEY)
    async with running(make_settings(results_database, tokens, make_root_key(tmp_path))) as app:
        results = ResultsService(app, tokens)
        yield results
        await results.http.aclose()


@pytest.fixture
def api(make_api: ApiFactory, service: ResultsService) -> Api:
    return make_api(results_transport=httpx.ASGITransport(service.app))

"""JSON as RFC 8259 has it: NaN and Infinity, which Python's parser takes, are refused before validation."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute


def _refuse(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is not JSON", constant, 0)


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = json.loads(await self.body(), parse_constant=_refuse)
            except (UnicodeDecodeError, RecursionError):
                raise json.JSONDecodeError("not JSON", "", 0) from None
        return self._json


class StrictRoute(APIRoute):
    """`APIRouter(route_class=StrictRoute)`: every router of Coreo uses it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict

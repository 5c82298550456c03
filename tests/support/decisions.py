"""The routes of the results service on decisions, as far as the api's own tests need them: kept in memory by team."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx

from coreo_shared.ids import new_id

_COLLECTIONS = ("suppressions", "severity-overrides", "decisions")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "suppressions": dict.fromkeys(
        ("rule_id", "resource", "tag", "region", "cloud_account_id", "expires_at", "changed_by")
    ),
    "severity-overrides": {"cloud_account_id": None},
}


@dataclass
class FakeDecisions:
    """Suppressions and overrides by (team, collection) and id."""

    kept: dict[tuple[UUID, str], dict[str, dict[str, Any]]] = field(default_factory=dict)

    def answer(self, team_id: UUID, request: httpx.Request) -> httpx.Response | None:
        """What the results service answers; None to a call about something else."""
        _, _, _, collection, *rest = request.url.path.split("/")
        if collection not in _COLLECTIONS:
            return None
        things = self.kept.setdefault((team_id, collection), {})
        if not rest:
            if request.method == "GET":
                return httpx.Response(200, json={"items": list(things.values())[::-1], "next_before": None})
            return httpx.Response(200, json=self._add(things, collection, json.loads(request.content)))
        if rest[0] not in things:
            return httpx.Response(404, json={"code": "not_found"})
        if request.method == "DELETE":
            assert request.url.params["author"]
            del things[rest[0]]
            return httpx.Response(204)
        if request.method == "PATCH":
            patch = json.loads(request.content)
            things[rest[0]] |= patch | {"author": things[rest[0]]["author"], "changed_by": patch["author"]}
        return httpx.Response(200, json=things[rest[0]])

    @staticmethod
    def _add(things: dict[str, dict[str, Any]], collection: str, body: dict[str, Any]) -> dict[str, Any]:
        made = {**_DEFAULTS[collection], **body, "id": str(new_id()), "updated_at": datetime.now(UTC).isoformat()}
        if collection == "suppressions":
            made |= {"created_at": made["updated_at"], "live": True}
        things[made["id"]] = made
        return made

"""The routes of the results service on custody, as far as the api's own tests need them: kept in memory by team."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from coreo_shared.ids import new_id

_TEAM: dict[str, Any] = {
    "display_days": 90,
    "backup_days": 1826,
    "backups": True,
    "keep_counts": True,
    "updated_at": None,
}


BACKUPS: dict[str, Any] = {
    "wanted": True,
    "runs": 3,
    "findings": 40,
    "bytes": 5000,
    "due": 1,
    "log_entries": 2,
    "ledger_at": "2026-06-01T12:00:00Z",
    "checked_at": "2026-06-01T12:05:00Z",
    "failed_at": None,
}

_KEYS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "custody", "x": "x"}]}


@dataclass
class FakeCustody:
    """Settings by (team, path); `runs` are those that the ledger has heard of, with how many results each has."""

    settings: dict[tuple[UUID, str], dict[str, Any]] = field(default_factory=dict)
    runs: dict[UUID, int] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    access: list[dict[str, Any]] = field(default_factory=list)
    exclusions: list[tuple[UUID, dict[str, Any]]] = field(default_factory=list)

    def answer(self, team_id: UUID, request: httpx.Request) -> httpx.Response | None:
        """What the results service answers; None to a call about something else."""
        what = request.url.path.removeprefix("/internal/v1/")
        kind, _, rest = what.partition("/")
        plain = {"backups": BACKUPS, "access": {"items": self.access, "next_before": None}, "custody/keys": _KEYS}
        if what in plain:
            return httpx.Response(202 if request.method == "POST" else 200, json=plain[what])
        if kind == "exclusions":
            return self._exclusion(team_id, rest, request)
        if what.endswith(("/custody", "/settings")):
            return httpx.Response(200, json=self._settings(team_id, what, request))
        if request.method != "DELETE" or not what.endswith("/results") or kind == "cloud-accounts":
            return None
        return self._delete(what)

    def _delete(self, what: str) -> httpx.Response:
        kind, _, rest = what.partition("/")
        self.deleted.append(what)
        run_id = UUID(rest.split("/")[0])
        if kind == "runs" and run_id not in self.runs:
            return httpx.Response(404, json={"code": "not_found"})
        return httpx.Response(200, json={"runs": self.runs.get(run_id, 0)})

    def _exclusion(self, team_id: UUID, rest: str, request: httpx.Request) -> httpx.Response:
        mine = [item for team, item in self.exclusions if team == team_id]
        if request.method == "POST":
            wish = json.loads(request.content)
            if wish["scope"] == "run" and UUID(wish["scope_id"]) not in self.runs:
                return httpx.Response(404, json={"code": "not_found"})
            made = wish | {"id": str(new_id()), "requested_at": "2026-06-01T12:00:00+00:00", "requested_by": "ann"}
            made |= {"state": "PENDING", "runs": 1, "done": [], "remaining": ["tombstone"], "problem": None}
            self.exclusions.append((team_id, made))
            return httpx.Response(202, json=made)
        if not rest:
            return httpx.Response(200, json={"items": mine, "next_before": mine[-1]["id"] if mine else None})
        found = [item for item in mine if item["id"] == rest.partition("/")[0]]
        if not found:
            return httpx.Response(404, json={"code": "not_found"})
        if rest.endswith("/receipt"):
            return httpx.Response(409, json={"code": "exclusion_pending", "detail": "It is pending."})
        return httpx.Response(200, json=found[0])

    def _settings(self, team_id: UUID, what: str, request: httpx.Request) -> dict[str, Any]:
        defaults: dict[str, Any] = dict(_TEAM)
        if what.startswith("plans/"):
            defaults = {"plan_id": what.split("/")[1], "display_days": None, "backup": True, "updated_at": None}
            defaults["team"] = self.settings.get((team_id, "custody/settings"), dict(_TEAM))
        kept = self.settings.setdefault((team_id, what), defaults)
        if request.method == "PATCH":
            kept |= json.loads(request.content)
        return kept

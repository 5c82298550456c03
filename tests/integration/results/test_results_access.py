"""Who may do what: tokens, tenancy, and row level security under everything else."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from coreo_shared.contracts.terms import FindingStatus, Pool
from coreo_shared.contracts.tokens import FLEET_TOKEN_TYPE, RUN_CAPABILITY_TYPE, SERVICE_TOKEN_TYPE
from coreo_shared.crypto.jose import Signer, generate_key
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.deploy_runs import DeployClient
from tests.support.postgres import ServiceDatabase
from tests.support.results import PLAN, ResultsService, Tokens, make_chunk, make_finding

Call = tuple[str, str, dict[str, Any] | None]
TEAM_TABLES = (
    *("runs", "run_events", "team_keys", "team_secrets", "run_keys", "units", "chunks", "finding_groups"),
    "run_totals",
    *("finding_life", "chunk_changes", "resolved_findings"),
    *("suppressions", "suppression_hits", "suppression_marks", "severity_overrides", "decisions", "run_documents"),
    *("custody_settings", "plan_custody_settings", "account_custody_settings", "access_log"),
    *("backup_heads", "backups", "backup_keys", "exclusions", "exclusion_runs"),
)
REGISTER = {"worker_id": "w", "pool": "audit", "version": "1", "host": "h", "started_at": "2026-01-01T00:00:00+00:00"}
CANCEL: dict[str, Any] = {
    "plan_id": str(new_id()),
    "plan_revision": 1,
    "cloud_account_id": str(new_id()),
    "account_id": "123456789012",
}
CANCEL |= {"pool": "audit", "state": "CANCELED", "reason": "x"}

SUPPRESSION = {"resource": "bucket-0", "reason": "x", "author": "x"}
SEVERITY = {"rule_id": "s3-bucket-public", "severity": "low", "reason": "x", "author": "x"}
CHECKPOINT = {"step": "x"}
OUTPUTS = {"kind": "outputs", "stack_arn": "x", "stack_status": "CREATE_COMPLETE", "outputs": []}
EVENT = {"event_id": "x", "at": "x", "logical_id": "x", "type": "x", "status": "x"}
EVENTS = {"fence": 1, "part": 0, "events": [EVENT], "checkpoint": CHECKPOINT}
APPROVER = {"approver_id": str(new_id()), "author": "x"}
RUN_CALLS: list[Call] = [
    ("POST", "/runs/{run}/claim", {"worker_id": "w"}),
    ("PUT", "/runs/{run}/chunks", None),
    ("POST", "/runs/{run}/heartbeat", {"fence": 1}),
    ("POST", "/runs/{run}/finish", {"fence": 1, "outcome": "completed"}),
    ("POST", "/runs/{run}/release", {"fence": 1, "reason": "x"}),
    ("POST", "/runs/{run}/park", {"fence": 1, "resume_seconds": 1, "checkpoint": CHECKPOINT}),
    ("POST", "/runs/{run}/begin-apply", {"fence": 1, "hash": "0" * 64, "checkpoint": CHECKPOINT}),
    ("POST", "/runs/{run}/refuse-cancel", {"fence": 1, "reason": "x"}),
    ("PUT", "/runs/{run}/documents", {"fence": 1, "document": OUTPUTS}),
    ("PUT", "/runs/{run}/stack-events", EVENTS),
]
TEAM_CALLS: list[Call] = [
    ("POST", "/runs/{run}/cancel", CANCEL),
    ("GET", "/runs/{run}/findings", None),
    ("GET", "/runs/{run}/rules", None),
    ("GET", "/runs/{run}/changes", None),
    ("GET", "/runs/{run}/resolved", None),
    ("GET", "/runs/{run}/counts", None),
    ("GET", "/suppressions", None),
    ("POST", "/suppressions", SUPPRESSION),
    ("GET", "/suppressions/{suppression}", None),
    ("PATCH", "/suppressions/{suppression}", {"author": "x"}),
    ("DELETE", "/suppressions/{suppression}", None),
    ("GET", "/severity-overrides", None),
    ("PUT", "/severity-overrides", SEVERITY),
    ("GET", "/severity-overrides/{override}", None),
    ("DELETE", "/severity-overrides/{override}", None),
    ("GET", "/decisions", None),
    ("DELETE", "/cloud-accounts/{account}/results", None),
    ("POST", "/runs/{run}/approve", {**APPROVER, "hash": "0" * 64}),
    ("POST", "/runs/{run}/reject", {**APPROVER, "reason": "x"}),
    ("POST", "/runs/{run}/reconcile", {"author": "x"}),
    ("POST", "/runs/{run}/settle", {"outcome": "FAILED", "author": "x", "reason": "x"}),
    ("GET", "/runs/{run}/deploy", None),
    ("GET", "/runs/{run}/documents/{document}", None),
    ("GET", "/runs/{run}/stack-events", None),
    ("DELETE", "/plans/{plan}/results", None),
    ("DELETE", "/runs/{run}/results", None),
    ("GET", "/custody/settings", None),
    ("PATCH", "/custody/settings", {"display_days": 30}),
    ("GET", "/plans/{plan}/custody", None),
    ("PATCH", "/plans/{plan}/custody", {"backup": False}),
    ("GET", "/access", None),
    ("GET", "/custody/keys", None),
    ("GET", "/exclusions", None),
    ("POST", "/exclusions", {"scope": "run", "scope_id": str(CANCEL["plan_id"])}),
    ("GET", "/exclusions/{exclusion}", None),
    ("GET", "/exclusions/{exclusion}/receipt", None),
    ("GET", "/backups", None),
    ("POST", "/backups", None),
]
FEED_CALLS: list[Call] = [("GET", "/events", None), ("GET", "/workers", None), ("GET", "/keepers", None)]
FLEET_CALLS: list[Call] = [("POST", "/workers", REGISTER)]
RUN, TEAM = new_id(), new_id()
# Rows in the tables of exclusions.
OF_EXCLUSIONS = (
    "INSERT INTO account_custody_settings (team_id, cloud_account_id, backup) VALUES ($1, $1, false)",
    """
    INSERT INTO exclusions (team_id, exclusion_id, scope, scope_id, display, requested_by)
    VALUES ($1, $1, 'run', $1, 'keep', 'x')
    """,
    "INSERT INTO exclusion_runs (team_id, exclusion_id, run_id) VALUES ($1, $1, $1)",
)


def old() -> dict[str, int]:
    return {"iat": int(time.time()) - 700, "exp": int(time.time()) - 1}


def bad_tokens(tokens: Tokens) -> dict[str, str | None]:
    """Tokens that open nothing at all, by the code of their refusal."""
    valid = tokens.run(TEAM, RUN)
    claims = {"iss": "coreo-api"}
    return {
        "token_missing": None,
        "token_malformed": "not-a-token",
        "token_bad_signature": valid[:-6] + ("AAAAAA" if valid[-6:] != "AAAAAA" else "BBBBBB"),
        "token_unknown_key": Signer(generate_key()).sign(claims, typ=RUN_CAPABILITY_TYPE),
    }


CALLS: dict[str, list[Call]] = {"run": RUN_CALLS, "team": TEAM_CALLS, "feed": FEED_CALLS, "fleet": FLEET_CALLS}
MAKERS: dict[str, Callable[..., str]] = {
    "run": lambda tokens, **claims: tokens.run(TEAM, RUN, **claims),
    "team": lambda tokens, **claims: tokens.team(TEAM, **claims),
    "feed": lambda tokens, **claims: tokens.feed(**claims),
    "fleet": lambda tokens, **claims: tokens.fleet(Pool.AUDIT, "w", **claims),
}


def _declared(path: str) -> str:
    return path.format(
        run="{run_id}",
        plan="{plan_id}",
        account="{cloud_account_id}",
        suppression="{suppression_id}",
        override="{override_id}",
        document="{name}",
        exclusion="{exclusion_id}",
    )


def concrete(path: str) -> str:
    """A path of the table with ids in it."""
    return path.format(run=RUN, plan=RUN, account=RUN, suppression=RUN, override=RUN, document="preview", exclusion=RUN)


def test_every_route_is_in_the_table(service: ResultsService) -> None:
    """So that a new route cannot forget its guard: the tests below go over this table."""
    known = {(method, _declared(path)) for calls in CALLS.values() for method, path, _ in calls}
    served = set()
    for router in service.app.router.routes:
        for route in getattr(getattr(router, "original_router", None), "routes", [router]):
            path = str(route.path)
            served |= {(method, path.removeprefix("/internal/v1")) for method in route.methods if "/internal" in path}
    assert served == known


@pytest.mark.parametrize("kind", CALLS)
async def test_a_token_of_another_kind_opens_nothing(service: ResultsService, kind: str) -> None:
    for method, path, body in CALLS[kind]:
        for other in set(MAKERS) - {kind}:
            answer = await service.call(method, concrete(path), MAKERS[other](service.tokens), body)
            assert answer.status_code in {401, 403}, (path, other)


@pytest.mark.parametrize("kind", CALLS)
async def test_a_bad_token_is_a_401_with_its_code_and_a_security_event(service: ResultsService, kind: str) -> None:
    for method, path, body in CALLS[kind]:
        for code, token in bad_tokens(service.tokens).items():
            if kind == "fleet" and code == "token_bad_signature":
                continue  # a run's capability is of the wrong type there
            with capture_logs() as logs:
                answer = await service.call(method, concrete(path), token, body)
            expected = {code, "token_wrong_type"} if token and code != "token_malformed" else {code}
            assert answer.status_code == 401, (path, code)
            assert answer.json()["code"] in expected
            assert answer.headers["www-authenticate"] == "Bearer"
            assert [log["security_event"] for log in logs if log["event"] == "access_refused"] == [
                answer.json()["code"]
            ]


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(
    ("claims", "code"),
    [
        (old(), "token_expired"),
        ({"aud": "coreo-api"}, "token_wrong_audience"),
        ({"iss": "somebody"}, "token_wrong_issuer"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_600}, "token_not_yet_valid"),
    ],
)
async def test_a_token_with_wrong_claims_is_refused(
    service: ResultsService, kind: str, claims: dict[str, Any], code: str
) -> None:
    method, path, body = CALLS[kind][0]
    answer = await service.call(method, concrete(path), MAKERS[kind](service.tokens, **claims), body)
    assert (answer.status_code, answer.json()["code"]) == (401, code)


async def test_a_capability_is_for_its_run_alone(service: ResultsService) -> None:
    run = service.run(TEAM)
    await run.claimed()
    for method, path, body in RUN_CALLS:
        answer = await service.call(method, path.format(run=run.run_id), service.tokens.run(TEAM, RUN), body)
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_run")


async def test_the_key_that_signs_a_fleet_token_decides_its_pool(service: ResultsService) -> None:
    forged = service.tokens.fleet(Pool.DEPLOY, "w", signed_by=Pool.AUDIT)
    answer = await service.call("POST", "/workers", forged, {**REGISTER, "pool": "deploy"})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_wrong_pool")

    api_signed = Signer(service.tokens.api_jwk).sign({"pool": "audit"}, typ=FLEET_TOKEN_TYPE)
    assert (await service.call("POST", "/workers", api_signed, REGISTER)).json()["code"] == "token_unknown_key"
    worker_signed = Signer(service.tokens.fleet_jwks[Pool.AUDIT]).sign({"scope": "feed"}, typ=SERVICE_TOKEN_TYPE)
    assert (await service.call("GET", "/events", worker_signed)).json()["code"] == "token_unknown_key"


@pytest.mark.parametrize("change", [{"worker_id": "other"}, {"pool": "deploy"}])
async def test_a_worker_reports_itself_alone(service: ResultsService, change: dict[str, str]) -> None:
    token = service.tokens.fleet(Pool.AUDIT, "w")
    answer = await service.call("POST", "/workers", token, {**REGISTER, **change})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, f"body.{next(iter(change))}")


async def test_another_team_gets_the_answer_of_a_run_that_never_was(service: ResultsService) -> None:
    run = service.run()
    await run.stored(make_chunk(await run.claimed()))
    other = service.tokens.team(new_id())
    for path in (
        *("findings", "rules", "changes", "resolved", "counts"),
        *("deploy", "documents/preview", "stack-events"),
    ):
        theirs = await service.call("GET", f"/runs/{run.run_id}/{path}", other)
        random = await service.call("GET", f"/runs/{new_id()}/{path}", other)
        assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
        assert {**theirs.json(), "request_id": ""} == {**random.json(), "request_id": ""}


async def test_another_teams_capability_for_the_same_run_id_touches_nothing(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    intruder = service.run(new_id(), run.run_id)

    assert (await intruder.put(make_chunk(fence))).json()["code"] == "stale_fence"
    assert (await intruder.cancel()).json()["state"] == "CANCELED"  # a run of its own
    assert (await run.say("heartbeat", {"fence": fence})).json()["cancel_requested"] is False


async def fill(service: ResultsService) -> UUID:
    """Rows in every team table."""
    team_id, runs = new_id(), []
    for findings in ([make_finding()], [make_finding(status=FindingStatus.PASS)]):
        run = service.run(team_id)
        runs.append(run.run_id)
        fence = await run.claimed()
        await run.stored(make_chunk(fence, findings))
        await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        assert (await service.call("GET", f"/runs/{run.run_id}/changes", run.team_token)).status_code == 200
    await DeployClient(service, team_id=team_id).bring_to("PARKED")
    token = service.tokens.team(team_id)
    for method, path, body in (("POST", "/suppressions", SUPPRESSION), ("PUT", "/severity-overrides", SEVERITY)):
        assert (await service.call(method, path, token, body)).status_code == 200
    assert (await service.app.state.services.backups.cycle(team_id)).stored == 2
    for path, patch in (("/custody/settings", {"backups": False}), (f"/plans/{PLAN}/custody", {"backup": False})):
        assert (await service.call("PATCH", path, token, patch)).status_code == 200
    for run_id in runs:
        assert (await service.call("GET", f"/runs/{run_id}/counts", token)).status_code == 200
    return team_id


async def connect(database: ServiceDatabase, role: str) -> asyncpg.Connection:
    url = make_url(database.url(role)).set(drivername="postgresql")
    return await asyncpg.connect(url.render_as_string(hide_password=False))


@pytest.mark.parametrize("team", [None, "", "00000000-0000-7000-8000-000000000009"])
async def test_a_raw_query_sees_no_rows_without_the_right_team(
    service: ResultsService, results_database: ServiceDatabase, team: str | None
) -> None:
    owner_team = await fill(service)
    admin, connection = await connect(results_database, "postgres"), await connect(results_database, "coreo_results")
    try:
        for statement in OF_EXCLUSIONS:
            await admin.execute(statement, owner_team)
        # The service's own role may not read the feed at all; for the test of its policy it may.
        await admin.execute("GRANT SELECT ON run_events TO coreo_results")
        for table in TEAM_TABLES:
            async with connection.transaction():
                if team is not None:
                    await connection.execute("SELECT set_config('app.team_id', $1, true)", team)
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.team_id', $1, true)", str(owner_team))
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") > 0, table
    finally:
        await connection.close()
        await admin.close()


async def test_a_row_for_another_team_cannot_be_written(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    database = Database(results_database.url("coreo_results"))
    try:
        with pytest.raises(Exception, match="row-level security"):
            async with database.transaction(new_id()) as connection:
                await connection.execute(
                    text("INSERT INTO team_keys (team_id, version, root_key, wrapped) VALUES (:team, 1, 'x', 'x')"),
                    {"team": TEAM},
                )
    finally:
        await database.close()


async def test_every_table_forces_row_level_security_but_the_fleets(
    service: ResultsService, results_database: ServiceDatabase
) -> None:
    admin = await connect(results_database, "postgres")
    try:
        rows = await admin.fetch(
            "SELECT relname, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    finally:
        await admin.close()
    forced = {row["relname"]: row["forced"] for row in rows}
    assert {table for table, is_forced in forced.items() if is_forced} == set(TEAM_TABLES)
    assert set(forced) - set(TEAM_TABLES) == {"workers", "alembic_version"}


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("coreo_results_system", "SELECT * FROM chunks"),
        ("coreo_results_system", "SELECT * FROM finding_groups"),
        ("coreo_results_system", "SELECT * FROM run_keys"),
        ("coreo_results_system", "SELECT * FROM team_keys"),
        ("coreo_results_system", "SELECT * FROM finding_life"),
        ("coreo_results_system", "SELECT * FROM resolved_findings"),
        ("coreo_results_system", "SELECT * FROM suppressions"),
        ("coreo_results_system", "SELECT * FROM severity_overrides"),
        ("coreo_results_system", "SELECT * FROM decisions"),
        ("coreo_results_system", "SELECT * FROM run_documents"),
        ("coreo_results_system", "SELECT wrapped FROM backup_keys"),
        ("coreo_results_system", "SELECT reason FROM exclusions"),
        ("coreo_results", "UPDATE exclusions SET reason = 'x'"),
        ("coreo_results", "DELETE FROM exclusions"),
        ("coreo_results", "DELETE FROM exclusion_runs"),
        ("coreo_results_system", "SELECT * FROM access_log"),
        ("coreo_results_system", "SELECT * FROM backup_keys"),
        ("coreo_results_system", "SELECT object FROM backups"),
        ("coreo_results_system", "DELETE FROM backups"),
        ("coreo_results_system", "UPDATE backup_heads SET seq = 0"),
        ("coreo_results", "DELETE FROM backup_heads"),
        ("coreo_results", "UPDATE backup_keys SET run_id = team_id"),
        ("coreo_results_system", "UPDATE custody_settings SET display_days = 1"),
        ("coreo_results", "UPDATE access_log SET actor = 'x'"),
        ("coreo_results", "DELETE FROM access_log"),
        ("coreo_results", "UPDATE decisions SET action = 'ADDED'"),
        ("coreo_results", "DELETE FROM decisions"),
        ("coreo_results", "UPDATE chunk_changes SET codes = '{}'"),
        ("coreo_results_system", "DELETE FROM runs"),
        ("coreo_results", "SELECT * FROM workers"),
        ("coreo_results", "SELECT * FROM run_events"),
        ("coreo_results", "DELETE FROM runs"),
        ("coreo_results", "UPDATE team_keys SET version = 2"),
        ("coreo_results", "DELETE FROM team_keys"),
        ("coreo_results", "DELETE FROM team_secrets"),
        ("coreo_results_system", "SELECT wrapped FROM team_keys"),
        ("coreo_results_system", "SELECT * FROM team_secrets"),
        ("coreo_results_system", "UPDATE team_keys SET retired_at = now()"),
        ("coreo_results", "CREATE TABLE x ()"),
    ],
)
async def test_each_role_is_refused_what_it_has_no_use_for(
    results_database: ServiceDatabase, role: str, statement: str
) -> None:
    connection = await connect(results_database, role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()

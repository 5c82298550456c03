"""One team never sees, names or touches another's things: at the routes, and in the database below them."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from coreo_api.packs.schemas import PackSource
from coreo_shared.ids import new_id
from tests.support.api import Api, Team, ok, problem
from tests.support.postgres import ServiceDatabase

# What a path parameter names, so that a route that is added later is tried without being listed here.
PARAMETERS = {
    "token_id": "tokens",
    "account_id": "cloud-accounts",
    "plan_id": "plans",
    "run_id": "runs",
    "entry_id": "cloud-accounts/{account_id}/history",
    "pack_name": "rule-packs",
    "suppression_id": "suppressions",
    "override_id": "severity-overrides",
    "target_id": "deploy-targets",
    "exclusion_id": "exclusions",
}
# Where a random id would be no name at all.
RANDOM = {"pack_name": "nobodys"}
OF_NO_TEAM = {"rule_id", "framework", "control"}
NAMED = {"framework": "cis-aws-5.0", "control": "1.1"}


PACK = str(PackSource.model_json_schema()["examples"][0]["source"])


def operations(api: Api) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of every public route."""
    for path, methods in api.app.openapi()["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/"):
                yield method.upper(), path, operation


def example(api: Api, operation: dict[str, Any], things: dict[str, str]) -> Any:
    """The body that the documentation gives as an example; a cloud account in it is that of `things`."""
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    references = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    name = next(each["$ref"] for each in references if "$ref" in each).rsplit("/", 1)[1]
    body = dict(api.app.openapi()["components"]["schemas"][name]["examples"][0])
    return body | {"cloud_account_id": things["account_id"]} if "cloud_account_id" in body else body


async def things_of(team: Team) -> dict[str, str]:
    """One of each thing; parameter name -> id."""
    name = f"p{team.id.hex[-12:]}"
    pack = ok(await team.http.post("/v1/rule-packs", json={"source": PACK.replace("acme", name)}), 201)
    run = await team.started_run(role=f"Role-{team.id.hex[-12:]}")
    token = ok(await team.http.post("/v1/tokens", json={"name": "ci"}), 201)
    answered = "/v1/cloud-accounts/{}/controls/{framework}/{control}".format(run["cloud_account_id"], **NAMED)
    ok(await team.http.put(answered, json={"met": True, "text": "It is so."}))
    suppression = {"resource": "bucket", "reason": "known"}
    override = {"rule_id": "ec2-security-group-open-ssh", "severity": "low", "reason": "ours"}
    spec = {
        "stack_name": "storage",
        "regions": ["eu-west-1"],
        "template_url": "https://templates.s3.amazonaws.com/t.yaml",
    }
    deploy = {"name": "storage", "kind": "deploy", "spec": spec, "cloud_account_ids": [run["cloud_account_id"]]}
    plan = ok(await team.http.post("/v1/plans", json=deploy), 201)
    drift = ok(await team.http.post(f"/v1/plans/{plan['id']}/runs", json={"action": "drift"}), 202)["runs"][0]
    exclusion = {"scope": "cloud_account", "scope_id": run["cloud_account_id"]}
    return {
        "target_id": drift["deploy"]["target_id"],
        "token_id": token["id"],
        "account_id": run["cloud_account_id"],
        "plan_id": run["plan_id"],
        "run_id": run["id"],
        "pack_name": pack["name"],
        **NAMED,
        "suppression_id": ok(await team.http.post("/v1/suppressions", json=suppression), 201)["id"],
        "override_id": ok(await team.http.put("/v1/severity-overrides", json=override))["id"],
        "exclusion_id": ok(await team.http.post("/v1/exclusions", json=exclusion), 202)["id"],
        "entry_id": ok(await team.http.get(f"/v1/cloud-accounts/{run['cloud_account_id']}/history"))["items"][0]["id"],
    }


async def call(
    client: httpx.AsyncClient, api: Api, method: str, path: str, operation: dict[str, Any], things: dict[str, str]
) -> httpx.Response:
    body = example(api, operation, things)
    needed = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query" and each["required"]]
    params = {name: NAMED[name] for name in needed}
    return await client.request(method, path, params=params, **({} if body is None else {"json": body}))


def without_request_id(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}


async def test_every_route_answers_another_teams_id_as_it_does_a_random_one(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    things = await things_of(owner)
    tried = 0
    for method, path, operation in operations(api):
        names = set(re.findall(r"{(\w+)}", path)) - OF_NO_TEAM
        if not names:
            continue
        assert names <= set(PARAMETERS), f"{path}: say in PARAMETERS what its parameter names"
        theirs = await call(stranger.http, api, method, path.format(**things), operation, things)
        random = await call(
            stranger.http,
            api,
            method,
            path.format(**(dict.fromkeys(names, new_id()) | RANDOM | NAMED)),
            operation,
            things,
        )
        assert theirs.status_code == 404, f"{method} {path}: {theirs.text}"
        assert without_request_id(theirs) == without_request_id(random), f"{method} {path}"
        tried += 1
    assert tried >= 15
    for name, kind in PARAMETERS.items():
        if name != "token_id":
            ok(await owner.http.get(f"/v1/{kind.format(**things)}/{things[name]}"))
    assert len(ok(await owner.http.get("/v1/tokens"))["items"]) == 2


async def test_the_owner_does_not_get_404_where_the_stranger_does(api: Api) -> None:
    """Else the test above would pass on routes that do not exist."""
    for method, path, operation in operations(api):
        if set(re.findall(r"{(\w+)}", path)) - OF_NO_TEAM and not path.endswith("/events"):
            owner = await api.team()
            things = await things_of(owner)
            answer = await call(owner.http, api, method, path.format(**things), operation, things)
            assert answer.status_code not in {401, 404, 405, 422, 500}, f"{method} {path}: {answer.text}"


async def test_every_route_wants_a_valid_token(api: Api) -> None:
    await api.team()
    for method, path, operation in operations(api):
        concrete = re.sub(r"{\w+}", str(new_id()), path)
        for authorization in (None, "Bearer coreo_" + "a" * 43, "Bearer nonsense", "Basic Y29yZW86Y29yZW8="):
            headers = {} if authorization is None else {"authorization": authorization}
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(api.app), base_url="http://api", headers=headers
            ) as client:
                answer = await call(client, api, method, concrete, operation, {"account_id": str(new_id())})
            assert problem(answer, 401)["code"] == "unauthenticated", f"{method} {path}"
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_lists_show_the_callers_team_alone(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    await things_of(owner)
    for kind in ("cloud-accounts", "plans", "runs", "suppressions", "severity-overrides", "deploy-targets"):
        count = 2 if kind in {"plans", "runs"} else 1
        assert len(ok(await owner.http.get(f"/v1/{kind}"))["items"]) == count
        assert ok(await stranger.http.get(f"/v1/{kind}"))["items"] == []
    assert ok(await stranger.http.get("/v1/team"))["name"] == "stranger"


async def test_another_teams_account_cannot_be_put_into_a_plan(api: Api) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    things = await things_of(owner)
    body = {"name": "theft", "spec": {"rule_sets": ["baseline"]}, "cloud_account_ids": [things["account_id"]]}
    problem(await stranger.http.post("/v1/plans", json=body), 422, "body.cloud_account_ids.0")
    assert ok(await stranger.http.get("/v1/plans"))["items"] == []


async def test_refused_logins_are_logged_without_what_was_sent(api: Api) -> None:
    unknown = "coreo_" + "A" * 43
    with capture_logs() as logs:
        for token in (None, "hunter2", unknown):
            problem(await api.client(token).get("/v1/team"), 401)
    told = [entry["security_event"] for entry in logs if entry["event"] == "login_refused"]
    assert told == ["token_missing", "token_malformed", "token_not_valid"]
    assert "hunter2" not in str(logs)
    assert unknown not in str(logs)


async def test_revoked_token_is_refused_at_once(api: Api) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci"}), 201)
    client = api.client(made["token"])
    ok(await client.get("/v1/team"))
    assert (await team.http.delete(f"/v1/tokens/{made['id']}")).status_code == 204
    problem(await client.get("/v1/team"), 401)
    assert problem(await team.http.delete(f"/v1/tokens/{made['id']}"), 404)["code"] == "not_found"


async def test_expired_token_is_refused(api: Api, api_database: ServiceDatabase) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci", "expires_at": "2999-01-01T00:00:00Z"}), 201)
    client = api.client(made["token"])
    ok(await client.get("/v1/team"))
    connection = await asyncpg.connect(dsn(api_database, "postgres"))
    await connection.execute("UPDATE tokens SET expires_at = now() WHERE id = $1", UUID(made["id"]))
    await connection.close()
    problem(await client.get("/v1/team"), 401)


async def test_the_last_valid_token_cannot_be_revoked_even_by_two_at_once(api: Api) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci"}), 201)
    first = next(each for each in ok(await team.http.get("/v1/tokens"))["items"] if each["id"] != made["id"])
    answers = await asyncio.gather(
        team.http.delete(f"/v1/tokens/{made['id']}"), api.client(made["token"]).delete(f"/v1/tokens/{first['id']}")
    )
    assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 409])


async def test_token_is_shown_once_and_stored_as_a_hash(api: Api, api_database: ServiceDatabase) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "ci"}), 201)
    listed = await team.http.get("/v1/tokens")
    assert made["token"] not in listed.text
    connection = await asyncpg.connect(dsn(api_database, "postgres"))
    rows = await connection.fetch("SELECT row_to_json(tokens)::text AS line FROM tokens")
    await connection.close()
    assert len(rows) == 2
    assert not any(made["token"] in row["line"] or team.token in row["line"] for row in rows)


def dsn(database: ServiceDatabase, role: str) -> str:
    return database.url(role).replace("+asyncpg", "")


async def tables_with_policies(connection: Any) -> dict[str, tuple[bool, bool]]:
    """Table -> (row level security on, forced)."""
    rows = await connection.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') "
        "AND relname <> 'alembic_version'"
    )
    return {row["relname"]: (row["relrowsecurity"], row["relforcerowsecurity"]) for row in rows}


async def test_without_a_team_no_table_shows_a_row(api: Api, api_database: ServiceDatabase) -> None:
    team = await api.team()
    things = await things_of(team)
    ok(await team.http.post(f"/v1/runs/{things['run_id']}/cancel"), 202)
    admin = await asyncpg.connect(dsn(api_database, "postgres"))
    service = await asyncpg.connect(dsn(api_database, "coreo_api"))
    owner = await asyncpg.connect(dsn(api_database, "coreo_api_owner"))
    try:
        tables = await tables_with_policies(admin)
        assert len(tables) >= 10
        for table, security in tables.items():
            assert security == (True, True), table
            assert await admin.fetchval(f"SELECT count(*) FROM {table}") > 0, f"{table} is empty: nothing is proven"
            for connection in (service, owner):
                assert await rows_seen(connection, table) == 0, table
        # After a transaction with a team the setting is '' on the same connection: still no team.
        async with service.transaction():
            await service.execute("SELECT set_config('app.team_id', $1, true)", str(team.id))
            assert await service.fetchval("SELECT count(*) FROM runs") == 2
        for table in tables:
            assert await rows_seen(service, table) == 0, table
    finally:
        for connection in (admin, service, owner):
            await connection.close()


async def rows_seen(connection: Any, table: str) -> int:
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    except asyncpg.InsufficientPrivilegeError:
        return 0


async def test_with_a_team_set_other_teams_rows_cannot_be_read_written_or_taken(
    api: Api, api_database: ServiceDatabase
) -> None:
    owner, stranger = await api.team("owner"), await api.team("stranger")
    things = await things_of(owner)
    service = await asyncpg.connect(dsn(api_database, "coreo_api"))
    try:
        async with service.transaction():
            await service.execute("SELECT set_config('app.team_id', $1, true)", str(stranger.id))
            assert await service.fetchval("SELECT count(*) FROM runs") == 0
            assert await service.execute("UPDATE runs SET cancel_requested = true") == "UPDATE 0"
            assert await service.execute("DELETE FROM plan_accounts") == "DELETE 0"
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with service.transaction():
                    await service.execute(
                        "INSERT INTO teams (id, name, created_at) VALUES ($1, 'x', now())", UUID(things["run_id"])
                    )
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                async with service.transaction():
                    await service.execute(
                        "INSERT INTO plan_accounts (team_id, plan_id, cloud_account_id, position) "
                        "VALUES ($1, $2, $3, 0)",
                        stranger.id,
                        UUID(things["plan_id"]),
                        UUID(things["account_id"]),
                    )
    finally:
        await service.close()


FORBIDDEN = [
    ("coreo_api", "UPDATE runs SET state = 'SUCCEEDED'"),
    ("coreo_api", "UPDATE runs SET holds_target = false"),
    ("coreo_api", "UPDATE runs SET deploy = '{}'"),
    ("coreo_api", "UPDATE run_groups SET terms = '{}'"),
    ("coreo_api", "UPDATE tokens SET scopes = '{read}'"),
    ("coreo_api", "UPDATE deploy_targets SET region = 'x'"),
    ("coreo_api_system", "DELETE FROM deploy_targets"),
    ("coreo_api_system", "UPDATE runs SET position = 1"),
    ("coreo_api", "UPDATE cloud_accounts SET external_id = 'chosen'"),
    ("coreo_api", "UPDATE plan_revisions SET spec = '{}'"),
    ("coreo_api", "DELETE FROM tokens"),
    ("coreo_api", "UPDATE feed_position SET cursor = '0'"),
    ("coreo_api", "CREATE TABLE mine (id int)"),
    ("coreo_api_system", "SELECT token_hash FROM tokens"),
    ("coreo_api_system", "SELECT name FROM teams"),
    ("coreo_api", "UPDATE account_history SET report = '{}'"),
    ("coreo_api", "DELETE FROM account_history"),
    ("coreo_api_system", "UPDATE cloud_accounts SET name = 'x'"),
    ("coreo_api_system", "UPDATE account_history SET by_name = 'x'"),
    ("coreo_api_system", "UPDATE plans SET revision = 1"),
    ("coreo_api_system", "DELETE FROM runs"),
]


async def test_roles_have_no_command_beyond_their_work(api_database: ServiceDatabase) -> None:
    for role, statement in FORBIDDEN:
        connection = await asyncpg.connect(dsn(api_database, role))
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await connection.execute(statement)
        finally:
            await connection.close()

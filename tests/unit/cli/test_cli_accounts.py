"""`coreo login`, `team`, `token …`, and the records of `account …`."""

import json
from pathlib import Path

import httpx
import pytest
import typer

from tests.support.cli import TOKEN, URL, Cli, ScriptedApi, a_grant, a_plan, an_account, problem

ROLE = "arn:aws:iam::210987654321:role/CoreoAudit"
TEAM = {"id": "0199c3f2-8a1b-7000-8000-000000000001", "name": "ACME", "created_at": "2026-01-31T12:00:00Z"}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return tmp_path / "coreo" / "config.json"


def test_login_stores_a_token_that_works(
    coreo: Cli, scripted_api: ScriptedApi, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COREO_URL")
    monkeypatch.delenv("COREO_TOKEN")
    scripted_api.on("GET", "/v1/team", TEAM)
    done = coreo("login", "--url", f"{URL}/", "--token-stdin", stdin=f"{TOKEN}\n")
    assert (done.code, done.out) == (0, f"Logged in to {URL} as team 'ACME'.\n")
    assert json.loads(stored.read_text()) == {"url": URL, "token": TOKEN}
    assert TOKEN not in done.out + done.err
    assert coreo("team", "-o", "json").json == TEAM


def test_login_stores_no_token_that_the_api_refuses(coreo: Cli, scripted_api: ScriptedApi, stored: Path) -> None:
    scripted_api.on("GET", "/v1/team", problem(401, "unauthenticated", "No."))
    done = coreo("login", "--url", URL, "--token-stdin", stdin=TOKEN)
    assert done.code == 1
    assert "nothing was stored" in done.err
    assert "request-12345" in done.err
    assert not stored.exists()


def test_login_says_that_the_environment_comes_first(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/team", TEAM)
    done = coreo("login", "--token-stdin", stdin=TOKEN)
    assert "COREO_URL is set" in done.err
    assert "COREO_TOKEN is set" in done.err


def test_login_takes_no_token_as_an_argument(coreo: Cli) -> None:
    done = coreo("login", "--url", URL, "--token", TOKEN)
    assert done.code == 2
    done = coreo("login", TOKEN, "--url", URL)
    assert done.code == 2
    assert TOKEN not in done.err
    assert "coreo_…" in done.err


def test_login_asks_for_the_token_without_showing_it(
    coreo: Cli, scripted_api: ScriptedApi, monkeypatch: pytest.MonkeyPatch, stored: Path
) -> None:
    asked = []

    def prompt(text: str, *, hide_input: bool) -> str:
        asked.append((text, hide_input))
        return TOKEN

    monkeypatch.setattr(typer, "prompt", prompt)
    scripted_api.on("GET", "/v1/team", TEAM)
    assert coreo.on_terminal("login", "--url", URL).code == 0
    assert asked == [("Token (it is not shown)", True)]
    assert stored.exists()


@pytest.mark.parametrize(("stdin", "words"), [("", "holds no Coreo token"), ("canary\n", "holds no Coreo token")])
def test_login_refuses_what_is_no_token(coreo: Cli, stdin: str, words: str) -> None:
    done = coreo("login", "--url", URL, "--token-stdin", stdin=stdin)
    assert done.code == 1
    assert words in done.err
    assert "canary" not in done.err


def test_login_without_a_terminal_needs_token_stdin(coreo: Cli) -> None:
    done = coreo("login", "--url", URL)
    assert done.code == 2
    assert "--token-stdin" in done.err


def test_login_needs_an_address(coreo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COREO_URL")
    done = coreo("login", "--token-stdin", stdin=TOKEN)
    assert done.code == 2
    assert "--url is missing" in done.err


def test_logout_deletes_what_was_stored(coreo: Cli, scripted_api: ScriptedApi, stored: Path) -> None:
    scripted_api.on("GET", "/v1/team", TEAM)
    coreo("login", "--token-stdin", stdin=TOKEN)
    assert coreo("logout").out == "Logged out.\n"
    assert not stored.exists()
    assert coreo("logout").out == "You were not logged in.\n"


def test_team_is_shown(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/team", TEAM)
    assert coreo("team").out.startswith("ACME\n")


def test_nobody_answering_says_where_and_how_to_start_one(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/team", httpx.ConnectError("x"))
    done = coreo("team")
    assert (done.code, done.out) == (1, "")
    assert URL in done.err
    assert "make demo" in done.err


def test_an_unknown_token_says_how_to_log_in(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/team", problem(401, "unauthenticated", "No."))
    done = coreo("team")
    assert done.code == 1
    assert "coreo login" in done.err
    assert "Request id: request-12345" in done.err


def test_a_new_token_stands_alone_on_standard_output(coreo: Cli, scripted_api: ScriptedApi) -> None:
    made = TEAM | {"name": "ci", "expires_at": None, "token": TOKEN}
    scripted_api.on("POST", "/v1/tokens", made)
    done = coreo("token", "create", "--name", "ci")
    assert done.out == f"{TOKEN}\n"
    assert TOKEN not in done.err
    assert scripted_api.body("POST", "/v1/tokens") == {"name": "ci"}
    assert coreo("token", "create", "--name", "ci", "-o", "json").json == made


def test_a_token_may_expire(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/tokens", TEAM | {"expires_at": "2027-01-31T12:00:00Z", "token": TOKEN})
    done = coreo("token", "create", "--name", "ci", "--expires", "2027-01-31T12:00:00Z")
    assert scripted_api.body("POST", "/v1/tokens")["expires_at"] == "2027-01-31T12:00:00+00:00"
    assert "It expires 2027-01-31" in done.err
    assert coreo("token", "create", "--name", "ci", "--expires", "soon").code == 2


def test_a_token_may_have_some_scopes_only(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/tokens", TEAM | {"expires_at": None, "token": TOKEN})
    coreo("token", "create", "--name", "ci", "--scope", "read", "--scope", "plan")
    assert scripted_api.body("POST", "/v1/tokens") == {"name": "ci", "scopes": ["read", "plan"]}


def test_tokens_are_listed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    token = TEAM | {"scopes": ["read", "plan"]}
    scripted_api.lists("/v1/tokens", token | {"expires_at": None}, token | {"expires_at": "2027-01-31T12:00:00Z"})
    lines = coreo("token", "list").out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "SCOPES", "MADE", "EXPIRES"]
    assert lines[1].endswith("never")
    assert "read, plan" in lines[1]
    assert len(coreo("token", "list", "-o", "json").json) == 2


def test_a_token_is_revoked_by_name(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/tokens", TEAM)
    scripted_api.on("DELETE", f"/v1/tokens/{TEAM['id']}", None)
    assert coreo("token", "revoke", "ACME").out == f"Revoked the token 'ACME' ({TEAM['id']}).\n"


def test_a_token_given_instead_of_its_name_is_not_shown(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/tokens", TEAM)
    done = coreo("token", "revoke", TOKEN)
    assert done.code == 1
    assert TOKEN not in done.err


def test_the_last_token_is_kept(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/tokens", TEAM)
    scripted_api.on("DELETE", f"/v1/tokens/{TEAM['id']}", problem(409, "last_token", "This is the only one."))
    done = coreo("token", "revoke", "ACME")
    assert done.code == 1
    assert "coreo token create" in done.err


def test_accounts_are_listed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts", an_account(role_arn=ROLE, state="UNVERIFIED"), an_account(name="empty"))
    header, first, second = coreo("account", "list").out.splitlines()
    assert header.split()[:2] == ["NAME", "AWS"]
    assert ROLE in first
    assert second.startswith("empty")
    assert len(coreo("account", "list", "--output", "json").json) == 2


def test_no_accounts_say_how_to_add_one(coreo: Cli, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/cloud-accounts")
    done = coreo("account", "list")
    assert (done.out, done.code) == ("", 0)
    assert "coreo account add" in done.err
    assert coreo("account", "list", "-o", "json").json == []


def test_an_account_is_shown_whole_or_as_its_trust_policy(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.lists("/v1/cloud-accounts", account)
    scripted_api.on("GET", f"/v1/cloud-accounts/{account['id']}/grant", a_grant())
    done = coreo("account", "show", "production")
    assert account["external_id"] in done.out
    assert "coreo account grant production --format commands" in done.err
    assert coreo("account", "show", "production", "--trust-policy").json == account["trust_policy"]
    assert coreo("account", "show", "production", "-o", "json").json == account


def test_an_account_is_renamed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.lists("/v1/cloud-accounts", account)
    scripted_api.on("PATCH", f"/v1/cloud-accounts/{account['id']}", account | {"name": "new"})
    assert coreo("account", "rename", "production", "--name", "new").out == "Renamed 'production' to 'new'.\n"


def test_an_account_is_removed(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account(role_arn=ROLE)
    scripted_api.lists("/v1/cloud-accounts", account)
    scripted_api.on("DELETE", f"/v1/cloud-accounts/{account['id']}", None)
    done = coreo("account", "remove", "production")
    assert done.out.startswith("Removed the cloud account 'production'")
    assert ROLE in done.err


def test_an_account_in_use_is_kept(coreo: Cli, scripted_api: ScriptedApi) -> None:
    account = an_account()
    scripted_api.lists("/v1/cloud-accounts", account)
    scripted_api.on("DELETE", f"/v1/cloud-accounts/{account['id']}", problem(409, "in_use", "Send PATCH …"))
    done = coreo("account", "remove", "production")
    assert done.code == 1
    assert "coreo plan list" in done.err
    assert "PATCH" not in done.err


@pytest.mark.parametrize(("keys", "is_removed"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_on_a_terminal_it_asks_before_it_takes_something_away(
    coreo: Cli, scripted_api: ScriptedApi, keys: str, *, is_removed: bool
) -> None:
    plan = a_plan()
    scripted_api.lists("/v1/plans", plan)
    scripted_api.on("DELETE", f"/v1/plans/{plan['id']}", None)
    done = coreo.on_terminal("plan", "remove", "nightly", keys=keys)
    assert done.code == (0 if is_removed else 1)
    assert bool(scripted_api.sent("DELETE", f"/v1/plans/{plan['id']}")) is is_removed
    assert coreo.on_terminal("plan", "remove", "nightly", "--yes").code == 0

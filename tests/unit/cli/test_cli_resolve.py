"""What arguments mean: ids, beginnings of ids, names."""

from typing import Any

import pytest

from coreo_cli.client import Client
from coreo_cli.config import Connection
from coreo_cli.errors import CliError
from coreo_cli.resolve import ACCOUNT, PLAN, RUN, resolve, short_ids
from coreo_cli.resolve import TOKEN as TOKEN_KIND
from tests.support.cli import TOKEN, URL, ScriptedApi, a_plan, a_run, an_account, problem

FIRST = "0199c3f2-8a1b-7000-8000-00000000000a"
SECOND = "0199c3f2-8a1b-7000-8000-00000000000b"
OLDER = "0199c3f1-0000-7000-8000-000000000000"


@pytest.fixture
def client(scripted_api: ScriptedApi) -> Client:
    return Client(Connection(URL, TOKEN), wait=lambda _: None)


@pytest.fixture
def accounts(scripted_api: ScriptedApi) -> list[dict[str, Any]]:
    accounts = [
        an_account(id=SECOND, name="staging", account_id="310987654321"),
        an_account(id=FIRST, name="production"),
        an_account(id=OLDER, name="twin", account_id="410987654321"),
        an_account(name="twin", account_id="510987654321"),
    ]
    scripted_api.lists("/v1/cloud-accounts", *accounts)
    return accounts


@pytest.mark.parametrize(
    ("text", "index"),
    [("staging", 0), (" staging ", 0), ("310987654321", 0), (SECOND[:-1] + "b", 0), (OLDER[:8], 2), ("0199C3F1", 2)],
)
def test_a_name_an_account_number_or_a_beginning_will_do(
    client: Client, scripted_api: ScriptedApi, accounts: list[dict[str, Any]], text: str, index: int
) -> None:
    scripted_api.on("GET", f"/v1/cloud-accounts/{SECOND}", accounts[0])
    assert resolve(client, ACCOUNT, text) == accounts[index]


def test_a_whole_id_is_asked_for_directly(client: Client, scripted_api: ScriptedApi) -> None:
    plan = a_plan()
    scripted_api.on("GET", f"/v1/plans/{plan['id']}", plan)
    assert resolve(client, PLAN, plan["id"].upper()) == plan
    assert len(scripted_api.requests) == 1


@pytest.mark.parametrize("text", ["0199c3f2", "twin"])
@pytest.mark.usefixtures("accounts")
def test_what_fits_several_lists_the_candidates(client: Client, text: str) -> None:
    with pytest.raises(CliError, match=f"^'{text}' fits 2 cloud accounts") as caught:
        resolve(client, ACCOUNT, text)
    assert len(caught.value.lines) == 2
    assert all(line[36:38] == "  " for line in caught.value.lines)


def test_a_name_comes_before_the_beginning_of_an_id(client: Client, scripted_api: ScriptedApi) -> None:
    named = a_plan(id=OLDER, name="0199c3f2")
    scripted_api.lists("/v1/plans", a_plan(id=FIRST), named)
    assert resolve(client, PLAN, "0199c3f2") == named


@pytest.mark.parametrize(("text", "meant"), [("prod", "'production'"), ("stagign", "'staging'")])
@pytest.mark.usefixtures("accounts")
def test_what_is_not_there_brings_up_what_was_meant(client: Client, text: str, meant: str) -> None:
    with pytest.raises(CliError, match=f"There is no cloud account '{text}'. Did you mean {meant}") as caught:
        resolve(client, ACCOUNT, text)
    assert "coreo account list" in str(caught.value.next_step)


@pytest.mark.parametrize("text", ["", "019", "zzz", "\x1b[31m", "0199c3f2-8a1b-7000-8000-00000000000a0"])
@pytest.mark.usefixtures("accounts")
def test_what_cannot_be_anything_is_missing(client: Client, text: str) -> None:
    with pytest.raises(CliError, match="There is no cloud account") as caught:
        resolve(client, ACCOUNT, text)
    assert "\x1b" not in caught.value.problem


def test_an_unknown_id_is_missing(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", f"/v1/plans/{FIRST}", problem(404, "not_found", "There is no such plan."))
    with pytest.raises(CliError, match=f"There is no plan '{FIRST}'"):
        resolve(client, PLAN, FIRST)


def test_other_refusals_stay_what_they_are(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", f"/v1/plans/{FIRST}", problem(401, "unauthenticated", "No."))
    with pytest.raises(CliError, match="does not know this token"):
        resolve(client, PLAN, FIRST)


def test_the_latest_run_is_the_first_of_the_list(client: Client, scripted_api: ScriptedApi) -> None:
    run = a_run()
    scripted_api.lists("/v1/runs", run)
    assert resolve(client, RUN, "Latest") == run
    assert scripted_api.requests[0].url.params["limit"] == "1"


def test_without_runs_there_is_no_latest(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.lists("/v1/runs")
    with pytest.raises(CliError, match="There are no runs yet"):
        resolve(client, RUN, "latest")


def test_runs_older_than_a_beginning_are_not_read(client: Client, scripted_api: ScriptedApi) -> None:
    page = {"items": [a_run(id=SECOND), a_run(id=OLDER)], "next_cursor": "more"}
    scripted_api.on("GET", "/v1/runs", page)
    assert resolve(client, RUN, SECOND[:10])["id"] == SECOND
    assert len(scripted_api.requests) == 1


def test_a_run_has_no_name_so_nothing_is_read(client: Client, scripted_api: ScriptedApi) -> None:
    with pytest.raises(CliError, match="There is no run 'nightly'"):
        resolve(client, RUN, "nightly")
    assert scripted_api.requests == []


def test_a_token_is_found_in_the_list_as_it_has_no_page(client: Client, scripted_api: ScriptedApi) -> None:
    token = {"id": FIRST, "name": "ci"}
    scripted_api.lists("/v1/tokens", token)
    assert resolve(client, TOKEN_KIND, FIRST) == token
    assert resolve(client, TOKEN_KIND, "ci") == token


def test_short_ids_are_as_long_as_they_must_be() -> None:
    short = short_ids([FIRST, SECOND, OLDER])
    assert short == {FIRST: FIRST, SECOND: SECOND, OLDER: OLDER[:13]}
    assert short_ids([FIRST]) == {FIRST: FIRST[:13]}
    assert short_ids([FIRST, FIRST]) == {FIRST: FIRST[:13]}

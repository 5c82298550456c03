"""The HTTP client: what it sends, what it repeats, and the words for all that can go wrong."""

import json
import ssl

import httpx
import pytest

from coreo_cli.client import STREAM_SILENCE_SECONDS, Client, _trust
from coreo_cli.config import Connection
from coreo_cli.errors import ApiError, CliError, UnreachableError
from coreo_cli.problems import option_of
from tests.support.cli import TOKEN, URL, ScriptedApi, a_run, problem, sse


class Waits(list[float]):
    """Remembers waits instead of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def client(scripted_api: ScriptedApi, waits: Waits) -> Client:
    return Client(Connection(URL, TOKEN), wait=waits)


def test_shows_the_token_and_its_version(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/team", {"name": "ACME"})
    assert client.get("/v1/team") == {"name": "ACME"}
    headers = scripted_api.requests[0].headers
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["user-agent"].startswith("coreo-cli/")


def test_lists_are_read_page_by_page_up_to_the_limit(client: Client, scripted_api: ScriptedApi) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", "0"))
        size = int(request.url.params["limit"])
        items = [{"n": number} for number in range(start, min(start + size, 450))]
        following = str(start + size) if start + size < 450 else None
        return httpx.Response(200, json={"items": items, "next_cursor": following})

    scripted_api.on("GET", "/v1/plans", page)
    assert [item["n"] for item in client.items("/v1/plans")] == list(range(450))
    assert [request.url.params["limit"] for request in scripted_api.requests] == ["200"] * 3
    scripted_api.requests.clear()
    assert len(list(client.items("/v1/plans", limit=250))) == 250
    assert [request.url.params["limit"] for request in scripted_api.requests] == ["200", "50"]


def test_a_page_is_asked_for_only_when_needed(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/plans", {"items": [{"n": 1}], "next_cursor": "more"})
    assert next(client.items("/v1/plans")) == {"n": 1}
    assert len(scripted_api.requests) == 1


def test_a_list_that_does_not_end_is_refused(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/plans", {"items": [], "next_cursor": "same"})
    with pytest.raises(CliError, match="a list that does not end"):
        list(client.items("/v1/plans"))


@pytest.mark.parametrize("answer", [{"rows": []}, {"items": {}}])
def test_what_is_no_list_is_refused(client: Client, scripted_api: ScriptedApi, answer: dict[str, object]) -> None:
    scripted_api.on("GET", "/v1/plans", answer)
    with pytest.raises(CliError, match="no list where one is expected"):
        list(client.items("/v1/plans"))


def test_a_problem_names_options_and_the_request_id(client: Client, scripted_api: ScriptedApi) -> None:
    errors = [("body.spec.rules.1", "no rule of this name"), ("body.schedule.time_zone", "not an IANA time zone")]
    scripted_api.on("POST", "/v1/plans", problem(422, "invalid", "Not valid.", *errors))
    with pytest.raises(ApiError, match=r"^Some fields are not valid\.$") as caught:
        client.post("/v1/plans", {})
    assert caught.value.lines == ("--rule (2nd): no rule of this name", "--time-zone: not an IANA time zone")
    assert caught.value.request_id == "request-12345"
    assert (caught.value.status, caught.value.code) == (422, "invalid")


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("body.name", "name"),
        ("query.rule", "--rule"),
        ("query.rule_set.1", "--rule-set (2nd)"),
        ("body.secret_access_key", "secret access key"),
        ("body.spec.rule_sets.0", "--rule-set (1st)"),
        ("body.spec.rules.10", "--rule (11th)"),
        ("body.spec.rules.22", "--rule (23rd)"),
        ("body.spec.parameters.iam-root-mfa", "--param iam-root-mfa"),
        ("body.cloud_account_ids.2", "--account (3rd)"),
        ("body.schedule", "--cron, --every, --jitter"),
        ("header.idempotency-key", "--idempotency-key"),
        ("body.unheard_of", "body.unheard_of"),
    ],
)
def test_fields_are_called_by_their_options(field: str, option: str) -> None:
    assert option_of(field) == option


def test_what_the_api_says_cannot_act_on_the_terminal(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/plans", problem(422, "invalid", "x", ("body.\x1b[2J", "\x1b]0;title\x07")))
    with pytest.raises(ApiError) as caught:
        client.post("/v1/plans", {})
    assert "\x1b" not in caught.value.lines[0]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectTimeout("x"), "Nobody answers at http://127.0.0.1:8080 within 5 s"),
        (httpx.ReadTimeout("x"), "did not answer in time"),
        (httpx.RemoteProtocolError("x"), "The connection to http://127.0.0.1:8080 broke"),
    ],
)
def test_silence_is_put_into_words(client: Client, scripted_api: ScriptedApi, failure: Exception, words: str) -> None:
    scripted_api.on("GET", "/v1/team", failure)
    with pytest.raises(UnreachableError, match=words) as caught:
        client.get("/v1/team")
    assert "make demo" in str(caught.value.next_step)


def test_a_refused_connection_fails_at_once(client: Client, scripted_api: ScriptedApi, waits: Waits) -> None:
    refusal = httpx.ConnectError("secret-canary")
    refusal.__cause__ = ConnectionRefusedError(111, "Connection refused")
    scripted_api.on("GET", "/v1/team", refusal)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:8080 \(connection refused\)"):
        client.get("/v1/team")
    assert waits == []


def test_reads_are_tried_again_as_long_as_asked_for(client: Client, scripted_api: ScriptedApi, waits: Waits) -> None:
    busy = problem(503, "results_unavailable", "Later.", retry_after="5")
    scripted_api.on("GET", "/v1/team", busy, httpx.ReadError("x"), {"name": "ACME"})
    assert client.get("/v1/team") == {"name": "ACME"}
    assert waits == [5.0, 1.0]


def test_reads_are_tried_three_times_at_most(client: Client, scripted_api: ScriptedApi, waits: Waits) -> None:
    scripted_api.on("GET", "/v1/team", problem(503, "results_unavailable", "Later."))
    with pytest.raises(ApiError):
        client.get("/v1/team")
    assert len(scripted_api.requests) == 3
    assert len(waits) == 2


def test_a_long_wait_is_left_to_the_user(client: Client, scripted_api: ScriptedApi, waits: Waits) -> None:
    scripted_api.on("GET", "/v1/team", problem(429, "too_many", "Later.", retry_after="3600"))
    with pytest.raises(ApiError):
        client.get("/v1/team")
    assert waits == []


def test_writes_are_not_repeated_without_an_idempotency_key(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/plans", httpx.ReadTimeout("x"))
    with pytest.raises(UnreachableError) as caught:
        client.post("/v1/plans", {})
    assert caught.value.sent
    assert len(scripted_api.requests) == 1


def test_writes_are_repeated_with_the_same_idempotency_key(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("POST", "/v1/plans/p/runs", httpx.ReadTimeout("x"), {"group_id": "g"})
    assert client.post("/v1/plans/p/runs", None, idempotency_key="mine") == {"group_id": "g"}
    assert [request.headers["idempotency-key"] for request in scripted_api.requests] == ["mine", "mine"]


def test_a_redirect_is_not_followed(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/team", lambda _: httpx.Response(307, headers={"location": "https://evil.example/"}))
    with pytest.raises(CliError, match="the token is not sent there"):
        client.get("/v1/team")
    assert [request.url.host for request in scripted_api.requests] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, text="<html>"), "no JSON object"),
        (httpx.Response(200, text="[1]"), "no JSON object"),
        (httpx.Response(404, text="<html>"), "404 Not Found, and not in Coreo's words"),
        (httpx.Response(500, json={"error": "x"}), "500 Internal Server Error, and not in Coreo's words"),
    ],
)
def test_another_server_is_recognised(
    client: Client, scripted_api: ScriptedApi, answer: httpx.Response, words: str
) -> None:
    scripted_api.on("GET", "/v1/team", lambda _: httpx.Response(answer.status_code, content=answer.content))
    with pytest.raises(CliError, match=words):
        client.get("/v1/team")


def test_events_resume_after_the_last_one_seen(client: Client, scripted_api: ScriptedApi) -> None:
    run = a_run("RUNNING")
    scripted_api.on("GET", "/v1/runs/r/events", sse((7, run)))
    with client.run_events("r", "6") as events:
        assert [(event.id, json.loads(event.data)) for event in events] == [("7", run)]
    request = scripted_api.requests[0]
    assert request.headers["last-event-id"] == "6"
    assert request.headers["accept"] == "text/event-stream"
    assert request.extensions["timeout"]["read"] == STREAM_SILENCE_SECONDS > 2 * 15  # keep-alives come every 15 s


def test_a_run_that_is_over_gives_no_events(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/runs/r/events", None)
    with client.run_events("r", "9") as events:
        assert list(events) == []


def test_what_is_no_event_stream_is_refused(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/runs/r/events", {"a": 1})
    with pytest.raises(CliError, match="no event stream"), client.run_events("r", None):
        pass


def test_a_stream_that_breaks_is_unreachable(client: Client, scripted_api: ScriptedApi) -> None:
    scripted_api.on("GET", "/v1/runs/r/events", sse((1, a_run("RUNNING")), breaks=True))
    with pytest.raises(UnreachableError), client.run_events("r", None) as events:
        list(events)


def test_who_is_trusted_depends_on_the_address() -> None:
    nobody = _trust(URL)
    assert isinstance(nobody, ssl.SSLContext)
    assert nobody.get_ca_certs() == []
    assert (nobody.verify_mode, nobody.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert _trust("https://coreo.example.com") is True


def test_a_proxy_has_no_part_in_what_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(Connection(URL, TOKEN)) as local, Client(Connection("https://coreo.example.com", TOKEN)) as distant:
        assert not local._http._mounts
        assert distant._http._mounts

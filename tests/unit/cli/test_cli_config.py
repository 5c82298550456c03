"""Where `coreo` takes address and token from, and where it never sends the token."""

import json
from pathlib import Path

import pytest

from coreo_cli import config
from coreo_cli.config import Connection, check_token, check_url, load_connection, store
from coreo_cli.errors import CliError

STORED = Connection("https://coreo.example.com", "coreo_" + "s" * 43)
OTHER_TOKEN = "coreo_" + "o" * 43


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COREO_URL", "COREO_TOKEN", "COREO_ALLOW_PLAIN_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_what_is_stored_is_used_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = store(STORED)
    assert path == tmp_path / "coreo" / "config.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_connection() == STORED


def test_storing_again_replaces_a_file_that_others_could_read() -> None:
    path = store(STORED)
    path.chmod(0o644)
    store(STORED)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_file_that_others_can_read_is_refused(mode: int) -> None:
    path = store(STORED)
    path.chmod(mode)
    with pytest.raises(CliError, match="others on this machine"):
        load_connection()


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    store(STORED)
    monkeypatch.setenv("COREO_URL", "https://other.example.com/")
    monkeypatch.setenv("COREO_TOKEN", OTHER_TOKEN)
    assert load_connection() == Connection("https://other.example.com", OTHER_TOKEN)


def test_a_stored_token_is_not_sent_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    store(STORED)
    monkeypatch.setenv("COREO_URL", "https://evil.example.com")
    with pytest.raises(CliError, match="not sent there"):
        load_connection()
    monkeypatch.setenv("COREO_URL", STORED.url + "/")
    assert load_connection() == STORED


def test_a_token_of_the_environment_goes_to_the_stored_address(monkeypatch: pytest.MonkeyPatch) -> None:
    store(STORED)
    monkeypatch.setenv("COREO_TOKEN", OTHER_TOKEN)
    assert load_connection() == Connection(STORED.url, OTHER_TOKEN)


def test_without_a_login_it_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CliError, match="You are not logged in") as caught:
        load_connection()
    assert "coreo login" in str(caught.value.next_step)
    monkeypatch.setenv("COREO_URL", STORED.url)
    with pytest.raises(CliError, match="COREO_TOKEN is not set"):
        load_connection()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1, "token": 2}', "\xff", '{"url": "https://a.example"}'])
def test_a_broken_file_is_named(text: str) -> None:
    path = store(STORED)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CliError) as caught:
        load_connection()
    assert str(path) in caught.value.problem


@pytest.mark.parametrize(
    "url",
    [
        "",
        "coreo.example.com",
        "ftp://coreo.example.com",
        "https://",
        "https://user@coreo.example.com",
        "https://user:canary@coreo.example.com",
        "https://coreo.example.com/?a=b",
        "https://coreo.example.com/#a",
        "https://coreo.example.com:port",
        "https://coreo example.com",
        "https://[::1",
    ],
)
def test_what_is_no_address_is_refused_by_its_source_alone(url: str) -> None:
    with pytest.raises(CliError, match=r"^COREO_URL ") as caught:
        check_url(url, "COREO_URL")
    assert "canary" not in caught.value.problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "https://a.example"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert check_url(f" {url}/ ", "--url") == url


@pytest.mark.parametrize("url", ["http://coreo.example.com", "http://10.0.0.1", "http://127.0.0.1.example.com"])
def test_plain_http_to_another_machine_is_refused_unless_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CliError, match="unencrypted"):
        check_url(url, "--url")
    monkeypatch.setenv("COREO_ALLOW_PLAIN_HTTP", "1")
    assert check_url(url, "--url") == url


@pytest.mark.parametrize("token", ["", "coreo_", "canary_" + "x" * 43, "coreo_canary" + "x" * 20 + "\nHost: evil"])
def test_what_is_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(CliError, match=r"^COREO_TOKEN holds no Coreo token") as caught:
        check_token(token, "COREO_TOKEN")
    assert "canary" not in caught.value.problem


def test_a_connection_does_not_show_its_token() -> None:
    assert STORED.token not in repr(STORED)


def test_a_failed_write_leaves_the_old_file_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(STORED)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(CliError, match="No space left on device"):
        store(Connection("https://new.example.com", OTHER_TOKEN))
    assert json.loads(path.read_text())["url"] == STORED.url
    assert list(path.parent.iterdir()) == [path]


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.config_path() == tmp_path / ".config" / "coreo" / "config.json"

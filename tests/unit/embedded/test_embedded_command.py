"""The coreo-embedded command says what is wrong and what to do next, without a traceback."""

import io
from pathlib import Path

import pytest

from coreo_embedded import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Exit status, or the message that goes with status 1."""
    monkeypatch.setattr("sys.argv", ["coreo-embedded", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.run()
    return ended.value.code


def test_command_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(monkeypatch, "compose-init", "settings") == 0
    assert f"COREO_COMPOSE_DIR={tmp_path}/settings docker compose up --build" in capsys.readouterr().out

    assert run(monkeypatch, "compose-init", "settings") == 0
    assert "is there already and stays" in capsys.readouterr().out


def test_command_says_why_a_folder_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()

    message = run(monkeypatch, "compose-init", str(tmp_path / "file" / "compose"))

    assert message == f"coreo-embedded: {tmp_path}/file/compose cannot be made (Not a directory); choose another folder"


@pytest.mark.parametrize("account", ["1", "abcdefghijkl", "1234567890123", "１２３４５６７８９０１２"])  # noqa: RUF001  digits, but not AWS's
def test_plant_refuses_what_is_no_account_id(
    account: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "plant", "--account-id", account) == 2
    assert "argument --account-id: expected 12 digits" in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["", "trust", "[]", "\xff"])
def test_plant_says_that_it_needs_a_trust_policy(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(policy.encode("latin-1"))))

    message = run(monkeypatch, "plant", "--account-id", "222222222222")

    assert message == "coreo-embedded: standard input must be the role's trust policy, a JSON object"


def test_plant_without_a_platform_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))

    message = run(monkeypatch, "plant", "--account-id", "222222222222", "--private", str(tmp_path))

    assert str(message).startswith(f"coreo-embedded: The platform does not run over {tmp_path} ")

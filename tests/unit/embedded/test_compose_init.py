"""compose-init: settings for each container, whole or not at all, for their owner's eyes."""

import stat
from pathlib import Path

import pytest

from coreo_embedded import compose_init as module
from coreo_embedded.compose_init import POOLS, _quotable, compose_init

FILES = {"postgres", "api", "api-migrate", "results", "results-migrate", *(f"worker-{pool}" for pool in POOLS)}
# The variables that hold a secret, and the one file that may have each; the other role's passwords are in PostgreSQL's.
SECRETS = {
    "COREO_SIGNING_JWK": {"api"},
    "COREO_FLEET_JWK": {f"worker-{pool}" for pool in POOLS},
    "COREO_MIGRATION_DATABASE_URL": {"api-migrate", "results-migrate"},
    "COREO_DATABASE_URL": {"api", "results"},
    "COREO_SYSTEM_DATABASE_URL": {"api", "results"},
    "POSTGRES_PASSWORD": {"postgres"},
}


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Each file's variables."""
    lines = {path.stem: path.read_text().splitlines() for path in folder.iterdir()}
    return {name: dict(line.split("=", 1) for line in content) for name, content in lines.items()}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}


def test_only_the_owner_can_read_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "compose"

    assert compose_init(folder)

    assert modes(folder) == {"compose": 0o700} | {f"{name}.env": 0o600 for name in FILES}
    assert list(folder.parent.iterdir()) == [folder]


def test_second_time_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    compose_init(folder)
    before = read(folder)

    assert not compose_init(folder)

    assert read(folder) == before


def test_two_folders_have_no_secret_in_common(tmp_path: Path) -> None:
    for name in ("one", "two"):
        compose_init(tmp_path / name)

    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    same = {(file, name) for file, values in one.items() for name in values if values[name] == two[file][name]}
    assert same == set()


@pytest.mark.parametrize("variable", SECRETS)
def test_secret_is_in_no_other_services_file(variable: str, tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    compose_init(folder)

    assert {name for name, values in read(folder).items() if variable in values} == SECRETS[variable]


def test_no_private_key_is_beside_a_public_one(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    compose_init(folder)

    for values in read(folder).values():
        for name, value in values.items():
            assert ('"d":' in value) == (name in {"COREO_CUSTODY_KEY", "COREO_FLEET_JWK", "COREO_SIGNING_JWK"})


def test_failure_leaves_no_keys_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = module._settings() | {"zz": {"COREO_POOL": "it's"}}
    monkeypatch.setattr(module, "_settings", lambda: settings)

    with pytest.raises(ValueError, match="quote"):
        compose_init(tmp_path / "compose")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["it's", "two\nlines"])
def test_value_that_would_end_its_quotes_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a generated setting has a quote or a line's end in it"):
        _quotable(value)

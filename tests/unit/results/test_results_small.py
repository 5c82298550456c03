"""Settings, cursors, the key cache, validation and the root key file."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from coreo_results.chunks.validation import parse_chunk
from coreo_results.findings.filters import Filters, Position, read_cursor, write_cursor
from coreo_results.keys.cache import ExpiringCache
from coreo_results.keys.errors import KeyUnavailableError, RootKeyError
from coreo_results.keys.file_root import FileRootKey
from coreo_results.keys.material import SecretKey
from coreo_results.settings import ResultsSettings
from coreo_shared.contracts.base import encode_msgpack
from coreo_shared.contracts.terms import FindingStatus, Pool
from coreo_shared.crypto.jose import generate_key, public_jwk
from coreo_shared.ids import new_id
from coreo_shared.web import Problem
from tests.support.results import make_chunk, make_finding

KEY, RUN = SecretKey.generate(), new_id()
PLACE = Position(1, "rule", "unit@global", 0, 7)
FILTERS = Filters(statuses=frozenset({FindingStatus.FAIL}), resource="x")


def test_a_cursor_comes_back_for_its_own_question() -> None:
    assert read_cursor(write_cursor(PLACE, RUN, FILTERS, KEY), RUN, FILTERS, KEY) == PLACE


def test_a_changed_cursor_is_refused_at_every_character() -> None:
    cursor = write_cursor(PLACE, RUN, FILTERS, KEY)
    changed = {cursor[:place] + other + cursor[place + 1 :] for place in range(len(cursor)) for other in "A-"}
    for wrong in (changed - {cursor}) | {"", "!", "é", cursor + "A", cursor[:-1]}:
        with pytest.raises(Problem) as refused:
            read_cursor(wrong, RUN, FILTERS, KEY)
        assert (refused.value.status, refused.value.errors[0].field) == (422, "query.cursor")


@pytest.mark.parametrize(
    ("run", "filters", "key"),
    [
        (new_id(), FILTERS, KEY),
        (RUN, Filters(), KEY),
        (RUN, Filters(statuses=FILTERS.statuses), KEY),
        (RUN, Filters(rule_ids=frozenset({"FAIL"}), resource="x"), KEY),
        (RUN, FILTERS, SecretKey.generate()),
    ],
)
def test_a_cursor_is_refused_for_another_question(run: Any, filters: Filters, key: SecretKey) -> None:
    with pytest.raises(Problem):
        read_cursor(write_cursor(PLACE, RUN, FILTERS, KEY), run, filters, key)


async def test_the_cache_loads_once_for_many_and_again_when_the_time_is_over() -> None:
    now, loads = 0.0, 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        return loads

    cache: ExpiringCache[str, int] = ExpiringCache(seconds=300, max_entries=2, clock=lambda: now)
    assert await asyncio.gather(*(cache.get("a", load) for _ in range(5))) == [1] * 5
    now = 299.9
    assert await cache.get("a", load) == 1
    now = 300.0
    assert await cache.get("a", load) == 2


async def test_the_cache_keeps_no_failure_and_no_more_than_its_size() -> None:
    cache: ExpiringCache[str, str] = ExpiringCache(seconds=300, max_entries=2)

    async def fail() -> str:
        raise KeyUnavailableError("DisabledException")

    async def load() -> str:
        return "fresh"

    with pytest.raises(KeyUnavailableError):
        await cache.get("a", fail)
    assert await cache.get("a", load) == "fresh"
    for key in "bc":
        await cache.get(key, load)
    with pytest.raises(KeyUnavailableError):
        await cache.get("a", fail)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"SECRET", "body"),
        (b"\x81\xa6SECRET\x01", "body"),
        (encode_msgpack(make_chunk(1, unit="SECRET")), "body.unit"),
        (encode_msgpack(make_chunk(1, unit="SECRET\0@global")), "body.unit"),
        (encode_msgpack(make_chunk(1, index=-1)), "body.index"),
        (encode_msgpack(make_chunk(1, index=2**40)), "body.index"),
        (encode_msgpack(make_chunk(1, [make_finding(n) for n in range(1001)])), "body.findings"),
        (
            encode_msgpack(make_chunk(1, [make_finding(), make_finding(fingerprint="SECRET")])),
            "body.findings.1.fingerprint",
        ),
        (encode_msgpack(make_chunk(1, [make_finding(rule_id="SECRET\0")])), "body.findings.0.rule_id"),
        (encode_msgpack(make_chunk(1, [make_finding(region="SECRET")])), "body.findings.0.region"),
        (encode_msgpack({"fence": 1, "unit": "u@r", "index": 0, "final": "SECRET", "findings": []}), "body.final"),
        (encode_msgpack({"fence": 1, "unit": "u@r", "index": 0, "final": True}), "body.findings"),
    ],
)
def test_a_bad_chunk_is_refused_by_field_without_its_value(body: bytes, field: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_chunk(body)
    assert (refused.value.status, refused.value.errors[0].field) == (422, field)
    assert "SECRET" not in refused.value.errors[0].message + refused.value.detail


def test_a_root_key_file_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = FileRootKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileRootKey.load(path).name == made.name
    before = path.read_bytes()
    with pytest.raises(RootKeyError, match="never overwritten"):
        FileRootKey.create(path)
    assert path.read_bytes() == before

    path.chmod(0o640)
    with pytest.raises(RootKeyError, match="chmod 600"):
        FileRootKey.load(path)


@pytest.mark.parametrize(
    "content", ["", "SECRET", "{}", '{"kind": "coreo-root-key", "id": "x", "key": "U0VDUkVU"}', "[]"]
)
def test_a_file_that_is_no_root_key_is_refused_without_its_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(RootKeyError) as refused:
        FileRootKey.load(path)
    assert "SECRET" not in str(refused.value)
    assert "U0VDUkVU" not in str(refused.value)


def test_a_missing_root_key_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RootKeyError, match="create-root-key"):
        FileRootKey.load(tmp_path / "none.key")


def settings(**changes: Any) -> ResultsSettings:
    jwks = {"keys": [public_jwk(generate_key())]}
    values = {
        "database_url": "postgresql+asyncpg://u:SECRET@h/d",
        "system_database_url": "postgresql+asyncpg://u:SECRET@h/d",
    }
    values |= {
        "api_jwks": json.dumps(jwks),
        "fleet_jwks": json.dumps({"audit": jwks}),
        "root_key": "file:/k",
        "vault": "dir:/v",
        "backup_store": "none",
    }
    return ResultsSettings(**{**values, **changes})


def test_settings_never_show_passwords() -> None:
    assert "SECRET" not in repr(settings())


@pytest.mark.parametrize("root_key", ["", "file:", "file:relative", "env:SECRET", "kms:alias/x", "/k"])
def test_there_is_no_root_key_but_a_stated_one(root_key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(root_key=root_key)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "vault", ["", "dir:relative", "/v", "s3:bucket", "s3://UPPER/x", "file:/v", "dir:/SECRET/../x"]
)
def test_a_vault_is_a_directory_or_a_bucket(vault: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(vault=vault)
    assert "SECRET" not in str(refused.value)


CUSTODY = {"backup_store": "dir:/b", "ledger_store": "dir:/l", "custody_key": json.dumps(generate_key())}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ledger_store": None}, "COREO_LEDGER_STORE is needed"),
        ({"custody_key": None}, "COREO_CUSTODY_KEY is needed"),
        ({"custody_key": json.dumps(public_jwk(generate_key()))}, "private Ed25519 JWK"),
        ({"custody_jwks": "{}"}, "expected a JWK set"),
        ({"ledger_store": "dir:/b"}, "COREO_BACKUP_STORE and COREO_LEDGER_STORE are the same place"),
        ({"backup_store": "dir:/v/b"}, "COREO_VAULT and COREO_BACKUP_STORE are the same place"),
        ({"vault": "s3://bucket", "ledger_store": "s3://bucket/x"}, "COREO_VAULT and COREO_LEDGER_STORE"),
        ({"backup_store": "/b"}, "expected dir:"),
        ({"ledger_store": "none"}, "expected dir:"),
    ],
)
def test_stores_are_apart_and_logs_are_signed(changes: dict[str, str | None], problem: str) -> None:
    assert settings(**CUSTODY).backup_store == "dir:/b"
    with pytest.raises(ValidationError, match=problem) as refused:
        settings(**{**CUSTODY, **changes})
    assert json.loads(CUSTODY["custody_key"])["d"] not in str(refused.value)


def test_older_custody_keys_are_believed_too() -> None:
    old = generate_key()
    known = settings(**CUSTODY, custody_jwks=json.dumps({"keys": [public_jwk(old)]})).custody_keys()
    assert [key["kid"] for key in known] == [json.loads(CUSTODY["custody_key"])["kid"], old["kid"]]
    assert not any("d" in key for key in known)


def test_other_root_keys_stand_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREO_OTHER_ROOT_KEYS", "file:/old, kms:arn:aws:kms:eu-west-1:1:key/x")
    assert settings().other_root_keys == ("file:/old", "kms:arn:aws:kms:eu-west-1:1:key/x")
    with pytest.raises(ValidationError, match="other_root_keys"):
        settings(other_root_keys="file:/old,SECRET")


def test_no_key_may_stand_in_two_pools() -> None:
    jwks = {"keys": [public_jwk(generate_key())]}
    with pytest.raises(ValidationError, match="no kid may stand twice"):
        settings(fleet_jwks=json.dumps({"audit": jwks, "deploy": jwks}))


@pytest.mark.parametrize("fleet", ["", "[]", "{", '{"SECRET": {"keys": []}}', '{"audit": {}}'])
def test_malformed_pool_keys_are_refused_without_their_text(fleet: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(fleet_jwks=fleet)
    assert "SECRET" not in str(refused.value)


def test_pool_keys_are_read_by_pool() -> None:
    assert set(settings().fleet_keys()) == {Pool.AUDIT}

"""What is posted with keys: every fault is named, nothing is repeated, and no buffer keeps a secret."""

import json
import logging
import traceback
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from coreo_api.bootstrap import body as module
from coreo_api.bootstrap.body import MAX_BODY, KeysLevel, PostedKeys, Wish, posted_keys, take_apart
from coreo_api.bootstrap.secret import Secret
from coreo_shared.web import Problem

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
TEMPORARY = "ASIAIOSFODNN7EXAMPLE"
SECRET = "canary7rXUtnFEMI/K7MDENG+bPxRfiCYcanaryKEY"
TOKEN = "canaryFwoGZXIvYXdzEBYaDEXAMPLEcanary=="


def posted(**fields: Any) -> dict[str, Any]:
    body = {"access_key_id": KEY_ID, "secret_access_key": SECRET} | fields
    return {name: value for name, value in body.items() if value is not ...}


def read(body: bytes | dict[str, Any]) -> PostedKeys:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return take_apart(memoryview(bytearray(text)))


def texts(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data.decode("ascii")


def test_least_that_can_be_posted() -> None:
    keys = read(posted())

    assert keys.wish == Wish(access_key_id=KEY_ID)
    assert (keys.wish.role_name, keys.wish.level) == ("CloudCoreoAssumedRole", KeysLevel.FULL)
    assert texts(keys.secret) == SECRET
    assert keys.session_token is None


def test_most_that_can_be_posted() -> None:
    plan = "01900000-0000-7000-8000-000000000000"
    chosen = {"level": "exact", "plan_ids": [plan], "rule_sets": ["baseline"], "rules": ["x"]}
    keys = read(posted(access_key_id=TEMPORARY, session_token=TOKEN, account_id="1", role_name="R", **chosen))

    assert texts(keys.session_token) == TOKEN
    assert (str(keys.wish.plan_ids[0]), keys.wish.rule_sets, keys.wish.rules) == (plan, ("baseline",), ("x",))


def test_null_is_no_session_token() -> None:
    assert read(posted(session_token=None)).session_token is None


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=128), st.data())
def test_secret_is_read_however_it_is_escaped(secret: str, data: st.DataObject) -> None:
    """`/` and `+` come as `\\/` and `\\u002B` from some writers of JSON."""

    def written(character: str) -> str:
        plain = {'"': '\\"', "\\": "\\\\"}.get(character, character)
        escapes = [plain, f"\\u{ord(character):04x}", f"\\u{ord(character):04X}"]
        return data.draw(st.sampled_from([*escapes, "\\/"] if character == "/" else escapes))

    text = "".join(map(written, secret))
    keys = read(f'{{"access_key_id": "{KEY_ID}", "secret_access_key": "{text}"}}'.encode())

    assert texts(keys.secret) == secret


FAULTS: dict[str, tuple[bytes | dict[str, Any], str]] = {
    "nothing": (b"", "body"),
    "no JSON": (b'{"secret_access_key": "' + SECRET.encode(), "body"),
    "no object": (json.dumps([SECRET]).encode(), "body"),
    "a text": (json.dumps(SECRET).encode(), "body"),
    "not UTF-8": (b'{"access_key_id": "\xff", "secret_access_key": "' + SECRET.encode() + b'"}', "body"),
    "NaN": (json.dumps(posted(role_name=float("nan"))).encode(), "body"),
    "deep": (b"[" * 10_000, "body"),
    "no key id": (posted(access_key_id=...), "body.access_key_id"),
    "no secret": (posted(secret_access_key=...), "body.secret_access_key"),
    "another field": (posted(secretAccessKey=SECRET), "body"),
    "a field named by the secret": (posted(**{SECRET: 1}), "body"),
    "fields exchanged": (posted(access_key_id=SECRET, secret_access_key=KEY_ID), "body.access_key_id"),
    "key id with a line end": (posted(access_key_id=KEY_ID + "\n"), "body.access_key_id"),
    "key id in other digits": (posted(access_key_id="AKIA" + "\u0661" * 16), "body.access_key_id"),
    "key id no text": (posted(access_key_id=[SECRET]), "body.access_key_id"),
    "secret no text": (posted(secret_access_key=[SECRET]), "body.secret_access_key"),
    "secret a number": (posted(secret_access_key=10**39), "body.secret_access_key"),
    "secret null": (posted(secret_access_key=None), "body.secret_access_key"),
    "secret with a line end": (posted(secret_access_key=SECRET + "\n"), "body.secret_access_key"),
    "secret with a space": (posted(secret_access_key=SECRET[:20] + " " + SECRET[20:]), "body.secret_access_key"),
    "secret beyond ASCII": (posted(secret_access_key=SECRET + "é"), "body.secret_access_key"),
    "secret beyond ASCII, unescaped": (
        json.dumps(posted(secret_access_key=SECRET + "漢"), ensure_ascii=False).encode(),
        "body.secret_access_key",
    ),
    "secret beyond ASCII, in Latin-1's reach": (posted(secret_access_key=SECRET + "\x80"), "body.secret_access_key"),
    "secret too short": (posted(secret_access_key=SECRET[:15]), "body.secret_access_key"),
    "secret too long": (posted(secret_access_key=SECRET * 4), "body.secret_access_key"),
    "temporary key without token": (posted(access_key_id=TEMPORARY), "body.session_token"),
    "lasting key with a token": (posted(session_token=TOKEN), "body.session_token"),
    "token too long": (posted(access_key_id=TEMPORARY, session_token=TOKEN * 250), "body.session_token"),
    "token no text": (posted(access_key_id=TEMPORARY, session_token={"x": TOKEN}), "body.session_token"),
    "role name": (posted(role_name=SECRET), "body.role_name"),
    "role name with a line end": (posted(role_name="Role\n"), "body.role_name"),
    "role name too long": (posted(role_name="x" * 65), "body.role_name"),
    "level": (posted(level=SECRET), "body.level"),
    "plan id": (posted(level="exact", plan_ids=[SECRET]), "body.plan_ids.0"),
    "plans without exact": (posted(plan_ids=["01900000-0000-7000-8000-000000000000"]), "body.plan_ids"),
    "rules without exact": (posted(rules=[SECRET]), "body.rules"),
    "too many rules": (posted(level="exact", rules=["x"] * 101), "body.rules"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_and_nothing_is_repeated(fault: str) -> None:
    body, field = FAULTS[fault]
    with pytest.raises(Problem) as refused:
        read(body)

    said = refused.value
    assert said.status == 422
    assert [error.field.replace("...", "0") for error in said.errors] == [field]
    told = f"{said.detail} {said.errors} {''.join(traceback.format_exception(said))}"
    for secret in (SECRET, TOKEN, SECRET[:20], "canary"):
        assert secret not in told
    assert said.__cause__ is None


def test_no_fault_leaves_a_secret_in_what_a_debugger_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local variables of all frames, as some error reporters print them."""
    made: list[Secret] = []

    class Watched(Secret):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            made.append(self)

    monkeypatch.setattr(module, "Secret", Watched)
    for body, _ in FAULTS.values():
        with pytest.raises(Problem):
            read(body)
    assert len(made) > 10
    assert not any(any(each.data) for each in made)


def request_of(*chunks: bytes) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_body_comes_in_pieces() -> None:
    text = json.dumps(posted()).encode()
    async with posted_keys(request_of(text[:30], b"", text[30:])) as keys:
        assert texts(keys.secret) == SECRET


async def test_body_over_16_kib_is_refused() -> None:
    text = json.dumps(posted(role_name="x" * MAX_BODY)).encode()
    with pytest.raises(Problem) as refused:
        async with posted_keys(request_of(text[:9_000], text[9_000:])):
            pass
    assert refused.value.status == 413


async def test_secrets_are_wiped_however_the_block_ends(caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps(posted(access_key_id=TEMPORARY, session_token=TOKEN)).encode()
    with caplog.at_level(logging.DEBUG):
        async with posted_keys(request_of(body)) as keys:
            pass
        with pytest.raises(RuntimeError):
            async with posted_keys(request_of(body)) as other:
                raise RuntimeError
    for each in (keys, other):
        assert each.session_token is not None
        assert not any(each.secret.data)
        assert not any(each.session_token.data)
    assert "canary" not in caplog.text


async def test_body_is_wiped_before_the_keys_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[Secret] = []

    class Watched(Secret):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            buffers.append(self)

    monkeypatch.setattr(module, "Secret", Watched)
    async with posted_keys(request_of(json.dumps(posted()).encode())) as keys:
        others = [each for each in buffers if each is not keys.secret]
        assert len(others) >= 2  # the body, and where its escapes were undone
        assert not any(any(each.data) for each in others)
        assert texts(keys.secret) == SECRET

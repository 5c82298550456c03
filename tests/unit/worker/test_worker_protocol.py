"""Frames between the worker and a run's process, and what a run's process is given besides."""

import asyncio
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_worker.runner import protocol
from coreo_worker.runner.process import describe_exit, run_command, run_environment
from coreo_worker.runner.protocol import (
    Cancel,
    Chunk,
    Credentials,
    Ended,
    NewCredentials,
    Planned,
    ProtocolError,
    RunFrame,
    Start,
    WorkerFrame,
    pack,
    read_run_frame,
    read_worker_frame,
)
from tests.support.results import make_finding
from tests.support.worker import make_credentials

CREDENTIALS = Credentials.of(make_credentials())
START = Start(
    run_id="r",
    team_id="t",
    account_id="123456789012",
    partition="aws",
    rules=("a", "b"),
    regions=("all",),
    parameters={"a": {"days": 1}},
    units_done=frozenset({"aws.s3.bucket@global"}),
    credentials=CREDENTIALS,
)


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize("frame", [START, NewCredentials(credentials=CREDENTIALS), Cancel()])
async def test_what_the_worker_says_arrives(frame: WorkerFrame) -> None:
    reader = reader_of(pack(frame) * 2)
    assert [await read_worker_frame(reader) for _ in range(3)] == [frame, frame, None]


@pytest.mark.parametrize(
    "frame",
    [
        Planned(units_total=7),
        Chunk(unit="aws.s3.bucket@global", index=0, final=True, findings=[make_finding(n) for n in range(3)]),
        Ended(outcome="failed", reason="Nö."),
    ],
)
async def test_what_a_run_says_arrives(frame: RunFrame) -> None:
    reader = reader_of(pack(frame) * 2)
    assert [await read_run_frame(reader) for _ in range(3)] == [frame, frame, None]


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
async def test_half_a_frame_says_nothing(cut: int) -> None:
    whole = pack(Ended(outcome="completed"))
    assert await read_run_frame(reader_of(whole[:cut])) is None


async def test_a_run_cannot_make_the_worker_wait_for_gigabytes() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        await read_run_frame(reader_of(b"\xff\xff\xff\xff"))


async def test_a_frame_that_the_other_side_would_not_take_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_FRAME_BYTES", 50)
    with pytest.raises(ProtocolError, match="too long"):
        pack(Ended(outcome="failed", reason="x" * 50))


@given(st.binary(max_size=60))
async def test_other_bytes_are_refused_without_repeating_them(body: bytes) -> None:
    reader = reader_of(len(body).to_bytes(4, "big") + body)
    with pytest.raises(ProtocolError) as refused:
        await read_run_frame(reader)
    assert str(refused.value) == "a frame is malformed"


async def test_a_run_cannot_say_what_only_the_worker_says() -> None:
    with pytest.raises(ProtocolError):
        await read_run_frame(reader_of(pack(START)))


def test_credentials_are_not_in_a_frames_repr() -> None:
    for frame in (START, NewCredentials(credentials=CREDENTIALS)):
        assert "canary" not in repr(frame)
        assert "ASIA" not in repr(frame)


def test_credentials_come_through_whole() -> None:
    before = make_credentials()
    assert Credentials.of(before).for_clients() == before


def test_a_runs_environment_says_how_to_reach_aws_and_not_who_the_worker_is() -> None:
    worker = {
        "PATH": "/usr/bin",
        "HOME": "/root",
        "COREO_FLEET_JWK": "x",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_SESSION_TOKEN": "x",
        "AWS_PROFILE": "x",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "x",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "x",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "x",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "x",
        "AWS_ROLE_ARN": "x",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/ca.pem",
        "HTTPS_PROXY": "http://proxy",
        "LD_PRELOAD": "x",
        "PYTHONPATH": "x",
    }
    assert run_environment(worker) == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/ca.pem",
        "HTTPS_PROXY": "http://proxy",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_a_runs_command_is_isolated_and_holds_no_secret() -> None:
    command = run_command(memory_mb=512, log_level="INFO")
    assert command[:3] == [sys.executable, "-I", "-B"]
    assert command[-3:] == [str(os.getpid()), "512", "INFO"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (1, "exit status 1"), (-9, "SIGKILL, possibly"), (-11, "SIGSEGV"), (-250, "signal 250")],
)
def test_an_exit_is_put_into_words(status: int, words: str) -> None:
    assert describe_exit(status).startswith(words)

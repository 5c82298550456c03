"""Server-sent events out of bytes."""

import pytest

from coreo_cli import events
from coreo_cli.events import Event, EventStreamError, read_events

STREAM = b": hello\n\nid: 7\nevent: run\ndata: {}\n\nid: 8\nevent: run\ndata: one\ndata:two\n\ndata: bare\n\n"
EXPECTED = [Event("run", "{}", "7"), Event("run", "one\ntwo", "8"), Event("message", "bare", "8")]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_all_line_ends_are_taken_wherever_the_chunks_break(line_end: bytes) -> None:
    stream = STREAM.replace(b"\n", line_end)
    for size in range(1, len(stream) + 1):
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert list(read_events(chunks)) == EXPECTED, size


def test_each_event_comes_before_the_next_chunk_is_read() -> None:
    chunks = iter([b"data: 1\n\n", b"data: 2\n\n"])
    assert next(read_events(chunks)).data == "1"
    assert next(chunks) == b"data: 2\n\n"


def test_json_with_exotic_line_separators_stays_in_one_piece() -> None:
    text = "a\u2028b\u0085c\x0bd"
    assert list(read_events([f"data: {text}\n\n".encode()])) == [Event("message", text, "")]


def test_an_event_that_the_end_cuts_off_is_dropped() -> None:
    assert list(read_events([b"data: whole\n\nid: 9\ndata: cut"])) == [Event("message", "whole", "")]


def test_an_id_with_nul_is_ignored() -> None:
    assert list(read_events([b"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n"]))[1].id == "1"


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 100, b"data: 123456789\n" * 10])
def test_an_endless_event_is_refused(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 64)
    with pytest.raises(EventStreamError):
        list(read_events([stream]))

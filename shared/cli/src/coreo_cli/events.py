"""Server-sent events out of a byte stream (WHATWG HTML, "Server-sent events")."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_EVENT_BYTES = 1024 * 1024


class EventStreamError(Exception):
    """The stream is no event stream that we can take."""


@dataclass(frozen=True)
class Event:
    """One event. `id` is the newest id that the stream has given so far, "" for none."""

    name: str
    data: str
    id: str


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events, each as soon as the empty line after it is there; one that the stream's end cuts off is dropped."""
    name, data, last_id, size = "", list[str](), "", 0
    for raw in _lines(chunks):
        size += len(raw)
        if size > MAX_EVENT_BYTES:
            raise EventStreamError("an event is too large")
        if raw:
            field, _, value = raw.decode("utf-8", "replace").partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id" and "\0" not in value:
                last_id = value
            continue
        if data:
            yield Event(name or "message", "\n".join(data), last_id)
        name, data, size = "", [], 0


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines end at LF, CR LF or CR alone and nowhere else: str.splitlines would also split within JSON text."""
    rest, after_cr = b"", False
    for chunk in chunks:
        if after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # noqa: PLW2901  the LF of a CR LF that fell between two chunks
            if not chunk:
                after_cr = False
                continue
        after_cr = chunk.endswith(b"\r") if chunk else after_cr
        *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise EventStreamError("a line is too large")
        yield from whole

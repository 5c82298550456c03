"""Looks for a secret wherever it might have been left: in files, in texts, in the memory of other processes."""

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

_PIECE = 20  # characters in a row that count as found
_BLOCK = 16 * 1024 * 1024
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-([ps])")  # what is never written holds nothing


@dataclass(frozen=True)
class Sighting:
    """Where the secret was seen, and in which form. Never the secret itself."""

    place: str
    form: str


class Canary:
    """A secret of 40 characters or more that must be nowhere."""

    def __init__(self, secret: str) -> None:
        if len(secret) < 2 * _PIECE:
            raise ValueError(f"a canary has {2 * _PIECE} characters or more")
        raw = secret.encode("ascii")
        self._whole = {
            **{f"base64 at {shift}": _base64_core(raw, shift) for shift in range(3)},
            "hex": binascii.hexlify(raw),
            "HEX": binascii.hexlify(raw).upper(),
            "url": quote(secret, safe="").encode(),
            "form": quote_plus(secret).encode(),
            "json": secret.replace("/", "\\/").encode(),
            "utf-16-le": secret.encode("utf-16-le"),
            "utf-16-be": secret.encode("utf-16-be"),
        }
        self._whole["base64url at 0"] = self._whole["base64 at 0"].translate(bytes.maketrans(b"+/", b"-_"))
        self._pieces = {raw[start : start + _PIECE] for start in range(len(raw) - _PIECE + 1)}
        half = _PIECE // 2  # every piece has one of these whole, so few searches find all pieces
        self._cores = {raw[start : start + half] for start in range(half, len(raw) - half + 1, half)} | {raw[:half]}
        self.longest = max(len(form) for form in (*self._whole.values(), raw))

    def forms_in(self, data: bytes) -> set[str]:
        """The forms in which the secret, or a piece of it, is in the data."""
        found = {name for name, form in self._whole.items() if form in data}
        if any(self._has_piece(data, core) for core in self._cores):
            found.add("raw")
        return found

    def _has_piece(self, data: bytes, core: bytes) -> bool:
        at = data.find(core)
        while at >= 0:
            around = data[max(0, at - _PIECE) : at + len(core) + _PIECE]
            if any(piece in around for piece in self._pieces):
                return True
            at = data.find(core, at + 1)
        return False

    def in_files(self, folders: Iterable[Path]) -> list[Sighting]:
        """Sightings in names and contents of all files below the folders. A file that is gone by then is no file."""
        seen: list[Sighting] = []
        for folder in folders:
            for path in folder.rglob("*"):
                names = self.forms_in(os.fsencode(path.name))
                content: set[str] = set()
                if path.is_file() and not path.is_symlink():
                    with suppress(FileNotFoundError):
                        content = self._in_stream(_blocks_of(path))
                seen += [Sighting(str(path), form) for form in sorted(names | content)]
        return seen

    def in_memory(self, pid: int, name: str, *, shared: bool = True) -> list[Sighting]:
        """Sightings in the memory of a process, without what it shares with others if so told.

        Raises PermissionError where the caller may not look.
        """
        seen: set[str] = set()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                region = _REGION.match(line)
                if region and (shared or region[3] == "p"):
                    start, end = int(region[1], 16), int(region[2], 16)
                    seen |= self._in_stream(_blocks_of_region(memory.fileno(), start, end))
        return [Sighting(f"memory of {name}", form) for form in sorted(seen)]

    def _in_stream(self, blocks: Iterator[bytes]) -> set[str]:
        found: set[str] = set()
        tail = b""
        for block in blocks:
            found |= self.forms_in(tail + block)
            tail = block[-self.longest :]
        return found


def _base64_core(raw: bytes, shift: int) -> bytes:
    """What base64 makes of the secret after `shift` other bytes, without the characters that those take part in."""
    encoded = base64.b64encode(b"\0" * shift + raw)
    last = len(encoded) - (4 if (shift + len(raw)) % 3 else 0)
    return encoded[4 if shift else 0 : last]


def _blocks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _blocks_of_region(memory: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        try:
            block = os.pread(memory, min(_BLOCK, end - start), start)
        except OSError:  # reserved and never used
            return
        if not block:
            return
        yield block
        start += len(block)

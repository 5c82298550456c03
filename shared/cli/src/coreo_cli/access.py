"""The access record in a file or from the api, held against its hash chain."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.text import Json, plain
from coreo_shared.crypto.access_chain import BrokenChainError, check_chain

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_WHERE_FROM = "Write it with: coreo custody access list --all --output json > FILE"


@dataclass(frozen=True)
class Head:
    """The last entry: its number and hash stand for all entries up to there."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what `str` made of it. Raises UsageMistakeError."""
        found = _HEAD.fullmatch(text.strip().lower())
        if found is None:
            raise UsageMistakeError("--known: expected NUMBER:HASH, as `coreo custody access verify` prints it.")
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def read_record(lines: Iterable[str]) -> list[Json]:
    """The entries of a file of JSON lines, or of one array. Raises CliError."""
    try:
        text = "".join(lines)
        found: Any = json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, text.splitlines())]
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise CliError("The file is not the access record as JSON.", next_step=_WHERE_FROM)
    return found


def check(entries: Sequence[Json], known: Head | None) -> Head:
    """The head of the whole record, given in any order. Raises CliError that says what is wrong."""
    if not all(isinstance(each.get("seq"), int) for each in entries):
        raise CliError("The file holds something else than entries of the access record.", next_step=_WHERE_FROM)
    ordered = sorted(entries, key=lambda each: int(each["seq"]))
    try:
        seq, last = check_chain(ordered)
    except BrokenChainError as error:
        raise CliError(f"The record is not as it was written: {plain(error)}.") from None
    if known is not None:
        if known.seq > seq:
            raise CliError(f"The record ends at {seq}: entries up to {known.seq} were cut off.")
        if known.seq and ordered[known.seq - 1]["hash"] != known.hash:
            raise CliError(f"The record is another one: entry {known.seq} was not what it is now.")
    return Head(seq, last)

"""Text from elsewhere made safe to show: names of resources and the like may hold anything, escape codes too."""

import json
import re
from typing import Any

Json = dict[str, Any]  # an object of the api

# Controls (C0, DEL, C1), marks that turn the direction of text, lone surrogates, and what Unicode has shown as nothing
# (Default_Ignorable_Code_Point).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_TOKEN = re.compile(r"coreo_[A-Za-z0-9_-]{8,}")


def plain(value: object) -> str:
    """The value as text of one line in which nothing acts on a terminal."""
    return _UNSAFE.sub(_escaped, str(value))


def masked(text: str) -> str:
    """The text without tokens that somebody put on the command line."""
    return _TOKEN.sub("coreo_…", text)


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON that reads well and is safe on a terminal: what would act on it is escaped, other letters stay."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    return "\n".join(_UNSAFE.sub(_json_escaped, line) for line in text.split("\n"))


def csv_cell(value: object) -> str:
    """For a spreadsheet: a text that it would take for a formula gets an apostrophe (OWASP: CSV injection)."""
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json_escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4))

"""Findings whose text UTF-8 can hold: JSON's escapes can tell half a character, and no file can."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.findings import Finding


def sound(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, half characters joined where they are a pair and replaced where they are not."""
    for finding in findings:
        try:
            encode_json(finding)
        except UnicodeEncodeError:
            yield msgspec.convert(_mended(msgspec.to_builtins(finding)), Finding)
        else:
            yield finding


def _mended(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case list():
            return [_mended(each) for each in value]
        case dict():
            return {_mended(name): _mended(each) for name, each in value.items()}
        case _:
            return value

"""What a chunk must be beyond its types, checked before anything is stored. Messages name fields, never values."""

import re

from coreo_shared.contracts.base import MalformedMessageError, decode_msgpack
from coreo_shared.contracts.results import MAX_CHUNK_FINDINGS, PutChunk
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid

MAX_CHUNKS_OF_UNIT = 1_000_000
_UNIT = re.compile(r"[A-Za-z0-9_.-]{1,128}@[a-z0-9-]{1,32}", re.ASCII)
_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_EXPECTED = {
    "fingerprint": "expected 32 lower-case hex digits",
    "rule_id": "expected a rule id",
    "region": 'expected a region name, or "global"',
}
_FINGERPRINT = re.compile(r"[0-9a-f]{32}", re.ASCII)


def parse_chunk(body: bytes) -> PutChunk:
    """The chunk from its MessagePack form. Raises a 422 Problem."""
    try:
        chunk = decode_msgpack(body, PutChunk)
    except MalformedMessageError as error:
        raise invalid(f"body.{error.field}".rstrip("."), error.problem) from None
    if not _UNIT.fullmatch(chunk.unit):
        raise invalid("body.unit", "expected a unit such as aws.s3.bucket@global")
    if not 0 <= chunk.index < MAX_CHUNKS_OF_UNIT:
        raise invalid("body.index", f"expected 0 to {MAX_CHUNKS_OF_UNIT - 1}")
    if len(chunk.findings) > MAX_CHUNK_FINDINGS:
        raise invalid("body.findings", f"a chunk has at most {MAX_CHUNK_FINDINGS} findings")
    _check_each("fingerprint", [finding.fingerprint for finding in chunk.findings], _FINGERPRINT)
    _check_each("rule_id", [finding.rule_id for finding in chunk.findings], _RULE)
    _check_each("region", [finding.region for finding in chunk.findings], _REGION)
    return chunk


def no_json(error: Exception) -> Problem:
    """The answer to evidence that has no JSON form."""
    kind = "nested too deeply" if isinstance(error, RecursionError) else "expected only what JSON can say"
    return invalid("body.findings", f"evidence: {kind}")


def check_rules(field: str, rules: list[str]) -> None:
    """Refuses what is no rule's id. Raises a 422 Problem."""
    for position, rule in enumerate(rules):
        if not _RULE.fullmatch(rule):
            raise invalid(f"{field}.{position}", _EXPECTED["rule_id"])


def _check_each(field: str, values: list[str], pattern: re.Pattern[str]) -> None:
    wrong = {value for value in set(values) if not pattern.fullmatch(value)}  # mostly a few values, many times
    if wrong:
        position = next(position for position, value in enumerate(values) if value in wrong)
        raise invalid(f"body.findings.{position}.{field}", _EXPECTED[field])

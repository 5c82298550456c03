"""The stored form of a chunk's findings: sorted, run-length grouped, by column, compressed. Pure; encrypted elsewhere.

Findings are ordered by severity (worst first), rule, status and region. A `Group` is a run of findings alike in all
four: the groups, and nothing else of a finding, also stay outside of the encryption, for lists and filters.
"""

import sys
from bisect import bisect_right
from operator import attrgetter

import msgspec

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SCHEMA = 1
_LEVEL = 1  # measured: 8 times smaller at over 1 GB/s; higher levels cost time and gain nothing
FINGERPRINT_BYTES = 16


class Group(msgspec.Struct, array_like=True, frozen=True):
    """`count` findings from position `first` on, alike in rule, status, severity and region."""

    rule_id: str
    status: FindingStatus
    severity: Severity
    region: str
    first: int
    count: int


class Columns(msgspec.Struct, array_like=True, frozen=True):
    """All findings of a chunk; every list has one entry per finding, in the order of the groups."""

    groups: list[Group]
    fingerprints: bytes  # 16 bytes each
    resource_types: list[str]
    resource_ids: list[str]
    resource_arns: list[str | None]
    messages: list[str]
    evidence: list[bytes]  # JSON objects
    reasons: list[str | None]
    missing_actions: list[list[str]]

    def group_at(self, position: int) -> Group:
        """The group that the finding at `position` belongs to."""
        return self.groups[bisect_right(self.groups, position, key=attrgetter("first")) - 1]

    def finding_at(self, position: int) -> "StoredFinding":
        """The finding at `position`. Raises IndexError."""
        group = self.group_at(position)
        return StoredFinding(
            fingerprint=self.fingerprints[position * FINGERPRINT_BYTES : (position + 1) * FINGERPRINT_BYTES].hex(),
            rule_id=group.rule_id,
            status=group.status,
            severity=group.severity,
            resource_type=self.resource_types[position],
            resource_id=self.resource_ids[position],
            resource_arn=self.resource_arns[position],
            region=group.region,
            message=self.messages[position],
            evidence=msgspec.Raw(self.evidence[position]),
            reason=self.reasons[position],
            missing_actions=self.missing_actions[position],
        )


class StoredFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A `contracts.findings.Finding` on its way out: the same JSON, the evidence never parsed."""

    fingerprint: str
    rule_id: str
    status: FindingStatus
    severity: Severity
    resource_type: str
    resource_id: str
    resource_arn: str | None
    region: str
    message: str
    evidence: msgspec.Raw
    reason: str | None
    missing_actions: list[str]


class Named(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of `Columns`: what indexes are made of. The rest is not decoded, which takes most of the time."""

    groups: list[Group]
    fingerprints: bytes
    resource_types: msgspec.Raw
    resource_ids: list[str]
    resource_arns: list[str | None]


def to_columns(findings: list[Finding]) -> Columns:
    """The findings sorted and by column. Raises TypeError where evidence has no JSON form."""
    alike: dict[tuple[Severity, str, FindingStatus, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.severity, finding.rule_id, finding.status, finding.region), []).append(finding)
    groups: list[Group] = []
    ordered: list[Finding] = []
    for severity, rule_id, status, region in sorted(alike, key=lambda key: (-key[0].rank, *key[1:])):
        members = alike[severity, rule_id, status, region]
        groups.append(Group(rule_id, status, severity, region, len(ordered), len(members)))
        ordered += members
    encode = msgspec.json.Encoder().encode
    return Columns(
        groups=groups,
        fingerprints=bytes.fromhex("".join([finding.fingerprint for finding in ordered])),
        resource_types=[finding.resource_type for finding in ordered],
        resource_ids=[finding.resource_id for finding in ordered],
        resource_arns=[finding.resource_arn for finding in ordered],
        messages=[finding.message for finding in ordered],
        evidence=[encode(finding.evidence) for finding in ordered],
        reasons=[finding.reason for finding in ordered],
        missing_actions=[finding.missing_actions for finding in ordered],
    )


def pack(columns: Columns) -> bytes:
    """The columns as compressed bytes."""
    return zstd.compress(msgspec.msgpack.encode(columns), level=_LEVEL)


def unpack(data: bytes) -> Columns:
    """The columns from `pack`'s bytes, which were authenticated before."""
    return msgspec.msgpack.decode(zstd.decompress(data), type=Columns)


def unpack_names(data: bytes) -> Named:
    """As `unpack`, without what indexes do not need."""
    return msgspec.msgpack.decode(zstd.decompress(data), type=Named)


def compress(data: bytes) -> bytes:
    """As packed columns are."""
    return zstd.compress(data, level=_LEVEL)


def decompress(data: bytes) -> bytes:
    """What `compress` was given; the data was authenticated before."""
    return zstd.decompress(data)

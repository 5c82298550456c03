"""The findings of a scan, kept in a file without a name: a large account takes little memory, and nothing stays."""

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from coreo_shared.contracts.base import decode_msgpack, encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus

_ORDER: Final = {status: rank for rank, status in enumerate(("FAIL", "NOT_EVALUATED", "SUPPRESSED", "PASS"))}
_LENGTH: Final = 4  # bytes before each finding


class Spool:
    """Takes findings as they come, gives them in an order that does not depend on that; a context manager.

    The order: failures first, then the most severe, by rule, region and resource.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="coreo-scan-")  # noqa: SIM115  closed by the context
        self._places: dict[tuple[int, int, str], array[int]] = {}
        self._end = 0
        self.by_status: Counter[FindingStatus] = Counter()
        self.by_severity: Counter[tuple[FindingStatus, str]] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return sum(self.by_status.values())

    def add(self, findings: Iterable[Finding]) -> None:
        """Keeps them."""
        self._file.seek(self._end)
        for finding in findings:
            data = encode_msgpack(finding)
            key = (_ORDER[finding.status], -finding.severity.rank, finding.rule_id)
            self._places.setdefault(key, array("Q")).append(self._end)
            self._file.write(len(data).to_bytes(_LENGTH, "big"))
            self._file.write(data)
            self._end += _LENGTH + len(data)
            self.by_status[finding.status] += 1
            self.by_severity[finding.status, finding.severity] += 1

    def __iter__(self) -> Iterator[Finding]:
        """All findings; only those of one rule and status are in memory at a time."""
        return self.only()

    def only(self, *statuses: FindingStatus) -> Iterator[Finding]:
        """Those of these statuses, or all."""
        ranks = {_ORDER[status] for status in statuses or FindingStatus}
        for key in sorted(key for key in self._places if key[0] in ranks):
            found = [self._at(place) for place in self._places[key]]
            yield from sorted(found, key=lambda finding: (finding.region, finding.resource_id, finding.fingerprint))

    def _at(self, place: int) -> Finding:
        self._file.seek(place)
        length = int.from_bytes(self._file.read(_LENGTH), "big")
        return decode_msgpack(self._file.read(length), Finding)

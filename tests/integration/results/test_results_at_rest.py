"""What the database's files hold: nothing of a finding but what lists and filters need."""

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from coreo_embedded.postgres import Postgres
from coreo_results.chunks import columns
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, make_chunk, make_finding

SECRETS = {
    "resource_id": "canary-resource-7f3a91",
    "resource_arn": "arn:aws:s3:::canary-arn-7f3a91",
    "message": "canary-message-7f3a91",
    "evidence": {"canary-key-7f3a91": "canary-value-7f3a91"},
    "reason": "canary-reason-7f3a91",
    "missing_actions": ["canary:Action7f3a91"],
}
WORDS = [b"canary-" + word for word in (b"resource", b"arn", b"message", b"key", b"value", b"reason")] + [
    b"canary:Action"
]


async def test_no_part_of_a_finding_is_in_the_database_files(
    postgres: Postgres,
    results_database: ServiceDatabase,
    service: ResultsService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Heap, TOAST, indexes, WAL and the server's log, after a checkpoint.

    As compression would hide a name too, the compressed form is looked for as well; and a unit's name, which is in
    clear, must be found, which proves the search.
    """
    packed: list[bytes] = []

    def spy(wanted: columns.Columns) -> bytes:
        packed.append(columns.pack(wanted))
        return packed[-1]

    monkeypatch.setattr("coreo_results.chunks.sealing.pack", spy)
    run = service.run()
    fence = await run.claimed()
    await run.stored(make_chunk(fence, [make_finding(1, **SECRETS)], unit="unit.in-clear-7f3a91@global"))
    many = [make_finding(number, **SECRETS) for number in range(1000)]
    await run.stored(make_chunk(fence, many, unit="unit.large@global"))
    page = await run.findings(resource="canary-resource-7f3a91", limit=1)
    assert page.json()["findings"][0]["message"] == "canary-message-7f3a91"
    assert (await run.findings(cursor="canary-resource-7f3a91")).status_code == 422

    url = make_url(results_database.url("postgres")).set(drivername="postgresql")
    admin = await asyncpg.connect(url.render_as_string(hide_password=False))
    await admin.execute("CHECKPOINT")
    await admin.close()
    files = [path for path in postgres._directory.rglob("*") if path.is_file() and "pginstall" not in path.parts]
    contents = b"\0".join(path.read_bytes() for path in files)

    assert b"unit.in-clear-7f3a91@global" in contents
    assert [word for word in WORDS if word in contents] == []
    assert len(packed) == 2
    for compressed in packed:
        middle = len(compressed) // 2
        assert compressed[middle : middle + 16] not in contents
        assert compressed[:24] not in contents

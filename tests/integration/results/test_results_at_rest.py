"""What the database's files hold: of a finding what lists and filters need and no more, of a document nothing."""

import asyncpg
import msgspec
import pytest
from sqlalchemy.engine import make_url

from coreo_embedded.postgres import Postgres
from coreo_results.chunks import columns
from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import seal
from coreo_shared.contracts.deploys import Checkpoint, Document, Failure, Output, Outputs
from tests.support.deploy_runs import DeployClient, make_events, make_preview
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


CANARY = "canary-value-7f3a91" * 10
DOCUMENTS: list[Document] = [
    make_preview(notes=[CANARY]),
    Outputs(stack_arn=CANARY, stack_status="x", outputs=[Output(key="canary-key-7f3a91", value=CANARY)]),
    Failure(code="x", message=CANARY),
]


async def put_documents(service: ResultsService, packed: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy's, whose compressed form is added to `packed`."""

    def spy(key: SecretKey, plaintext: bytes, context: bytes) -> Sealed:
        packed.append(plaintext)
        return seal(key, plaintext, context)

    deploy = await DeployClient(service).bring_to("APPLYING")
    monkeypatch.setattr("coreo_results.documents.sealing.seal", spy)
    for document in DOCUMENTS[1:]:
        assert (await deploy.put_document(document)).status_code == 204
    mark = Checkpoint(step="canary-reason-7f3a91" * 5, stack_arn=CANARY)
    events = [msgspec.structs.replace(event, reason=CANARY) for event in make_events(9)]
    assert (await deploy.put_events(0, events, checkpoint=mark)).status_code == 204
    other = await DeployClient(service).bring_to("CLAIMED")
    assert (await other.put_document(DOCUMENTS[0])).status_code == 204


async def test_no_part_of_a_finding_or_document_is_in_the_database_files(
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
    await put_documents(service, packed, monkeypatch)
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
    assert len(packed) == 2 + len(DOCUMENTS) + 2  # chunks; documents; stack events and their checkpoint
    for compressed in packed:
        middle = len(compressed) // 2
        assert compressed[middle : middle + 16] not in contents
        assert compressed[:24] not in contents

"""Sealed chunks and wrapped keys: any change, cut or move is an error; nothing secret shows itself."""

import os
import pickle
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from coreo_results.chunks import columns
from coreo_results.chunks.sealing import ChunkPlace, resource_hash, seal_chunk, unseal_chunk
from coreo_results.keys import seal as sealing
from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.seal import DamagedError, bind, derive, seal, unseal
from coreo_results.keys.service import RunKey
from coreo_results.keys.wrapping import BACKUP_KEYS, RUN_KEYS, TEAM_SECRETS, TeamKey, Wrapping
from coreo_shared.contracts.base import decode_json, encode_json
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.ids import new_id
from tests.support.results import make_chunk, make_finding

TEAM, RUN = new_id(), new_id()


def run_key() -> RunKey:
    data = SecretKey.generate()
    return RunKey(data, derive(data, "resources"), derive(data, "cursors"), SecretKey.generate())


def test_every_flipped_byte_is_an_error() -> None:
    key = run_key()
    stored = seal_chunk(TEAM, RUN, make_chunk(1), key)
    assert unseal_chunk(stored.place, stored.sealed, key).resource_ids == ["bucket-0"]
    for position in range(len(stored.sealed)):
        for bit in (0x01, 0x80):
            changed = bytearray(stored.sealed)
            changed[position] ^= bit
            with pytest.raises(DamagedError):
                unseal_chunk(stored.place, bytes(changed), key)


def test_every_truncation_and_extension_is_an_error() -> None:
    key = run_key()
    stored = seal_chunk(TEAM, RUN, make_chunk(1), key)
    for length in range(len(stored.sealed)):
        with pytest.raises(DamagedError):
            unseal_chunk(stored.place, stored.sealed[:length], key)
    with pytest.raises(DamagedError):
        unseal_chunk(stored.place, stored.sealed + b"\0", key)


@pytest.mark.parametrize(
    "change",
    [{"team_id": new_id()}, {"run_id": new_id()}, {"unit": "aws.s3.bucket@eu-west-1"}, {"index": 1}, {"final": False}],
)
def test_a_chunk_opens_in_its_own_place_only(change: dict[str, Any]) -> None:
    key = run_key()
    stored = seal_chunk(TEAM, RUN, make_chunk(1), key)
    with pytest.raises(DamagedError):
        unseal_chunk(replace(stored.place, **change), stored.sealed, key)


def test_a_chunk_opens_under_its_schema_only(monkeypatch: pytest.MonkeyPatch) -> None:
    key = run_key()
    stored = seal_chunk(TEAM, RUN, make_chunk(1), key)
    monkeypatch.setattr("coreo_results.chunks.sealing.SCHEMA", 2)
    with pytest.raises(DamagedError):
        unseal_chunk(stored.place, stored.sealed, key)


def test_another_key_is_an_error() -> None:
    stored = seal_chunk(TEAM, RUN, make_chunk(1), run_key())
    with pytest.raises(DamagedError):
        unseal_chunk(stored.place, stored.sealed, run_key())


def test_a_ciphertext_that_opens_is_refused_without_the_commitment_to_the_key() -> None:
    """Plain GCM would open this: only the commitment differs."""
    key, salt, context = SecretKey.generate(), os.urandom(32), bind("test")
    cipher_key, nonce, commitment = sealing._message_keys(key, salt)
    ciphertext = AESGCM(cipher_key).encrypt(nonce, b"text", context)

    assert unseal(key, b"\x01" + salt + commitment + ciphertext, context) == b"text"
    with pytest.raises(DamagedError, match="another key"):
        unseal(key, b"\x01" + salt + bytes(32) + ciphertext, context)


@pytest.mark.parametrize("wrapping", [RUN_KEYS, BACKUP_KEYS, TEAM_SECRETS], ids=lambda wrapping: wrapping.kind)
def test_a_wrapped_key_opens_in_its_own_place_only(wrapping: Wrapping) -> None:
    team, key = TeamKey(1, SecretKey.generate()), SecretKey.generate()
    wrapped = wrapping.wrap(team, TEAM, RUN, key).wrapped
    assert wrapping.unwrap(team, TEAM, RUN, wrapped) == key
    others = {each for each in (RUN_KEYS, BACKUP_KEYS, TEAM_SECRETS) if each != wrapping}
    wrong: list[tuple[Wrapping, TeamKey, UUID, UUID | str]]
    wrong = [(wrapping, team, new_id(), RUN), (wrapping, team, TEAM, new_id()), (wrapping, team, TEAM, "x")]
    wrong += [(wrapping, TeamKey(2, team.key), TEAM, RUN), (wrapping, TeamKey(1, SecretKey.generate()), TEAM, RUN)]
    wrong += [(replace(other, purpose=wrapping.purpose), team, TEAM, RUN) for other in others]  # by its kind alone
    wrong += [(replace(other, kind=wrapping.kind), team, TEAM, RUN) for other in others]  # by its key alone
    for other, by, of, which in wrong:
        with pytest.raises(DamagedError):
            other.unwrap(by, of, which, wrapped)


def test_the_same_chunk_never_seals_to_the_same_bytes() -> None:
    key = run_key()
    sealed = {bytes(seal_chunk(TEAM, RUN, make_chunk(1), key).sealed) for _ in range(20)}
    assert len(sealed) == 20


PARTS = st.lists(st.one_of(st.text(), st.integers(), st.uuids()), max_size=5)


@given(st.text(), PARTS, st.text(), PARTS)
def test_different_lists_never_bind_alike(one: str, left: list[str | int], other: str, right: list[str | int]) -> None:
    assert (bind(one, *left) == bind(other, *right)) == ((one, left) == (other, right))


def test_keys_derived_for_two_purposes_differ() -> None:
    key = SecretKey.generate()
    assert derive(key, "a") == derive(key, "a")
    assert derive(key, "a") != derive(key, "b")


def test_key_material_shows_itself_nowhere() -> None:
    key = SecretKey(b"k" * 32)
    for text in (str(key), repr(key), f"{key}", repr([key]), repr(run_key())):
        assert "kkkk" not in text
        assert "<secret>" in text
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        hash(key)
    sealed = seal(key, b"x", b"")
    assert isinstance(sealed, Sealed)
    assert str(sealed) == repr(sealed) == "<encrypted>"


def test_compressed_findings_do_not_stand_in_the_sealed_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compression hides a name from a search, so what is looked for is the compressed form itself."""
    packed: list[bytes] = []

    def spy(wanted: columns.Columns) -> bytes:
        packed.append(columns.pack(wanted))
        return packed[-1]

    monkeypatch.setattr("coreo_results.chunks.sealing.pack", spy)
    stored = bytes(seal_chunk(TEAM, RUN, make_chunk(1), run_key()).sealed)
    assert len(packed) == 1
    assert all(packed[0][start : start + 8] not in stored for start in range(len(packed[0]) - 8))


FINDINGS = st.lists(
    st.builds(
        make_finding,
        st.integers(0, 2**64),
        rule_id=st.sampled_from(["a", "b"]),
        status=st.sampled_from(FindingStatus),
        severity=st.sampled_from(Severity),
        region=st.sampled_from(["global", "eu-west-1"]),
        resource_arn=st.one_of(st.none(), st.text()),
        message=st.text(),
        evidence=st.dictionaries(st.text(), st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.text())),
        reason=st.one_of(st.none(), st.text()),
        missing_actions=st.lists(st.text()),
    ),
    max_size=30,
)


@given(FINDINGS)
def test_findings_come_back_as_they_were_worst_first(findings: list[Finding]) -> None:
    key = run_key()
    stored = seal_chunk(TEAM, RUN, make_chunk(1, findings), key)

    opened = unseal_chunk(stored.place, stored.sealed, key)
    read = [decode_json(encode_json(opened.finding_at(n)), Finding) for n in range(len(findings))]

    expected = sorted(findings, key=lambda item: (-item.severity.rank, item.rule_id, item.status, item.region))
    assert read == expected
    assert sum(group.count for group in stored.groups) == stored.findings == len(findings)
    assert len(stored.resource_hashes) == 2 * len(findings)


def test_a_resource_hash_is_found_by_id_and_by_arn_and_depends_on_the_key() -> None:
    key = run_key()
    both = make_finding(1)
    bare = make_finding(2, resource_arn=None)
    same = make_finding(3, resource_arn="bucket-3")
    hashes = seal_chunk(TEAM, RUN, make_chunk(1, [both, bare, same]), key).resource_hashes

    assert hashes[0] == resource_hash("bucket-1", key.resources)
    assert hashes[3] == resource_hash("arn:aws:s3:::bucket-1", key.resources)
    assert hashes[4:] == [0, 0]
    assert hashes[0] != resource_hash("bucket-1", run_key().resources)


def test_the_place_of_a_chunk_says_where_it_is() -> None:
    assert (
        ChunkPlace(TEAM, RUN, "u@r", 0, final=True).context() != ChunkPlace(TEAM, RUN, "u@r", 0, final=False).context()
    )

"""KMS as the results service relies on it: the encryption context binds, a disabled key is dead."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from coreo_embedded.deploy import deploy
from coreo_embedded.simulator import Simulator
from tests.support.aws import refusal, role_credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CONTEXT = {"coreo:team": "0197f0c2-0000-7000-8000-000000000001"}


@pytest.fixture(scope="module")
def key(aws: Simulator) -> "tuple[KMSClient, KMSClient, str]":
    own = deploy(aws, account_id="444444444444")
    results: KMSClient = aws.client("kms", role_credentials(aws, own, "results"))
    root: KMSClient = aws.root_client("kms", own.account_id)
    return results, root, own.key_arn


def test_wrapped_key_opens_under_its_context_alone(key: "tuple[KMSClient, KMSClient, str]") -> None:
    kms, _, arn = key
    wrapped = kms.encrypt(KeyId=arn, Plaintext=b"team key", EncryptionContext=CONTEXT)["CiphertextBlob"]

    opened = kms.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=CONTEXT)["Plaintext"]
    other = {"coreo:team": "0197f0c2-0000-7000-8000-000000000002"}

    assert opened == b"team key"
    assert (
        refusal(lambda: kms.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=other))
        == "InvalidCiphertextException"
    )
    assert refusal(lambda: kms.decrypt(KeyId=arn, CiphertextBlob=wrapped)) == "InvalidCiphertextException"


def test_tampered_wrapping_opens_as_something_else(key: "tuple[KMSClient, KMSClient, str]") -> None:
    """A difference to AWS, which refuses it: here only the results service's own checks notice."""
    kms, _, arn = key
    wrapped = kms.encrypt(KeyId=arn, Plaintext=b"team key", EncryptionContext=CONTEXT)["CiphertextBlob"]
    flipped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])

    assert kms.decrypt(KeyId=arn, CiphertextBlob=flipped, EncryptionContext=CONTEXT)["Plaintext"] != b"team key"


def test_disabled_key_opens_nothing(key: "tuple[KMSClient, KMSClient, str]") -> None:
    kms, root, arn = key
    wrapped = kms.encrypt(KeyId=arn, Plaintext=b"team key", EncryptionContext=CONTEXT)["CiphertextBlob"]

    root.disable_key(KeyId=arn)
    refused = refusal(lambda: kms.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=CONTEXT))
    root.enable_key(KeyId=arn)

    assert refused == "DisabledException"
    assert kms.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=CONTEXT)["Plaintext"] == b"team key"


def test_key_of_another_account_is_out_of_reach(
    aws: Simulator, key: "tuple[KMSClient, KMSClient, str]", new_account: Callable[[], str]
) -> None:
    stranger: KMSClient = aws.root_client("kms", new_account())

    assert refusal(lambda: stranger.encrypt(KeyId=key[2], Plaintext=b"x")) is not None

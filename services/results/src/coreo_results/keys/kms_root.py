"""Root key in AWS KMS. The encryption context names team and version, so KMS itself refuses one key for another.

Needs kms:Encrypt and kms:Decrypt on the key. The only module of the service that touches the AWS SDK.
"""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from coreo_results.keys.errors import KeyUnavailableError, RootKeyError
from coreo_results.keys.material import KEY_BYTES, Sealed, SecretKey
from coreo_results.keys.root import KeyPlace
from coreo_results.keys.seal import DamagedError, derive
from coreo_shared.observability.logs import get_logger

if TYPE_CHECKING:
    from types_aiobotocore_kms import KMSClient

_log = get_logger(__name__)
# The ciphertext itself is at fault, and will be tomorrow; all other errors are about the key, the role or the network.
_DAMAGED = {"InvalidCiphertextException", "IncorrectKeyException", "ValidationException"}
_CONFIG = AioConfig(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})


@asynccontextmanager
async def kms_root_key(arn: str) -> AsyncIterator["KmsRootKey"]:
    """The key with this ARN, whose region is where it is called. Credentials and endpoint come from the SDK's chain."""
    parts = arn.split(":")
    if len(parts) != 6 or parts[0] != "arn" or parts[2] != "kms" or not parts[3] or not parts[5].startswith("key/"):
        raise RootKeyError("expected kms:arn:PARTITION:kms:REGION:ACCOUNT:key/ID")
    async with get_session().create_client("kms", region_name=parts[3], config=_CONFIG) as client:
        yield KmsRootKey(client, arn)


class KmsRootKey:
    """A RootKey that never leaves KMS."""

    def __init__(self, client: "KMSClient", arn: str) -> None:
        self._client = client
        self.name = arn

    async def wrap(self, key: SecretKey, place: KeyPlace) -> Sealed:
        """See RootKey."""
        try:
            answer = await self._client.encrypt(
                KeyId=self.name, Plaintext=key.reveal(), EncryptionContext=_context(place)
            )
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error
        return Sealed(_commitment(key) + answer["CiphertextBlob"])

    async def unwrap(self, wrapped: bytes, place: KeyPlace) -> SecretKey:
        """See RootKey."""
        commitment, blob = bytes(wrapped[:KEY_BYTES]), bytes(wrapped[KEY_BYTES:])
        try:
            answer = await self._client.decrypt(KeyId=self.name, CiphertextBlob=blob, EncryptionContext=_context(place))
        except ClientError as error:
            if error.response["Error"]["Code"] in _DAMAGED:
                raise DamagedError("KMS refuses the wrapped team key") from None
            raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error
        key = SecretKey(answer["Plaintext"]) if len(answer["Plaintext"]) == KEY_BYTES else None
        if key is None or not hmac.compare_digest(_commitment(key), commitment):
            raise DamagedError("KMS gave another key than the one that was wrapped")
        return key


def _commitment(key: SecretKey) -> bytes:
    """Stored before KMS's ciphertext: which key it is, without telling anything else of it."""
    return derive(key, "commitment").reveal()


def _context(place: KeyPlace) -> dict[str, str]:
    version = {} if place.version is None else {"coreo:version": str(place.version)}
    return {"coreo:purpose": "team-key", "coreo:team_id": str(place.team_id), **version}


def _unavailable(error: ClientError | BotoCoreError) -> KeyUnavailableError:
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    _log.error("root_key_unavailable", cause=code)
    return KeyUnavailableError(code)

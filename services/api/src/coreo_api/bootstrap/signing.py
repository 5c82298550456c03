"""Signature Version 4 (IAM user guide, "AWS Signature Version 4 for API requests") for POST requests to one service.

Our own, because the SDK keeps the secret in strings that live on: here it is in a bytearray, and only as long as it
takes to derive the day's signing key. (That key is wiped too, but OpenSSL's answers are bytes on their way to it.)
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

from coreo_api.bootstrap.secret import Secret

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signing key is good for: a service in a region, for a day."""

    region: str
    service: str
    at: datetime  # UTC; AWS takes a signature for five minutes

    @property
    def moment(self) -> str:
        """As in X-Amz-Date."""
        return self.at.strftime("%Y%m%dT%H%M%SZ")

    def __str__(self) -> str:
        return f"{self.moment[:8]}/{self.region}/{self.service}/aws4_request"


class Signer:
    """Signs with a key derived from the secret; the derived key is wiped when the block ends."""

    def __init__(self, access_key_id: str, secret: Secret, session_token: str | None, scope: Scope) -> None:
        self._access_key_id = access_key_id
        self._session_token = session_token
        self._scope = scope
        self._key = _derive(secret, scope)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._key.wipe()

    def __repr__(self) -> str:
        return f"Signer({self._scope})"

    def headers(self, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers with which the body is to be posted: those given (names in lower case), and the signature."""
        address = urlsplit(url)
        port = "" if address.port in {None, _DEFAULT_PORTS[address.scheme]} else f":{address.port}"
        signed = {**headers, "host": f"{address.hostname}{port}", "x-amz-date": self._scope.moment}
        if self._session_token is not None:
            signed["x-amz-security-token"] = self._session_token
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            [
                "POST",
                address.path or "/",
                "",
                *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
                "",
                names,
                hashlib.sha256(body).hexdigest(),
            ]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{self._scope.moment}\n{self._scope}\n{digest}"
        signature = hmac.digest(self._key.data, text.encode(), "sha256").hex()
        credential = f"{self._access_key_id}/{self._scope}"
        signed["authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return signed


def _derive(secret: Secret, scope: Scope) -> Secret:
    """The signing key."""
    with Secret(len(secret) + 4) as start:
        start.data[:4] = b"AWS4"
        start.data[4:] = secret.data
        key = _keyed(start, scope.moment[:8])
    for part in (scope.region, scope.service, "aws4_request"):
        with key as former:
            key = _keyed(former, part)
    return key


def _keyed(key: Secret, text: str) -> Secret:
    result = Secret(hashlib.sha256().digest_size)
    result.data[:] = hmac.digest(key.data, text.encode(), "sha256")
    return result

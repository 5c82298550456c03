"""Signed tokens: Ed25519 JWS (RFC 7515, RFC 8037, RFC 9864) with algorithm, type and audience pinned in code.

Keys are JWKs with a `kid`. A `Verifier` holds several at once, so that keys rotate without downtime.
"""

import json
import secrets
import time
from typing import Any, TypeVar

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from coreo_shared.contracts.base import MalformedMessageError, decode_json, encode_json

T = TypeVar("T")
ALGORITHM = "Ed25519"
CLOCK_SKEW_SECONDS = 5
_MAX_TOKEN_BYTES = 1024 * 1024


class TokenError(Exception):
    """The token is refused. `code` is one of: malformed, unknown_key, bad_signature, wrong_type, wrong_audience,
    wrong_issuer, expired, not_yet_valid, unreadable (signed, but its claims are not those of the kind asked for)."""

    def __init__(self, code: str) -> None:
        super().__init__(f"token refused: {code}")
        self.code = code


def generate_key(kid: str | None = None) -> dict[str, Any]:
    """A fresh private Ed25519 JWK."""
    key = OKPKey.generate_key("Ed25519", parameters={"kid": kid or secrets.token_hex(8)}, private=True)
    return dict(key.as_dict(private=True))


def public_jwk(private: dict[str, Any]) -> dict[str, Any]:
    """The public half of a JWK, `kid` kept."""
    return {name: private[name] for name in ("kty", "crv", "x", "kid")}


class Signer:
    """Signs claims with one private key."""

    def __init__(self, private_jwk: dict[str, Any]) -> None:
        self._key = OKPKey.import_key(private_jwk)
        self._kid = str(private_jwk["kid"])

    def __repr__(self) -> str:
        return f"Signer(kid={self._kid!r})"

    def sign(self, claims: object, *, typ: str) -> str:
        """A compact JWS over the claims as JSON."""
        header = {"alg": ALGORITHM, "kid": self._kid, "typ": typ}
        return jws.serialize_compact(header, encode_json(claims), self._key, algorithms=[ALGORITHM])


class PublicKeys:
    """A set of public keys to check signatures against."""

    def __init__(self, public_jwks: list[dict[str, Any]]) -> None:
        self._keys = {str(jwk["kid"]): OKPKey.import_key(jwk) for jwk in public_jwks}

    def payload(self, token: str, *, typ: str) -> bytes:
        """What was signed, by one of the keys and as this type. Raises TokenError."""
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError, UnicodeError, KeyError, TypeError):
            raise TokenError("malformed") from None
        if header.get("alg") != ALGORITHM or set(header) != {"alg", "kid", "typ"}:
            raise TokenError("malformed")
        if header["typ"] != typ:
            raise TokenError("wrong_type")
        key = self._keys.get(str(header["kid"]))
        if key is None:
            raise TokenError("unknown_key")
        try:
            payload = jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload
        except (JoseError, ValueError):
            raise TokenError("bad_signature") from None
        return payload or b""


class Verifier:
    """Checks tokens of one issuer against a set of public keys."""

    def __init__(self, public_jwks: list[dict[str, Any]], *, issuer: str) -> None:
        self._keys = PublicKeys(public_jwks)
        self._issuer = issuer

    def verify(self, token: str, kind: type[T], *, typ: str, audience: str, now: float | None = None) -> T:
        """The claims as a `kind`, or TokenError. Signature first: nothing unsigned is looked at further."""
        if len(token) > _MAX_TOKEN_BYTES:
            raise TokenError("malformed")
        payload = self._keys.payload(token, typ=typ)
        return self._check(payload, kind, audience, time.time() if now is None else now)

    def _check(self, payload: bytes, kind: type[T], audience: str, now: float) -> T:
        try:
            claims = decode_json(payload, kind)
        except MalformedMessageError:
            raise TokenError("unreadable") from None
        if getattr(claims, "aud", None) != audience:
            raise TokenError("wrong_audience")
        if getattr(claims, "iss", None) != self._issuer:
            raise TokenError("wrong_issuer")
        if not now < float(getattr(claims, "exp", 0)):
            raise TokenError("expired")
        if float(getattr(claims, "iat", now)) > now + CLOCK_SKEW_SECONDS:
            raise TokenError("not_yet_valid")
        return claims


def load_jwks(text: str) -> list[dict[str, Any]]:
    """The keys of a JWK set written as JSON; ValueError says what is wrong without repeating a key."""
    try:
        keys = json.loads(text)["keys"]
        KeySet.import_key_set({"keys": keys})
    except (ValueError, KeyError, TypeError, JoseError):
        raise ValueError(
            'expected a JWK set: {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": ..., "x": ...}]}'
        ) from None
    if not all(isinstance(key, dict) and key.get("kid") for key in keys):
        raise ValueError("every key of the JWK set needs a kid")
    return list(keys)

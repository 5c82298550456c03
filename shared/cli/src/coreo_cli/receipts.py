"""Receipts of exclusions, checked with public keys alone: no api, no network."""

import json
from dataclasses import dataclass
from typing import Any

from coreo_cli.errors import CliError
from coreo_cli.text import plain
from coreo_shared.contracts.exclusions import RECEIPT_TYPE, RECEIPT_VERSION, Receipt
from coreo_shared.crypto.jose import load_jwks
from coreo_shared.crypto.statements import StatementError, Statements


@dataclass(frozen=True)
class Checked:
    """A receipt that is to be believed, and the id of the key that signed it."""

    receipt: Receipt
    key: str


def check_receipt(text: str, keys: str) -> Checked:
    """The receipt, as `coreo custody receipt` wrote it, signed by one of the keys (a JWK set). Raises CliError."""
    signed = text.strip().encode()
    try:
        receipt = Statements(_keys(keys)).read(signed, Receipt, typ=RECEIPT_TYPE)
    except StatementError as error:
        raise CliError(f"This receipt is not to be believed: {plain(error)}.") from None
    if receipt.version != RECEIPT_VERSION:
        raise CliError(f"The receipt is of version {receipt.version}, which this version of coreo cannot read.")
    return Checked(receipt, _key_id(signed))


def _keys(text: str) -> list[dict[str, Any]]:
    try:
        return load_jwks(text)
    except ValueError as error:
        raise CliError(
            f"--keys: {plain(error)}", next_step="Write it with: coreo custody keys > coreo-custody.jwks"
        ) from None


def _key_id(signed: bytes) -> str:
    """Of a receipt whose signature was checked."""
    import base64  # noqa: PLC0415  --help answers at once

    header = signed.split(b".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))["kid"])

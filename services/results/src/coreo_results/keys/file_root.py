"""Root key in a file of mode 0600: for the embedded stack, without KMS. `coreo-results create-root-key` makes it."""

import base64
import json
import os
import secrets
import stat
from pathlib import Path

from coreo_results.keys.errors import RootKeyError
from coreo_results.keys.material import Sealed, SecretKey
from coreo_results.keys.root import KeyPlace
from coreo_results.keys.seal import bind, seal, unseal

_KIND = "coreo-root-key"


class FileRootKey:
    """A RootKey whose material this process holds."""

    def __init__(self, key: SecretKey, key_id: str) -> None:
        self._key = key
        self.name = f"file:{key_id}"

    def __repr__(self) -> str:
        return f"FileRootKey({self.name!r})"

    @classmethod
    def create(cls, path: Path) -> "FileRootKey":
        """Writes a fresh key to a new file that only its owner can read. Raises RootKeyError when there is a file."""
        key, key_id = SecretKey.generate(), secrets.token_hex(8)
        content = {"kind": _KIND, "id": key_id, "key": base64.b64encode(key.reveal()).decode()}
        try:
            with open(path, "x", opener=_private) as file:
                json.dump(content, file)
        except FileExistsError:
            raise RootKeyError(f"{path} exists already; a root key is never overwritten") from None
        except OSError as error:
            raise RootKeyError(f"{path} cannot be written: {error.strerror}") from None
        return cls(key, key_id)

    @classmethod
    def load(cls, path: Path) -> "FileRootKey":
        """The key in the file. Raises RootKeyError, also when others than its owner may read the file."""
        try:
            with path.open() as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read()
        except OSError as error:
            hint = f"make one with: coreo-results create-root-key {path}"
            raise RootKeyError(f"root key file {path}: {error.strerror}; {hint}") from None
        if mode & 0o077:
            raise RootKeyError(f"root key file {path} is open to others (mode {mode:04o}); run: chmod 600 {path}")
        try:
            content = json.loads(text)
            kind, key_id = content["kind"], str(content["id"])
            key = SecretKey(base64.b64decode(content["key"], validate=True))
        except (ValueError, KeyError, TypeError):
            kind = None
        if kind != _KIND:
            raise RootKeyError(f"{path} is not a root key file made by coreo-results create-root-key")
        return cls(key, key_id)

    async def wrap(self, key: SecretKey, place: KeyPlace) -> Sealed:
        """See RootKey."""
        return seal(self._key, key.reveal(), self._context(place))

    async def unwrap(self, wrapped: bytes, place: KeyPlace) -> SecretKey:
        """See RootKey."""
        return SecretKey(unseal(self._key, wrapped, self._context(place)))

    def _context(self, place: KeyPlace) -> bytes:
        version = () if place.version is None else (place.version,)
        return bind("team-key", self.name, place.team_id, *version)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

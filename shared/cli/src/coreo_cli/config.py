"""Where the api is and the token for it: from the environment, or from a file that only its owner can read.

`COREO_URL` and `COREO_TOKEN` come before the file `coreo/config.json` in the XDG configuration folder. A stored token
is sent to no other address than the one it was stored with.
"""

import json
import os
import re
import stat
import tempfile
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from coreo_cli.errors import CliError

URL_VARIABLE = "COREO_URL"
TOKEN_VARIABLE = "COREO_TOKEN"
PLAIN_HTTP_VARIABLE = "COREO_ALLOW_PLAIN_HTTP"
LOG_IN = "Log in with `coreo login --url URL --token-stdin`, or set COREO_URL and COREO_TOKEN."
_TOKEN = re.compile(r"coreo_[A-Za-z0-9_-]{16,200}", re.ASCII)


@dataclass(frozen=True)
class Connection:
    """An api and the token to show it."""

    url: str
    token: str = field(repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the api is on this machine."""
        return _is_loopback(urlsplit(self.url).hostname or "")


def config_path() -> Path:
    """The file that `coreo login` writes."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "coreo" / "config.json"


def load_connection() -> Connection:
    """The connection to use. Raises CliError that says how to log in."""
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if url and token:
        return Connection(check_url(url, URL_VARIABLE), check_token(token, TOKEN_VARIABLE))
    stored = read_stored()
    if stored is None:
        missing = " and ".join(name for name, value in ((URL_VARIABLE, url), (TOKEN_VARIABLE, token)) if not value)
        problem = (
            "You are not logged in." if not (url or token) else f"{missing} is not set, and you are not logged in."
        )
        raise CliError(problem, next_step=LOG_IN)
    if url and check_url(url, URL_VARIABLE) != stored.url:
        raise CliError(
            f"{URL_VARIABLE} is another address than the one that you logged in to; its token is not sent there.",
            next_step=f"Set {TOKEN_VARIABLE} too, or log in there: `coreo login --url URL --token-stdin`.",
        )
    return Connection(stored.url, check_token(token, TOKEN_VARIABLE) if token else stored.token)


def has_connection() -> bool:
    """Whether there is anything to connect with, good or not: a mistake in it is to be told, not worked around."""
    return bool(os.environ.get(URL_VARIABLE) or os.environ.get(TOKEN_VARIABLE)) or config_path().exists()


def read_stored() -> Connection | None:
    """What `coreo login` stored; None when there is nothing. Raises CliError for a file that others can read."""
    path = config_path()
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path} cannot be read: {_reason(error)}.", next_step=LOG_IN) from None
    if os.name == "posix" and mode & 0o077:
        raise CliError(
            f"{path} holds your token, and others on this machine can read it.",
            next_step=f"Revoke that token if others use this machine; then `chmod 600 {path}`, or log in again.",
        )
    try:
        data = json.loads(text)
        return Connection(check_url(str(data["url"]), str(path)), check_token(str(data["token"]), str(path)))
    except (ValueError, KeyError, TypeError):
        raise CliError(f"{path} is not what `coreo login` writes.", next_step=LOG_IN) from None


def store(connection: Connection) -> Path:
    """Writes the connection to a file of mode 0600, in one step; the file's path. Raises CliError."""
    path = config_path()
    text = json.dumps({"url": connection.url, "token": connection.token}, indent=2) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")  # made with mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CliError(
            f"{path} cannot be written: {_reason(error)}.", next_step="Set COREO_URL and COREO_TOKEN instead."
        ) from None
    return path


def forget() -> bool:
    """Deletes what `coreo login` stored; whether there was anything. Raises CliError."""
    try:
        config_path().unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CliError(f"{config_path()} cannot be deleted: {_reason(error)}.") from None
    return True


def check_url(text: str, source: str) -> str:
    """The api's address without a slash at its end. Raises CliError that names `source`."""
    next_step = "Give an address such as https://coreo.example.com, or http://127.0.0.1:8080 for one on this machine."
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise CliError(f"{source} is not an address.", next_step=next_step) from None
    if parts.scheme not in {"http", "https"} or not host or any(character.isspace() for character in text.strip()):
        raise CliError(f"{source} is not an http or https address.", next_step=next_step)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise CliError(f"{source} must have no user name, password, ? or #.", next_step=next_step)
    if parts.scheme == "http" and not _is_loopback(host) and os.environ.get(PLAIN_HTTP_VARIABLE) != "1":
        raise CliError(
            f"{source} is plain http to another machine: the token would cross the network unencrypted.",
            next_step=f"Use https. In a network that you trust, set {PLAIN_HTTP_VARIABLE}=1.",
        )
    return text.strip().rstrip("/")


def check_token(text: str, source: str) -> str:
    """The token without white space around it. Raises CliError that names `source` and does not show the token."""
    if not _TOKEN.fullmatch(text.strip()):
        raise CliError(
            f"{source} holds no Coreo token: those begin with coreo_ and have letters, digits, - and _ only.",
            next_step="Copy the whole token, as it was shown when it was made.",
        )
    return text.strip()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    return (error.strerror or "error") if isinstance(error, OSError) else "it is not text"

"""Gives each local process its role's short-lived AWS credentials, the way ECS does for a task.

The process knows a loopback URL and a token of its own, no key; the SDK asks there and refreshes by itself
(AWS SDK reference, "Container credential provider"). Each answer is a fresh AssumeRole by the launcher.
"""

import hmac
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

_LIFETIME_SECONDS = 3600


@dataclass(frozen=True)
class _Grant:
    role_arn: str
    session_name: str
    token: str = field(repr=False)


class CredentialEndpoint:
    """A running endpoint. `sts` is a client of the launcher's user, whom the roles trust."""

    def __init__(self, sts: "STSClient") -> None:
        self._sts = sts
        self._grants: dict[str, _Grant] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="credentials", daemon=True)

    @classmethod
    def start(cls, sts: "STSClient") -> "CredentialEndpoint":
        """Listens on a free port of 127.0.0.1."""
        self = cls(sts)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Closes the port; credentials handed out stay good until they expire."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self, role_arn: str, session_name: str) -> dict[str, str]:
        """Variables that give a process this role and nothing else; every call makes a new path and token."""
        path = f"/{secrets.token_urlsafe(16)}"
        grant = _Grant(role_arn, session_name, secrets.token_urlsafe(32))
        self._grants[path] = grant
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._server.server_port}{path}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": grant.token,
            "AWS_EC2_METADATA_DISABLED": "true",  # a failure here must not send the SDK on to look elsewhere
        }

    def _answer(self, path: str, token: str) -> tuple[int, dict[str, str]]:
        grant = self._grants.get(path)
        if grant is None or not hmac.compare_digest(grant.token.encode(), token.encode()):
            return 403, {"code": "AccessDenied", "message": "Unknown path or wrong token"}
        try:
            session = self._sts.assume_role(
                RoleArn=grant.role_arn, RoleSessionName=grant.session_name, DurationSeconds=_LIFETIME_SECONDS
            )
        except (ClientError, BotoCoreError) as error:
            return 502, {"code": type(error).__name__, "message": f"Cannot assume {grant.role_arn}: {error}"}
        keys = session["Credentials"]
        return 200, {
            "AccessKeyId": keys["AccessKeyId"],
            "SecretAccessKey": keys["SecretAccessKey"],
            "Token": keys["SessionToken"],
            "Expiration": keys["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer: Callable[[str, str], tuple[int, dict[str, str]]] = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self.path, self.headers.get("Authorization", ""))
                payload = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
                """Nothing: the proxy logs every AssumeRole."""

        return Handler

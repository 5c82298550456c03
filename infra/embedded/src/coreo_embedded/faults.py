"""Faults the proxy in front of the simulated AWS can play: what to match, what to answer, how often."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, Required, TypedDict, get_args
from xml.sax.saxutils import escape

Kind = Literal[
    "throttle",
    "deny",
    "error",
    "unavailable",
    "disconnect",
    "delay",
    "hang",
    "lose",
    "mute",
    "stale",
    "settle",
    "expired",
]
Style = Literal["json", "s3", "ec2", "query"]

# kind -> (HTTP status, error code), as AWS answers. An S3 throttle is a 503 SlowDown.
_ANSWERS: dict[str, tuple[int, str]] = {
    "throttle": (400, "ThrottlingException"),
    "deny": (403, "AccessDeniedException"),
    "error": (500, "InternalFailure"),
    "unavailable": (503, "ServiceUnavailable"),
    "stale": (403, "InvalidSignatureException"),
    "settle": (403, "AccessDeniedException"),
    "expired": (400, "ExpiredTokenException"),
}
_S3_ANSWERS = _ANSWERS | {
    "throttle": (503, "SlowDown"),
    "deny": (403, "AccessDenied"),
    "stale": (403, "RequestTimeTooSkewed"),
    "expired": (400, "ExpiredToken"),
}
# Where the query protocols call it otherwise.
_QUERY_CODES = {
    "ThrottlingException": "Throttling",
    "AccessDeniedException": "AccessDenied",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "ExpiredTokenException": "ExpiredToken",
}
_EC2_CODES = {
    "ThrottlingException": "RequestLimitExceeded",
    "AccessDeniedException": "UnauthorizedOperation",
    "InvalidSignatureException": "RequestExpired",
    "ExpiredTokenException": "RequestExpired",
}
_MESSAGE = "Answered by the embedded stack's proxy"
_STALE_MESSAGE = "Signature expired: the request's date is more than 5 minutes before the present"
SIGNATURE_SECONDS = 300  # how old a signed request may be (IAM user guide, "Signature Version 4")


class FaultError(ValueError):
    """A fault description that cannot be played; the message names the field."""


class FaultFields(TypedDict, total=False):
    """Arguments of Fault."""

    kind: Required[Kind]
    service: str | None
    operation: str | None
    role: str | None
    containing: str | None
    times: int | None
    seconds: float


@dataclass(frozen=True)
class Ages:
    """Seconds since the request was signed, and since the role that it assumes was made; None where unknown."""

    signature: float | None = None
    role: float | None = None


@dataclass
class Fault:
    """One fault, for requests that match all that is given; it counts down with `times`.

    kind: throttle, deny (403), error (500), unavailable (503), expired (the caller's session is over) are answered
    without reaching the simulator; disconnect cuts the connection, hang never answers until the fault is lifted, delay
    waits `seconds` and then passes it on. What is done but not heard of: lose passes the request on and then cuts the
    connection, mute passes it on and never tells the answer.
    stale refuses requests signed more than five minutes ago, on a clock that is `seconds` ahead. settle refuses to
    assume a role in the first `seconds` after it was made, as when IAM's copies do not agree yet.
    service is the signing name (`sqs`), operation the API's (`SendMessage`), role the name of the caller's role;
    `containing` is a text that must stand in the request's path or form, such as a stack's name.
    """

    kind: Kind
    service: str | None = None
    operation: str | None = None
    role: str | None = None
    containing: str | None = None
    times: int | None = None
    seconds: float = 0.0
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise FaultError(f"kind must be one of {', '.join(get_args(Kind))}")
        if self.kind in ("delay", "settle") and self.seconds <= 0:
            raise FaultError(f"seconds must be above 0 for {self.kind}")

    @property
    def reaches_aws(self) -> bool:
        """Whether what is asked is done, though nobody hears of it."""
        return self.kind in ("lose", "mute")

    def takes(self, service: str, operation: str, principal: str | None, *, ages: Ages, text: str = "") -> bool:
        """Whether this fault hits the request; if so it is counted."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.kind == "stale" and (ages.signature is None or ages.signature + self.seconds <= SIGNATURE_SECONDS):
            return False
        if self.kind == "settle" and (ages.role is None or ages.role >= self.seconds):
            return False
        wanted = (
            self.service in (None, service),
            self.operation in (None, operation),
            self._is_role(principal),
            self.containing is None or self.containing in text,
        )
        if not all(wanted):
            return False
        self.hits += 1
        return True

    def _is_role(self, principal: str | None) -> bool:
        return self.role is None or (principal is not None and f":assumed-role/{self.role}/" in principal)


def parse_fault(body: Any) -> Fault:
    """A fault from the JSON of the control endpoint. Raises FaultError."""
    texts = dict.fromkeys(("kind", "service", "operation", "role", "containing"), str)
    known: dict[str, type | tuple[type, ...]] = {**texts, "times": int, "seconds": (int, float)}
    if not isinstance(body, dict) or "kind" not in body:
        raise FaultError("kind is required")
    for name, value in body.items():
        if name not in known:
            raise FaultError(f"unknown field; there are {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, known[name]):
            raise FaultError(f"{name} has the wrong type")
    return Fault(**body)


def error_answer(kind: Kind, style: Style) -> tuple[int, str, bytes]:
    """Status, content type and body of the error in the wire format of the API that was called."""
    status, code = (_S3_ANSWERS if style == "s3" else _ANSWERS)[kind]
    message = _STALE_MESSAGE if kind == "stale" else _MESSAGE
    if style == "json":
        body = json.dumps({"__type": code, "message": message})
        return status, "application/x-amz-json-1.0", body.encode()
    code = {"query": _QUERY_CODES, "ec2": _EC2_CODES}.get(style, {}).get(code, code)
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    shape = {
        "s3": f"<Error>{error}<RequestId>injected</RequestId></Error>",
        "ec2": f"<Response><Errors><Error>{error}</Error></Errors><RequestID>injected</RequestID></Response>",
        "query": f"<ErrorResponse><Error>{error}</Error><RequestId>injected</RequestId></ErrorResponse>",
    }[style]
    return status, "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{shape}'.encode()

"""Sends signed requests to AWS, and to nobody else: as they are, without proxy or redirect, until AWS has decided."""

import http.client
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

import certifi

from coreo_shared.contracts.onboarding import BootstrapReport, BootstrapRequests, SealContext, SignedRequest
from coreo_shared.observability.logs import get_logger
from coreo_worker.onboard.answers import MAX_ANSWER_BYTES, Answer, UnreadableAnswerError, parse_answer
from coreo_worker.onboard.replay import Call, Replay, is_temporary
from coreo_worker.onboard.words import code_of, expired, fault

_log = get_logger(__name__)
_TIMEOUT_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 8.0
_POLICY_CALLS: Final = (Call.GET_POLICY, Call.GET_POLICY_VERSION, Call.CREATE_POLICY)
# IAM is at iam.amazonaws.com, iam.us-gov.amazonaws.com and iam.cn-north-1.amazonaws.com.cn (AWS general reference). The
# label between must look like a region: in others, such as s3, hosts are named by customers.
_HOST: Final = re.compile(r"(iam|sts)(\.(us-gov|[a-z]{2}(-[a-z]+){1,2}-\d))?\.amazonaws\.com(\.cn)?")
_PLAIN: Final = re.compile(r"[ -~]+")
_OPERATIONS: Final = {"iam": set(Call) - {Call.GET_CALLER_IDENTITY}, "sts": {Call.GET_CALLER_IDENTITY}}


class NoAnswerError(Exception):
    """AWS did not answer, or not with sense. The text is the kind of trouble, fit for people."""


class Sender:
    """Posts to AWS; to `endpoint_url` alone where that is given. `ca_file`: authorities other than the usual ones."""

    def __init__(self, *, endpoint_url: str | None, ca_file: str | None = None) -> None:
        self._origin = None if endpoint_url is None else _origin(endpoint_url)
        self._tls = ssl.create_default_context(cafile=ca_file or certifi.where())

    def problem(self, call: Call, request: SignedRequest) -> str | None:
        """What speaks against sending this; None when nothing does. Repeats nothing of it."""
        url = urlsplit(request.url)
        headers = [part for header in request.headers.items() for part in header]
        doubts = {
            "not the address to send to": self._is_elsewhere(call, request.url) or url.username is not None,
            "not a request of the query protocol": url.path != "/" or bool(url.query or url.fragment),
            "another host in the headers": request.headers.get("host") not in {url.netloc, _without_port(url)},
            "a header that is no plain text": not all(_PLAIN.fullmatch(part) for part in headers),
            "another operation": parse_qs(request.body).get("Action") != [call.operation],
        }
        return next((f"{call}: {doubt}" for doubt, is_so in doubts.items() if is_so), None)

    def _is_elsewhere(self, call: Call, url: str) -> bool:
        scheme, host, port = _origin(url)
        if self._origin is not None:
            return (scheme, host, port) != self._origin
        found = _HOST.fullmatch(host)
        return (scheme, port) != ("https", 443) or found is None or call not in _OPERATIONS[found.group(1)]

    def post(self, request: SignedRequest) -> Answer:
        """The answer, whatever its status. Raises NoAnswerError; no exception tells of the request."""
        try:
            status, body = self._exchange(request)
            return parse_answer(status, body)
        except UnreadableAnswerError as error:
            raise NoAnswerError(str(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(type(error).__name__) from None

    def _exchange(self, request: SignedRequest) -> tuple[int, bytes]:
        scheme, host, port = _origin(request.url)
        connection = (
            http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=self._tls)
            if scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        )
        try:
            headers = {"accept-encoding": "identity", "connection": "close", **request.headers}
            connection.request(request.method, "/", body=request.body.encode(), headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER_BYTES + 1)
        finally:
            connection.close()


def find_fault(requests: BootstrapRequests, context: SealContext, sender: Sender) -> str | None:
    """What speaks against carrying these out for the run they were sealed for; None when nothing does."""
    if (requests.account_id, requests.expires_at) != (context.account_id, context.expires_at):
        return "sealed for another account or another time"
    if requests.role_arn.split(":")[4:5] != [context.account_id]:
        return "the role is in another account"
    if any((getattr(requests, call) is None) != (requests.policy is None) for call in _POLICY_CALLS):
        return "a policy is half there"
    named = {call: getattr(requests, call) for call in Call}
    problems = (sender.problem(call, request) for call, request in named.items() if request is not None)
    return next((problem for problem in problems if problem is not None), None)


def carry_out(
    requests: BootstrapRequests,
    post: Callable[[SignedRequest], Answer],
    *,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> BootstrapReport:
    """Sends what the replay asks for until it ends; what AWS may take a little later is sent again until it is late.

    Raises nothing of AWS's. `post` raises NoAnswerError.
    """
    steps = Replay(requests).run()
    pauses, last = 0, None
    try:
        step = next(steps)
        while True:
            pauses += step.is_again
            tries = pauses if step.is_again else 0
            answer = None
            while answer is None:
                delay = _delay(tries) if tries else 0.0
                if clock() + delay >= requests.expires_at:
                    steps.throw(expired(last))
                pause(delay)
                answer, last = _try(step.call, getattr(requests, step.call), post)
                tries += answer is None
            step = steps.send(answer)
    except StopIteration as end:
        report: BootstrapReport = end.value
        return report


def refusal(what: str) -> BootstrapReport:
    """The report where the requests are not fit to be sent."""
    problem = fault(what)
    return BootstrapReport(problem=problem.problem, detail=problem.detail)


def sender_of(environment: Mapping[str, str]) -> Sender:
    """As the variables say that the SDK knows too."""
    ca_file = environment.get("AWS_CA_BUNDLE") or environment.get("SSL_CERT_FILE")
    return Sender(endpoint_url=environment.get("AWS_ENDPOINT_URL") or None, ca_file=ca_file or None)


def _try(call: Call, request: SignedRequest, post: Callable[[SignedRequest], Answer]) -> tuple[Answer | None, str]:
    """The answer, None where it is only temporary; and what was heard."""
    try:
        answer = post(request)
    except NoAnswerError as error:
        _log.warning("iam_silent", call=call.operation, problem=str(error))
        return None, f"no answer to {call.operation} ({error})"
    heard = "OK" if answer.code is None else code_of(answer.code, answer.status)
    _log.info("iam_answered", call=call.operation, status=answer.status, code=heard)
    return None if is_temporary(answer) else answer, f"{call.operation} was answered with {heard}"


def _delay(tries: int) -> float:
    longest: float = min(_FIRST_PAUSE_SECONDS * 2 ** min(tries, 8), _LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries, hides nothing


def _without_port(url: SplitResult) -> str:
    """The host as headers have it where the port is the scheme's own."""
    return url.netloc.removesuffix(":443" if url.scheme == "https" else ":80")


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

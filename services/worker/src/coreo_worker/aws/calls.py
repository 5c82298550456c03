"""One call to AWS: a plain dict, or one of a handful of errors that say what it means for an audit.

Every error's text is fit for a finding: it never repeats what AWS's own message says of keys, sessions or identities.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    UnknownServiceError,
)
from botocore.parsers import ResponseParserError

from coreo_worker.aws.clients import Clients

_DENIED: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationError",
        "AuthorizationErrorException",
        "Forbidden",
        "ForbiddenException",
        "NotAuthorized",
        "UnauthorizedAccess",
        "UnauthorizedException",
        "UnauthorizedOperation",
    }
)
# What the SDK itself takes for throttling (botocore.retries.standard).
_THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
# This is how a region answers that the account has not opted in to: it does not know the account's keys.
# https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
_REGION_OFF: Final = frozenset({"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"})
_SERVICE_OFF: Final = frozenset(
    {
        "InvalidAction",
        "NotImplemented",
        "OptInRequired",
        "SubscriptionRequiredException",
        "UnknownOperationException",
        "UnsupportedOperation",
    }
)
# What the SDK itself takes for errors that may pass (botocore.retries.standard).
_PASSING: Final = frozenset({"RequestTimeout", "RequestTimeoutException"})
_PASSING_STATUSES: Final = frozenset({500, 502, 503, 504})
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})


class CallError(Exception):
    """AWS did not answer the call with data. `str()` is a sentence for a finding; `actions` would have allowed it.

    `transient` where the same call may be answered if it is made again. `said`: AWS's own words, if it answered. They
    may hold the customer's data, so that they belong into what is encrypted, never into a log or a run's reason.
    """

    def __init__(
        self, message: str, *, code: str, actions: tuple[str, ...] = (), transient: bool = False, said: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.actions = actions
        self.transient = transient
        self.said = said


class DeniedError(CallError):
    """The role, its boundary, the session policy or a policy of the organization does not allow the call."""


class AbsentError(CallError):
    """The API's way to say that there is none: an answer, not a failure."""


class ThrottledError(CallError):
    """AWS still throttled the call when the last try was over."""


class UnsupportedError(CallError):
    """The region or service is not there for this account."""


class FailedError(CallError):
    """Everything else: a time-out, a server error, a refusal of the parameters."""


class SessionExpiredError(Exception):
    """The run's credentials are over: nothing more can be read, and nothing may be concluded from that."""


async def call(
    clients: Clients,
    service: str,
    region: str,
    operation: str,
    params: Mapping[str, Any],
    *,
    actions: tuple[str, ...] = (),
    absent_on: Iterable[str] = (),
) -> dict[str, Any]:
    """The answer of `operation` (as `describe_instances`) without its metadata.

    `actions` are the IAM actions the call needs, `absent_on` the error codes by which the API says "none", alone or
    as `Code: words in its message`.
    Raises a CallError, or SessionExpiredError.
    """
    try:
        client = await clients.client(service, region)
        answer: dict[str, Any] = await getattr(client, operation)(**params)
    except ClientError as error:
        raise _from_answer(error, f"{service}:{operation}", region, actions, frozenset(absent_on)) from None
    except (UnknownServiceError, EndpointConnectionError, ConnectTimeoutError) as error:
        code = type(error).__name__
        message = f"{service} has no endpoint that answers in {region}"
        transient = not isinstance(error, UnknownServiceError)
        raise UnsupportedError(message, code=code, actions=actions, transient=transient) from None
    except (BotoCoreError, HTTPClientError, ResponseParserError) as error:
        # No detail: the text of these may hold a part of the request or of the answer.
        code = type(error).__name__
        message = f"{service}:{operation} in {region}: {code}"
        transient = isinstance(error, HTTPClientError)
        raise FailedError(message, code=code, actions=actions, transient=transient) from error
    answer.pop("ResponseMetadata", None)
    return answer


def _from_answer(
    error: ClientError, call_name: str, region: str, actions: tuple[str, ...], absent_on: frozenset[str]
) -> Exception:
    """What an error that AWS answered means."""
    code = error.response.get("Error", {}).get("Code") or "Unknown"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    where = f"{call_name} in {region}"
    if code in _EXPIRED:
        return SessionExpiredError(f"{where}: {code}")
    kind = AbsentError if _is_absent(error, code, absent_on) else _kind_of(code, status)
    denier = _denier(error) if kind is DeniedError else None
    said = error.response.get("Error", {}).get("Message") or ""
    if denier is not None:  # no action that the role lacks would help
        return DeniedError(f"{where}: {code} by a {denier}", code=code, said=said)
    transient = code in _PASSING or status in _PASSING_STATUSES
    message = f"{where}: {code}{_hint(kind, code, region)}"
    return kind(message, code=code, actions=actions, transient=transient, said=said)


def _is_absent(error: ClientError, code: str, absent_on: frozenset[str]) -> bool:
    if code in absent_on:
        return True
    text = error.response.get("Error", {}).get("Message") or ""
    told = (entry.partition(": ") for entry in absent_on)
    return any(words and code == known and words in text for known, _, words in told)


def _hint(kind: type[CallError], code: str, region: str) -> str:
    """What a person makes of the code, where it does not say so itself."""
    if kind is ThrottledError:
        return "; AWS throttled every try"
    if kind is not UnsupportedError:
        return ""
    if code in _REGION_OFF:
        return f"; the region {region} is not enabled for the account, or the role is gone"
    return "; the service is not enabled for the account, or not offered there"


def _kind_of(code: str, status: int | None) -> type[CallError]:
    if code in _THROTTLED:
        return ThrottledError
    if code in _REGION_OFF | _SERVICE_OFF:
        return UnsupportedError
    return DeniedError if code in _DENIED or status == 403 else FailedError


def _denier(error: ClientError) -> str | None:
    """The kind of policy that denies the call by name, where AWS says so; None where it is only not allowed."""
    text = error.response.get("Error", {}).get("Message", "")
    kinds = ("service control policy", "resource control policy", "permissions boundary", "resource-based policy")
    return next((kind for kind in kinds if f"deny in a {kind}" in text), None)

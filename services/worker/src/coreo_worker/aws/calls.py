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

from coreo_worker.aws.clients import ClientFactory

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
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
# AuthFailure, InvalidClientTokenId and UnrecognizedClientException are how a region answers that the account has not
# opted in to: it does not know the account's keys.
# https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
_UNSUPPORTED: Final = frozenset(
    {
        "AuthFailure",
        "InvalidAction",
        "InvalidClientTokenId",
        "NotImplemented",
        "OptInRequired",
        "SubscriptionRequiredException",
        "UnknownOperationException",
        "UnrecognizedClientException",
        "UnsupportedOperation",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})


class CallError(Exception):
    """AWS did not answer the call with data. `str()` is a sentence for a finding; `actions` would have allowed it."""

    def __init__(self, message: str, *, code: str, actions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.actions = actions


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
    clients: ClientFactory,
    service: str,
    region: str,
    operation: str,
    params: Mapping[str, Any],
    *,
    actions: tuple[str, ...] = (),
    absent_on: Iterable[str] = (),
) -> dict[str, Any]:
    """The answer of `operation` (as `describe_instances`) without its metadata; the SDK has retried by then.

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
        raise UnsupportedError(message, code=code, actions=actions) from None
    except (BotoCoreError, HTTPClientError, ResponseParserError) as error:
        # No detail: the text of these may hold a part of the request or of the answer.
        code = type(error).__name__
        raise FailedError(f"{service}:{operation} in {region}: {code}", code=code, actions=actions) from error
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
    if denier is not None:  # no action that the role lacks would help
        return DeniedError(f"{where}: {code} by a {denier}", code=code)
    return kind(f"{where}: {code}{_HINTS.get(kind, '')}", code=code, actions=actions)


def _is_absent(error: ClientError, code: str, absent_on: frozenset[str]) -> bool:
    if code in absent_on:
        return True
    text = error.response.get("Error", {}).get("Message") or ""
    told = (entry.partition(": ") for entry in absent_on)
    return any(words and code == known and words in text for known, _, words in told)


_HINTS: Final[dict[type[CallError], str]] = {
    ThrottledError: "; AWS throttled every try",
    UnsupportedError: "; the region or service is not enabled for the account, or the role is gone",
}


def _kind_of(code: str, status: int | None) -> type[CallError]:
    if code in _THROTTLED:
        return ThrottledError
    if code in _UNSUPPORTED:
        return UnsupportedError
    return DeniedError if code in _DENIED or status == 403 else FailedError


def _denier(error: ClientError) -> str | None:
    """The kind of policy that denies the call by name, where AWS says so; None where it is only not allowed."""
    text = error.response.get("Error", {}).get("Message", "")
    kinds = ("service control policy", "resource control policy", "permissions boundary", "resource-based policy")
    return next((kind for kind in kinds if f"deny in a {kind}" in text), None)

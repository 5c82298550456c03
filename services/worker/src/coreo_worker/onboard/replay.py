"""What a bootstrap asks of IAM, and what follows from each answer. Nothing here sends anything.

What whoever signs the requests (the api, with the customer's keys) is to do:

- Signature Version 4, service `iam`, in IAM's region: `https://iam.amazonaws.com/` with us-east-1,
  `https://iam.us-gov.amazonaws.com/` with us-gov-west-1, `https://iam.cn-north-1.amazonaws.com.cn/` with cn-north-1;
  or the URL that the worker has as AWS_ENDPOINT_URL. No other place is sent to (coreo_worker.onboard.sending).
- POST, path `/`, no query; the body a form (`content-type: application/x-www-form-urlencoded; charset=utf-8`) with
  `Action` and `Version=2010-05-08`. `headers` has all that is signed, names in lower case, `host`, `x-amz-date` and
  `authorization` among them, and `x-amz-security-token` for temporary keys. Sent is what is signed, byte for byte.
- All with one `x-amz-date`; `expires_at` is five minutes after it, and is also the job's `exp` and the seal context's
  `expires_at`.
- `GetUser` names no user: IAM then tells of the key's own. For temporary keys of a role, of which IAM's GetUser tells
  nothing, `get_caller_identity` is `GetCallerIdentity` (`Version=2011-06-15`), signed for `sts` and its endpoint, in
  the same region. `GetPolicyVersion` asks for `v1`. `CreatePolicy` and `CreateRole` give no path, so that the ARNs are
  `policy_arn` and `role_arn`. For a managed policy the three requests on policies are None.
- `trust_policy` and `policy` are the very documents in `CreateRole` and `CreatePolicy`.

Each request may be sent several times: AWS takes it again within its five minutes. So a replay that was cut short is
begun anew by whoever has the message next, finds what was made, and completes it.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from coreo_shared.contracts.onboarding import BootstrapReport, BootstrapRequests
from coreo_worker.onboard.answers import Answer
from coreo_worker.onboard.documents import is_same_policy
from coreo_worker.onboard.words import ProblemError, Words, expired

_FIRST_VERSION: Final = "v1"
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException"})
_UNKNOWN_KEY: Final = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"})
_WRONG_SECRET: Final = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
_SESSION_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
_EXPIRED: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_LATE: Final = "Signature expired"  # so begins the message of a SignatureDoesNotMatch that is about time
_EARLY: Final = "Signature not yet current"
_TEMPORARY: Final = frozenset(
    {
        "ConcurrentModification",
        "InternalError",
        "InternalFailure",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceFailure",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_ARN: Final = re.compile(r"arn:[a-z-]+:(?:iam|sts)::(\d{12}):\S+", re.ASCII)
_WHO: Final = re.compile(r"User: arn:[a-z-]+:(?:iam|sts)::(\d{12}):\S+ is not authorized to perform: ", re.ASCII)


class Call(StrEnum):
    """The requests, by their fields of BootstrapRequests."""

    GET_USER = "get_user"
    GET_CALLER_IDENTITY = "get_caller_identity"
    GET_POLICY = "get_policy"
    GET_POLICY_VERSION = "get_policy_version"
    CREATE_POLICY = "create_policy"
    GET_ROLE = "get_role"
    CREATE_ROLE = "create_role"
    ATTACH_ROLE_POLICY = "attach_role_policy"

    @property
    def operation(self) -> str:
        """As AWS calls it: `GetUser`."""
        return self.title().replace("_", "")

    @property
    def action(self) -> str:
        """The permission it needs: `iam:GetUser`."""
        return f"{'sts' if self is Call.GET_CALLER_IDENTITY else 'iam'}:{self.operation}"


@dataclass(frozen=True)
class Step:
    """Send this request. `is_again`: after a pause, as what AWS keeps has not settled."""

    call: Call
    is_again: bool = False


Steps = Generator[Step, Answer, None]


def is_temporary(answer: Answer) -> bool:
    """Whether the same request may well be taken a little later."""
    if answer.code is None:
        return False
    is_early = answer.code in _WRONG_SECRET | _EXPIRED and answer.message.startswith(_EARLY)
    return answer.status >= 500 or answer.status == 429 or answer.code in _TEMPORARY or is_early


class Replay:
    """One bootstrap. `run` yields what to send and takes its answers; none of them is temporary.

    It looks before it makes anything, so that where something is in the way nothing is left behind.
    """

    def __init__(self, requests: BootstrapRequests) -> None:
        self._requests = requests
        needed = tuple(call.action for call in Call if call is not Call.GET_CALLER_IDENTITY and _has(requests, call))
        self._words = Words.of(requests, needed)
        self._policy: Literal["created", "adopted", "managed"] | None = None
        self._role: Literal["created", "adopted"] | None = None

    def run(self) -> Generator[Step, Answer, BootstrapReport]:
        """Ends with the report. A ProblemError thrown in ends it with that problem."""
        try:
            yield from self._know_account()
            yield from self._find_policy()
            yield from self._find_role()
            yield from self._have_policy()
            yield from self._have_role()
            yield from self._attach()
        except ProblemError as problem:
            return BootstrapReport(
                role=self._role,
                policy=self._policy,
                problem=problem.problem,
                detail=problem.detail,
                missing_action=problem.missing_action,
            )
        return BootstrapReport(role=self._role, policy=self._policy, attached=True)

    def _know_account(self) -> Steps:
        """Whose key it is. That it may not ask is no reason to stop: the refusal names who asked."""
        answer = yield Step(Call.GET_USER)
        problem = self._problem_of_key(answer)
        if problem is not None:
            raise problem
        account = _account_in(_ARN, answer.values.get("GetUserResult/User/Arn", ""))
        if answer.code in _DENIED:
            account = _account_in(_WHO, answer.message)
        if account is None and _has(self._requests, Call.GET_CALLER_IDENTITY):
            identity = yield Step(Call.GET_CALLER_IDENTITY)
            self._demand(identity, Call.GET_CALLER_IDENTITY)
            account = _account_in(_ARN, identity.values.get("GetCallerIdentityResult/Arn", ""))
        if account is None:
            raise self._problem_of(answer, Call.GET_USER) if answer.code in _DENIED else self._words.unknown_account()
        if account != self._requests.account_id:
            raise self._words.other_account()

    def _find_policy(self, *, is_again: bool = False) -> Steps:
        """Adopts the policy if it is there. Raises ProblemError when it is another."""
        if not _has(self._requests, Call.GET_POLICY) or self._requests.policy is None:
            self._policy = "managed"
            return
        answer = yield Step(Call.GET_POLICY, is_again)
        if answer.code == "NoSuchEntity":
            return
        self._demand(answer, Call.GET_POLICY)
        if answer.values.get("GetPolicyResult/Policy/DefaultVersionId") != _FIRST_VERSION:
            raise self._words.policy_differs()
        answer = yield Step(Call.GET_POLICY_VERSION)
        if answer.code == "NoSuchEntity":  # removed meanwhile
            return
        self._demand(answer, Call.GET_POLICY_VERSION)
        document = answer.values.get("GetPolicyVersionResult/PolicyVersion/Document", "")
        if not is_same_policy(document, self._requests.policy):
            raise self._words.policy_differs()
        self._policy = "adopted"

    def _find_role(self, *, is_again: bool = False) -> Steps:
        """Adopts the role if it is there. Raises ProblemError when it is another."""
        answer = yield Step(Call.GET_ROLE, is_again)
        if answer.code == "NoSuchEntity":
            return
        self._demand(answer, Call.GET_ROLE)
        document = answer.values.get("GetRoleResult/Role/AssumeRolePolicyDocument", "")
        is_there = answer.values.get("GetRoleResult/Role/Arn") == self._requests.role_arn
        if not is_there or not is_same_policy(document, self._requests.trust_policy):
            raise self._words.role_differs()
        self._role = "adopted"

    def _have_policy(self) -> Steps:
        while self._policy is None:
            answer = yield Step(Call.CREATE_POLICY)
            if answer.code == "EntityAlreadyExists":  # since it was looked for, perhaps by an earlier delivery
                yield from self._find_policy(is_again=True)
            else:
                self._demand(answer, Call.CREATE_POLICY)
                self._policy = "created"

    def _have_role(self) -> Steps:
        while self._role is None:
            answer = yield Step(Call.CREATE_ROLE)
            if answer.code == "EntityAlreadyExists":
                yield from self._find_role(is_again=True)
            else:
                self._demand(answer, Call.CREATE_ROLE)
                self._role = "created"

    def _attach(self) -> Steps:
        """A policy that is attached already is fine with IAM."""
        answer = yield Step(Call.ATTACH_ROLE_POLICY)
        while answer.code == "NoSuchEntity":  # made a moment ago, and not known everywhere yet
            answer = yield Step(Call.ATTACH_ROLE_POLICY, is_again=True)
        self._demand(answer, Call.ATTACH_ROLE_POLICY)

    def _demand(self, answer: Answer, call: Call) -> None:
        """Raises ProblemError unless it worked."""
        if answer.code is not None:
            raise self._problem_of(answer, call)

    def _problem_of(self, answer: Answer, call: Call) -> ProblemError:
        problem = self._problem_of_key(answer)
        if problem is not None:
            return problem
        if answer.code in _DENIED:
            return self._words.missing_permission(call.action, answer.message)
        if answer.code == "LimitExceeded":
            return self._words.limit_exceeded(call.action)
        return self._words.unexpected(call.operation, answer.code or "", answer.status)

    def _problem_of_key(self, answer: Answer) -> ProblemError | None:
        """What is wrong with the key or its signature, whatever was asked."""
        code = answer.code
        if code in _EXPIRED or (code in _WRONG_SECRET and answer.message.startswith(_LATE)):
            return expired()
        if code in _WRONG_SECRET:
            return self._words.wrong_secret()
        if code in _SESSION_EXPIRED:
            return self._words.session_expired()
        if code not in _UNKNOWN_KEY:
            return None
        return self._words.inactive() if "inactive" in answer.message.lower() else self._words.unknown_key()


def _has(requests: BootstrapRequests, call: Call) -> bool:
    return getattr(requests, call) is not None


def _account_in(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.match(text)
    return found.group(1) if found else None

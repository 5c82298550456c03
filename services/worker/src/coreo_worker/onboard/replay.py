"""Makes the role: sends the signed requests in their order and understands what IAM makes of them.

Nothing is created before it is known that the key is of the right account, and that neither a role nor a policy of that
name stands in the way: what exists and is exactly the same is adopted, what differs is reported and left alone. Every
step may be repeated, so that a second delivery completes what a first one began.

What is expected of the signer (SigV4, service iam, form-encoded POST, Version 2010-05-08): the requests of
contracts.onboarding.BootstrapRequests, of which GetPolicyVersion asks for v1, and all of which are good until
`expires_at`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from coreo_shared.contracts.onboarding import BootstrapProblem, BootstrapReport, BootstrapRequests, SignedRequest
from coreo_worker.onboard.answers import Answer

_ACCOUNT: Final = re.compile(r"arn:[a-z-]+:(?:iam|sts)::([0-9]{12}):")
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_EXPIRED_KEYS: Final = "The requests that were signed with the keys are no longer good. Post the keys again."


@dataclass(frozen=True)
class Wire:
    """How requests leave. `send` raises OSError where the network fails; `pause` waits; `clock` gives Unix seconds."""

    send: Callable[[SignedRequest], Answer]
    pause: Callable[[float], None]
    clock: Callable[[], float]


class _StopError(Exception):
    """The role cannot be made."""

    def __init__(self, problem: BootstrapProblem, detail: str, missing_action: str | None = None) -> None:
        super().__init__(problem)
        self.report = BootstrapReport(problem=problem, detail=detail, missing_action=missing_action)


def replay(requests: BootstrapRequests, wire: Wire) -> BootstrapReport:
    """Makes the role, or says why not. Never raises for what AWS answers."""
    try:
        return _Replay(requests, wire).run()
    except _StopError as stop:
        return stop.report


class _Replay:
    def __init__(self, requests: BootstrapRequests, wire: Wire) -> None:
        self._requests = requests
        self._wire = wire

    def run(self) -> BootstrapReport:
        self._check_account()
        has_policy, has_role = self._has_policy(), self._has_role()
        if has_policy is False:
            self._create_policy()
        if not has_role:
            self._create_role()
        self._done("iam:AttachRolePolicy", self._ask(self._requests.attach_role_policy))
        return BootstrapReport(
            role="adopted" if has_role else "created",
            policy="managed" if has_policy is None else "adopted" if has_policy else "created",
            attached=True,
        )

    def _check_account(self) -> None:
        """Whose key it is, before anything is made with it."""
        answer = self._ask(self._requests.get_user)
        text = answer.field("Arn") if answer.code is None else answer.message
        found = _ACCOUNT.search(text or "")
        if found is None:
            if answer.code == "AccessDenied":
                self._done("iam:GetUser", answer)
            detail = (
                "AWS does not say of which account this key is: it may be one of a role's session. Post the keys of a "
                "user, or make the role yourself with a grant."
            )
            raise _StopError(BootstrapProblem.UNEXPECTED, detail)
        if found[1] != self._requests.account_id:
            detail = (
                f"The key is of another AWS account than {self._requests.account_id}. Nothing was made. Post keys of "
                "this account, and deactivate the ones you posted."
            )
            raise _StopError(BootstrapProblem.OTHER_ACCOUNT, detail)

    def _has_policy(self) -> bool | None:
        """Whether exactly this policy is there; None where AWS's own is attached."""
        wish = self._requests
        if wish.policy is None or wish.get_policy is None or wish.get_policy_version is None:
            return None
        answer = self._ask(wish.get_policy)
        if answer.code == "NoSuchEntity":
            return False
        self._done("iam:GetPolicy", answer)
        if answer.field("DefaultVersionId") == "v1":
            version = self._ask(wish.get_policy_version)
            self._done("iam:GetPolicyVersion", version)
            if _document(version.field("Document")) == wish.policy:
                return True
        raise _StopError(
            BootstrapProblem.POLICY_DIFFERS,
            f"There is a policy {wish.policy_arn} already, and it says something else. It was left alone. Choose "
            "another role name, or remove the policy.",
        )

    def _has_role(self) -> bool:
        answer = self._ask(self._requests.get_role)
        if answer.code == "NoSuchEntity":
            return False
        self._done("iam:GetRole", answer)
        if _document(answer.field("AssumeRolePolicyDocument")) == self._requests.trust_policy:
            return True
        raise _StopError(
            BootstrapProblem.ROLE_DIFFERS,
            f"There is a role {self._requests.role_arn} already, with another trust policy. It was left alone. Choose "
            "another role name, or put the trust policy shown with this cloud account on the role.",
        )

    def _create_policy(self) -> None:
        if self._requests.create_policy is None:
            return
        answer = self._ask(self._requests.create_policy)
        if answer.code == "EntityAlreadyExists" and self._has_policy():  # another delivery was as quick
            return
        self._done("iam:CreatePolicy", answer)

    def _create_role(self) -> None:
        answer = self._ask(self._requests.create_role)
        if answer.code == "EntityAlreadyExists" and self._has_role():
            return
        self._done("iam:CreateRole", answer)

    def _ask(self, request: SignedRequest) -> Answer:
        """An answer that says something. What passes is asked again, which a signature allows for five minutes."""
        pause = _FIRST_PAUSE
        while True:
            if self._wire.clock() >= self._requests.expires_at:
                raise _StopError(BootstrapProblem.EXPIRED, _EXPIRED_KEYS)
            try:
                answer = self._wire.send(request)
            except OSError:
                answer = None
            if answer is not None and not answer.is_passing:
                _check_key(answer)
                return answer
            self._wire.pause(min(pause, max(0.0, self._requests.expires_at - self._wire.clock())))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _done(self, action: str, answer: Answer) -> None:
        """Raises unless the step was done."""
        if answer.code is None:
            return
        if answer.code == "AccessDenied":
            detail = f"The key may not {action}. Allow it that action, or post keys of an administrator."
            raise _StopError(BootstrapProblem.MISSING_PERMISSION, detail, action)
        if answer.code == "LimitExceeded":
            detail = f"The account has as many of what {action} makes as AWS allows. Remove some, then post the keys."
            raise _StopError(BootstrapProblem.LIMIT_EXCEEDED, detail)
        detail = f"AWS answered {action} with {_plain(answer.code)}. Make the role yourself with a grant."
        raise _StopError(BootstrapProblem.UNEXPECTED, detail)


def _check_key(answer: Answer) -> None:
    """Raises where AWS does not take the key or the signature."""
    match answer.code:
        case "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId":
            detail = "AWS knows no such access key, or it is not active. Check its id in IAM, then post the keys again."
            raise _StopError(BootstrapProblem.WRONG_KEY, detail)
        case "ExpiredToken" | "ExpiredTokenException":
            detail = "The session of these temporary keys has ended. Post fresh ones."
            raise _StopError(BootstrapProblem.SESSION_EXPIRED, detail)
        case "RequestExpired":
            raise _StopError(BootstrapProblem.EXPIRED, _EXPIRED_KEYS)
        case "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature":
            if "expired" in answer.message:
                raise _StopError(BootstrapProblem.EXPIRED, _EXPIRED_KEYS)
            detail = "The secret is not the one of this access key. Check both, then post the keys again."
            raise _StopError(BootstrapProblem.WRONG_KEY, detail)


def _document(text: str | None) -> Any:
    """A policy document as IAM gives it: JSON, percent-encoded. None when it is none."""
    try:
        return json.loads(unquote(text or ""))
    except ValueError:
        return None


def _plain(code: str) -> str:
    return code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "an error"

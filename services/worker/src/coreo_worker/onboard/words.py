"""A bootstrap's problems in sentences that a customer can act on. None repeats what AWS wrote, or names a key."""

import re
from dataclasses import dataclass
from typing import Final

from coreo_shared.contracts.onboarding import BootstrapProblem as Problem
from coreo_shared.contracts.onboarding import BootstrapRequests

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9.]{1,63}")
_TOKEN_HEADER: Final = "x-amz-security-token"
_POST: Final = "then post the keys again"
# What may forbid a call besides the user's own policies, as AWS words it (IAM user guide, "access denied errors").
_DENIERS: Final = ("service control policy", "resource control policy", "permissions boundary", "session policy")
_LIMITS: Final = {
    "iam:CreatePolicy": "customer managed policies in the account",
    "iam:CreateRole": "roles in the account",
    "iam:AttachRolePolicy": "policies attached to the role",
}


class ProblemError(Exception):
    """Why there is no role. `detail` and `missing_action` as in BootstrapReport."""

    def __init__(self, problem: Problem, detail: str, missing_action: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.detail = detail
        self.missing_action = missing_action


@dataclass(frozen=True)
class Words:
    """The sentences for one bootstrap."""

    account_id: str
    role_name: str
    policy_arn: str
    is_temporary: bool
    actions: tuple[str, ...]  # all that the key's owner must be allowed

    @classmethod
    def of(cls, requests: BootstrapRequests, actions: tuple[str, ...]) -> "Words":
        """For these requests."""
        return cls(
            account_id=requests.account_id,
            role_name=requests.role_arn.rpartition("/")[2],
            policy_arn=requests.policy_arn,
            is_temporary=_TOKEN_HEADER in {name.lower() for name in requests.get_user.headers},
            actions=actions,
        )

    def unknown_key(self) -> ProblemError:
        """AWS answers the same for a key that never was, that was deleted, and that is inactive."""
        text = (
            "AWS does not know this temporary key. Its id, secret and session token must be those of one session; and "
            "keys from GetSessionToken may use IAM only if they were made with MFA."
            if self.is_temporary
            else "AWS does not know this access key, or it is inactive. Look it up under the security credentials of "
            f"its user in account {self.account_id}, activate it if it is inactive, {_POST}."
        )
        return ProblemError(Problem.WRONG_KEY, text)

    def wrong_secret(self) -> ProblemError:
        """The signature is not what the key's secret makes."""
        text = "The secret does not belong to this access key. Post the keys again with the right secret."
        return ProblemError(Problem.WRONG_KEY, text)

    def inactive(self) -> ProblemError:
        """AWS said so, which it rarely does."""
        return ProblemError(Problem.KEY_INACTIVE, f"The access key is inactive. Activate it, {_POST}.")

    def session_expired(self) -> ProblemError:
        """Of a temporary key."""
        text = "The session of this temporary key has ended. Get a new one, and post its keys."
        return ProblemError(Problem.SESSION_EXPIRED, text)

    def other_account(self) -> ProblemError:
        """Told before anything is made."""
        text = (
            f"The key belongs to another AWS account than {self.account_id}. Nothing was made. Post a key of account "
            f"{self.account_id}, or add that other account."
        )
        return ProblemError(Problem.OTHER_ACCOUNT, text)

    def unknown_account(self) -> ProblemError:
        """Without knowing whose key it is nothing is made with it."""
        text = (
            "AWS does not tell which account this key belongs to, so nothing was made. Post the keys of an IAM user of "
            f"account {self.account_id}."
        )
        return ProblemError(Problem.UNEXPECTED, text)

    def missing_permission(self, action: str, message: str) -> ProblemError:
        """`message` is AWS's text, of which only the kind of policy is used that forbids the call."""
        denier = next((kind for kind in _DENIERS if kind in message), None)
        text = (
            f"The key may not do {action}. Allow its user or role {', '.join(self.actions)}, {_POST}."
            if denier is None
            else f"The key may not do {action}: a {denier} stands against it. Have it allow "
            f"{', '.join(self.actions)}, {_POST}."
        )
        return ProblemError(Problem.MISSING_PERMISSION, text, action)

    def role_differs(self) -> ProblemError:
        """An existing role with another trust policy, or under a path."""
        text = (
            f"Account {self.account_id} has a role {self.role_name} already that is not the one to be made: its trust "
            "policy or its path differs. It was left as it is. Choose another role name, or delete that role if "
            f"nothing uses it, {_POST}."
        )
        return ProblemError(Problem.ROLE_DIFFERS, text)

    def policy_differs(self) -> ProblemError:
        """An existing policy that says something else, or has later versions."""
        text = (
            f"Account {self.account_id} has a policy {self.policy_arn} already that is not the one to be made. It was "
            f"left as it is. Choose another role name, or delete that policy if nothing uses it, {_POST}."
        )
        return ProblemError(Problem.POLICY_DIFFERS, text)

    def limit_exceeded(self, action: str) -> ProblemError:
        """An IAM quota."""
        what = _LIMITS.get(action, "what IAM keeps for the account")
        text = f"IAM's limit of {what} is reached. Delete what is not used or have the quota raised, {_POST}."
        return ProblemError(Problem.LIMIT_EXCEEDED, text)

    def unexpected(self, operation: str, code: str, status: int) -> ProblemError:
        """Anything else."""
        text = (
            f"AWS answered {operation} with {code_of(code, status)}. Post the keys again; if that does not help, ask "
            "Coreo's support."
        )
        return ProblemError(Problem.UNEXPECTED, text)


def expired(last: str | None = None) -> ProblemError:
    """`last`: what AWS did with the last request, if it is known and fit for people."""
    known = "" if last is None else f" The last that was heard: {last}."
    text = f"AWS takes these requests for five minutes, and they are over.{known} Post the keys again."
    return ProblemError(Problem.EXPIRED, text)


def fault(what: str) -> ProblemError:
    """Coreo's own mistake, told before anything is sent."""
    text = (
        f"The requests are not fit to be sent ({what}). Nothing was made. This is a fault in Coreo: tell its support."
    )
    return ProblemError(Problem.UNEXPECTED, text)


def code_of(code: str, status: int) -> str:
    """AWS's error code, if it looks like one."""
    return code if _CODE.fullmatch(code) else f"HTTP status {status}"

"""Why a deploy run cannot go on: a stable code, a sentence that may be shown anywhere, and AWS's own words beside it.

`reason` is stored in clear: it names logical ids, resource types, statuses and IAM actions, never what AWS said of
values. That is in `said`, which goes into the encrypted failure document.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from coreo_shared.cloudformation.permissions import fetching_action, template_object
from coreo_shared.contracts.deploys import Failure, StackEvent
from coreo_worker.aws.stacks import StackDeniedError, StackRefusalError

MAX_SAID: Final = 4_000
_CAPABILITY = re.compile(r"CAPABILITY_[A-Z_]{1,40}")
# How a region answers that the account has not opted in to (aws.calls).
_REGION_OFF: Final = frozenset({"AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException"})
_PARAMETER = re.compile(r"[Pp]arameters?:? ?[\[' ]")
_BAD_TEMPLATE: Final = ("format error", "validation error", "template error", "may not exceed")
_S3_DENIES: Final = ("access denied", "accessdenied", "not authorized to perform")
_DENIALS: Final = (
    re.compile(r"not authorized to perform:? ?\[?([a-z0-9-]{1,63}:[A-Za-z0-9]{1,128})"),
    re.compile(r"API: ([a-z0-9-]{1,63}:[A-Za-z0-9]{1,128}) (?:Access Denied|AccessDenied|You are not authorized)"),
)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do about it."""

    code: str
    reason: str
    said: str = ""
    denied_action: str | None = None
    advice: tuple[str, ...] = ()
    first: StackEvent | None = None
    others: tuple[StackEvent, ...] = ()

    def failure(
        self, *, stack_arn: str | None = None, stack_status: str | None = None, change_set_arn: str | None = None
    ) -> Failure:
        """As the document that people read."""
        return Failure(
            code=self.code,
            message=self.said[:MAX_SAID] or self.reason,
            first=self.first,
            others=list(self.others),
            denied_action=self.denied_action,
            stack_arn=stack_arn,
            stack_status=stack_status,
            change_set_arn=change_set_arn,
            advice=list(self.advice),
        )


class ProblemError(Exception):
    """The run ends for this."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def denied_action_in(text: str) -> str | None:
    """The IAM action that AWS says was refused."""
    return next((found[1] for pattern in _DENIALS if (found := pattern.search(text))), None)


def denied(action: str, said: str = "") -> Problem:
    """The role, or this run's session of it, may not do something."""
    return Problem(
        code="access_denied",
        reason=f"AWS did not allow {action}. Add it to the plan's permissions and to the role's policy, or give the "
        "plan a service role that has it; then start the run again.",
        said=said,
        denied_action=action,
        advice=(f"Allow {action}: the run has what its role and its plan's permissions both allow.",),
    )


def of_refusal(refusal: StackRefusalError) -> Problem:
    """What AWS refused, in words."""
    if isinstance(refusal, StackDeniedError):
        return denied(refusal.action, refusal.said)
    return replace(_known(refusal), said=refusal.said)


def template_unreadable(problem: Problem, url: str) -> Problem:
    """That CloudFormation cannot fetch the template, with the object and the action that it takes."""
    found = template_object(url, "aws")
    if found is None:
        return problem
    name, action = found[0].removeprefix("arn:aws:s3:::"), fetching_action(has_version=found[1])
    if not any(words in problem.said.lower() for words in _S3_DENIES):
        reason = f"CloudFormation could not read the template s3://{name}. Check that the bucket and the object are "
        return replace(problem, reason=f"{reason}there, and that the role may read it ({action}).")
    text = (
        f"Allow {action} on s3://{name} to the account's role, and to the bucket's policy where another account owns it"
    )
    return replace(
        problem,
        reason=f"AWS did not allow {action} on the template s3://{name}, or there is no such object. {text}.",
        denied_action=action,
        advice=(f"{text}.", "S3 tells a role that may not list a bucket nothing of objects that are not there."),
    )


def _known(refusal: StackRefusalError) -> Problem:
    said, code = refusal.said, refusal.code
    if code.startswith("InsufficientCapabilities"):
        names = ", ".join(sorted(set(_CAPABILITY.findall(said)))) or "a capability"
        return Problem("capability_missing", f"The template needs {names}. Add it to the plan's capabilities.")
    if code in _REGION_OFF:
        return Problem("region_unavailable", "The region is not enabled for the account, or the role is gone.")
    if code.startswith("LimitExceeded"):
        return Problem("quota_reached", "A CloudFormation quota of the account is reached. Raise it, or remove stacks.")
    if code in {"ValidationError", "ParamValidationError"}:
        return _invalid(said)
    return Problem("aws_refused", f"AWS answered {refusal.action} with {code}.")


def _invalid(said: str) -> Problem:
    """What CloudFormation calls a validation error. Its texts are no contract, so that the last resort is general."""
    lower = said.lower()
    if "templateurl" in lower or "s3 error" in lower or "s3 bucket" in lower:
        return Problem(
            "template_unreadable",
            "CloudFormation could not read the template at its URL. Check that the object is there, and that the role "
            "may read it (s3:GetObject).",
        )
    if "template" in lower and any(words in lower for words in _BAD_TEMPLATE):
        return Problem("template_invalid", "CloudFormation does not take the template; the failure says why.")
    if "role" in lower and ("invalid or cannot be assumed" in lower or "rolearn" in lower):
        return Problem("service_role_unusable", "CloudFormation cannot work with the plan's service role.")
    if _PARAMETER.search(said):
        return Problem("parameter_invalid", "CloudFormation does not take a parameter; the failure says which.")
    if "_in_progress" in lower or "cannot be updated" in lower or "can not be updated" in lower:
        return Problem("stack_busy", "The stack is in a state in which AWS does not take this. Start the run again.")
    return Problem("request_invalid", "CloudFormation does not take the request; the failure says why.")

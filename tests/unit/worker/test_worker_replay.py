"""The replay over IAM's answers: every problem, every order of things that are there already, no request too many."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from coreo_embedded.simulator import Credentials
from coreo_shared.contracts.onboarding import BootstrapProblem as Problem
from coreo_shared.contracts.onboarding import BootstrapReport, BootstrapRequests, SignedRequest
from coreo_worker.onboard.answers import Answer
from coreo_worker.onboard.documents import is_same_policy
from coreo_worker.onboard.replay import Call
from coreo_worker.onboard.sending import NoAnswerError, carry_out
from tests.support.bootstrap import ACCOUNT, FULL, ROLE, TRUST, Signing

KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00")
TEMPORARY = Credentials("ASIAIOSFODNN7EXAMPLE", KEY.secret_access_key, "session-canary")
START = 1_800_000_000
LATE = START + 300
OTHER = "999999999999"
LOOKS = ["get_user", "get_policy", "get_role"]
MAKES = ["create_policy", "create_role", "attach_role_policy"]


def document(policy: Mapping[str, Any]) -> str:
    return quote(json.dumps(policy), safe="")


def error(code: str, message: str = "", status: int = 400) -> Answer:
    return Answer(status, code, message)


def done(**values: str) -> Answer:
    return Answer(200, None, values={name.replace("__", "/"): value for name, value in values.items()})


def user(account: str = ACCOUNT) -> Answer:
    return done(GetUserResult__User__Arn=f"arn:aws:iam::{account}:user/dev/anna")


def denied(action: str, account: str = ACCOUNT, why: str = "because no identity-based policy allows it") -> Answer:
    who = f"arn:aws:iam::{account}:user/anna"
    return error("AccessDenied", f"User: {who} is not authorized to perform: {action} on resource: x {why}", 403)


def role(trust: Mapping[str, Any] = TRUST, path: str = "/") -> Answer:
    arn = f"arn:aws:iam::{ACCOUNT}:role{path}{ROLE}"
    return done(GetRoleResult__Role__Arn=arn, GetRoleResult__Role__AssumeRolePolicyDocument=document(trust))


def policy(version: str = "v1") -> Answer:
    return done(GetPolicyResult__Policy__DefaultVersionId=version)


def version(content: Mapping[str, Any] = FULL) -> Answer:
    return done(GetPolicyVersionResult__PolicyVersion__Document=document(content))


NONE = error("NoSuchEntity", status=404)
THERE = error("EntityAlreadyExists", status=409)
USUAL: dict[str, Answer] = {
    "get_user": user(),
    "get_policy": NONE,
    "get_role": NONE,
    "create_policy": done(),
    "create_role": done(),
    "attach_role_policy": done(),
}


@dataclass
class Iam:
    """Answers each call from its list, the last one again and again; `asked` is what came, `passed` the time."""

    answers: dict[str, list[Answer | Exception]]
    requests: BootstrapRequests
    asked: list[str] = field(default_factory=list)
    passed: float = 0.0

    def post(self, request: SignedRequest) -> Answer:
        call = next(str(call) for call in Call if getattr(self.requests, call) is request)
        self.asked.append(call)
        answers = self.answers[call]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self, seconds: float) -> None:
        self.passed += seconds

    def carry_out(self) -> BootstrapReport:
        return carry_out(self.requests, self.post, clock=lambda: START + self.passed, pause=self.pause)


def iam(answers: Mapping[str, Any] | None = None, *, key: Credentials = KEY, own: bool = True, **more: Any) -> Iam:
    signing = Signing(key, at=START, policy=FULL if own else None)
    made = {**USUAL, **(answers or {}), **more}
    lists = {call: each if isinstance(each, list) else [each] for call, each in made.items()}
    return Iam(lists, signing.requests())


def test_it_looks_at_all_before_it_makes_anything() -> None:
    world = iam()
    assert world.carry_out() == BootstrapReport(role="created", policy="created", attached=True)
    assert world.asked == LOOKS + MAKES
    assert world.passed == 0


def test_awss_own_policy_is_only_attached() -> None:
    world = iam(own=False)
    assert world.carry_out() == BootstrapReport(role="created", policy="managed", attached=True)
    assert world.asked == ["get_user", "get_role", "create_role", "attach_role_policy"]


def test_what_is_the_same_is_adopted() -> None:
    world = iam(get_policy=policy(), get_policy_version=version(), get_role=role())
    assert world.carry_out() == BootstrapReport(role="adopted", policy="adopted", attached=True)
    assert world.asked == ["get_user", "get_policy", "get_policy_version", "get_role", "attach_role_policy"]


def test_a_delivery_that_ended_after_the_policy_is_completed() -> None:
    world = iam(get_policy=policy(), get_policy_version=version())
    assert world.carry_out() == BootstrapReport(role="created", policy="adopted", attached=True)


WIDER = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
OPEN = json.loads(json.dumps(TRUST).replace("StringEquals", "StringLike"))


@pytest.mark.parametrize(
    ("answers", "problem", "made"),
    [
        ({"get_policy": policy("v2")}, Problem.POLICY_DIFFERS, []),
        ({"get_policy": done()}, Problem.POLICY_DIFFERS, []),
        ({"get_policy": policy(), "get_policy_version": version(WIDER)}, Problem.POLICY_DIFFERS, []),
        ({"get_policy": policy(), "get_policy_version": done()}, Problem.POLICY_DIFFERS, []),
        ({"get_role": role(OPEN)}, Problem.ROLE_DIFFERS, []),
        ({"get_role": role(path="/teams/")}, Problem.ROLE_DIFFERS, []),
        ({"get_role": done()}, Problem.ROLE_DIFFERS, []),
        ({"create_policy": THERE, "get_policy": [NONE, policy("v3")]}, Problem.POLICY_DIFFERS, ["create_policy"]),
        ({"create_role": THERE, "get_role": [NONE, role(OPEN)]}, Problem.ROLE_DIFFERS, MAKES[:2]),
    ],
)
def test_what_differs_is_told_and_not_touched(answers: dict[str, Any], problem: Problem, made: list[str]) -> None:
    world = iam(answers)
    report = world.carry_out()
    assert (report.problem, report.attached) == (problem, False)
    assert "was left as it is" in str(report.detail)
    assert [call for call in world.asked if call in MAKES] == made


@pytest.mark.parametrize(
    ("answer", "problem", "says"),
    [
        (
            error("InvalidClientTokenId", "The security token included in the request is invalid", 403),
            Problem.WRONG_KEY,
            "does not know this access key, or it is inactive",
        ),
        (error("InvalidAccessKeyId", "The key is inactive", 403), Problem.KEY_INACTIVE, "Activate it"),
        (
            error("SignatureDoesNotMatch", "The request signature we calculated does not match", 403),
            Problem.WRONG_KEY,
            "secret",
        ),
        (
            error("SignatureDoesNotMatch", "Signature expired: 2026 is now earlier than 2027", 403),
            Problem.EXPIRED,
            "Post the keys again",
        ),
        (error("RequestExpired", "Request has expired"), Problem.EXPIRED, "Post the keys again"),
        (
            error("ExpiredToken", "The security token included in the request is expired", 403),
            Problem.SESSION_EXPIRED,
            "has ended",
        ),
        (user(OTHER), Problem.OTHER_ACCOUNT, ACCOUNT),
        (denied("iam:GetUser", OTHER), Problem.OTHER_ACCOUNT, ACCOUNT),
        (error("AccessDenied", "no", 403), Problem.MISSING_PERMISSION, "iam:GetUser"),
        (error("ValidationError", "Must specify userName"), Problem.UNEXPECTED, "nothing was made"),
        (done(), Problem.UNEXPECTED, "nothing was made"),
        (
            done(GetUserResult__User__Arn=f"arn:aws:iam::{OTHER}:user/arn:aws:iam::{ACCOUNT}:user/x"),
            Problem.OTHER_ACCOUNT,
            ACCOUNT,
        ),
        (
            error("AccessDenied", f"About User: arn:aws:iam::{ACCOUNT}:user/x is not authorized to perform: y", 403),
            Problem.MISSING_PERMISSION,
            "iam:GetUser",
        ),
    ],
)
def test_a_key_that_will_not_do_makes_nothing(answer: Answer, problem: Problem, says: str) -> None:
    world = iam(get_user=answer)
    report = world.carry_out()
    assert report.problem is problem
    assert says in str(report.detail)
    assert (report.role, report.policy, report.attached) == (None, None, False)
    assert world.asked == ["get_user"]


def test_a_key_that_may_not_ask_who_it_is_may_go_on() -> None:
    assert iam(get_user=denied("iam:GetUser")).carry_out().attached


IDENTITY = done(GetCallerIdentityResult__Arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/Admin/anna")
STRANGER = done(GetCallerIdentityResult__Arn=f"arn:aws:sts::{OTHER}:assumed-role/Admin/anna")
NO_USER = error("ValidationError", "Must specify userName when calling with non-User credentials")


@pytest.mark.parametrize(
    ("identity", "problem"),
    [(IDENTITY, None), (STRANGER, Problem.OTHER_ACCOUNT), (done(), Problem.UNEXPECTED)],
)
def test_a_roles_session_is_asked_of_sts_whose_it_is(identity: Answer, problem: Problem | None) -> None:
    world = iam(key=TEMPORARY, get_user=NO_USER, get_caller_identity=identity)
    assert world.carry_out().problem is problem
    assert world.asked[:2] == ["get_user", "get_caller_identity"]
    assert (len(world.asked) > 2) == (problem is None)


def test_an_unknown_temporary_key_gets_words_of_its_own() -> None:
    report = iam(key=TEMPORARY, get_user=error("InvalidClientTokenId", status=403)).carry_out()
    assert report.problem is Problem.WRONG_KEY
    assert "MFA" in str(report.detail)


@pytest.mark.parametrize("call", [call for call in [*LOOKS, *MAKES] if call != "get_user"])
def test_a_missing_permission_is_named(call: str) -> None:
    action = Call(call).action
    report = iam({call: denied(action)}).carry_out()
    assert (report.problem, report.missing_action) == (Problem.MISSING_PERMISSION, action)
    assert "iam:CreateRole" in str(report.detail)
    assert "iam:AttachRolePolicy" in str(report.detail)


def test_the_version_of_a_policy_may_be_hidden() -> None:
    report = iam(get_policy=policy(), get_policy_version=denied("iam:GetPolicyVersion")).carry_out()
    assert report.missing_action == "iam:GetPolicyVersion"


@pytest.mark.parametrize("kind", ["service control policy", "permissions boundary", "session policy"])
def test_what_else_stands_against_it_is_named(kind: str) -> None:
    report = iam(create_role=denied("iam:CreateRole", why=f"with an explicit deny in a {kind}")).carry_out()
    assert f"a {kind} stands against it" in str(report.detail)


def test_a_report_tells_what_was_made_before_the_problem() -> None:
    report = iam(attach_role_policy=denied("iam:AttachRolePolicy")).carry_out()
    assert (report.role, report.policy, report.attached) == ("created", "created", False)


@pytest.mark.parametrize(
    ("call", "says"),
    [("create_policy", "managed policies"), ("create_role", "roles"), ("attach_role_policy", "attached")],
)
def test_a_limit_of_iam_is_named(call: str, says: str) -> None:
    report = iam({call: error("LimitExceeded", "Cannot exceed quota", 409)}).carry_out()
    assert report.problem is Problem.LIMIT_EXCEEDED
    assert says in str(report.detail)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("MalformedPolicyDocument", "MalformedPolicyDocument"),
        ("<b>canary</b>", "HTTP status 400"),
        ("", "HTTP status 400"),
    ],
)
def test_an_unknown_answer_is_told_without_awss_text(code: str, shown: str) -> None:
    report = iam(create_role=error(code, "canary text of AWS")).carry_out()
    assert report.problem is Problem.UNEXPECTED
    assert shown in str(report.detail)
    assert "canary" not in str(report.detail)


PASSING = [
    error("Throttling"),
    error("ThrottlingException"),
    error("RequestLimitExceeded", status=503),
    error("InternalFailure", status=500),
    error("ServiceUnavailable", status=503),
    error("ConcurrentModification", status=409),
    error("", status=502),
    error("", status=429),
    error("SignatureDoesNotMatch", "Signature not yet current: 2027 is still later than 2026", 403),
    NoAnswerError("TimeoutError"),
]


@pytest.mark.parametrize("passing", PASSING, ids=str)
@pytest.mark.parametrize("call", ["get_user", "create_policy", "attach_role_policy"])
def test_what_passes_is_sent_again_as_it_was(passing: Answer | Exception, call: str) -> None:
    world = iam({call: [passing, passing, USUAL[call]]})
    assert world.carry_out() == BootstrapReport(role="created", policy="created", attached=True)
    assert world.asked.count(call) == 3
    assert 0.5 <= world.passed <= 3


@pytest.mark.parametrize("passing", PASSING, ids=str)
def test_what_never_passes_ends_with_the_five_minutes(passing: Answer | Exception) -> None:
    world = iam(create_role=passing)
    report = world.carry_out()
    assert (report.problem, report.policy, report.role) == (Problem.EXPIRED, "created", None)
    assert "Post the keys again" in str(report.detail)
    assert LATE - 20 <= START + world.passed < LATE
    assert world.asked.count("create_role") < 100


def test_nothing_is_sent_once_the_five_minutes_are_over() -> None:
    world = iam()
    world.passed = 300
    assert world.carry_out().problem is Problem.EXPIRED
    assert world.asked == []


def test_a_slow_aws_is_not_sent_anything_late() -> None:
    world = iam()
    post = world.post

    def slowly(request: SignedRequest) -> Answer:
        world.passed += 80
        return post(request)

    report = carry_out(world.requests, slowly, clock=lambda: START + world.passed, pause=world.pause)
    assert report.problem is Problem.EXPIRED
    assert world.asked == [*LOOKS, "create_policy"]


@pytest.mark.parametrize(
    ("answers", "report"),
    [
        (  # another delivery made the policy meanwhile
            {"create_policy": THERE, "get_policy": [NONE, policy()], "get_policy_version": version()},
            BootstrapReport(role="created", policy="adopted", attached=True),
        ),
        (  # and IAM's copies did not agree for a while
            {"create_role": THERE, "get_role": [NONE, NONE, NONE, role()]},
            BootstrapReport(role="adopted", policy="created", attached=True),
        ),
        (  # or it was there, and was removed
            {"create_policy": [THERE, done()], "get_policy": NONE},
            BootstrapReport(role="created", policy="created", attached=True),
        ),
        (
            {"get_policy": policy(), "get_policy_version": NONE},
            BootstrapReport(role="created", policy="created", attached=True),
        ),
        (
            {"attach_role_policy": [NONE, NONE, done()]},
            BootstrapReport(role="created", policy="created", attached=True),
        ),
    ],
)
def test_what_others_do_meanwhile_is_looked_at_again(answers: dict[str, Any], report: BootstrapReport) -> None:
    assert iam(answers).carry_out() == report


@pytest.mark.parametrize(
    "answers", [{"attach_role_policy": NONE}, {"create_role": THERE}, {"create_policy": THERE}], ids=str
)
def test_what_never_settles_ends_with_the_five_minutes(answers: dict[str, Any]) -> None:
    world = iam(answers)
    assert world.carry_out().problem is Problem.EXPIRED
    assert len(world.asked) < 200
    assert START + world.passed < LATE


def _all_details() -> list[str]:
    codes = [
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "Canary.Code",
        "LimitExceeded",
        "Throttling",
    ]
    text = f"User: arn:aws:iam::{ACCOUNT}:user/canary-user; key {KEY.access_key_id}"
    reports = [iam({call: error(code, text, 403)}).carry_out() for code in codes for call in (*LOOKS, *MAKES)]
    reports += [iam({call: denied(Call(call).action)}).carry_out() for call in (*LOOKS, *MAKES)]
    return [str(report.detail) for report in reports if report.problem is not None]


def test_a_detail_names_no_key_and_repeats_no_text_of_awss() -> None:
    details = _all_details()
    assert len(details) > 30
    for detail in details:
        assert "canary" not in detail
        assert KEY.access_key_id not in detail
        assert detail[0].isupper()
        assert detail.endswith(".")


SAME: list[Callable[[dict[str, Any]], Any]] = [
    lambda trust: {"Statement": trust["Statement"], "Version": trust["Version"]},
    lambda trust: {**trust, "Statement": trust["Statement"][0]},
    lambda trust: json.loads(
        json.dumps(trust).replace('["arn:aws:iam::111111111111:root"]', '"arn:aws:iam::111111111111:root"')
    ),
    lambda trust: {**trust, "Statement": trust["Statement"] * 2},
]
DIFFERENT: list[Callable[[dict[str, Any]], Any]] = [
    lambda trust: {**trust, "Version": "2008-10-17"},
    lambda trust: {**trust, "Id": "x"},
    lambda trust: {**trust, "Statement": []},
    lambda trust: {**trust, "Statement": [*trust["Statement"], {**trust["Statement"][0], "Principal": "*"}]},
    lambda trust: json.loads(json.dumps(trust).replace("root", "user/x")),
    lambda trust: json.loads(json.dumps(trust).replace("external-id-canary", "external-id-canarY")),
    lambda trust: json.loads(json.dumps(trust).replace("StringEquals", "StringLike")),
    lambda trust: [trust],
    lambda _: None,
]


@pytest.mark.parametrize("change", SAME)
def test_policies_that_iam_reads_alike_are_the_same(change: Callable[[dict[str, Any]], Any]) -> None:
    assert is_same_policy(document(change(TRUST)), TRUST)
    assert is_same_policy(document(TRUST), change(TRUST))


@pytest.mark.parametrize("change", DIFFERENT)
def test_policies_that_say_anything_else_are_not(change: Callable[[dict[str, Any]], Any]) -> None:
    assert not is_same_policy(document(change(TRUST)), TRUST)


def test_lists_have_no_order() -> None:
    one = {"Statement": [{"Action": ["a:B", "c:D"]}, {"Action": "e:F"}]}
    two = {"Statement": [{"Action": "e:F"}, {"Action": ["c:D", "a:B"]}]}
    assert is_same_policy(document(one), two)


@pytest.mark.parametrize(
    "encoded",
    ["", "%7B", "{}", "%FF%FE", "[" * 100_000, '{"Version": "2012-10-17", "Version": "2012-10-17"}', "NaN", "%"],
)
def test_what_is_no_document_is_not_the_same(encoded: str) -> None:
    assert not is_same_policy(encoded, {"Version": "2012-10-17"})


def test_numbers_strings_and_truths_are_told_apart() -> None:
    assert not is_same_policy(document({"a": True}), {"a": 1})
    assert not is_same_policy(document({"a": "1"}), {"a": 1})
    assert not is_same_policy(document({"a": "true"}), {"a": True})

"""Cloud accounts in words: how one stands, what a verification found, what to do now."""

import shlex
import sys
from typing import Final

from coreo_cli.errors import EXIT_INSECURE, EXIT_NOT_SUCCEEDED, EXIT_PARTIAL, EXIT_UNREACHABLE
from coreo_cli.layout import Cell, Column, outcome, state
from coreo_cli.output import next_steps, note, show_details, show_listing, write_line, write_words
from coreo_cli.text import Json, plain
from coreo_cli.words import ago, local, moment, plural, span

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 CONNECTED; 1 error; 2 wrong usage; 3 UNVERIFIED: nothing is proven yet, Coreo tries again by "
    "itself; 4 it could not be done at all; 6 INSECURE: others could use the role through Coreo; 7 UNREACHABLE: the "
    "role does not let Coreo in; 130 Ctrl-C."
)
_EXIT_CODES: Final = {
    "CONNECTED": 0,
    "UNVERIFIED": EXIT_PARTIAL,
    "INSECURE": EXIT_INSECURE,
    "UNREACHABLE": EXIT_UNREACHABLE,
}
_STATES: Final = {
    "PENDING": "PENDING: has no role yet",
    "BOOTSTRAPPING": "BOOTSTRAPPING: a worker is making its role",
    "VERIFYING": "VERIFYING: a worker is trying its role",
    "UNVERIFIED": "UNVERIFIED: not proven yet; nothing runs in it",
    "INSECURE": "INSECURE: others could use its role through Coreo; nothing runs in it",
    "UNREACHABLE": "UNREACHABLE: its role does not let Coreo in; nothing runs in it",
    "EXPIRED": "EXPIRED: nobody made its role in time; post the keys again",
    "DISCONNECTED": "DISCONNECTED: nothing runs in it until it gets a role again",
}
_CHECKS: Final = {
    "with_external_id": "right external id",
    "account": "AWS account",
    "without_external_id": "no external id",
    "wrong_external_id": "wrong external id",
    "permissions": "permissions",
}
_MARKS: Final = {"passed": "✓", "failed": "✗"}
_PLAIN_MARKS: Final = {"✓": "ok", "✗": "FAILED"}
_MAX_ACTIONS: Final = 10


def word(account: Json) -> str:
    """The account's name for a command to copy."""
    return shlex.quote(plain(account["name"]))


def exit_code(entry: Json) -> int:
    """The code for a verification that has ended; 0 only when the account is CONNECTED."""
    return _EXIT_CODES.get(str(entry["verdict"]), EXIT_NOT_SUCCEEDED)


def show_account(account: Json) -> None:
    """The account, and what its last verification found."""
    last, following = account["last_verification"], account["next_verification_at"]
    show_details(
        account["name"],
        [
            ("id", account["id"]),
            ("AWS account", account["account_id"]),
            ("state", state(account["state"], _STATES.get(account["state"]))),
            ("why", account["reason"]),
            ("role", account["role_arn"] or "-"),
            ("external id", account["external_id"]),
            ("next external id", account["next_external_id"]),
            ("Coreo's AWS account", account["coreo_account_id"]),
            ("added", local(account["created_at"])),
            ("verified", f"{local(last['ended_at'])} ({ago(last['ended_at'])}): {last['verdict']}" if last else None),
            ("at work", "a worker is busy with it" if account["verifying"] else None),
            ("next verification", f"{local(following)} ({ago(following)})" if following else None),
            ("lacks permissions", _actions(account["missing_actions"])),
        ],
    )
    if last and last["checks"]:
        write_line("")
        show_checks(last["checks"])


def show_checks(checks: list[Json]) -> None:
    """Each check of a verification as it ended."""
    rows: list[list[Cell]] = [
        [
            outcome(each["outcome"], f"{_mark(each['outcome'])} {_CHECKS.get(each['name'], each['name'])}"),
            each["detail"],
        ]
        for each in checks
    ]
    show_listing([Column("CHECK"), Column("RESULT", flexible=True)], rows, empty="")


def show_verdict(account: Json, entry: Json) -> None:
    """How a verification ended, and what to do now. `account`: as it is after it."""
    report = entry["report"]
    if report is None or entry["verdict"] is None:
        write_words([state(entry["state"]), account["name"], "the verification was not done"])
    else:
        show_checks(report["checks"])
        write_line("")
        elapsed = span((moment(entry["ended_at"]) - moment(entry["at"])).total_seconds())
        write_words([state(entry["verdict"]), account["name"], f"verified in {elapsed}"])
    if entry["reason"] and entry["reason"] not in [check["detail"] for check in (report or {}).get("checks", [])]:
        write_line(f"  {plain(entry['reason'])}")
    if missing := _actions(account["missing_actions"]):
        write_line(f"  The plans also need {plain(missing)}")
    next_steps(_after(account, entry))


def role_name(account: Json) -> str:
    """The name of the account's role, without its path."""
    return str(account["role_arn"] or "ROLE").rpartition("/")[2]


def trust_steps(account: Json) -> list[str]:
    """Commands that give the role the trust policy that Coreo asks for."""
    role = shlex.quote(plain(role_name(account)))
    return [
        f"coreo account show {word(account)} --trust-policy > trust-policy.json",
        f"aws iam update-assume-role-policy --role-name {role} --policy-document file://trust-policy.json",
    ]


def _after(account: Json, entry: Json) -> list[str]:
    name, verdict = word(account), entry["verdict"]
    if entry["kind"] == "confirm":
        after = [] if verdict == "CONNECTED" else [f"  coreo account confirm-external-id {name}"]
        what = "the new external id alone" if verdict == "CONNECTED" else "both external ids, then try again"
        return [f"let the role accept {what}:", *(f"  {each}" for each in trust_steps(account)), *after]
    if verdict == "CONNECTED":
        steps = [f"coreo plan create --name NAME --account {name} --rule-set baseline"]
        if account["missing_actions"]:
            steps.append(f"coreo account policy {name} > policy.json   (what the role must allow)")
        return steps
    again = f"coreo account verify {name}"
    if verdict in {"INSECURE", "UNREACHABLE"}:
        return [*trust_steps(account), again]
    if account["next_verification_at"]:
        note(f"Coreo tries again by itself {ago(account['next_verification_at'])}.")
    return [again]


def _actions(actions: list[str]) -> str | None:
    """IAM actions as words, not all of very many."""
    if not actions:
        return None
    more = f" and {len(actions) - _MAX_ACTIONS} more" if len(actions) > _MAX_ACTIONS else ""
    return f"{plural(len(actions), 'IAM action')}: {', '.join(actions[:_MAX_ACTIONS])}{more}"


def _mark(result: str) -> str:
    mark = _MARKS.get(result, "?")
    try:
        mark.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return _PLAIN_MARKS[mark]
    return mark

"""The api's problem answers in the words of the command line: options for fields, commands for next steps."""

import re
from collections.abc import Mapping
from typing import Any

from coreo_cli.errors import ApiError, FieldProblem
from coreo_cli.text import plain

# The api's fields and the options that fill them. Longer names come first: the first that fits is taken.
_OPTIONS = (
    ("body.spec.rule_sets", "--rule-set"),
    ("body.spec.rules", "--rule"),
    ("body.spec.regions", "--region"),
    ("body.spec.parameters", "--param"),
    ("body.schedule.cron", "--cron"),
    ("body.schedule.rate_seconds", "--every"),
    ("body.schedule.time_zone", "--time-zone"),
    ("body.schedule.jitter_seconds", "--jitter"),
    ("body.schedule.missed", "--missed"),
    ("body.schedule", "--cron, --every, --jitter"),
    ("body.cloud_account_ids", "--account"),
    ("body.account_id", "--account-id"),
    ("body.role_arn", "--role-arn"),
    ("body.access_key_id", "--access-key-id"),
    ("body.secret_access_key", "secret access key"),
    ("body.session_token", "session token"),
    ("body.role_name", "--role-name"),
    ("body.level", "--level"),
    ("body.plan_ids", "--plan"),
    ("body.rule_sets", "--rule-set"),
    ("body.rules", "--rule"),
    ("body.results", "--results"),
    ("body.expires_at", "--expires"),
    ("body.name", "name"),
    ("header.idempotency-key", "--idempotency-key"),
    ("query.rule_id", "--rule"),
    ("query.plan_id", "--plan"),
    ("query.rule_set", "--rule-set"),
    ("query.rule", "--rule"),
    ("query.action", "--action"),
    ("query.level", "--level"),
    ("query.role_name", "--role-name"),
    ("query.status", "--status"),
    ("query.severity", "--severity"),
    ("query.region", "--region"),
    ("query.resource", "--resource"),
    ("query.limit", "--limit"),
    ("query.object_id", "--run"),
    ("query.token_id", "--token"),
    ("body.display_days", "--display-days"),
    ("body.backup_days", "--backup-days"),
    ("body.reason", "--reason"),
    ("query.state", "--state"),
)

_OF_ACCOUNT = "cloud_accounts."  # and its id

# Problem code -> what is wrong where the api speaks in HTTP (None: its own words), and the command that helps.
_WORDS: Mapping[str, tuple[str | None, str]] = {
    "unauthenticated": (
        "The api does not know this token: it is wrong, revoked or expired.",
        "Log in again: `coreo login --url URL --token-stdin`; or set COREO_TOKEN to a valid token.",
    ),
    "account_without_role": (
        "This cloud account has no role to try.",
        "`coreo account grant ACCOUNT` shows how to make one; then `coreo account set-role ACCOUNT --role-arn ARN`.",
    ),
    "account_not_connected": (
        "Coreo works only in cloud accounts that are CONNECTED: proven to let Coreo in, and nobody else through it.",
        "`coreo account show ACCOUNT` says why and what to do; then `coreo account verify ACCOUNT` tries it again.",
    ),
    "rotation_under_way": (
        "The external id is being replaced already.",
        "Finish: `coreo account confirm-external-id ACCOUNT`; or `coreo account rotate-external-id ACCOUNT --cancel`.",
    ),
    "no_rotation": ("The external id is not being replaced.", "Begin: `coreo account rotate-external-id ACCOUNT`."),
    "no_onboard_worker": (
        "No worker is there to make the role. Nothing was kept of the key.",
        "Try again in a minute; or make the role yourself: `coreo account grant ACCOUNT` shows how.",
    ),
    "bootstrap_under_way": (None, "See how it ends: `coreo account show ACCOUNT`."),
    "task_under_way": (None, "See what is: `coreo account history ACCOUNT`; `coreo account show ACCOUNT` has its end."),
    "plan_disabled": ("This plan is not enabled.", "Enable it: `coreo plan update PLAN --enable`."),
    "no_targets": (
        "This plan has no cloud accounts.",
        "Give it some: `coreo plan update PLAN --account ACCOUNT`.",
    ),
    "plan_outdated": (
        None,
        "Choose rules again: `coreo plan update PLAN --rule-set RULE_SET`; `coreo rules sets` lists them.",
    ),
    "in_use": (
        "Plans target this cloud account.",
        "See which with `coreo plan list`; then change them (`coreo plan update PLAN --account OTHER`) or remove them.",
    ),
    "runs_at_work": (None, "See them with `coreo run list --active`; `coreo run cancel RUN` ends one."),
    "run_at_work": ("The run has not ended.", "End it first: `coreo run cancel RUN`; or wait: `coreo run watch RUN`."),
    "results_expired": (
        None,
        "Counts of runs: `coreo run list`. How long results are kept: `coreo custody settings show`.",
    ),
    "results_deleted": (None, "Who had them deleted, and when: `coreo custody access list --action DELETE`."),
    "results_purged": (None, "Who had them deleted, and when: `coreo custody access list --action DELETE`."),
    "exclusion_pending": (None, "How far it is: `coreo custody exclusions EXCLUSION`."),
    "no_backups": (None, "`coreo run delete-results RUN`, `coreo plan delete-results PLAN`."),
    "nothing_to_exclude": (None, "`coreo plan custody set PLAN --no-backup`."),
    "run_over": (None, "See how it ended: `coreo run show RUN`."),
    "last_token": (None, "`coreo token create --name NAME`, `coreo login` with it, then revoke this one."),
    "results_unavailable": (None, "Try again in a few seconds."),
    "scope_missing": (
        None,
        "`coreo token list` shows what each token may do; COREO_TOKEN names another for a command.",
    ),
    "hash_differs": (
        "The preview is another one than you have seen.",
        "Look again: `coreo deploy changes RUN`; then `coreo deploy approve RUN`.",
    ),
    "not_awaiting_approval": (None, "See how it stands: `coreo deploy status RUN`."),
    "approval_expired": (None, "Start it again: `coreo deploy apply`."),
    "requester_may_not_approve": (
        "The plan says that who started a run may not approve it.",
        "Somebody else has to, with a token of their own.",
    ),
    "no_document": ("The run has nothing of that kind (yet).", "See what there is: `coreo deploy status RUN`."),
    "not_a_deploy": ("This run is of an audit plan.", "`coreo run show RUN` shows those."),
    "not_unknown": (None, "See how it stands: `coreo deploy status RUN`."),
    "outcome_unknown": (
        "Nobody can say what became of this run, so there is nothing to cancel.",
        "`coreo deploy outcome RUN` says what to check.",
    ),
    "queue_changed": ("The queue is another one by now.", "Look again: `coreo deploy queue`."),
    "linter_busy": (None, "Try again in some seconds."),
    "internal_error": (
        "Something broke on the api's side; it has been logged there.",
        "Try again later. If it stays, report the request id below.",
    ),
    "not_found": (None, "It may have been removed; the matching `list` command shows what there is."),
}


def api_error(status: int, body: Mapping[str, Any], *, request_id: str | None, retry_after: float | None) -> ApiError:
    """The error for a problem answer."""
    code = str(body.get("code", "error"))
    fields = _fields(body.get("errors"))
    said = str(body.get("title") or "The api refused this") if fields else str(body.get("detail") or body.get("title"))
    words, next_step = _WORDS.get(code, (None, None))
    return ApiError(
        status,
        code,
        words or _sentence(said),
        fields=fields,
        lines=[_line(each) for each in fields],
        next_step=next_step,
        request_id=str(body.get("request_id") or request_id or "") or None,
        retry_after=retry_after,
    )


def option_of(path: str) -> str:
    """The option that fills an api field, with the position of the value where there are several: `--rule (2nd)`."""
    for prefix, option in _OPTIONS:
        if path == prefix:
            return option
        if path.startswith(f"{prefix}."):
            rest = path.removeprefix(f"{prefix}.")
            return f"{option} ({_ordinal(int(rest) + 1)})" if re.fullmatch(r"[0-9]{1,6}", rest) else f"{option} {rest}"
    return path


def _line(problem: FieldProblem) -> str:
    if problem.field.startswith(_OF_ACCOUNT):  # no option: something about one of several cloud accounts
        return f"{problem.message}: coreo account show {problem.field.removeprefix(_OF_ACCOUNT)}"
    return f"{option_of(problem.field)}: {problem.message}"


def _fields(errors: object) -> list[FieldProblem]:
    if not isinstance(errors, list):
        return []
    return [
        FieldProblem(plain(each.get("field", "")), plain(each.get("message", "")))
        for each in errors
        if isinstance(each, dict)
    ]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"

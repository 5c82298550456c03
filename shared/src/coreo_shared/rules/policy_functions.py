"""Conditions on policies and on identities with all their policies. What made one hold is noted for the message."""

import re

from coreo_shared.rules import principals
from coreo_shared.rules.iam_policy import denies_plain_http, parse_policy
from coreo_shared.rules.iam_powers import allows_on_all, powers_of
from coreo_shared.rules.iam_trust import other_accounts, web_identities_of_anybody
from coreo_shared.rules.operators import Judgement, Run
from coreo_shared.rules.signatures import Bound, Function, FunctionArgument
from coreo_shared.rules.templates import MAX_SHOWN
from coreo_shared.rules.values import Unknown

_MOST_TOLD = 5


def _denies_plain_http(bound: Bound, _run: Run) -> Judgement:
    if bound["policy"] is None:
        return False
    statements = parse_policy(bound["policy"])
    return statements if isinstance(statements, Unknown) else denies_plain_http(statements, bound["bucket"])


def _policy_gains(bound: Bound, run: Run) -> Judgement:
    powers = powers_of(bound["policy"]) if bound["policy"] is not None else None
    if powers is None or isinstance(powers, Unknown):
        return powers or False
    run.spend(powers.statements * principals.STEPS_OF_STATEMENT)
    return principals.judge(powers, bound["what"], run)


def _allows_on_all(bound: Bound, run: Run) -> Judgement:
    if bound["policy"] is None:
        return False
    statements = parse_policy(bound["policy"])
    if isinstance(statements, Unknown):
        return statements
    run.spend(len(statements) * len(bound["actions"]))
    service, _, resource = bound.get("of", "*:*").partition(":")
    return _told(allows_on_all(statements, bound["actions"], service, resource), run)


def _opens_to_other_accounts(bound: Bound, run: Run) -> Judgement:
    if bound["policy"] is None:
        return False
    statements, own = parse_policy(bound["policy"]), run.relations.account
    if isinstance(statements, Unknown):
        return statements
    if own is None:
        return Unknown("the account's own number is not known")
    run.spend(len(statements) ** 2 >> 4)
    actions, external_id = bound.get("actions", ()), bound.get("external_id", False)
    return _told(other_accounts(statements, own, bound["trusted"], actions, external_id=external_id), run)


def _lets_any_web_identity_in(bound: Bound, run: Run) -> Judgement:
    if bound["policy"] is None:
        return False
    statements = parse_policy(bound["policy"])
    return statements if isinstance(statements, Unknown) else _told(web_identities_of_anybody(statements), run)


def _told(found: list[str], run: Run) -> bool:
    """Whether there is any; a FAIL's message names them."""
    if found:
        more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
        run.note(", ".join(one[:MAX_SHOWN] for one in found[:_MOST_TOLD]) + more)
    return bool(found)


_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*]+")
_OF = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*:/-]+")
_GAINS = FunctionArgument(value="same", choices=principals.KINDS)
_ACTIONS = FunctionArgument(value="same_list", form=_ACTION)
_MANAGED = {principals.POLICY: ("Arn", "PolicyVersionList"), principals.AWS_POLICY: ("Arn", "Document")}
POLICY_FUNCTIONS: dict[str, Function] = {
    "denies_plain_http": Function(
        {"policy": FunctionArgument("policy"), "bucket": FunctionArgument("string")}, _denies_plain_http
    ),
    # Whether an identity has, or can get by what it has: everything; more than it was given; the roles of workloads.
    "principal_gains": Function(
        {
            "inline": FunctionArgument("list", ("PolicyName", "PolicyDocument")),
            "attached": FunctionArgument("list", ("PolicyArn",)),
            "groups": FunctionArgument(
                "list",
                optional=True,
                relations={principals.GROUP: ("GroupName", "GroupPolicyList", "AttachedManagedPolicies")},
            ),
            "boundary": FunctionArgument("structure", ("PermissionsBoundaryArn",), optional=True),
            "what": _GAINS,
        },
        principals.gains,
        _MANAGED,
    ),
    "policy_gains": Function({"policy": FunctionArgument("policy"), "what": _GAINS}, _policy_gains),
    # Whether some of the actions are allowed, whole, on all resources: of the kind SERVICE:RESOURCE, where it is given.
    "allows_on_all": Function(
        {
            "policy": FunctionArgument("policy"),
            "actions": _ACTIONS,
            "of": FunctionArgument(value="text", form=_OF, optional=True),
        },
        _allows_on_all,
    ),
    # Whether an account by its number, or somebody of it, gets in that is neither this one nor trusted. Without
    # actions: to do anything. With external_id: true such a condition, or one on MFA, will do, as on the organization.
    "opens_to_other_accounts": Function(
        {
            "policy": FunctionArgument("policy"),
            "trusted": FunctionArgument(value="same_list"),
            "actions": FunctionArgument(value="same_list", form=_ACTION, optional=True),
            "external_id": FunctionArgument(value="flag", optional=True),
        },
        _opens_to_other_accounts,
    ),
    # Whether everybody whom an identity provider knows may assume the role.
    "lets_any_web_identity_in": Function({"policy": FunctionArgument("policy")}, _lets_any_web_identity_in),
}

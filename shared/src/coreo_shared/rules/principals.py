"""What a user, group or role may do in all: its policies, inline and attached, its groups', its permissions boundary.

Organizations' policies are not seen from within an account: what they deny still counts here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from coreo_shared.rules.iam_powers import EVERYTHING, Powers, powers_of, ways_of
from coreo_shared.rules.operators import Run
from coreo_shared.rules.values import Unknown

POLICY, AWS_POLICY, GROUP = "aws.iam.policy", "aws.iam.aws_policy", "aws.iam.group"
KINDS: Final = frozenset({"everything", "more-than-given", "roles-of-workloads"})
STEPS_OF_STATEMENT: Final = 20
_MOST_WAYS_TOLD: Final = 5


def gains(bound: Mapping[str, Any], run: Run) -> bool | frozenset[Unknown]:
    """Whether the identity has, or can get, what is asked about; notes how."""
    unknown: set[Unknown] = set()
    powers = _own(bound["inline"], bound["attached"], run, unknown)
    for name in bound.get("groups") or ():
        powers |= _of_group(name, run, unknown)
    boundary = bound.get("boundary")
    if boundary is not None:
        powers = powers.within(_of_policy(boundary.get("PermissionsBoundaryArn"), run, unknown))
    run.spend(powers.statements * STEPS_OF_STATEMENT)
    return frozenset(unknown) or judge(powers, bound["what"], run)


def judge(powers: Powers, what: str, run: Run) -> bool:
    """Whether powers amount to one of KINDS; notes how."""
    if what == "everything":
        return EVERYTHING in powers.effective
    ways = ways_of(powers.effective, workloads=what == "roles-of-workloads")
    if ways:
        more = len(ways) - _MOST_WAYS_TOLD
        told = "; ".join(ways[:_MOST_WAYS_TOLD])
        run.note(f"{told} and {more} more ways" if more > 0 else told)
    return bool(ways)


def _own(inline: Any, attached: Any, run: Run, unknown: set[Unknown]) -> Powers:
    powers = Powers()
    for policy in inline or ():
        powers |= _read(policy.get("PolicyDocument"), unknown)
    for policy in attached or ():
        powers |= _of_policy(policy.get("PolicyArn"), run, unknown)
    return powers


def _of_group(name: Any, run: Run, unknown: set[Unknown]) -> Powers:
    listing = run.relations.by_field(GROUP, "GroupName", name)
    if not listing.items:
        unknown.update(listing.missing or (Unknown("a group is not among those of this account"),))
        return Powers()
    group = listing.items[0]
    return _own(group.get("GroupPolicyList"), group.get("AttachedManagedPolicies"), run, unknown)


def _of_policy(arn: Any, run: Run, unknown: set[Unknown]) -> Powers:
    """The powers of a managed policy, the account's or AWS's."""
    is_aws = isinstance(arn, str) and ":iam::aws:" in arn
    listing = run.relations.by_field(AWS_POLICY if is_aws else POLICY, "Arn", arn)
    if not listing.items:
        unknown.update(listing.missing or (Unknown("a policy that applies is not among those that were read"),))
        return Powers()
    found = listing.items[0]
    return _read(found.get("Document") if is_aws else _default_version(found.get("PolicyVersionList")), unknown)


def _default_version(versions: Iterable[Mapping[str, Any]] | None) -> Any:
    return next((version.get("Document") for version in versions or () if version.get("IsDefaultVersion")), None)


def _read(document: Any, unknown: set[Unknown]) -> Powers:
    powers = document if isinstance(document, Unknown) else powers_of(document)
    if isinstance(powers, Unknown):
        unknown.add(powers)
        return Powers()
    return powers
